package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// errRights is what a store says of an object that may not be read.
var errRights = errors.New("no rights, says the test")

// withholding is a store that lists all its objects, and of which some may not be read.
type withholding struct {
	*memStore
	withheld map[string]bool
}

func withhold(s *memStore, names ...string) withholding {
	w := withholding{newStore(), map[string]bool{}}
	maps.Copy(w.objects, s.objects)
	for _, name := range names {
		w.withheld[name] = true
		if len(w.objects[name]) == 0 {
			w.objects[name] = [][]byte{[]byte("put there by somebody else")}
		}
	}
	return w
}

func (w withholding) Get(ctx context.Context, name string, most int64) iter.Seq2[[]byte, error] {
	if !w.withheld[name] {
		return w.memStore.Get(ctx, name, most)
	}
	return func(yield func([]byte, error) bool) {
		yield(nil, fmt.Errorf("get %s: %w (%w)", name, errRights, fs.ErrPermission))
	}
}

func chunkAt(branch int, first int64) string { return fmt.Sprintf("%03d/chunks/%020d", branch, first) }

func headOf(branch int, size int64) string {
	return fmt.Sprintf("%03d/heads/%016d.%d", branch, int64(1<<53)-size, size)
}

// holdsUnread is what a reader is to find: how many events can be read, and whether what may not
// be read may hold more.
func holdsUnread(w withholding, batches int64) (events int64, more bool) {
	for events < batches && !w.withheld[chunkAt(1, events)] {
		events++
	}
	for name := range w.withheld {
		var size int64
		_, rest, isHead := strings.Cut(name, "001/heads/")
		if _, digits, ok := strings.Cut(rest, "."); isHead && ok {
			_, _ = fmt.Sscanf(digits, "%d", &size)
		}
		more = more || isHead && size > events
		more = more || strings.HasPrefix(name, chunkAt(1, events)) && len(w.objects[chunkAt(1, events)]) > 0 // else nothing has the next name
		more = more || strings.HasPrefix(name, "branches/")
	}
	return events, more || events < batches
}

// TestWhatMayNotBeReadMakesNoLogShorterWithoutAnError: a watchdog that reads there would
// take jobs for abandoned whose ends are in what it may not read. And what holds nothing
// more stops nobody. All of a mirror's objects are readable or not, and so is what somebody
// else has put beside them.
func TestWhatMayNotBeReadMakesNoLogShorterWithoutAnError(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	const batches = 3
	records := sinktest.Records(batches)
	for i := range records {
		recordLog(l, records[i:i+1])
		sync1(t, l, store, k)
	}
	kinds := []string{
		chunkAt(1, 0), chunkAt(1, 1), chunkAt(1, 2), headOf(1, 1), headOf(1, 2), headOf(1, 3),
		// What others may put.
		chunkAt(1, 3), chunkAt(1, 3) + ".1", chunkAt(1, 1) + ".1", chunkAt(1, 7), headOf(1, 3) + ".1", headOf(1, 9), headOf(1, 2) + ".7",
		"branches/002", "002/heads/x", "001/heads/x", "contacts/0000000000000001.9007199254740991", "anchors/x",
	}
	check := func(names ...string) {
		w := withhold(store, names...)
		events, more := holdsUnread(w, batches)
		for _, keys := range [][]note.Verifier{{k.verifier}, nil} {
			where := fmt.Sprintf("%v, %d keys", names, len(keys))
			r, err := mirror.OpenReader(t.Context(), w, &mirror.ReaderOptions{Keys: keys})
			require.NoError(t, err, where)
			var lines []string
			for line, lineErr := range r.Lines(t.Context(), 0) {
				if err = lineErr; err == nil {
					lines = append(lines, string(line))
				}
			}
			got, recordsErr := ids(t.Context(), r, jobaudit.Query{})
			_, newestErr := ids(t.Context(), r, jobaudit.Query{NewestFirst: true})
			require.Equal(t, append([]string(nil), l.lines[:2*events]...), lines, where)
			require.Len(t, got, int(events), where)
			for _, err := range []error{err, recordsErr, newestErr} {
				if !more {
					require.NoError(t, err, where)
					continue
				}
				require.ErrorIs(t, err, fs.ErrPermission, where)
				require.ErrorIs(t, err, errRights, where)
				_, lacks := errors.AsType[*mirror.MissingError](err)
				require.False(t, lacks, "nobody knows that events are missing: %s", where)
			}
			for _, limit := range []int{1, int(events)} {
				_, err = ids(t.Context(), r, jobaudit.Query{Limit: limit})
				require.Equal(t, events == 0, err != nil, "nothing that was wanted may be lacking: %s", where)
			}
		}
	}
	for subset := range 1 << 6 { // of the mirror's own
		var names []string
		for i := range 6 {
			if subset>>i&1 == 1 {
				names = append(names, kinds[i])
			}
		}
		check(names...)
		for i, other := range kinds[6:] { // each with a quarter of them, and with none
			if subset == 0 || i%4 == subset%4 {
				check(append(slices.Clone(names), other)...)
			}
		}
	}
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		var names []string
		for _, name := range kinds {
			if rnd.IntN(4) == 0 {
				names = append(names, name)
			}
		}
		check(names...)
	}
}

