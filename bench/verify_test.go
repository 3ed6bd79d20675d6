package bench

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"golang.org/x/mod/sumdb/note"
)

// kept is a sink that keeps what it is given.
type kept struct {
	mu      sync.Mutex
	records []jobaudit.Record
}

func (k *kept) Append(_ context.Context, records []jobaudit.Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records = append(k.records, records...)
	return nil
}

// jobs returns the records of n jobs, a fourth of which fail.
func jobs(b *testing.B, n int) []jobaudit.Record {
	b.Helper()
	sink := &kept{}
	r, err := jobaudit.Open(b.Context(), sink, jobaudit.Source{System: "indexer", Environment: "bench"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		_ = r.Run(b.Context(), jobaudit.Submission{
			Action: "reindex", Resource: fmt.Sprint("index ", i),
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "u-1", Verified: true},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old", Ref: "OPS-12"},
		}, func(context.Context) error {
			if i%4 == 3 {
				return io.ErrUnexpectedEOF
			}
			return nil
		})
	}
	if err := r.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	return sink.records
}

// BenchmarkVerify compares the verification of a log with a bare loop that
// hashes its records on all cores and does nothing else, in turns. The ratios
// are the medians of how fast the proof of the log alone is and how fast that
// is together with the checks of what its records say, both as they are and
// with Quick. 0.6 is aimed at with 1,000 records to a commit: the proof alone is
// there, with the checks it is 0.43 to 0.49.
func BenchmarkVerify(b *testing.B) {
	all := jobs(b, 30_000) // two segments, 108 MB: what a call costs once does not count
	var c corpus
	for _, r := range all {
		c.bytes = r.AppendTo(c.bytes)
		c.ends = append(c.ends, len(c.bytes))
	}
	type written struct {
		dir string
		key *filesink.Key
	}
	logs := map[int]written{}
	for _, batch := range []int{100, 1000} {
		dir, key := writtenLog(b, all, batch)
		logs[batch] = written{dir, key}
	}
	all = nil // who verifies a log does not have it in memory
	for _, batch := range []int{100, 1000} {
		for _, quick := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch=%d/quick=%t", batch, quick), func(b *testing.B) {
				l := logs[batch]
				compareVerify(b, l.dir, &c, auditlog.Options{Keys: []note.Verifier{l.key.Verifier()}, Quick: quick})
			})
		}
	}
}

// corpus is the records of a log, in memory, without a pointer to each.
type corpus struct {
	bytes []byte
	ends  []int
}

// hash hashes a share of the records: the i-th of n.
func (c *corpus) hash(i, n int) {
	buf := make([]byte, 64<<10)
	first, last := i*len(c.ends)/n, (i+1)*len(c.ends)/n
	start := 0
	if first > 0 {
		start = c.ends[first-1]
	}
	for _, end := range c.ends[first:last] {
		sha256.Sum256(buf[:1+copy(buf[1:], c.bytes[start:end])])
		start = end
	}
}

func (c *corpus) hashOnAllCores() {
	n := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { c.hash(i, n) })
	}
	wg.Wait()
}

// writtenLog writes records to a log.
func writtenLog(b *testing.B, all []jobaudit.Record, batch int) (dir string, key *filesink.Key) {
	b.Helper()
	base := b.TempDir()
	s := openLog(b, base)
	for at := 0; at < len(all); at += batch {
		if err := s.Append(b.Context(), all[at:min(at+batch, len(all))]); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	dir = filepath.Join(base, "log")
	key, err := filesink.LoadOrCreateKey(dir, filepath.Join(base, "key"), "example.com/bench")
	if err != nil {
		b.Fatal(err)
	}
	return dir, key
}

func compareVerify(b *testing.B, dir string, c *corpus, opts auditlog.Options) {
	segments := segmentsOf(b, dir)
	var bare, proof, checked []time.Duration
	for b.Loop() {
		begun := time.Now()
		c.hashOnAllCores()
		bare = append(bare, time.Since(begun))

		begun = time.Now()
		report, err := auditlog.Verify(b.Context(), segments, &opts, nil)
		if err != nil || report.Level != auditlog.Signed {
			b.Fatal(report, err)
		}
		proof = append(proof, time.Since(begun))

		begun = time.Now()
		whole, err := filesink.Verify(b.Context(), dir, &filesink.VerifyOptions{Keys: opts.Keys, Quick: opts.Quick})
		if err != nil || whole.Level != auditlog.Signed || whole.Records != int64(len(c.ends)) {
			b.Fatal(whole, err)
		}
		checked = append(checked, time.Since(begun))
	}
	loop := median(bare)
	b.ReportMetric(float64(loop)/float64(median(proof)), "proof-ratio")
	b.ReportMetric(float64(loop)/float64(median(checked)), "checked-ratio")
	b.ReportMetric(float64(len(c.bytes))/1e6/loop.Seconds(), "hash-MB/s")
	b.ReportMetric(float64(median(checked).Nanoseconds())/float64(len(c.ends)), "checked-ns/record")
	b.ReportMetric(0, "ns/op") // of all three together: it says nothing
}

// segmentsOf gives the files of a log, whose names are their first indices.
func segmentsOf(b *testing.B, dir string) (segments []auditlog.Segment) {
	b.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "entries", "*.jsonl"))
	if err != nil || len(files) < 2 {
		b.Fatal(files, err)
	}
	for _, file := range files {
		first, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(file), ".jsonl"), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		segments = append(segments, auditlog.Segment{Name: file, First: first, Open: func() (io.ReadCloser, error) { return os.Open(file) }})
	}
	return segments
}
