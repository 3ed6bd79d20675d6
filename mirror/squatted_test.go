package mirror_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/mirror"
)

// measured is a store that says how much was asked of one object at most.
type measured struct {
	*memStore
	most int64
}

func (m *measured) Get(ctx context.Context, name string, most int64) iter.Seq2[[]byte, error] {
	m.most = max(m.most, most)
	return m.memStore.Get(ctx, name, most)
}

const long = 17 << 20

// TestAnObjectThatIsNotTheMirrorsIsNotReadToItsEnd: who may put objects does not
// decide how much memory a mirror or a reader needs.
func TestAnObjectThatIsNotTheMirrorsIsNotReadToItsEnd(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), &measured{memStore: newStore()}
	l.append(3, "event")
	squatted := []byte(strings.Repeat("x", long))
	squatter := func(size int64) []string {
		return []string{
			"branches/002", fmt.Sprintf("001/chunks/%020d", size), fmt.Sprintf("001/chunks/%020d.1", size),
			fmt.Sprintf("001/heads/%016d.%d", int64(1<<53)-size-3, size+3), "001/heads/0000000000000001.9007199254740991",
		}
	}
	for _, name := range squatter(0) {
		store.objects[name] = [][]byte{squatted}
	}
	var r reports
	require.NoError(t, newMirror(t, l, store, options(&r, k)).Sync(t.Context()))
	require.Subset(t, r.squatted(), squatter(0)[1:])
	for _, name := range squatter(3)[1:] { // behind the newest head: nobody needs one
		store.objects[name] = [][]byte{squatted}
	}
	o := &mirror.ReaderOptions{Keys: []note.Verifier{k.verifier}, OnError: r.add}
	reader, err := mirror.OpenReader(t.Context(), store, o)
	require.NoError(t, err)
	n := 0
	for _, err := range reader.Lines(t.Context(), 0) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, len(l.lines), n)
	require.LessOrEqual(t, store.most, int64(16<<20))
}

func TestABatchThatIsLongerThanUsualIsMirroredAndReadWhereAHeadCoversIt(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	l.append(2, "event")
	sync1(t, l, store, k)
	lines := make([]string, long/60_000+1)
	for i := range lines {
		lines[i] = strings.Repeat("y", 60_000)
	}
	l.batch(lines...)
	l.append(1, "event")
	sync1(t, l, store, k)
	require.Equal(t, l.lines, mirrored(t, store, 0, k))
	_, err := readable(t, store)
	require.ErrorContains(t, err, "give the keys")
}

// TestASquatterHoldsUpNoMirrorWhateverHePuts puts what a node may put that has been
// taken over, also objects that were the mirror's, under any of its names.
func TestASquatterHoldsUpNoMirrorWhateverHePuts(t *testing.T) {
	k, other := newKey(t, origin), newKey(t, origin)
	for seed := range uint64(size.Times(60, 8)) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		l, store := newLog(t, k), newStore()
		forged := newLog(t, other)
		forgedStore := newStore()
		var r reports
		for range 8 {
			l.append(rnd.IntN(4)+1, "event")
			forged.append(rnd.IntN(4)+1, "forged")
			require.NoError(t, newMirror(t, forged, forgedStore, options(&r, other)).Sync(t.Context()))
			squat(rnd, store, forgedStore, l.tree.Size())
			m := newMirror(t, l, store, options(&r, k))
			require.NoError(t, m.Sync(t.Context()), "seed %d", seed)
			require.Equal(t, l.head(), m.Status().Head)
		}
		require.Equal(t, l.lines, mirrored(t, store, 0, k), "seed %d", seed)
	}
}

// squat puts objects under names that are free, near where the mirror writes next.
func squat(rnd *rand.Rand, store, forged *memStore, size int64) {
	var pool [][]byte
	for _, from := range []*memStore{store, forged} {
		for _, name := range slices.Sorted(func(yield func(string) bool) {
			for name := range from.objects {
				if !yield(name) {
					return
				}
			}
		}) {
			pool = append(pool, from.objects[name][0])
		}
	}
	for range rnd.IntN(6) {
		n := max(0, size-4+rnd.Int64N(12))
		name := []string{
			fmt.Sprintf("001/chunks/%020d", n), fmt.Sprintf("001/chunks/%020d.%d", n, rnd.IntN(3)),
			fmt.Sprintf("001/heads/%016d.%d", int64(1<<53)-n, n), fmt.Sprintf("001/heads/%016d.%d.1", int64(1<<53)-n, n),
			fmt.Sprintf("branches/%03d", rnd.IntN(4)+2), "contacts/0000000000000000.9007199254740992", "001/heads/x", "002/chunks/00000000000000000000",
		}[rnd.IntN(8)]
		data := []byte("squatted\n")
		if len(pool) > 0 && rnd.IntN(3) > 0 {
			data = slices.Clone(pool[rnd.IntN(len(pool))])
			if rnd.IntN(2) == 0 {
				data = data[:rnd.IntN(len(data)+1)]
			}
		}
		if len(store.objects[name]) == 0 {
			store.objects[name] = [][]byte{data}
		}
	}
}

// TestAContactFromTheFutureHidesNoOther: one that somebody else put there would stand
// before all that follow, for ever.
func TestAContactFromTheFutureHidesNoOther(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	l.append(1, "event")
	for _, t := range []time.Time{time.Now().Add(1000 * time.Hour), time.Unix(1<<53, 0)} {
		store.objects[fmt.Sprintf("contacts/%016d.%d", int64(1<<53)-t.Unix(), t.Unix())] = [][]byte{[]byte("squatted")}
	}
	store.objects["contacts/0"] = [][]byte{[]byte("squatted")}
	begin := time.Now().Truncate(time.Second)
	sync1(t, l, store, k)
	sync1(t, l, store, k) // an idle one says that it runs
	r, err := mirror.OpenReader(t.Context(), store, nil)
	require.NoError(t, err)
	at, err := r.Contact(t.Context())
	require.NoError(t, err)
	require.False(t, at.Before(begin), at)
	require.False(t, at.After(time.Now()), at)
}