// TestWhatMayNotBeReadHoldsUpNoMirrorAndNoReaderOnceItIsMirroredBesideIt: who may put objects
// can put one that nobody else may read wherever the mirror is to write.
func TestWhatMayNotBeReadHoldsUpNoMirrorAndNoReaderOnceItIsMirroredBesideIt(t *testing.T) {
	k := newKey(t, origin)
	for seed := range uint64(25) {
		rnd := rand.New(rand.NewPCG(seed, 11))
		l, store := newLog(t, k), withhold(newStore())
		squatted := func(names ...string) {
			for _, name := range names {
				if len(store.objects[name]) == 0 {
					store.objects[name], store.withheld[name] = [][]byte{{}}, true
				}
			}
		}
		for range 6 {
			size := l.tree.Size()
			for range rnd.IntN(5) {
				at := max(0, size-2+rnd.Int64N(6))
				squatted([]string{chunkAt(1, at), chunkAt(1, at) + ".1", headOf(1, at+1), headOf(1, at+1) + ".1", "branches/002", "branches/003", "contacts/x"}[rnd.IntN(7)])
			}
			l.append(rnd.IntN(4)+1, "event")
			var r reports
			m := newMirror(t, l, store, options(&r, k))
			require.NoError(t, m.Sync(t.Context()), "seed %d", seed)
			require.Equal(t, l.head(), m.Status().Head)
			more := false
			for name := range store.withheld {
				more = more || strings.HasPrefix(name, "branches/")
				more = more || strings.HasPrefix(name, chunkAt(1, l.tree.Size())) && len(store.objects[chunkAt(1, l.tree.Size())]) > 0
				for n := int64(1); n < 9; n++ {
					more = more || strings.HasPrefix(name+".", headOf(1, l.tree.Size()+n)+".")
				}
			}
			for _, keys := range [][]key{{k}, nil} {
				lines, err := readable(t, store, keys...)
				require.Equal(t, l.lines, lines, "seed %d", seed)
				require.Equal(t, more, errors.Is(err, fs.ErrPermission), "seed %d: %v", seed, err)
				require.Equal(t, more, err != nil, "seed %d: %v", seed, err)
			}
		}
	}
}

// branched is a mirror with a branch that leaves the first at size 2 of 4.
func branched(t *testing.T) (l *memLog, store *memStore, keys []key, records []jobaudit.Record) {
	t.Helper()
	keys = []key{newKey(t, origin), newKey(t, origin+"/s2")}
	records = sinktest.Records(6)
	l, store = newLog(t, keys[0]), newStore()
	for i := range 4 {
		recordLog(l, records[i:i+1])
		sync1(t, l, store, keys[0])
	}
	l = l.cut(2).under(keys[1])
	recordLog(l, records[4:])
	var r reports
	m := newMirror(t, l, store, options(&r, keys...))
	_, err := m.Accept(t.Context(), operator)
	require.NoError(t, err)
	require.NoError(t, m.Sync(t.Context()))
	return l, store, keys, records
}

