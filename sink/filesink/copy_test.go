package filesink_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestACopyOfALogThatIsWrittenIsWholeAndProven(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, &filesink.Options{SegmentSize: 16 << 10})
	keys := []note.Verifier{p.key.Verifier()}
	store(t, s, 3, sinktest.Records(9)...)
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if s.Append(t.Context(), sinktest.Records(4)) != nil {
					return
				}
			}
		}
	})
	dir := filepath.Join(p.base, "copy")
	last := int64(0)
	for range size.Times(8, 3) { // each goes on where the one before ended
		head, err := filesink.Copy(t.Context(), p.dir, dir, keys)
		require.NoError(t, err)
		require.GreaterOrEqual(t, head.Head().Size, last)
		last = head.Head().Size
		report, err := filesink.Verify(t.Context(), dir, &filesink.VerifyOptions{Keys: keys, Heads: []auditlog.Head{head.Head()}})
		require.NoError(t, err)
		require.Equal(t, last, report.Head.Size)
		require.Equal(t, last, report.Durable.Size)
	}
	close(stop)
	writing.Wait()
	require.NoError(t, s.Close())
	head, err := filesink.Copy(t.Context(), p.dir, dir, keys)
	require.NoError(t, err)
	require.Equal(t, s.Checkpoint().Head(), head.Head())
	requireRecords(t, read(t, openReader(t, p.dir), jobaudit.Query{}), read(t, openReader(t, dir), jobaudit.Query{}))
}

func TestACopyIsNotWrittenToWithTheKeyOfTheOriginal(t *testing.T) {
	p := newPlace(t)
	p.write(t, nil, 3, sinktest.Records(9)...)
	copied := p
	copied.dir = filepath.Join(p.base, "copy")
	_, err := filesink.Copy(t.Context(), p.dir, copied.dir, []note.Verifier{p.key.Verifier()})
	require.NoError(t, err)
	refusal := copied.refused(t, nil)
	require.ErrorIs(t, refusal, filesink.ErrCopy)
	require.Contains(t, refusal.Error(), "Options.Predecessor")

	next := copied
	next.key, err = filesink.LoadOrCreateKey(copied.dir, filepath.Join(p.base, "key2"), origin+"/s2")
	require.NoError(t, err)
	for range 2 {
		s := next.open(t, &filesink.Options{Predecessor: p.key.Verifier()})
		store(t, s, 3, sinktest.Records(3)...)
		require.NoError(t, s.Close())
	}
	report := verify(t, copied.dir, []note.Verifier{p.key.Verifier(), next.key.Verifier()})
	require.EqualValues(t, 15, report.Head.Size)
}

func TestACopyGoesOnWithABrokenOneAndTakesNothingElseForIt(t *testing.T) {
	p := newPlace(t)
	p.write(t, &filesink.Options{SegmentSize: 8 << 10}, 3, sinktest.Records(40)...)
	keys := []note.Verifier{p.key.Verifier()}
	dir := filepath.Join(p.base, "copy")
	whole := load(t, p.dir)
	names := whole.entries()
	for i, name := range names {
		for _, part := range []int{0, 1, len(whole[name]) / 2, len(whole[name])} {
			broken := image{"copy": []byte("a copy of " + origin + "; see jobaudit copy\n")}
			for _, before := range names[:i] {
				broken[before] = whole[before]
			}
			broken[name] = whole[name][:part]
			broken.store(t, dir)
			_, err := filesink.Copy(t.Context(), p.dir, dir, keys)
			require.NoError(t, err)
		}
	}
	for _, wrong := range [][]byte{[]byte("something else"), append(whole[names[1]][:len(whole[names[1]]):len(whole[names[1]])], "more"...)} {
		image{names[1]: wrong}.store(t, dir)
		_, err := filesink.Copy(t.Context(), p.dir, dir, keys)
		var no *filesink.CopyError
		require.ErrorAs(t, err, &no)
	}
	_, err := filesink.Copy(t.Context(), p.dir, filepath.Join(p.base, "other"), nil)
	require.Error(t, err, "nobody could prove it")
	stranger := newPlace(t)
	_, err = filesink.Copy(t.Context(), p.dir, filepath.Join(p.base, "another"), []note.Verifier{stranger.key.Verifier()})
	require.ErrorIs(t, err, auditlog.ErrUnknownKey)

	changed := whole.clone()
	changed[names[0]][200] ^= 1
	changed.store(t, p.dir)
	require.NoError(t, os.RemoveAll(dir))
	_, err = filesink.Copy(t.Context(), p.dir, dir, keys)
	var found *filesink.VerifyError
	require.ErrorAs(t, err, &found, "a copy of a damaged log is not proven")
}

