package house_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

// outside is a module outside the repository that uses its checkout.
type outside struct{ dir string }

func newOutside(t *testing.T) outside {
	t.Helper()
	checkout, err := filepath.Abs(root)
	require.NoError(t, err)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	program, err := os.ReadFile("testdata/outside/main.go")
	require.NoError(t, err)

	mod := new(modfile.File)
	require.NoError(t, mod.AddModuleStmt("example.com/outside"))
	require.NoError(t, mod.AddGoStmt(goLine))
	require.NoError(t, mod.AddRequire(modulePath, "v0.0.0"))
	require.NoError(t, mod.AddReplace(modulePath, "", checkout, ""))
	content, err := mod.Format()
	require.NoError(t, err)
	return outside{dir: plant(t, map[string]string{
		"go.mod": string(content), "go.sum": string(sums), "main.go": string(program),
	})}
}

// run runs the go command in the module and returns what it prints.
func (o outside) run(t *testing.T, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go %s: %s", strings.Join(args, " "), stderr.String())
	return string(out)
}

func TestAModuleOutsideWrapsAFunctionAndGainsOnlyUUIDAndXMod(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	module := newOutside(t)
	module.run(t, "mod", "tidy")

	require.Equal(t, []string{
		"job.submitted", "job.authorized", "job.started", "job.logged", "job.succeeded", "success [working]",
	}, strings.Split(strings.TrimSpace(module.run(t, "run", ".")), "\n"))

	content, err := os.ReadFile(filepath.Join(module.dir, "go.mod"))
	require.NoError(t, err)
	mod, err := modfile.Parse("go.mod", content, nil)
	require.NoError(t, err)
	var required []string
	for _, r := range mod.Require {
		required = append(required, r.Mod.Path)
	}
	require.ElementsMatch(t, []string{modulePath, "github.com/google/uuid", "golang.org/x/mod"}, required)

	deps := strings.Fields(module.run(t, "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "."))
	require.Contains(t, deps, modulePath)
	deps = slices.DeleteFunc(deps, func(dep string) bool { return dep == "example.com/outside" })
	require.Empty(t, strangers(deps))
}