// TestABranchOfWhichSomethingMayNotBeReadIsNotTakenForTheWhole: neither the branch that was
// left for it, nor the part that both have.
func TestABranchOfWhichSomethingMayNotBeReadIsNotTakenForTheWhole(t *testing.T) {
	l, store, keys, records := branched(t)
	verifiers := []note.Verifier{keys[0].verifier, keys[1].verifier}
	for _, c := range []struct {
		name         string
		branch, read int   // that is opened, and how many events it yields
		whole        bool  // without an error
		first        int   // events of branch 1
		firstWhole   bool  // without an error
		opens        error // of branch 2
	}{
		{"nothing", 2, 4, true, 4, true, nil},
		{"branches/002", 1, 4, false, 4, true, fs.ErrPermission},
		{"branches/003", 2, 4, false, 4, true, nil},
		{chunkAt(1, 0), 2, 0, false, 0, false, nil},
		{chunkAt(1, 1), 2, 1, false, 1, false, nil},
		{chunkAt(1, 2), 2, 4, true, 2, false, nil},
		{chunkAt(1, 4), 2, 4, true, 4, false, nil},
		{chunkAt(2, 2), 2, 2, false, 4, true, nil},
		{chunkAt(2, 4), 2, 4, false, 4, true, nil},
		{headOf(2, 4), 2, 4, true, 4, true, nil},
		{headOf(2, 5), 2, 4, false, 4, true, nil},
		{headOf(1, 3), 2, 4, true, 4, true, nil},
		{headOf(1, 4), 2, 4, false, 4, true, nil}, // a successor may have signed it
		{"branches/001", 0, 0, false, 0, false, fs.ErrPermission},
	} {
		w := withhold(store, c.name)
		r, err := mirror.OpenReader(t.Context(), w, &mirror.ReaderOptions{Keys: verifiers})
		if c.branch == 0 {
			require.ErrorIs(t, err, fs.ErrPermission)
			require.ErrorIs(t, err, errRights)
			require.NotErrorIs(t, err, mirror.ErrNoMirror)
			continue
		}
		require.NoError(t, err, c.name)
		require.Equal(t, c.branch, r.Branch().Number, c.name)
		got, err := ids(t.Context(), r, jobaudit.Query{})
		require.Len(t, got, c.read, c.name)
		require.Equal(t, !c.whole, err != nil, "%s: %v", c.name, err)
		require.Equal(t, !c.whole, errors.Is(err, errRights), "%s: %v", c.name, err)
		_, err = mirror.OpenReader(t.Context(), w, &mirror.ReaderOptions{Keys: verifiers, Branch: 2})
		require.ErrorIs(t, err, c.opens, c.name)
		first, err := mirror.OpenReader(t.Context(), w, &mirror.ReaderOptions{Keys: verifiers, Branch: 1})
		require.NoError(t, err)
		got, err = ids(t.Context(), first, jobaudit.Query{})
		require.Len(t, got, c.first, c.name)
		require.Equal(t, !c.firstWhole, errors.Is(err, errRights), "%s: %v", c.name, err)

		// The log is not said to have another history for what may not be read.
		var problems reports
		err = newMirror(t, l, w, options(&problems, keys...)).Sync(t.Context())
		_, refused := errors.AsType[*mirror.RefusedError](err)
		require.False(t, refused, "%s: %v", c.name, err)
		require.Equal(t, c.branch == 1, errors.Is(err, fs.ErrPermission), "%s: %v", c.name, err)
	}

	// Who reads on behind a record of the branch that was left gets what is known of it.
	w := withhold(store, chunkAt(1, 4))
	r, err := mirror.OpenReader(t.Context(), w, &mirror.ReaderOptions{Keys: verifiers})
	require.NoError(t, err)
	got, err := ids(t.Context(), r, jobaudit.Query{After: records[3].ID()})
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{records[4].ID(), records[5].ID()}, got)
	_, err = ids(t.Context(), r, jobaudit.Query{After: uuid.New()})
	require.ErrorIs(t, err, fs.ErrPermission)
}

