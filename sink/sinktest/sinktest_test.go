package sinktest_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestAGoodSinkPassesWithTheStrictestTraits(t *testing.T) {
	sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
		return medium("", nil), nil
	}, sinktest.Traits{})
}

// violation checks one case. Time is synctest's: a sink that hangs is found
// out at once.
func violation(t *testing.T, b bug, name string) *sinktest.Violation {
	t.Helper()
	var found *sinktest.Violation
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		defer close(stop)
		err := sinktest.CheckCase(t.Context(), func(context.Context) (sinktest.Medium, error) {
			return medium(b, stop), nil
		}, sinktest.Traits{}, name)
		found, _ = errors.AsType[*sinktest.Violation](err)
	})
	return found
}

func TestEveryBrokenSinkIsCaughtByTheCaseNamedForIt(t *testing.T) {
	unnamed := make(map[string]bool)
	for _, name := range sinktest.CaseNames() {
		unnamed[name] = true
	}
	for _, tt := range []struct {
		bug  bug
		want string
	}{
		{"encodes again", "round trip"},
		{"reads in the order of IDs", "order"},
		{"stores a batch backwards", "order"},
		{"stores a retry again", "retry"},
		{"takes a retry for a conflict", "retry"},
		{"does nothing on a conflict", "conflict"},
		{"overwrites on a conflict", "conflict"},
		{"gives the bare conflict", "conflict"},
		{"names no record", "conflict"},
		{"stores what stands behind a refused record", "conflict"},
		{"stores what stands behind a refused record", "malformed record"},
		{"passes over a malformed record", "malformed record"},
		{"panics at a malformed record", "malformed record"},
		{"keeps the caller's slice", "aliasing"},
		{"changes the caller's slice", "aliasing"},
		{"lets batches mix", "concurrent writers"},
		{"does not heed a context", "cancelled context"},
		{"hides the context's error", "cancelled context"},
		{"heeds no context once it writes", "hung medium"},
		{"acknowledges what it has not written", "hung medium"},
		{"acknowledges what it has not written", "failed batch"},
		{"swallows write errors", "failed batch"},
		{"refuses what the disk refused", "failed batch"},
		{"writes the end of a batch first", "failed batch"},
		{"knows IDs that it could not write", "failed batch"},
		{"takes records after Close", "write after close"},
		{"acknowledges what it has not written", "close during writes"},
		{"is volatile", "reopen"},
		{"forgets IDs at the open", "reopen"},
		{"can be read once", "iteration"},
		{"cannot be left", "iteration"},
		{"is read on after a cancellation", "iteration"},
		{"holds its lock while it yields", "iteration"},
		{"yields an error twice", "paging"},
		{"does not select by root", "selection"},
		{"does not select by those acted for", "selection"},
		{"stops at an unreadable record", "unreadable record"},
		{"passes over an unreadable record", "unreadable record"},
		{"counts unreadable records", "unreadable record"},
		{"gives an unreadable record's plain error", "unreadable record"},
		{"does not say where an unreadable record is", "unreadable record"},
		{"lists the oldest job first", "jobs"},
		{"selects jobs by any event", "jobs"},
		{"tails backwards", "tail"},
		{"tails on behind the limit", "tail"},
		{"does not wait for records to come", "tail"},
		{"tails on after Close", "tail"},
		{"applies the limit before the filter", "paging"},
		{"reads from the start behind an unknown ID", "paging"},
		{"reads the record again that was seen", "paging"},
		{"samples log lines", "hash link"},
		{"proves anything", "proof"},
		{"notes down contexts", "canary"},
		{"leaves a goroutine behind", "goroutines"},
	} {
		t.Run(string(tt.bug)+": "+tt.want, func(t *testing.T) {
			found := violation(t, tt.bug, tt.want)
			require.NotNil(t, found, "the case passes")
			require.Equal(t, tt.want, found.Case)
			require.Contains(t, found.Error(), found.Rule, "the failure quotes the rule")
			require.NotEmpty(t, found.Rule)
			unnamed[tt.want] = false
		})
	}
	for name, missing := range unnamed {
		require.False(t, missing, "no broken sink is there for the case %q", name)
	}
}

func TestAWaivedCaseNamesTheTrait(t *testing.T) {
	require.Equal(t, "WriteOnly", sinktest.WaivedBy(sinktest.Traits{WriteOnly: true}, "round trip"))
	require.Equal(t, "Unordered", sinktest.WaivedBy(sinktest.Traits{Unordered: true}, "paging"))
	require.Equal(t, "Opaque", sinktest.WaivedBy(sinktest.Traits{Opaque: true}, "canary"))
	for _, name := range sinktest.CaseNames() {
		require.Empty(t, sinktest.WaivedBy(sinktest.Traits{}, name), "the zero value waives nothing")
	}
}

// What a test cannot do has to be waived by name: it does not go unnoticed.
func TestAMediumThatOffersTooLittleIsAViolation(t *testing.T) {
	for name, take := range map[string]func(*sinktest.Medium){
		"hung medium":       func(m *sinktest.Medium) { m.Hang = nil },
		"failed batch":      func(m *sinktest.Medium) { m.Fail = nil },
		"proof":             func(m *sinktest.Medium) { m.Prove = nil },
		"canary":            func(m *sinktest.Medium) { m.Bytes = nil },
		"unreadable record": func(m *sinktest.Medium) { m.Replace = nil },
		"round trip": func(m *sinktest.Medium) {
			open := m.Open
			m.Open = func(ctx context.Context) (jobaudit.AuditSink, error) {
				sink, err := open(ctx)
				return struct {
					jobaudit.AuditSink
					io.Closer
				}{sink, sink.(io.Closer)}, err
			}
		},
		"write after close": func(m *sinktest.Medium) {
			open := m.Open
			m.Open = func(ctx context.Context) (jobaudit.AuditSink, error) {
				sink, err := open(ctx)
				return struct{ jobaudit.AuditSink }{sink}, err
			}
		},
	} {
		err := sinktest.CheckCase(t.Context(), func(context.Context) (sinktest.Medium, error) {
			m := medium("", nil)
			take(&m)
			return m, nil
		}, sinktest.Traits{}, name)
		require.ErrorContains(t, err, "is not set", name)
	}
}

func TestASinkWithFewPromisesPassesWithItsTraits(t *testing.T) {
	require.NoError(t, sinktest.Check(t.Context(), func(context.Context) (sinktest.Medium, error) {
		d := newDisk()
		return sinktest.Medium{Open: func(context.Context) (jobaudit.AuditSink, error) {
			return struct{ jobaudit.AuditSink }{open(d, "stores a retry again", nil)}, nil
		}}, nil
	}, sinktest.Traits{
		WriteOnly: true, AtLeastOnce: true, Unordered: true, Volatile: true,
		Unproven: true, NoClose: true, NoTail: true, NoFaults: true, Opaque: true, Irreplaceable: true,
	}))
}

func TestAMediumThatCannotBeOpenedIsAViolation(t *testing.T) {
	broken := errors.New("no disk")
	err := sinktest.Check(t.Context(), func(context.Context) (sinktest.Medium, error) {
		return sinktest.Medium{}, broken
	}, sinktest.Traits{})
	require.ErrorIs(t, err, broken)
}
