package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	samples "github.com/jobaudit/jobaudit/bench/corpus"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"golang.org/x/mod/sumdb/note"
)

// tb is what a benchmark and a row of the table have in common.
type tb interface {
	Helper()
	Context() context.Context
	TempDir() string
	Fatal(args ...any)
}

// records returns n records of a common size, with IDs of their own.
func records(b tb, n int) []jobaudit.Record {
	b.Helper()
	all, err := samples.Records(n)
	if err != nil {
		b.Fatal(err)
	}
	return all
}

func openLog(b tb, base string) *filesink.Sink {
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

func newBareLog(b tb, name string) *bareLog {
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

func oursTogether(b tb, base string, all []jobaudit.Record, writers int) time.Duration {
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

func bareTogether(b tb, base string, all []jobaudit.Record, writers int) time.Duration {
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
func together(b tb, n int, do func(int) error) time.Duration {
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

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
