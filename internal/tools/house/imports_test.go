package house_test

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// role is what a package is to the others; it decides what it may import.
type role int

const (
	rootPackage role = iota // the library itself
	logPackage              // auditlog, which knows nothing of us
	inner                   // internal/…, the library's own parts and tools
	program                 // commands, examples, also those of one adapter, and benchmarks
	library                 // everything else: sinks, adapters, watchdog, …, and jobChecks
)

// jobChecks is what the sinks' verifications have in common. It reads records
// and logs, so it is no part of the root, and users have no use for it.
const jobChecks = "internal/jobcheck"

// errorLog is where errors go if nobody has said where. It knows the root's errors, so it is
// a library, and users have no use for it.
const errorLog = "internal/errlog"

// boundAnchors is how sinks call anchors. It knows logs, and users have no use for it.
const boundAnchors = "internal/boundanchor"

// shared are the internals of the root that its libraries may import, because
// a rule must not exist twice. Their package comments say so.
var shared = []string{"internal/causal", errorLog, boundAnchors, "internal/boundsigner", "internal/errtree", "internal/jsonscan", "internal/reads", jobChecks}

func roleOf(dir string) role {
	switch {
	case dir == ".":
		return rootPackage
	case within(dir, "auditlog"):
		return logPackage
	case within(dir, jobChecks), within(dir, errorLog), within(dir, boundAnchors):
		return library
	case within(dir, "internal"):
		return inner
	case within(dir, "cmd"), within(dir, "examples"), within(dir, "bench"), path.Base(dir) == "example":
		return program
	default:
		return library
	}
}

// importFaults lists the imports that break the rules of who may import whom.
func importFaults(packages map[string]*source) []string {
	var faults []string
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		pkg := packages[dir]
		for _, imported := range pkg.imports {
			if target, ok := ours(imported); ok && !mayImport(packages, dir, target) {
				faults = append(faults, fmt.Sprintf("%s imports %s", dir, target))
			}
		}
		for _, imported := range pkg.testImports {
			if target, ok := ours(imported); ok && !testsMayImport(packages, dir, target) {
				faults = append(faults, fmt.Sprintf("the tests of %s import %s", dir, target))
			}
		}
	}
	return faults
}

func mayImport(packages map[string]*source, dir, target string) bool {
	if part := partOf(packages, dir); part != "." && within(target, part) {
		return true
	}
	switch roleOf(dir) {
	case rootPackage, inner:
		return roleOf(target) == inner
	case library:
		// story prints records wherever people look at them; the adapters have
		// worker/queue in common; the pages hand out evidence; a store of a mirror
		// answers as mirror has it.
		return target == "." || target == "story" || slices.Contains(shared, target) ||
			target == "worker/queue" && within(dir, "worker") || target == "evidence" && dir == "webui" ||
			target == "mirror" && within(dir, "sink/s3mirror") ||
			roleOf(target) == logPackage && !isInternal(target)
	case program:
		return !isInternal(target) && roleOf(target) != program || isTool(target)
	default:
		return false
	}
}

func testsMayImport(packages map[string]*source, dir, target string) bool {
	switch {
	case mayImport(packages, dir, target):
		return true
	case roleOf(dir) == logPackage:
		return target == "internal/tools/size"
	default:
		return !isInternal(target) && roleOf(target) != program || isTool(target)
	}
}

// isTool reports whether target is one of the tools that tests and programs
// share, such as the one that starts a PostgreSQL server.
func isTool(target string) bool { return within(target, "internal/tools") }

// partOf returns the topmost package, other than the root, that dir is or lies
// below: sink/filesink for sink/filesink/segment.
func partOf(packages map[string]*source, dir string) string {
	for i, char := range dir {
		if _, ok := packages[dir[:i]]; char == '/' && ok {
			return dir[:i]
		}
	}
	return dir
}

func isInternal(dir string) bool {
	return strings.Contains("/"+dir+"/", "/internal/")
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	require.Empty(t, importFaults(sources(t, root)))
}

