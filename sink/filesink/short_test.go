package filesink_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// A reader of a log from which a line was removed says so, before all else,
// rather than show a shorter log.
func TestAReaderSaysThatLinesWereRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	key, err := filesink.LoadOrCreateKey(dir, dir+".key", "example.com/jobs")
	require.NoError(t, err)
	sink, err := filesink.Open(t.Context(), dir, key, nil)
	require.NoError(t, err)
	r, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "s", Environment: "e"}, nil)
	require.NoError(t, err)
	require.NoError(t, r.Close(t.Context()))
	require.NoError(t, sink.Close())
	reads := func() error {
		reader, err := filesink.OpenReader(dir, key)
		require.NoError(t, err)
		defer reader.Close()
		for _, err := range reader.Records(t.Context(), jobaudit.Query{}) {
			return err
		}
		return errors.New("no record")
	}
	require.NoError(t, reads())
	path := filepath.Join(dir, "entries", "00000000000000000000.jsonl")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	_, without, _ := strings.Cut(string(text), "\n")
	require.NoError(t, os.WriteFile(path, []byte(without), 0o600))
	_, unreadable := errors.AsType[*jobaudit.UnreadableError](reads())
	require.True(t, unreadable)
}

// What a power cut leaves of a write accuses nobody: a sector of zeros under a whole
// commit line, in which a line feed was lost.
func TestAReaderDoesNotAccuseWhatACrashLeaves(t *testing.T) {
	p, segment, batches := unclean(t, sinktest.Records(9))
	b := join(batches...)
	good := len(join(batches[:2]...))
	end, tried := len(b)-len(commitLine(batches[2])), 0
	for from := (good/512 + 1) * 512; from+512 <= end; from += 512 {
		torn := bytes.Clone(b)
		if !bytes.Contains(torn[from:from+512], []byte("\n")) {
			continue // a reader counts the lines, and leaves their hashes to Verify
		}
		clear(torn[from : from+512])
		require.NoError(t, os.WriteFile(segment, torn, 0o600))
		tried++
		for _, keys := range [][]note.Verifier{nil, {p.key.Verifier()}} {
			reader, err := filesink.OpenReader(p.dir, keys...)
			require.NoError(t, err)
			require.Len(t, read(t, reader, jobaudit.Query{}), 6)
			require.NoError(t, reader.Close())
		}
	}
	require.Positive(t, tried)
}

func TestAReaderWithKeysVerifiesAnIndexAgainOnlyIfItsFilesHaveChanged(t *testing.T) {
	p := newPlace(t)
	p.write(t, &filesink.Options{SegmentSize: 1}, 3, sinktest.Records(30)...)
	faults := simdisk.NewFaults(simdisk.OS)
	reader, err := filesink.OpenReaderOn(faults, p.dir, p.key.Verifier())
	require.NoError(t, err)
	defer reader.Close()
	var opened atomic.Int64
	faults.Before(func(op simdisk.Op) error {
		if op.Kind == "open" && strings.HasPrefix(op.Name, "index/") {
			opened.Add(1)
		}
		return nil
	})
	look := func() int64 {
		opened.Store(0)
		size, err := reader.Size(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 30, size)
		return opened.Load()
	}
	require.EqualValues(t, 10, look())
	require.Zero(t, look())
	index := indexFiles(t, p.dir)[4]
	forged := contentOf(t, index)
	forged[len(forged)-20] ^= 1
	require.NoError(t, os.WriteFile(index, forged, 0o600))
	require.NoError(t, os.Chtimes(index, time.Time{}, time.Unix(1, 0)))
	require.EqualValues(t, 1, look())
	require.EqualValues(t, 1, look(), "one that does not count is looked at again")
}

// Whichever sectors of a write a power cut loses, as long as its end is there, wherever in
// a sector it began: the log goes on, and nobody is accused.
func TestAWriteOfWhichAnySectorsWereLostIsNoReasonToRefuse(t *testing.T) {
	random := rand.New(rand.NewPCG(12, 512))
	offsets := make(map[int]bool)
	for i := range size.Times(12, 5) {
		records := sinktest.Records(6 + 3*i)
		p, segment, batches := unclean(t, records)
		before := load(t, p.dir)
		b, good := join(batches...), len(join(batches[:len(batches)-1]...))
		offsets[good%512] = true
		var cuts []int // where the write's sectors begin, without the last one
		for at := good; at/512 < (len(b)-1)/512; at = (at/512 + 1) * 512 {
			cuts = append(cuts, at)
		}
		require.Greater(t, len(cuts), 2)
		for n := range 4 {
			lost := 1 + random.IntN(1<<len(cuts)-1)
			if n < 2 { // the first one alone, and all
				lost = []int{1, 1<<len(cuts) - 1}[n]
			}
			torn := bytes.Clone(b)
			for i, from := range cuts {
				if lost>>i&1 == 1 {
					clear(torn[from : (from/512+1)*512])
				}
			}
			before.store(t, p.dir)
			require.NoError(t, os.WriteFile(segment, torn, 0o600))
			p.anchorAt(t, batches[len(batches)-2])
			s := p.open(t, nil)
			require.EqualValues(t, len(records)-3, s.Checkpoint().Head().Size, "offset %d, sectors %b", good%512, lost)
			store(t, s, 3, records...)
			requireRecords(t, records, read(t, s, jobaudit.Query{}))
			require.NoError(t, s.Close())
			_, found := p.findingsOf(t, s.Checkpoint().Head())
			require.Empty(t, found)
		}
	}
	require.Greater(t, len(offsets), 3)
}
