package sinktest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestAGoodSinkPassesWithTheStrictestTraits(t *testing.T) {
	sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
		return medium("", nil), nil
	}, sinktest.Traits{})
}

// Time is synctest's: a sink that hangs is found out at once.
func violations(t *testing.T, b bug, traits sinktest.Traits) map[string]*sinktest.Violation {
	t.Helper()
	found := make(map[string]*sinktest.Violation)
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		defer close(stop)
		err := sinktest.Check(t.Context(), func(context.Context) (sinktest.Medium, error) {
			return medium(b, stop), nil
		}, traits)
		if err == nil {
			return
		}
		for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
			v, is := errors.AsType[*sinktest.Violation](err)
			require.True(t, is)
			found[v.Case] = v
		}
	})
	return found
}

func TestEveryBrokenSinkIsCaughtByTheCaseNamedForIt(t *testing.T) {
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
		{"applies the limit before the filter", "paging"},
		{"reads from the start behind an unknown ID", "paging"},
		{"reads the record again that was seen", "paging"},
		{"samples log lines", "hash link"},
		{"proves anything", "proof"},
		{"notes down contexts", "canary"},
		{"leaves a goroutine behind", "goroutines"},
	} {
		t.Run(string(tt.bug)+": "+tt.want, func(t *testing.T) {
			found := violations(t, tt.bug, sinktest.Traits{})
			require.Contains(t, found, tt.want)
			require.NotEmpty(t, found[tt.want].Rule)
			require.Contains(t, found[tt.want].Error(), found[tt.want].Rule, "the failure quotes the rule")
		})
	}
}

func TestAGoodSinkHasNoViolation(t *testing.T) {
	require.Empty(t, violations(t, "", sinktest.Traits{}))
}
