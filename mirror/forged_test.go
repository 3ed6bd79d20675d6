package mirror_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/mirror"
)

// forge puts a branch into a store, as somebody who may put objects can.
func forge(t testing.TB, store *memStore, name string, b mirror.Branch) {
	t.Helper()
	b.Format, b.Origin, b.By, b.Reason = "jobaudit.mirror/v1", origin, "ada", "restored from a snapshot"
	data, err := json.Marshal(b)
	require.NoError(t, err)
	require.NoError(t, store.Put(t.Context(), name, append(data, '\n')))
}

func TestABranchThatNoSuccessorMadeIsPassedByAndARewrittenLogIsRefused(t *testing.T) {
	k, k2 := newKey(t, origin), newKey(t, origin+"/s2")
	other, old := newLog(t, k2), newLog(t, k)
	other.append(3, "of the key's holder")
	old.append(2, "event")
	oldHead, err := old.tree.Sign(k.signer)
	require.NoError(t, err)
	newHead, err := other.tree.Sign(k2.signer)
	require.NoError(t, err)
	empty := auditlog.Tree{}
	for name, tc := range map[string]struct {
		branch mirror.Branch
		late   bool // the log went on under its successor's key before
	}{
		"no heads":                {mirror.Branch{Number: 2, Base: 1, Root: empty.Root()}, false},
		"the same key":            {mirror.Branch{Number: 2, Base: 1, Root: empty.Root(), Mirrored: string(oldHead.Signed()), Log: string(oldHead.Signed())}, false},
		"a successor from before": {mirror.Branch{Number: 2, Base: 1, Root: empty.Root(), Mirrored: string(oldHead.Signed()), Log: string(newHead.Signed())}, true},
	} {
		t.Run(name, func(t *testing.T) {
			l, store := newLog(t, k), newStore()
			l.append(5, "event")
			writer := k
			if tc.late {
				writer = k2
				l.under(k2).append(5, "event")
			}
			sync1(t, l, store, k, k2)
			forge(t, store, "branches/002", tc.branch)
			rewritten := newLog(t, writer)
			rewritten.append(20, "never happened")

			var r reports
			err := newMirror(t, rewritten, store, options(&r, k, k2)).Sync(t.Context())
			require.ErrorIs(t, err, mirror.ErrForked)
			require.Equal(t, []string{"branches/002"}, r.squatted())
			require.Equal(t, l.lines, mirrored(t, store, 0, k, k2), "what is read, and restored, is the branch that was made so")
		})
	}
}
