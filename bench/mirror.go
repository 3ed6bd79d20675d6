package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/bench/cost"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"golang.org/x/mod/sumdb/note"
)

// mirrorRow mirrors a log of batches of ten; the loop does the least that does the
// same.
func mirrorRow(e *env) (vs []cost.Variant, done func(), err error) {
	defer caught(&err)
	b := program{e}
	const events = 20_000
	dir, key := writtenLog(b, records(b, events), 10)
	source, err := filesink.OpenReader(dir, key.Verifier())
	if err != nil {
		return nil, nil, err
	}
	to := func(copyLog func(store mirror.Store) error) func(int) (cost.Cost, error) {
		return cost.In(cost.Each(func() (err error) {
			defer caught(&err)
			d, err := mirror.OpenDirectory(b.TempDir(), true)
			if err != nil {
				return err
			}
			return errors.Join(copyLog(d), d.Close())
		}))
	}
	return []cost.Variant{
		{Name: "mirror", Run: to(func(store mirror.Store) error {
			m, err := mirror.New(source, store, &mirror.Options{Keys: []note.Verifier{key.Verifier()}})
			if err == nil {
				err = m.Sync(e.ctx)
			}
			if err == nil && m.Status().Head.Size != events {
				err = fmt.Errorf("%d events are mirrored", m.Status().Head.Size)
			}
			return err
		})},
		{Name: "read, fold, check each signature, put", Run: to(func(store mirror.Store) error {
			return bareMirror(e.ctx, source, store, key.Verifier())
		})},
	}, func() { _ = source.Close() }, nil
}

// bareMirror reads, folds, checks each signature and puts the same chunks.
func bareMirror(ctx context.Context, source mirror.Source, store mirror.Store, key note.Verifier) error {
	var tree auditlog.Tree
	var chunk []byte
	first := int64(0)
	put := func() error {
		err := store.Put(ctx, fmt.Sprintf("001/chunks/%020d", first), chunk)
		chunk, first = chunk[:0], tree.Size()
		return err
	}
	var room [64 * 32]byte
	for line, err := range source.Lines(ctx, 0) {
		if err != nil {
			return err
		}
		chunk = append(append(chunk, line...), '\n')
		if !auditlog.IsCommit(line) {
			tree.Append(room[:0], auditlog.HashLeaf(line))
			continue
		}
		c, err := auditlog.OpenCommit(line, key)
		if err != nil {
			return err
		}
		if c.Head().Size != tree.Size() || c.Head().Root != tree.Root() {
			return errors.New("the log is damaged")
		}
		if len(chunk) >= 4<<20 {
			if err := put(); err != nil {
				return err
			}
		}
	}
	return put()
}

// latencyRow appends at half of the rate that one caller reaches without a mirror,
// with one and without, and compares a percentile of how long an Append takes.
func latencyRow(percent int) func(*env) ([]cost.Variant, func(), error) {
	return func(e *env) (vs []cost.Variant, done func(), err error) {
		defer caught(&err)
		b := program{e}
		base := b.TempDir()
		alone := openLog(b, base)
		dir := b.TempDir()
		mirrored := openLog(b, dir)
		store, err := mirror.OpenDirectory(filepath.Join(dir, "mirror"), true)
		if err != nil {
			return nil, nil, err
		}
		key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "example.com/bench")
		if err != nil {
			return nil, nil, err
		}
		m, err := mirror.Start(e.ctx, mirrored, store, &mirror.Options{Keys: []note.Verifier{key.Verifier()}})
		if err != nil {
			return nil, nil, err
		}
		begun := time.Now()
		const sample = 500
		if _, err := paced(e, alone, sample, 0, percent); err != nil {
			return nil, nil, err
		}
		every := 2 * time.Since(begun) / sample
		of := func(s *filesink.Sink) func(int) (cost.Cost, error) {
			return func(n int) (cost.Cost, error) {
				took, err := paced(e, s, n, every, percent)
				return cost.Cost{Wall: took * duration(n), CPU: took * duration(n)}, err
			}
		}
		return []cost.Variant{
				{Name: "Append, mirrored", Run: of(mirrored), Least: 1000},
				{Name: "Append", Run: of(alone), Least: 1000},
			}, func() {
				_ = m.Close(e.ctx) // what was measured is measured
				_, _, _ = mirrored.Close(), alone.Close(), store.Close()
			}, nil
	}
}

