package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// recordLog appends a batch for each of the records.
func recordLog(l *memLog, records []jobaudit.Record) {
	for _, r := range records {
		l.batch(string(r.Bytes()))
	}
}

// ids reads records and returns the last error.
func ids(ctx context.Context, r *mirror.Reader, q jobaudit.Query) (all []uuid.UUID, err error) {
	for record, recordErr := range r.Records(ctx, q) {
		if err = recordErr; err == nil {
			all = append(all, record.ID())
		}
	}
	return all, err
}

// TestAMirrorThatLacksEventsSaysSo: a log that only looks shorter would have jobs
// that seem to be abandoned, in every way of reading it.
func TestAMirrorThatLacksEventsSaysSo(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	records := sinktest.Records(6)
	for i := range records {
		recordLog(l, records[i:i+1])
		sync1(t, l, store, k) // a chunk for each
	}
	for lost := int64(0); lost < int64(len(records)); lost += int64(size.Times(1, 2)) {
		for damage, do := range map[string]func([]byte) [][]byte{
			"removed":  func([]byte) [][]byte { return nil },
			"emptied":  func([]byte) [][]byte { return [][]byte{{}} },
			"cut":      func(b []byte) [][]byte { return [][]byte{b[:len(b)-9]} },
			"changed":  func(b []byte) [][]byte { return [][]byte{[]byte(strings.Replace(string(b), "job", "jab", 1))} },
			"replaced": func([]byte) [][]byte { return [][]byte{[]byte("something else\n")} },
		} {
			for _, keys := range [][]note.Verifier{{k.verifier}, nil} {
				where := fmt.Sprintf("chunk %d %s, %d keys", lost, damage, len(keys))
				damaged := newStore()
				maps.Copy(damaged.objects, store.objects)
				name := fmt.Sprintf("001/chunks/%020d", lost)
				damaged.objects[name] = do(damaged.objects[name][0])
				r, err := mirror.OpenReader(t.Context(), damaged, &mirror.ReaderOptions{Keys: keys})
				require.NoError(t, err)
				queries := map[string]jobaudit.Query{"all": {}, "newest first": {NewestFirst: true}, "limited": {Limit: 6}, "other jobs": {JobID: uuid.New()}}
				if lost > 0 {
					queries["on behind"] = jobaudit.Query{After: records[lost-1].ID()}
				}
				queries["behind a lost one"] = jobaudit.Query{After: records[5].ID()}
				for what, q := range queries {
					_, err := ids(t.Context(), r, q)
					missing, ok := errors.AsType[*mirror.MissingError](err)
					require.True(t, ok, "%s: %s: %v", where, what, err)
					require.Equal(t, &mirror.MissingError{Branch: 1, First: lost, End: 6}, missing)
					require.ErrorContains(t, err, fmt.Sprintf("events %d to 5 are missing in the mirror", lost))
				}
				read, err := ids(t.Context(), r, jobaudit.Query{})
				require.Error(t, err)
				require.Len(t, read, int(lost), where) // and those before are read
				_, err = ids(t.Context(), r, jobaudit.Query{Limit: max(1, int(lost))})
				require.Equal(t, lost == 0, err != nil, where) // nothing that was wanted is missing
			}
		}
	}
}

// TestAMirrorThatGoesOnWhileItIsReadLacksNothing: what comes meanwhile is read, or is
// for the next pass.
func TestAMirrorThatGoesOnWhileItIsReadLacksNothing(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	records := sinktest.Records(6)
	recordLog(l, records[:2])
	sync1(t, l, store, k)
	r, err := mirror.OpenReader(t.Context(), store, &mirror.ReaderOptions{Keys: []note.Verifier{k.verifier}})
	require.NoError(t, err)
	n := 0
	for _, err := range r.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		if n++; n < 5 {
			recordLog(l, records[n+1:n+2])
			sync1(t, l, store, k)
		}
	}
	require.Equal(t, 6, n)
}

// TestAMirrorThatLacksEventsIsNotAgreedWith: nobody can say that the log has them.
func TestAMirrorThatLacksEventsIsNotAgreedWith(t *testing.T) {
	k, k2 := newKey(t, origin), newKey(t, origin+"/s2")
	l, store := newLog(t, k), newStore()
	for range 3 {
		l.append(2, "event")
		sync1(t, l, store, k)
	}
	delete(store.objects, fmt.Sprintf("001/chunks/%020d", 2))
	l.under(k2).append(1, "of the successor")
	var r reports
	_, err := newMirror(t, l, store, options(&r, k, k2)).Accept(t.Context(), operator)
	_, ok := errors.AsType[*mirror.MissingError](err)
	require.True(t, ok, err)
}

