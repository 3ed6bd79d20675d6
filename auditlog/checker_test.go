package auditlog_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/auditlog"
)

// checker is a memAnchor that compares by itself.
type checker struct {
	memAnchor
	asked []int64 // for proofs, from these sizes
	says  func(error) error
}

func (c *checker) Check(ctx context.Context, head auditlog.Checkpoint, prove func(int64) (tlog.TreeProof, error)) ([]byte, error) {
	signed, err := c.Latest(ctx)
	if err != nil {
		return nil, err
	}
	err = auditlog.CompareKept(signed, head, func(size int64) (tlog.TreeProof, error) {
		c.asked = append(c.asked, size)
		return prove(size)
	})
	if c.says != nil {
		err = c.says(err)
	}
	return signed, err
}

// TestACheckerSaysWhetherItAgreesIsBehindOrAheadWithItsHeadAsEvidence: and what it
// says is not believed against its own evidence.
func TestACheckerSaysWhetherItAgreesIsBehindOrAheadWithItsHeadAsEvidence(t *testing.T) {
	key := newKey(t, origin)
	l, fork := newLog(t, key), newLog(t, key)
	for range 5 {
		l.batch(3)
		fork.commit("1", "2", "3")
	}
	errOwn := errors.New("the anchor's own reason")
	for name, tc := range map[string]struct {
		kept  auditlog.Checkpoint
		says  func(error) error
		asked []int64
		want  func(t *testing.T, err error)
	}{
		"agrees":               {kept: l.head()},
		"behind":               {kept: l.heads[1], asked: []int64{l.heads[1].Head().Size}},
		"ahead":                {kept: ahead(t, key, l), want: isHeadError(true)},
		"another history":      {kept: fork.heads[1], asked: []int64{6}, want: isHeadError(false)},
		"another, of its size": {kept: fork.head(), want: isHeadError(false)},
		"refuses by itself": {kept: l.heads[1], asked: []int64{6}, says: func(error) error { return errOwn },
			want: func(t *testing.T, err error) { require.ErrorIs(t, err, errOwn) }},
		"says that it agrees, and does not": {kept: fork.head(), says: func(error) error { return nil }, want: isHeadError(false)},
	} {
		t.Run(name, func(t *testing.T) {
			a := &checker{says: tc.says}
			_, err := auditlog.CheckAnchor(t.Context(), a, l.head(), key.Verifier, l.hashes())
			require.ErrorIs(t, err, auditlog.ErrNoHead)
			require.NoError(t, a.Put(t.Context(), tc.kept))
			kept, err := auditlog.CheckAnchor(t.Context(), a, l.head(), key.Verifier, l.hashes())
			require.Equal(t, tc.kept, kept, "the evidence")
			require.Equal(t, tc.asked, a.asked)
			advanced := auditlog.AdvanceAnchor(t.Context(), a, l.head(), key.Verifier, l.hashes())
			if tc.want == nil {
				require.NoError(t, err)
				require.NoError(t, advanced)
				require.Equal(t, l.head().Signed(), a.signed)
				return
			}
			tc.want(t, err)
			tc.want(t, advanced)
			require.Equal(t, tc.kept.Signed(), a.signed, "it was not moved")
		})
	}
}

func ahead(t *testing.T, key testKey, l *testLog) auditlog.Checkpoint {
	t.Helper()
	more := newLog(t, key)
	for _, leaf := range l.leaves {
		more.commit(leaf)
	}
	more.commit("one more")
	return more.head()
}

func isHeadError(ahead bool) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		got, ok := errors.AsType[*auditlog.HeadError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, ahead, got.Ahead())
	}
}
