package main

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	samples "github.com/jobaudit/jobaudit/bench/corpus"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// jobs returns the records of n jobs, a fourth of which fail.
func jobs(b tb, n int) []jobaudit.Record {
	b.Helper()
	all, err := samples.Jobs(b.Context(), n)
	if err != nil {
		b.Fatal(err)
	}
	return all
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
func writtenLog(b tb, all []jobaudit.Record, batch int) (dir string, key *filesink.Key) {
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

// segmentsOf gives the files of a log, whose names are their first indices.
func segmentsOf(b tb, dir string) (segments []auditlog.Segment) {
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