// TestABranchThatMayNotBeReadHidesNoForkedOrShrunkenLog: anybody who may put objects can
// put it, and only a successor's log can go on from what was accepted there.
func TestABranchThatMayNotBeReadHidesNoForkedOrShrunkenLog(t *testing.T) {
	k, next := newKey(t, origin), newKey(t, origin+"/s2")
	l, store := newLog(t, k), newStore()
	for range 10 {
		l.append(2, "event")
	}
	sync1(t, l, store, k)
	unsigned := l.cut(18)
	unsigned.key = newKey(t, origin)
	unsigned.append(2, "other")
	fork := func(size int64, keys ...key) *memLog {
		f := l.cut(size)
		for _, k := range keys {
			f.under(k).append(2, "other")
		}
		return f
	}
	for name, c := range map[string]struct {
		log     *memLog
		refused error
		signed  bool
	}{
		"shrunken":                         {fork(6), mirror.ErrShrunken, true},
		"gone":                             {fork(0), mirror.ErrShrunken, false},
		"forked":                           {fork(18, k), mirror.ErrForked, true},
		"forked, longer":                   {fork(16, k, k, k), mirror.ErrForked, true},
		"forked, under no key":             {unsigned, mirror.ErrForked, false},
		"shorter successor":                {fork(6, next), nil, true},
		"successor":                        {fork(18, next), nil, true},
		"longer successor":                 {fork(16, next, next, next), nil, true},
		"successor of a fork":              {fork(16, k, k, next), nil, true},
		"successor of a fork that is long": {fork(10, k, k, k, k, k, k, next), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := withhold(store, "branches/002")
			var r reports
			m := newMirror(t, c.log, w, options(&r, k, next))
			for range 2 { // the store is read again
				err := m.Sync(t.Context())
				require.ErrorIs(t, err, fs.ErrPermission)
				require.ErrorIs(t, m.Status().Err, fs.ErrPermission)
				refused, ok := errors.AsType[*mirror.RefusedError](err)
				require.Equal(t, c.refused != nil, ok, "%v", err)
				if !ok {
					continue
				}
				require.ErrorIs(t, err, c.refused)
				require.ErrorIs(t, m.Status().Err, c.refused)
				requireSigned(t, k, refused.Mirrored, refused.MirroredSigned)
				require.EqualValues(t, 20, refused.Mirrored.Size)
				if require.Equal(t, c.signed, refused.LogSigned != nil); c.signed {
					requireSigned(t, k, refused.Log, refused.LogSigned)
				}
			}
			require.Contains(t, r.squatted(), "branches/002")
		})
	}
}

// TestNoOlderHeadIsGivenForOneThatMayNotBeRead: a log would seem to have shrunk, or to be
// silent, and an older head from outside finds no truncation.
func TestNoOlderHeadIsGivenForOneThatMayNotBeRead(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	anchor := func(s mirror.Store) *mirror.Anchor {
		a, err := mirror.NewAnchor(s, []note.Verifier{k.verifier}, nil)
		require.NoError(t, err)
		return a
	}
	checkpoint := func() auditlog.Checkpoint {
		c, err := auditlog.OpenCommit([]byte(l.lines[len(l.lines)-1]), k.verifier)
		require.NoError(t, err)
		return c
	}
	for range 3 {
		l.append(1, "event")
		sync1(t, l, store, k)
		require.NoError(t, anchor(store).Put(t.Context(), checkpoint()))
	}
	anchorOf := func(size int64) string { return fmt.Sprintf("anchors/%016d.%d", int64(1<<53)-size, size) }
	for size := int64(1); size < 6; size++ {
		for _, other := range []string{"", ".1"} {
			w := withhold(store, headOf(1, size)+other, anchorOf(size)+other)
			more := size > 3 || size == 3 && other == ""
			r, err := mirror.OpenReader(t.Context(), w, &mirror.ReaderOptions{Keys: []note.Verifier{k.verifier}})
			require.NoError(t, err)
			head, err := r.Head(t.Context())
			_, contactErr := r.Contact(t.Context())
			latest, anchorErr := anchor(w).Latest(t.Context())
			require.NoError(t, contactErr, "by names, where the store tells no times")
			if more {
				require.ErrorIs(t, err, errRights)
				require.ErrorIs(t, anchorErr, errRights)
			} else {
				require.NoError(t, errors.Join(err, anchorErr))
				require.Equal(t, l.head(), head.Head())
				require.Equal(t, checkpoint().Signed(), latest)
			}
		}
	}
	// Once the head is stored beside it, what may not be read stops nobody.
	w := withhold(store, headOf(1, 4), anchorOf(4))
	l.append(1, "event")
	var problems reports
	require.NoError(t, newMirror(t, l, w, options(&problems, k)).Sync(t.Context()))
	require.NoError(t, anchor(w).Put(t.Context(), checkpoint()))
	latest, err := anchor(w).Latest(t.Context())
	require.NoError(t, err)
	require.Equal(t, checkpoint().Signed(), latest)
	r, err := mirror.OpenReader(t.Context(), w, &mirror.ReaderOptions{Keys: []note.Verifier{k.verifier}})
	require.NoError(t, err)
	head, err := r.Head(t.Context())
	require.NoError(t, err)
	require.Equal(t, l.head(), head.Head())
}