func TestACopyChangesNothingOfWhatIsNoBeginningOfIt(t *testing.T) {
	p := newPlace(t)
	opts := &filesink.Options{SegmentSize: 8 << 10}
	p.write(t, opts, 3, sinktest.Records(40)...)
	keys := []note.Verifier{p.key.Verifier()}
	copied, link := filepath.Join(p.base, "copy"), filepath.Join(p.base, "link")
	require.NoError(t, os.Symlink(p.dir, link))
	_, err := filesink.Copy(t.Context(), p.dir, copied, keys)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(p.base, "x"), 0o700))
	early := load(t, p.dir)
	p.write(t, opts, 3, sinktest.Records(20)...)
	log := load(t, p.dir)
	refused := func(source, dir string) {
		t.Helper()
		before := load(t, dir)
		_, err := filesink.Copy(t.Context(), source, dir, keys)
		var no *filesink.CopyError
		require.ErrorAs(t, err, &no)
		require.Equal(t, before, load(t, dir))
	}
	for _, same := range []string{p.dir, link, p.dir + "/", filepath.Join(p.base, "x", "..", "log")} {
		refused(p.dir, same)
		refused(same, p.dir)
	}
	refused(copied, p.dir) // the arguments are swapped
	_, err = filesink.Copy(t.Context(), p.dir, copied, keys)
	require.NoError(t, err)
	early.store(t, p.dir) // the log was put back to before
	refused(p.dir, copied)
	names := log.entries()
	for i := range names[:len(names)-1] { // at the end of each segment
		back := log.clone()
		for _, name := range names[i+1:] {
			delete(back, name)
		}
		delete(back, "checkpoint")
		back.store(t, p.dir)
		refused(p.dir, copied)
	}
	log.store(t, p.dir)
	require.NoError(t, p.open(t, opts).Close())
}

// After a failed fsync a writer writes the batch, which readers may have seen, again in
// a new segment, and cuts the old one.
func TestATailYieldsABatchOnceThatIsWrittenAgainElsewhere(t *testing.T) {
	p := newPlace(t)
	records := sinktest.Records(12)
	p.write(t, nil, 3, records...)
	segment := newestSegment(t, p.dir)
	batches := batchesOf(contentOf(t, segment))
	require.NoError(t, os.WriteFile(segment, join(batches[:3]...), 0o600))
	reader := openReader(t, p.dir)
	var seen []jobaudit.Record
	for r, err := range reader.Tail(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		if seen = append(seen, r); len(seen) == 9 {
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, "entries", filesink.SegmentName(6)), join(batches[2:]...), 0o600))
			require.NoError(t, os.Truncate(segment, int64(len(join(batches[:2]...)))))
		}
		if len(seen) == 12 {
			break
		}
	}
	requireRecords(t, records, seen)
}

func TestAReaderTailsALogOfAnotherWriter(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, &filesink.Options{SegmentSize: 8 << 10})
	records := sinktest.Records(60)
	store(t, s, 3, records[:6]...)
	r := openReader(t, p.dir)
	var got []jobaudit.Record
	next := 6
	for record, err := range r.Tail(t.Context(), jobaudit.Query{Limit: len(records)}) {
		require.NoError(t, err)
		got = append(got, record)
		if len(got) == next && next < len(records) {
			store(t, s, 3, records[next:next+18]...)
			next += 18
		}
	}
	requireRecords(t, records, got)
}
