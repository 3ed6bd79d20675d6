package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheBestOrderHasFewUsesAgainstIt(t *testing.T) {
	files := []string{"a", "b", "c", "d"}
	order, count := bestOrder(files, map[[2]string]int{{"a", "d"}: 3, {"b", "a"}: 1, {"c", "b"}: 2})
	require.Equal(t, []string{"d", "a", "b", "c"}, order)
	require.Zero(t, count)
	_, count = bestOrder(files, map[[2]string]int{{"a", "b"}: 3, {"b", "a"}: 2, {"c", "d"}: 1})
	require.Equal(t, 2, count, "in a circle the smaller side is against the order")
}

func TestUsesAreCountedOncePerFileAndDeclaration(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, source := range map[string]string{
		"a.go": "package p\n\ntype T struct{ f int }\n\nfunc (T) M() {}\n\nfunc F() {}\n\ntype Kind string\n\nconst K Kind = \"k\"\n",
		"b.go": "package p\n\nfunc g(t T) {\n\tt.M()\n\tt.M()\n\tF()\n\t_ = t.f\n}\n",
	} {
		require.NoError(t, os.WriteFile(name, []byte(source), 0o644))
	}
	p, err := load([]string{"a.go", "b.go"})
	require.NoError(t, err)
	require.Equal(t, map[[2]string]int{{"b.go", "a.go"}: 3}, p.uses(), "T, M and F")
	require.Equal(t, 3, p.exported(), "T, F and Kind")
	s, err := measure([]string{"a.go", "b.go"})
	require.NoError(t, err)
	require.Equal(t, length{"b.go g", 6}, longest(s.funcs)[0])
}
