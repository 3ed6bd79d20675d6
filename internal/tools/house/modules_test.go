package house_test

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"

	"github.com/jobaudit/jobaudit/internal/tools/house"
)

// goLine has no patch release: that would force newer toolchains on users. The
// go command writes 1.26.0 where a dependency says 1.26.0, which is the same
// toolchain; the root may not have such a dependency.
const goLine = "1.26"

// moduleFaults lists what is wrong with the go.mod of the module in dir.
func moduleFaults(dir string, mod *modfile.File) []string {
	var faults []string
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s/go.mod: ", dir)+fmt.Sprintf(format, args...))
	}
	want := modulePath
	if dir != "." {
		want = path.Join(modulePath, dir)
	}
	if mod.Module == nil || mod.Module.Mod.Path != want {
		fault("the module path is not %s", want)
	}
	if mod.Go == nil || mod.Go.Version != goLine && (dir == "." || mod.Go.Version != goLine+".0") {
		fault("the go line is not %s", goLine)
	}
	if mod.Toolchain != nil {
		fault("there is a toolchain line")
	}
	for _, tool := range mod.Tool {
		fault("%s is a tool line: tools run pinned, with go run", tool.Path)
	}
	for _, required := range mod.Require {
		target, ok := ours(required.Mod.Path)
		if !ok {
			continue
		}
		if required.Mod.Version != "v0.0.0" {
			fault("%s is required at %s, not v0.0.0", required.Mod.Path, required.Mod.Version)
		}
		if !slices.ContainsFunc(mod.Replace, func(r *modfile.Replace) bool {
			return r.Old.Path == required.Mod.Path && path.Join(dir, r.New.Path) == target
		}) {
			fault("%s is not replaced by its directory", required.Mod.Path)
		}
	}
	for _, replaced := range mod.Replace {
		if _, ok := ours(replaced.Old.Path); !ok || dir == "." {
			fault("%s is replaced", replaced.Old.Path)
		}
	}
	return faults
}

func readModule(t *testing.T, dir string) *modfile.File {
	t.Helper()
	file := filepath.Join(root, dir, "go.mod")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	mod, err := modfile.Parse(file, content, nil)
	require.NoError(t, err)
	return mod
}

func TestEveryModuleFollowsTheRules(t *testing.T) {
	modules, err := house.Modules(root)
	require.NoError(t, err)
	for _, dir := range modules {
		require.Empty(t, moduleFaults(dir, readModule(t, dir)))
	}
}

func TestAWrongModuleIsFound(t *testing.T) {
	const good = `module github.com/jobaudit/jobaudit/sink/a
go 1.26
require github.com/jobaudit/jobaudit v0.0.0
replace github.com/jobaudit/jobaudit => ../..
`
	tests := []struct {
		name, dir, mod string
		faults         int
	}{
		{"as it should be", "sink/a", good, 0},
		{"another directory", "sink/b", good, 1},
		{"another depth", "a", strings.Replace(good, "sink/a", "a", 1), 1},
		{"a patch release", "sink/a", strings.Replace(good, "go 1.26", "go 1.26.1", 1), 1},
		{"the first release, as a dependency has it", "sink/a", strings.Replace(good, "go 1.26", "go 1.26.0", 1), 0},
		{"the first release in the root", ".", "module github.com/jobaudit/jobaudit\ngo 1.26.0\n", 1},
		{"no go line", "sink/a", strings.Replace(good, "go 1.26", "", 1), 1},
		{"a toolchain line", "sink/a", good + "toolchain go1.26.1\n", 1},
		{"a tool line", "sink/a", good + "tool golang.org/x/tools/cmd/stringer\n", 1},
		{"a version of ours", "sink/a", strings.Replace(good, "v0.0.0", "v0.1.0", 1), 1},
		{"no replace line", "sink/a", strings.Replace(good, "replace", "//", 1), 1},
		{"a foreign module replaced", "sink/a", good + "replace github.com/google/uuid => ../uuid\n", 1},
		{"the root with a replace line", ".", "module github.com/jobaudit/jobaudit\ngo 1.26\nreplace github.com/jobaudit/jobaudit/sink/a => ./sink/a\n", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mod, err := modfile.Parse("go.mod", []byte(test.mod), nil)
			require.NoError(t, err)
			require.Len(t, moduleFaults(test.dir, mod), test.faults)
		})
	}
}

// direct returns the paths of the direct requirements.
func direct(mod *modfile.File) []string {
	var paths []string
	for _, required := range mod.Require {
		if !required.Indirect {
			paths = append(paths, required.Mod.Path)
		}
	}
	return paths
}

func TestTheRootHasThreeDirectRequirements(t *testing.T) {
	require.ElementsMatch(t,
		[]string{"github.com/google/uuid", "github.com/stretchr/testify", "golang.org/x/mod"},
		direct(readModule(t, ".")))
}

func TestADirectRequirementIsCounted(t *testing.T) {
	mod, err := modfile.Parse("go.mod", []byte("module m\nrequire a.example/a v1.0.0\nrequire b.example/b v1.0.0 // indirect\n"), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a.example/a"}, direct(mod))
}

// strangers returns the packages that a program which imports the root must
// not get with it.
func strangers(deps []string) []string {
	return slices.DeleteFunc(foreign(deps), func(imported string) bool {
		return imported == "github.com/google/uuid" || within(imported, "golang.org/x/mod/sumdb")
	})
}

func TestTheRootDependsOnTheStandardLibraryUUIDAndSumDBOnly(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	require.NoError(t, err)
	deps := strings.Fields(string(out))
	require.Contains(t, deps, modulePath)
	require.Empty(t, strangers(deps))
}

func TestADependencyOfTheRootIsFound(t *testing.T) {
	require.Equal(t, []string{"golang.org/x/mod/modfile", "gopkg.in/yaml.v3"}, strangers([]string{
		modulePath, modulePath + "/internal/encode", "github.com/google/uuid",
		"golang.org/x/mod/sumdb/note", "golang.org/x/mod/modfile", "gopkg.in/yaml.v3",
	}))
}