// TestAReaderThatStaysOpenGoesOnInTheBranchThatWasAccepted: who reads at intervals,
// as a watchdog does, would otherwise judge for ever by a history that has ended.
func TestAReaderThatStaysOpenGoesOnInTheBranchThatWasAccepted(t *testing.T) {
	k, k2 := newKey(t, origin), newKey(t, origin+"/s2")
	records := sinktest.Records(8)
	idsOf := func(of ...jobaudit.Record) (all []uuid.UUID) {
		for _, r := range of {
			all = append(all, r.ID())
		}
		return all
	}
	for fork := range int64(5) {
		for read := range 5 {
			l, store := newLog(t, k), newStore()
			recordLog(l, records[:4])
			sync1(t, l, store, k)
			o := &mirror.ReaderOptions{Keys: []note.Verifier{k.verifier, k2.verifier}}
			r, err := mirror.OpenReader(t.Context(), store, o)
			require.NoError(t, err)
			old := *o
			old.Branch = 1
			first, err := mirror.OpenReader(t.Context(), store, &old)
			require.NoError(t, err)
			q := jobaudit.Query{}
			if read > 0 {
				got, err := ids(t.Context(), r, jobaudit.Query{Limit: read})
				require.NoError(t, err)
				q.After = got[read-1]
			}
			branch := l.cut(fork).under(k2)
			recordLog(branch, records[4:7])
			var problems reports
			m := newMirror(t, branch, store, options(&problems, k, k2))
			if fork < 4 { // else the successor goes on from the mirror
				_, err = m.Accept(t.Context(), operator)
				require.NoError(t, err)
			}
			require.NoError(t, m.Sync(t.Context()))

			want := append(idsOf(records[min(fork, int64(read)):fork]...), idsOf(records[4:7]...)...)
			got, err := ids(t.Context(), r, q)
			require.NoError(t, err)
			require.Equal(t, want, got, "a branch at %d, behind record %d", fork, read)
			recordLog(branch, records[7:])
			require.NoError(t, m.Sync(t.Context()))
			got, err = ids(t.Context(), r, jobaudit.Query{After: records[6].ID()})
			require.NoError(t, err)
			require.Equal(t, idsOf(records[7]), got)
			if got, err = ids(t.Context(), first, jobaudit.Query{}); fork < 4 {
				require.NoError(t, err)
				require.Equal(t, idsOf(records[:4]...), got) // as was asked for
			}
		}
	}
}

// TestWithoutKeysNoNameMakesAReaderHoldMore: anybody can give an object a head's name.
func TestWithoutKeysNoNameMakesAReaderHoldMore(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), &measured{memStore: newStore()}
	l.append(3, "event")
	sync1(t, l, store, k)
	store.objects[fmt.Sprintf("001/chunks/%020d", 3)] = [][]byte{[]byte(strings.Repeat("x", long))}
	store.objects["001/heads/0000000000000001.9007199254740991"] = [][]byte{{}}
	lines, err := readable(t, store)
	require.NoError(t, err)
	require.Equal(t, l.lines, lines)
	require.LessOrEqual(t, store.most, int64(16<<20))

	forged := newLog(t, newKey(t, origin)) // a head that somebody else has made in full
	forged.append(9, "forged")
	forgedStore := newStore()
	sync1(t, forged, forgedStore, forged.key)
	head := "001/heads/9007199254740983.9"
	require.NotEmpty(t, forgedStore.objects[head])
	store.objects[head] = forgedStore.objects[head]
	lines, err = readable(t, store)
	require.Equal(t, l.lines, lines)
	require.ErrorContains(t, err, "001/chunks/00000000000000000003 has more than 16777216 bytes")
	require.ErrorContains(t, err, "give the keys")
	missing, ok := errors.AsType[*mirror.MissingError](err)
	require.True(t, ok, err)
	require.Equal(t, &mirror.MissingError{Branch: 1, First: 3, End: 9}, missing)
	require.LessOrEqual(t, store.most, int64(16<<20))
	lines, err = readable(t, store, k)
	require.NoError(t, err, "with the key it is none")
	require.Equal(t, l.lines, lines)
}

