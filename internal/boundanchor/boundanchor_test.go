package boundanchor_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/boundanchor"
)

// A wild anchor does something else than return.
type wild struct{ do func() }

func (w *wild) Put(context.Context, auditlog.Checkpoint) error { w.do(); return nil }
func (w *wild) Latest(context.Context) ([]byte, error)         { w.do(); return []byte("head"), nil }
func (w *wild) Check(_ context.Context, _ auditlog.Checkpoint, prove func(int64) (tlog.TreeProof, error)) ([]byte, error) {
	_, err := prove(1)
	w.do()
	return nil, err
}

func TestAnAnchorThatPanicsOrEndsItsGoroutineGivesAnErrorAndIsAskedAgain(t *testing.T) {
	for name, do := range map[string]func(){
		"panics":              func() { panic("no storage") },
		"panics with nil":     func() { panic(nil) },
		"ends its goroutine":  runtime.Goexit,
		"panics with a panic": func() { defer panic("again"); panic("no storage") },
	} {
		t.Run(name, func(t *testing.T) {
			w := &wild{}
			a := boundanchor.New(w)
			for range 2 {
				w.do = do
				_, err := a.Latest(t.Context())
				require.Error(t, err)
				require.Error(t, a.Put(t.Context(), auditlog.Checkpoint{}))
				_, err = a.Check(t.Context(), auditlog.Checkpoint{}, func(int64) (tlog.TreeProof, error) { return nil, nil })
				require.Error(t, err)
				w.do = func() {}
				signed, err := a.Latest(t.Context())
				require.NoError(t, err, "it is not taken for busy")
				require.Equal(t, "head", string(signed))
			}
		})
	}
}
