package mirror_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// TestWhateverTheKeysHolderDoesToHisLogWhatIsMirroredStays: he rolls back, forks, cuts,
// damages and goes on, at random. The mirror takes what goes on from what it holds,
// refuses all else, and loses nothing.
func TestWhateverTheKeysHolderDoesToHisLogWhatIsMirroredStays(t *testing.T) {
	k := newKey(t, origin)
	for seed := range uint64(size.Times(100, 15)) {
		rnd := rand.New(rand.NewPCG(seed, 19))
		l, store := newLog(t, k), newStore()
		kept := []*memLog{}
		var held []string
		for range 12 {
			switch rnd.IntN(6) {
			case 0:
				kept = append(kept, l.cut(l.tree.Size()))
			case 1:
				if len(kept) > 0 { // back to an old copy
					old := kept[rnd.IntN(len(kept))]
					l = old.cut(old.tree.Size())
				}
			case 2:
				l = newLog(t, k)
				l.append(rnd.IntN(9)+1, "another")
			case 3:
				l = l.cut(l.tree.Size())
				if n := len(l.lines); n > 0 {
					if at := rnd.IntN(n); !auditlog.IsCommit([]byte(l.lines[at])) {
						l.lines[at] = strings.Replace(l.lines[at], "e", "E", 1)
					}
				}
			default:
				l.append(rnd.IntN(4)+1, []string{"event", "other event"}[rnd.IntN(2)])
			}
			var r reports
			m := newMirror(t, l, store, options(&r, k))
			err := m.Sync(t.Context())
			if err == nil {
				err = m.Sync(t.Context())
			}
			now := mirrored(t, store, 0, k)
			require.GreaterOrEqual(t, len(now), len(held), "seed %d", seed)
			require.True(t, slices.Equal(held, now[:len(held)]), "seed %d: what was mirrored has changed", seed)
			if err == nil {
				// By its heads it is what is mirrored, also where a line before them was
				// changed, or the same events stand in other batches.
				require.Equal(t, l.tree.Size(), m.Status().Head.Size, "seed %d", seed)
			} else if len(l.lines) >= len(now) && slices.Equal(l.lines, now) {
				require.NoError(t, err, "seed %d: an honest log is refused", seed)
			}
			if refused, ok := errors.AsType[*mirror.RefusedError](err); ok {
				_, keyErr := auditlog.OpenCheckpoint(refused.MirroredSigned, k.verifier)
				require.NoError(t, keyErr)
			}
			held = now
		}
	}
}

// TestAReconcilerReadsAJobOfTwoNodesFromTheirMirrors: it was submitted on one, and ran
// on the other.
func TestAReconcilerReadsAJobOfTwoNodesFromTheirMirrors(t *testing.T) {
	k := newKey(t, origin)
	records := sinktest.Records(40)
	job := records[0].JobID()
	var readers []jobaudit.AuditReader
	var logs [2]*memLog
	for i := range logs {
		logs[i] = newLog(t, k)
	}
	want := 0
	for i, r := range records {
		logs[min(i, 1)].batch(string(r.Bytes()))
		if r.JobID() == job {
			want++
		}
	}
	for _, l := range logs {
		store := newStore()
		sync1(t, l, store, k)
		r, err := mirror.OpenReader(t.Context(), store, &mirror.ReaderOptions{Keys: []note.Verifier{k.verifier}})
		require.NoError(t, err)
		readers = append(readers, r)
	}
	require.Greater(t, want, 1)
	past, err := queue.NewLogs(readers, nil).Past(t.Context(), job)
	require.NoError(t, err)
	require.True(t, past.Submitted())
	require.NotEmpty(t, past.Job.Executions)
	past, err = queue.NewLogs(readers[1:], nil).Past(t.Context(), job)
	require.NoError(t, err)
	require.False(t, past.Submitted())
}

// TestWhatTheKeysHolderPutsIntoTheStoreTakesNothingBackAndIsEvidence: he may sign
// another history and put objects. What was mirrored is still read, and the mirror
// refuses to go on, with his head as evidence.
func TestWhatTheKeysHolderPutsIntoTheStoreTakesNothingBackAndIsEvidence(t *testing.T) {
	k := newKey(t, origin)
	for _, from := range []int64{0, 6, 10} {
		for _, prefix := range []string{"001/heads/", "001/"} {
			l, store := newLog(t, k), newStore()
			for range 5 {
				l.append(2, "event")
				sync1(t, l, store, k)
			}
			fork := l.cut(from)
			for range 20 {
				fork.append(2, "never happened")
			}
			forged := newStore()
			sync1(t, fork, forged, k)
			for name, versions := range forged.objects {
				if strings.HasPrefix(name, prefix) && len(store.objects[name]) == 0 {
					store.objects[name] = versions
				}
			}
			lines, err := readable(t, store, k)
			require.Equal(t, l.lines, lines)
			missing, ok := errors.AsType[*mirror.MissingError](err) // his chunks do not lead to his head
			require.True(t, ok, err)
			require.Equal(t, &mirror.MissingError{Branch: 1, First: 10, End: fork.tree.Size()}, missing)
			for range 2 {
				l.append(30, "event") // shorter than his history, then longer
				var r reports
				refused, ok := errors.AsType[*mirror.RefusedError](newMirror(t, l, store, options(&r, k)).Sync(t.Context()))
				require.True(t, ok, "from %d, %s", from, prefix)
				requireSigned(t, k, fork.head(), refused.MirroredSigned)
				require.NotEmpty(t, refused.LogSigned)
			}
		}
	}
}
