package bench

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"golang.org/x/mod/sumdb/note"
)

// records returns n records of a common size, with IDs of their own.
func records(b *testing.B, n int) []jobaudit.Record {
	b.Helper()
	line := sinktest.Records(1)[0].Bytes()
	id := bytes.Index(line, []byte(`"id":"`)) + len(`"id":"`)
	all := make([]jobaudit.Record, n)
	for i := range all {
		copy(line[id:], uuid.Must(uuid.NewV7()).String())
		r, err := jobaudit.ParseRecord(line)
		if err != nil {
			b.Fatal(err)
		}
		all[i] = r
	}
	return all
}

func openLog(b *testing.B, base string) *filesink.Sink {
	b.Helper()
	dir := filepath.Join(base, "log")
	key, err := filesink.LoadOrCreateKey(dir, filepath.Join(base, "key"), "example.com/bench")
	if err != nil {
		b.Fatal(err)
	}
	s, err := filesink.Open(b.Context(), dir, key, nil)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// bareLog is the least that such a log can do: gather what is there, hash each
// line into the tree, sign the head, one write, one fsync.
type bareLog struct {
	f      *os.File
	signer note.Signer
	reqs   chan bareRequest
	done   sync.WaitGroup
}

type bareRequest struct {
	line []byte
	done chan error
}

func newBareLog(b *testing.B, name string) *bareLog {
	b.Helper()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	secret, _, err := auditlog.GenerateKey("example.com/bench")
	if err != nil {
		b.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		b.Fatal(err)
	}
	l := &bareLog{f: f, signer: signer, reqs: make(chan bareRequest, 1024)}
	l.done.Go(l.run)
	return l
}

func (l *bareLog) run() {
	var tree auditlog.Tree
	var buf, stored []byte
	var waiting []chan error
	for r := range l.reqs {
		buf, stored, waiting = buf[:0], stored[:0], waiting[:0]
		for more := true; more; {
			buf = append(append(buf, r.line...), '\n')
			stored = tree.Append(stored, auditlog.HashLeaf(r.line))
			waiting = append(waiting, r.done)
			select {
			case r, more = <-l.reqs:
			default:
				more = false
			}
		}
		c, err := tree.Sign(l.signer)
		if err == nil {
			buf = append(auditlog.AppendCommit(buf, c), '\n')
			if _, err = l.f.Write(buf); err == nil {
				err = l.f.Sync()
			}
		}
		for _, done := range waiting {
			done <- err
		}
	}
}

func (l *bareLog) append(line []byte, done chan error) error {
	l.reqs <- bareRequest{line, done}
	return <-done
}

func (l *bareLog) close() {
	close(l.reqs)
	l.done.Wait()
	_ = l.f.Close() // a benchmark's
}

// BenchmarkFileSink1024Writers compares 1,024 goroutines that append one event
// at a time to one log with a bare loop that group-commits, hashes, signs and
// fsyncs the same bytes, in turns. The ratio is of events per second, and the
// median of all turns; 0.7 is promised.
func BenchmarkFileSink1024Writers(b *testing.B) { compareTogether(b, 1024, 20) }

// BenchmarkFileSink8Writers is the same for the few who wait for each event,
// such as the workers of a queue: what counts is how many share a commit.
func BenchmarkFileSink8Writers(b *testing.B) { compareTogether(b, 8, 100) }

func compareTogether(b *testing.B, writers, each int) {
	b.Helper()
	all := records(b, writers*each)
	var ours, bare []time.Duration
	var ratios []float64
	for b.Loop() {
		base := b.TempDir()
		a, c := oursTogether(b, base, all, writers), bareTogether(b, base, all, writers)
		ours, bare, ratios = append(ours, a), append(bare, c), append(ratios, float64(c)/float64(a))
	}
	slices.Sort(ratios)
	events := float64(len(all))
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(events/median(ours).Seconds(), "events/s")
	b.ReportMetric(events/median(bare).Seconds(), "bare-events/s")
}

func oursTogether(b *testing.B, base string, all []jobaudit.Record, writers int) time.Duration {
	b.Helper()
	s := openLog(b, base)
	each := len(all) / writers
	took := together(b, writers, func(w int) error {
		for i := range each {
			if err := s.Append(b.Context(), all[w*each+i:w*each+i+1]); err != nil {
				return err
			}
		}
		return nil
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}

func bareTogether(b *testing.B, base string, all []jobaudit.Record, writers int) time.Duration {
	b.Helper()
	l := newBareLog(b, filepath.Join(base, "bare"))
	defer l.close()
	each := len(all) / writers
	return together(b, writers, func(w int) error {
		done := make(chan error, 1)
		for i := range each {
			if err := l.append(all[w*each+i].Bytes(), done); err != nil {
				return err
			}
		}
		return nil
	})
}

// together runs n goroutines and returns how long they took.
func together(b *testing.B, n int, do func(int) error) time.Duration {
	b.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	begun := time.Now()
	close(start)
	wg.Wait()
	took := time.Since(begun)
	for _, err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
	return took
}

// BenchmarkFileSinkOneCaller compares one caller who appends one event at a
// time with a bare write and fsync of the same bytes, in turns. The ratio is
// of the medians; 1.8 is promised.
func BenchmarkFileSinkOneCaller(b *testing.B) {
	base := b.TempDir()
	s := openLog(b, base)
	defer s.Close()
	f, err := os.Create(filepath.Join(base, "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	commit := make([]byte, 300) // as long as a commit line
	var ours, bare []time.Duration
	for b.Loop() {
		for _, r := range records(b, 50) {
			text := append(r.Bytes(), commit...)
			begun := time.Now()
			if err := s.Append(b.Context(), []jobaudit.Record{r}); err != nil {
				b.Fatal(err)
			}
			middle := time.Now()
			if _, err := f.Write(text); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			ours, bare = append(ours, middle.Sub(begun)), append(bare, time.Since(middle))
		}
	}
	b.ReportMetric(float64(median(ours))/float64(median(bare)), "ratio")
	b.ReportMetric(float64(median(ours).Nanoseconds())/1e3, "median-µs")
	b.ReportMetric(float64(median(bare).Nanoseconds())/1e3, "bare-median-µs")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkFileSinkOpen measures the opening of a log that was closed in
// order, against the hashing of all its entries, which it need not do. At
// 1,000,000 entries 100 ms are promised.
func BenchmarkFileSinkOpen(b *testing.B) {
	for _, size := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("entries=%d", size), func(b *testing.B) {
			base := b.TempDir()
			s := openLog(b, base)
			var line []byte
			for left := size; left > 0; left -= 1000 {
				batch := records(b, 1000)
				if err := s.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				line = batch[0].Bytes()
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			begun := time.Now()
			for range size {
				sha256.Sum256(line)
			}
			hashing := time.Since(begun)
			var opening time.Duration
			n := 0
			for b.Loop() {
				begun := time.Now()
				s := openLog(b, base)
				opening += time.Since(begun)
				n++
				if s.Checkpoint().Head().Size != int64(size) {
					b.Fatal("another head")
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(opening.Seconds()*1e3/float64(n), "open-ms")
			b.ReportMetric(hashing.Seconds()*1e3, "hashing-ms")
			b.ReportMetric(float64(opening)/float64(n)/float64(hashing), "ratio")
		})
	}
}