// paced appends n records, one every so often, and returns a percentile of what an
// Append took.
func paced(e *env, s *filesink.Sink, n int, every time.Duration, percent int) (took time.Duration, err error) {
	defer caught(&err)
	var all []time.Duration
	next := time.Now()
	records := records(program{e}, n)
	for i := range records {
		time.Sleep(time.Until(next))
		next = next.Add(every)
		at := time.Now()
		if err := s.Append(e.ctx, records[i:i+1]); err != nil {
			return 0, err
		}
		all = append(all, time.Since(at))
	}
	slices.Sort(all)
	return all[min(len(all)*percent/100, len(all)-1)], nil
}

// memoryVariable tells this program that it is to mirror so many events.
const memoryVariable = "BENCH_MIRROR"

// memoryRow compares the greatest resident size of a process that mirrors 10⁶
// events with that of one that mirrors 10⁵, and ten megabytes.
func memoryRow(e *env) ([]cost.Variant, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	of := func(events int, extra float64) func(int) (cost.Cost, error) {
		return func(n int) (cost.Cost, error) {
			began := time.Now()
			cmd := exec.CommandContext(e.ctx, self)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", memoryVariable, events))
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				return cost.Cost{}, err
			}
			bytes, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
			return cost.Cost{Wall: time.Since(began), CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), Bytes: (bytes + extra) * float64(n)}, err
		}
	}
	return []cost.Variant{
		{Name: "10⁶ events", Run: of(1_000_000, 0)},
		{Name: "10⁵ events and 10 MB", Run: of(100_000, 10e6)},
	}, nothing, nil
}

// mirrorMany mirrors events that are made as they are read, so that only the
// mirror's memory grows, and prints the greatest resident size in bytes.
func mirrorMany(ctx context.Context, text string) error {
	events, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return err
	}
	secret, public, err := auditlog.GenerateKey("example.com/bench")
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return err
	}
	m, err := mirror.New(&madeLog{size: events, signer: signer}, &forgetful{}, &mirror.Options{Keys: []note.Verifier{verifier}})
	if err == nil {
		err = m.Sync(ctx)
	}
	if err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("the system does not tell how much memory was used: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.Fields(kib)[0], 10, 64)
			fmt.Println(n << 10)
			return err
		}
	}
	return errors.New("the system does not tell how much memory was used")
}

// madeLog makes its lines as they are read, in batches of a thousand, and goes on
// where it was: only the mirror's memory is to grow.
type madeLog struct {
	size   int64
	signer note.Signer
	// at are the trees before and behind the batch that was made last.
	at   [2]auditlog.Tree
	line []byte
}

// Size is mirror.Source's.
func (l *madeLog) Size(context.Context) (int64, error) { return l.size, nil }

// Lines is mirror.Source's.
func (l *madeLog) Lines(_ context.Context, from int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		tree := l.at[1]
		if tree.Size() > from {
			tree = l.at[0]
		}
		if tree.Size() > from {
			tree = auditlog.Tree{}
		}
		l.at[0] = tree
		var room [64 * 32]byte
		pad := strings.Repeat("x", 800)
		for i := tree.Size(); i < l.size; i++ {
			l.line = strconv.AppendInt(append(l.line[:0], pad...), i, 10)
			tree.Append(room[:0], auditlog.HashLeaf(l.line))
			if i >= from && !yield(l.line, nil) {
				return
			}
			if tree.Size()%1000 != 0 {
				continue
			}
			l.at[0], l.at[1] = l.at[1], tree
			if tree.Size() > from {
				c, err := tree.Sign(l.signer)
				if err != nil || !yield(auditlog.AppendCommit(nil, c), err) {
					return
				}
			}
		}
	}
}

// forgetful is a store that keeps the names of branches only: a mirror that runs
// asks for no more.
type forgetful struct{ branch []byte }

// Put is mirror.Store's.
func (f *forgetful) Put(_ context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, "branches/") {
		f.branch = slices.Clone(data)
	}
	return nil
}

// Get is mirror.Store's.
func (f *forgetful) Get(_ context.Context, name string, _ int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if strings.HasPrefix(name, "branches/") && f.branch != nil {
			yield(f.branch, nil)
		}
	}
}

// List is mirror.Store's.
func (f *forgetful) List(_ context.Context, prefix, _ string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if strings.HasPrefix(prefix, "branches/") && f.branch != nil {
			yield("branches/001", nil)
		}
	}
}
