package size

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// fake is a test that can be asked what became of it.
type fake struct {
	testing.TB
	name  string
	ended string
}

func (f *fake) Helper()               {}
func (f *fake) Name() string          { return f.name }
func (f *fake) Logf(string, ...any)   {}
func (f *fake) Skipf(string, ...any)  { f.end("skipped") }
func (f *fake) Fatalf(string, ...any) { f.end("failed") }
func (f *fake) Fatal(...any)          { f.end("failed") }

func (f *fake) end(how string) {
	f.ended = how
	panic(f)
}

func outcome(name string, do func(testing.TB)) (ended string) {
	f := &fake{name: name}
	defer func() {
		_ = recover()
		ended = f.ended
	}()
	do(f)
	return ""
}

func TestATestRunsInItsSizeOnly(t *testing.T) {
	extra := func(t testing.TB) { Extra(t) }
	soak := func(t testing.TB) { Soak(t) }
	t.Setenv("EXTRA", "")
	t.Setenv("SOAK", "")
	require.Equal(t, "skipped", outcome("TestExtraBrowser", extra))
	require.Equal(t, "skipped", outcome("TestSoakChaos", soak))
	t.Setenv("EXTRA", "1")
	require.Empty(t, outcome("TestExtraBrowser", extra))
	require.Equal(t, "skipped", outcome("TestSoakChaos", soak))
	t.Setenv("SOAK", "1")
	require.Empty(t, outcome("TestSoakChaos/part", soak))
}

func TestATestThatMakeWouldNotFindFails(t *testing.T) {
	require.Equal(t, "failed", outcome("TestBrowser", func(t testing.TB) { Extra(t) }))
	require.Equal(t, "failed", outcome("TestExtraChaos", func(t testing.TB) { Soak(t) }))
}

func TestASeedIsRepeated(t *testing.T) {
	t.Setenv("SOAK", "1")
	t.Setenv("SEED", "18446744073709551615")
	require.Empty(t, outcome("TestSoakChaos", func(tb testing.TB) { require.Equal(t, ^uint64(0), Soak(tb)) }))
	t.Setenv("SEED", "-1")
	require.Equal(t, "failed", outcome("TestSoakChaos", func(t testing.TB) { Soak(t) }))
}
