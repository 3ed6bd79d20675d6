package house_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/house"
)

// plant writes the files, by path and content, into a new directory.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
	}
	return dir
}

var manyModules = map[string]string{
	"go.mod":                        "module m\n",
	".gitignore":                    "/dist/\n",
	"dist/go.mod":                   "module m/dist\n",
	"sink/a/go.mod":                 "module m/sink/a\n",
	"bench/go.mod":                  "module m/bench\n",
	"bench/testdata/outside/go.mod": "module outside\n",
	".hidden/go.mod":                "module hidden\n",
	"_old/go.mod":                   "module old\n",
	"node_modules/x/go.mod":         "module x\n",
}

func TestModulesFindsEveryModuleTheRootFirst(t *testing.T) {
	dir := plant(t, manyModules)
	require.NoError(t, exec.CommandContext(t.Context(), "git", "init", "--quiet", dir).Run())

	modules, err := house.Modules(dir)
	require.NoError(t, err)
	require.Equal(t, []string{".", "bench", "sink/a"}, modules)
}

func TestModulesWorksWithoutARepository(t *testing.T) {
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(t.TempDir()))

	modules, err := house.Modules(plant(t, manyModules))
	require.NoError(t, err)
	require.Equal(t, []string{".", "bench", "dist", "sink/a"}, modules)
}

func TestFilesLeavesOutWhatGitIgnores(t *testing.T) {
	dir := plant(t, map[string]string{".gitignore": "*.prof\n", "a.go": "", "cpu.prof": ""})
	require.NoError(t, exec.CommandContext(t.Context(), "git", "init", "--quiet", dir).Run())

	files, err := house.Files(dir)
	require.NoError(t, err)
	require.Equal(t, []string{".gitignore", "a.go"}, files)
}