// TestWithoutKeysWhatIsNoHeadClaimsNothing: an object with a head's name costs nobody
// who may put objects anything, and no mirror lacks events by it.
func TestWithoutKeysWhatIsNoHeadClaimsNothing(t *testing.T) {
	k := newKey(t, origin)
	other := newLog(t, newKey(t, "example.com/another"))
	other.append(9, "of another log")
	otherStore := newStore()
	sync1(t, other, otherStore, other.key)
	l, store := newLog(t, k), newStore()
	l.append(4, "event")
	sync1(t, l, store, k)
	own := string(store.objects["001/heads/9007199254740988.4"][0])
	for what, object := range map[string]string{
		"nothing": "", "a line feed": "\n", "a text": "squatted\n", "a title": "jobaudit.mirror/head/v1\n",
		"its own head":             own,
		"its own head of 9 events": strings.Replace(own, "\n4\n", "\n9\n", 1),
		"half a head":              own[:len(own)/2],
		"another log's head":       string(otherStore.objects["001/heads/9007199254740983.9"][0]),
		"a head of negative size":  strings.Replace(own, "\n4\n", "\n-9\n", 1),
		"a head that is too large": strings.Replace(own, "\n4\n", "\n9223372036854775807\n", 1),
		"quotation marks":          strings.ReplaceAll(own, "example", `"\`),
	} {
		for _, name := range []string{"001/heads/9007199254740983.9", "001/heads/9007199254740983.9.7", "001/heads/0000000000000001.9007199254740991", "001/heads/0000000000000000.9007199254740992"} {
			squatted := newStore()
			maps.Copy(squatted.objects, store.objects)
			squatted.objects[name] = [][]byte{[]byte(object)}
			lines, err := readable(t, squatted)
			require.NoError(t, err, "%s under %s", what, name)
			require.Equal(t, l.lines, lines)
			var r reports
			reader, err := mirror.OpenReader(t.Context(), squatted, &mirror.ReaderOptions{OnError: r.add})
			require.NoError(t, err)
			size, err := reader.Size(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, 4, size)
			require.Contains(t, strings.Join(r.squatted(), " "), name, what)
		}
	}
}

// datedStore says when objects were stored.
type datedStore struct {
	*memStore
	at map[string]time.Time
}

func (s *datedStore) Stored(_ context.Context, name string) (time.Time, error) {
	return s.at[name], nil
}

// TestABusyMirrorIsHeardOfWithoutKeysAndInTheBranchThatWasAccepted: one that has
// something to store says nothing else.
func TestABusyMirrorIsHeardOfWithoutKeysAndInTheBranchThatWasAccepted(t *testing.T) {
	k, k2 := newKey(t, origin), newKey(t, origin+"/s2")
	store := &datedStore{newStore(), map[string]time.Time{}}
	now := time.Unix(1_700_000_000, 0)
	stored := func(at time.Time) {
		for name := range store.objects {
			if _, known := store.at[name]; !known {
				store.at[name] = at
			}
		}
	}
	l := newLog(t, k)
	l.append(2, "event")
	sync1(t, l, store, k)
	stored(now)
	var readers []*mirror.Reader
	for _, keys := range [][]note.Verifier{nil, {k.verifier, k2.verifier}} {
		r, err := mirror.OpenReader(t.Context(), store, &mirror.ReaderOptions{Keys: keys})
		require.NoError(t, err)
		readers = append(readers, r)
	}
	heard := func(at time.Time) {
		for i, r := range readers {
			contact, err := r.Contact(t.Context())
			require.NoError(t, err)
			require.Equal(t, at, contact, "reader %d", i)
		}
	}
	heard(now)
	l.append(2, "event")
	sync1(t, l, store, k)
	stored(now.Add(time.Hour))
	heard(now.Add(time.Hour))

	branch := l.cut(2).under(k2)
	branch.append(1, "event of the successor")
	var problems reports
	m := newMirror(t, branch, store, options(&problems, k, k2))
	_, err := m.Accept(t.Context(), operator)
	require.NoError(t, err)
	require.NoError(t, m.Sync(t.Context()))
	stored(now.Add(2 * time.Hour))
	heard(now.Add(2 * time.Hour))
}

// TestWhoReadsOnFindsTheAcceptedBranchWhateverElseIsRead: by the same reader or another, and
// wherever the branch leaves what was read.
func TestWhoReadsOnFindsTheAcceptedBranchWhateverElseIsRead(t *testing.T) {
	k, k2 := newKey(t, origin), newKey(t, origin+"/s2")
	records := sinktest.Records(8)
	keys := []note.Verifier{k.verifier, k2.verifier}
	for name, read := range map[string]func(r *mirror.Reader) (*mirror.Reader, error){
		"one job, as a watchdog does": func(r *mirror.Reader) (*mirror.Reader, error) {
			_, err := ids(t.Context(), r, jobaudit.Query{JobID: records[0].JobID()})
			return r, err
		},
		"another who reads on": func(r *mirror.Reader) (*mirror.Reader, error) {
			got, err := ids(t.Context(), r, jobaudit.Query{Limit: 1})
			if err == nil {
				_, err = ids(t.Context(), r, jobaudit.Query{After: got[0], Limit: 1})
			}
			return r, err
		},
		"very many": func(r *mirror.Reader) (*mirror.Reader, error) {
			times := size.Times(100, 40)
			if size.Race {
				times = min(times, 40)
			}
			for range times {
				if _, err := ids(t.Context(), r, jobaudit.Query{Limit: 1}); err != nil {
					return r, err
				}
			}
			return r, nil
		},
		"another reader": nil,
	} {
		for fork := range int64(4) {
			for last := 1; last < 5; last++ {
				if testing.Short() && fork != int64(last%4) {
					continue
				}
				l, store := newLog(t, k), newStore()
				recordLog(l, records[:4])
				sync1(t, l, store, k)
				r, err := mirror.OpenReader(t.Context(), store, &mirror.ReaderOptions{Keys: keys})
				require.NoError(t, err)
				got, err := ids(t.Context(), r, jobaudit.Query{Limit: last})
				require.NoError(t, err)
				if read != nil {
					r, err = read(r)
					require.NoError(t, err)
				}
				branch := l.cut(fork).under(k2)
				recordLog(branch, records[4:7])
				var problems reports
				m := newMirror(t, branch, store, options(&problems, k, k2))
				_, err = m.Accept(t.Context(), operator)
				require.NoError(t, err)
				require.NoError(t, m.Sync(t.Context()))
				if read == nil {
					r, err = mirror.OpenReader(t.Context(), store, &mirror.ReaderOptions{Keys: keys})
					require.NoError(t, err)
				}
				var want []uuid.UUID
				for _, record := range append(slices.Clone(records[min(fork, int64(last)):fork]), records[4:7]...) {
					want = append(want, record.ID())
				}
				behind := got[last-1]
				got, err = ids(t.Context(), r, jobaudit.Query{After: behind})
				require.NoError(t, err, "%s: a branch at %d, behind record %d", name, fork, last)
				require.Equal(t, want, got, "%s: a branch at %d, behind record %d", name, fork, last)
				_, err = ids(t.Context(), r, jobaudit.Query{After: records[7].ID()})
				require.ErrorContains(t, err, "there is no record")
			}
		}
	}
}

// TestEventsThatAreMissingBelowABranchAreSaidToBe: as those of the branch itself.
func TestEventsThatAreMissingBelowABranchAreSaidToBe(t *testing.T) {
	k, k2 := newKey(t, origin), newKey(t, origin+"/s2")
	records := sinktest.Records(8)
	for _, missing := range []int64{0, 2} {
		l, store := newLog(t, k), newStore()
		recordLog(l, records[:2])
		sync1(t, l, store, k)
		recordLog(l, records[2:5])
		sync1(t, l, store, k)
		branch := l.cut(4).under(k2)
		recordLog(branch, records[5:])
		var problems reports
		m := newMirror(t, branch, store, options(&problems, k, k2))
		_, err := m.Accept(t.Context(), operator)
		require.NoError(t, err)
		require.NoError(t, m.Sync(t.Context()))
		name := fmt.Sprintf("001/chunks/%020d", missing)
		require.Contains(t, store.objects, name)
		delete(store.objects, name)
		for _, keys := range [][]note.Verifier{{k.verifier, k2.verifier}, nil} {
			r, err := mirror.OpenReader(t.Context(), store, &mirror.ReaderOptions{Keys: keys})
			require.NoError(t, err)
			require.Equal(t, 2, r.Branch().Number)
			got, err := ids(t.Context(), r, jobaudit.Query{})
			lacks, ok := errors.AsType[*mirror.MissingError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, mirror.MissingError{Branch: 1, First: missing, End: 4}, *lacks)
			require.Len(t, got, int(missing))
		}
	}
}
