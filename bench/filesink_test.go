package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit"
)

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
