package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree is a repository of two modules; the root's TestBroken fails.
var tree = map[string]string{
	"go.mod":          "module example.com/m\n\ngo 1.26\n",
	"m_test.go":       "package m\n\nimport \"testing\"\n\nfunc TestWhole(*testing.T) {}\n\nfunc TestBroken(t *testing.T) { t.Error(\"broken\") }\n",
	"a/go.mod":        "module example.com/m/a\n\ngo 1.26\n",
	"a/a_test.go":     "package a\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) { t.Log(\"A ran\", testing.Short()) }\n",
	"a/fuzz_test.go":  "package a\n\nimport \"testing\"\n\nfunc FuzzOne(f *testing.F) { f.Fuzz(func(*testing.T, int) {}) }\n\nfunc FuzzTwo(f *testing.F) { f.Fuzz(func(*testing.T, int) {}) }\n",
	"testdata/go.mod": "no module\n",
}

// everywhere runs testall with the arguments on tree.
func everywhere(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	root := t.TempDir()
	for name, content := range tree {
		file := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
	}
	var out, errs strings.Builder
	err = runner{root: root, stdout: &out, stderr: &errs}.everywhere(t.Context(), args)
	return out.String(), errs.String(), err
}

func TestAFailureIsReportedAndTheOtherModulesStillRun(t *testing.T) {
	stdout, stderr, err := everywhere(t, "-v")
	require.ErrorIs(t, err, errFailed)
	require.Contains(t, stdout, "--- FAIL: TestBroken")
	require.Contains(t, stdout, "A ran")
	require.Contains(t, stderr, "failed in .: go test -v ./...: exit status 1\n")
	require.True(t, strings.HasSuffix(stderr, "\nmodules: 1 passed, 1 failed\n"), stderr)
}

func TestFlagsReachGoTest(t *testing.T) {
	stdout, stderr, err := everywhere(t, "-v", "-short", "-run", "TestWhole|TestA")
	require.NoError(t, err)
	require.Contains(t, stdout, "A ran true")
	require.NotContains(t, stdout, "TestBroken")
	require.Equal(t, "# module .\n# module a\nmodules: 2 passed, 0 failed\n", stderr)
}

func TestAModuleOfExtraTestsIsCompiledForThemOnly(t *testing.T) {
	t.Setenv("EXTRA", "")
	t.Setenv("SOAK", "")
	root := t.TempDir()
	write := func(name, content string) {
		file := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
	}
	// It does not compile, which shows who tried.
	write("go.mod", "module example.com/m\n\ngo 1.26\n")
	write("m_test.go", "package m\n\nimport \"testing\"\n\nfunc TestExtraOne(t *testing.T) { missing() }\n\nfunc FuzzExtraTwo(f *testing.F) {}\n")
	write("inner/go.mod", "module example.com/m/inner\n\ngo 1.26\n")
	write("inner/m_test.go", "package m\n\nimport \"testing\"\n\nfunc TestInner(t *testing.T) {}\n")
	run := func() (string, error) {
		var errs strings.Builder
		err := runner{root: root, stdout: io.Discard, stderr: &errs}.everywhere(t.Context(), nil)
		return errs.String(), err
	}
	said, err := run()
	require.NoError(t, err, said)
	require.Contains(t, said, "# module .\n# every test of it is one of make test-extra\n# module inner\n")

	for _, variable := range []string{"EXTRA", "SOAK"} {
		t.Setenv(variable, "1")
		said, err = run()
		require.ErrorIs(t, err, errFailed, variable)
		require.Contains(t, said, "failed in .", variable)
		t.Setenv(variable, "")
	}

	for _, ordinary := range []string{"func TestOne(t *testing.T) {}", "func FuzzOne(f *testing.F) {}", "func Example() {}"} {
		write("sub/m_test.go", "package m\n\nimport \"testing\"\n\n"+ordinary+"\n")
		said, err = run()
		require.ErrorIs(t, err, errFailed, ordinary)
		require.Contains(t, said, "failed in .", ordinary)
	}
}

func TestWhatModulesPrintStandsInTheirOrder(t *testing.T) {
	var out, errs strings.Builder
	modules := []string{"a", "b", "c", "d"}
	ended := map[string]chan struct{}{}
	for _, module := range modules {
		ended[module] = make(chan struct{})
	}
	r := runner{stdout: &out, stderr: &errs}
	failed := r.each(t.Context(), modules, 2, func(_ context.Context, r runner, module string) error {
		fmt.Fprintln(r.stdout, module, "begins")
		if module == "a" { // ends last
			for _, other := range modules[1:] {
				<-ended[other]
			}
		}
		fmt.Fprintln(r.stdout, module, "ends")
		close(ended[module])
		if module == "c" {
			return errors.New("broken")
		}
		return nil
	})
	require.Len(t, failed, 1)
	require.EqualError(t, failed[0], "failed in c: broken")
	require.Equal(t, "a begins\na ends\nb begins\nb ends\nc begins\nc ends\nd begins\nd ends\n", out.String())
	require.Equal(t, "# module a\n# module b\n# module c\n# module d\n", errs.String())
}

func TestWhatIsMeasuredRunsAlone(t *testing.T) {
	for args, want := range map[string]int{"": 2, "-run X": 2, "-bench .": 1, "-bench=.": 1, "--bench .": 1, "-benchtime 1x": 1, "-fuzz .": 1, "-- go vet": 1} {
		_, together, err := task(strings.Fields(args))
		require.NoError(t, err)
		require.Equal(t, want, together, args)
	}
}

func TestFuzzRunsEachTargetByItself(t *testing.T) {
	if testing.Short() {
		t.Skip("go test -fuzz compiles the standard library once more")
	}
	_, stderr, err := everywhere(t, "-fuzz", ".", "-fuzztime", "1x")
	require.NoError(t, err)
	require.Contains(t, stderr, "# fuzz FuzzOne of example.com/m/a\n# fuzz FuzzTwo of example.com/m/a\n")
}

func TestACommandRunsInEveryModule(t *testing.T) {
	stdout, _, err := everywhere(t, "--", "go", "list", "-m")
	require.NoError(t, err)
	require.Equal(t, "example.com/m\nexample.com/m/a\n", stdout)

	_, stderr, err := everywhere(t, "--", "go", "no-such-command")
	require.ErrorIs(t, err, errFailed)
	require.Contains(t, stderr, "modules: 0 passed, 2 failed\n")
}

func TestWrongUseIsAnError(t *testing.T) {
	for _, args := range [][]string{{"--"}, {"-fuzz"}, {"-fuzz="}} {
		_, _, err := everywhere(t, args...)
		require.Error(t, err, args)
		require.NotErrorIs(t, err, errFailed, args)
	}
	require.Error(t, runner{root: t.TempDir()}.everywhere(t.Context(), nil), "a directory without go.mod")
}

func TestGoTestPutsPackagesBeforeArgs(t *testing.T) {
	require.Equal(t, []string{"go", "test", "-v", "./...", "-args", "x"}, goTest([]string{"-v", "-args", "x"}, "./..."))
}

func TestCutFuzzKeepsTheOtherFlags(t *testing.T) {
	for _, flags := range [][]string{{"-v", "-fuzz", "F", "-race"}, {"-v", "-fuzz=F", "-race"}, {"-v", "--fuzz=F", "-race"}} {
		pattern, rest, err := cutFuzz(flags)
		require.NoError(t, err)
		require.Equal(t, "F", pattern)
		require.Equal(t, []string{"-v", "-race"}, rest)
	}
}