func TestAForbiddenImportIsFound(t *testing.T) {
	tests := []struct {
		name, from, imports string
		allowed, inTests    bool
	}{
		{"the root imports its internals", ".", "internal/encode", true, true},
		{"the root imports no sink", ".", "sink/memsink", false, true},
		{"the root does not import auditlog", ".", "auditlog", false, true},
		{"auditlog does not import the root", "auditlog", ".", false, false},
		{"auditlog does not import the root's internals", "auditlog", "internal/encode", false, false},
		{"auditlog's tests know their size", "auditlog", "internal/tools/size", false, true},
		{"auditlog imports what is below it", "auditlog", "auditlog/checkpoint", true, true},
		{"what is below auditlog imports nothing else", "auditlog/checkpoint", "sink/memsink", false, false},
		{"internals import internals", "internal/encode", "internal/scan", true, true},
		{"internals do not import the root", "internal/encode", ".", false, true},
		{"a sink imports the root", "sink/filesink", ".", true, true},
		{"a sink imports auditlog", "sink/filesink", "auditlog", true, true},
		{"a sink imports its own internals", "sink/filesink", "sink/filesink/internal/segment", true, true},
		{"a sink's parts import each other", "sink/filesink/internal/segment", "sink/filesink/index", true, true},
		{"a sink does not import another", "sink/filesink", "sink/memsink", false, true},
		{"a sink prints timelines", "sink/memsink", "story", true, true},
		{"a sink does not import what is below story", "sink/memsink", "story/internal/text", false, false},
		{"a sink's tests alone use the suite", "sink/memsink", "sink/sinktest", false, true},
		{"a sink does not import the root's internals", "sink/memsink", "internal/encode", false, false},
		{"a library orders events by the root's own rules", "story", "internal/causal", true, true},
		{"a library reads JSON by the root's own rules", "jobhttp", "internal/jsonscan", true, true},
		{"a sink checks jobs by the rules of all sinks", "sink/pgsink", jobChecks, true, true},
		{"the job checks read records", jobChecks, ".", true, true},
		{"the job checks read logs", jobChecks, "auditlog", true, true},
		{"the job checks import no sink", jobChecks, "sink/filesink", false, true},
		{"the root does not check logs", ".", jobChecks, false, false},
		{"a program does not import the job checks", "cmd/jobaudit", jobChecks, false, false},
		{"a sink does not import another's internals", "sink/memsink", "sink/filesink/internal/segment", false, false},
		{"an adapter does not import a sink", "worker/riveraudit", "sink/memsink", false, true},
		{"an adapter does not import the watchdog", "worker/riveraudit", "watchdog", false, true},
		{"an adapter imports what the adapters have in common", "worker/riveraudit", "worker/queue", true, true},
		{"an adapter does not import another", "worker/riveraudit", "worker/asynqaudit", false, true},
		{"a sink does not import what adapters have in common", "sink/filesink", "worker/queue", false, true},
		{"an adapter's example imports a sink", "worker/riveraudit/example", "sink/memsink", true, true},
		{"nobody imports an adapter's example", "watchdog", "worker/riveraudit/example", false, false},
		{"a program imports any library", "cmd/jobaudit", "sink/filesink", true, true},
		{"a program does not import internals", "examples/quickstart", "internal/encode", false, false},
		{"nobody imports a program", "watchdog", "examples/quickstart", false, false},
		{"a library that is new follows the same rules", "mirror/natsmirror", "mirror/kafkamirror", false, true},
	}
	packages := func() map[string]*source {
		all := make(map[string]*source)
		for _, test := range tests {
			all[test.from] = &source{dir: test.from}
			all[test.imports] = &source{dir: test.imports}
		}
		return all
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			imported := modulePath + "/" + test.imports
			if test.imports == "." {
				imported = modulePath
			}
			all := packages()
			all[test.from].imports = []string{"fmt", "github.com/google/uuid", imported}
			require.Equal(t, test.allowed, len(importFaults(all)) == 0)

			all = packages()
			all[test.from].testImports = []string{imported}
			require.Equal(t, test.inTests, len(importFaults(all)) == 0, "in its tests")
		})
	}
}

// foreign returns the imports that are neither ours nor the standard library's.
func foreign(imports []string) []string {
	return slices.DeleteFunc(slices.Clone(imports), func(imported string) bool {
		_, isOurs := ours(imported)
		first, _, _ := strings.Cut(imported, "/")
		return isOurs || !strings.Contains(first, ".")
	})
}

// The suite may name UUIDs, since the root's methods return them.
func TestTheConformanceSuiteUsesTheStandardLibraryAndTheRootOnly(t *testing.T) {
	packages := sources(t, root)
	require.Contains(t, packages, "sink/sinktest")
	require.Subset(t, []string{"github.com/google/uuid"}, foreign(packages["sink/sinktest"].imports))
}

func TestAForeignImportIsFound(t *testing.T) {
	require.Equal(t, []string{"github.com/google/uuid"},
		foreign([]string{"encoding/json", modulePath, "github.com/google/uuid", modulePath + "/auditlog"}))
}

// testOnly lists the packages that use testify outside tests.
func testOnly(packages map[string]*source) []string {
	var faults []string
	for dir, pkg := range packages {
		if slices.ContainsFunc(pkg.imports, func(imported string) bool {
			return within(imported, "github.com/stretchr/testify")
		}) {
			faults = append(faults, dir)
		}
	}
	return faults
}

func TestAssertionsStayInTests(t *testing.T) {
	require.Empty(t, testOnly(sources(t, root)))
	require.Equal(t, []string{"sink/a"}, testOnly(map[string]*source{
		"sink/a": {imports: []string{"github.com/stretchr/testify/require"}},
		"sink/b": {testImports: []string{"github.com/stretchr/testify/require"}},
	}))
}
