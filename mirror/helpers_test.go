package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/mirror"
)

const origin = "example.com/jobs"

// key is a log's key.
type key struct {
	signer   note.Signer
	verifier note.Verifier
}

func newKey(t testing.TB, origin string) key {
	t.Helper()
	secret, public, err := auditlog.GenerateKey(origin)
	require.NoError(t, err)
	signer, err := note.NewSigner(secret)
	require.NoError(t, err)
	verifier, err := note.NewVerifier(public)
	require.NoError(t, err)
	return key{signer, verifier}
}

// memLog is a log in memory: a Source.
type memLog struct {
	t     testing.TB
	mu    sync.Mutex
	key   key
	tree  auditlog.Tree
	lines []string
}

func newLog(t testing.TB, k key) *memLog { return &memLog{t: t, key: k} }

// append appends a batch of so many events.
func (l *memLog) append(n int, say string) {
	l.t.Helper()
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("%s %d", say, l.tree.Size()+int64(i))
	}
	l.batch(lines...)
}

func (l *memLog) batch(lines ...string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines {
		l.tree.Append(nil, auditlog.HashLeaf([]byte(line)))
	}
	c, err := l.tree.Sign(l.key.signer)
	require.NoError(l.t, err)
	l.lines = append(append(l.lines, lines...), string(auditlog.AppendCommit(nil, c)))
}

// cut returns the log as it was at a size.
func (l *memLog) cut(size int64) *memLog {
	l.t.Helper()
	old := newLog(l.t, l.key)
	for _, line := range l.lines {
		if old.tree.Size() == size && !auditlog.IsCommit([]byte(line)) {
			break
		}
		old.lines = append(old.lines, line)
		if !auditlog.IsCommit([]byte(line)) {
			old.tree.Append(nil, auditlog.HashLeaf([]byte(line)))
		}
	}
	require.Equal(l.t, size, old.tree.Size())
	return old
}

// under goes on with another key.
func (l *memLog) under(k key) *memLog { l.key = k; return l }

func (l *memLog) Size(context.Context) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tree.Size(), nil
}

func (l *memLog) Lines(_ context.Context, from int64) iter.Seq2[[]byte, error] {
	l.mu.Lock()
	lines := slices.Clone(l.lines)
	l.mu.Unlock()
	return func(yield func([]byte, error) bool) {
		var index int64
		buf := make([]byte, 0, 1024)
		for _, line := range lines {
			at := index
			commit := auditlog.IsCommit([]byte(line))
			if !commit {
				index++
			}
			if at < from || commit && at == from {
				continue
			}
			buf = append(buf[:0], line...) // only good until the next one
			if !yield(buf, nil) {
				return
			}
		}
	}
}

var errStore = errors.New("the store is away, says the test")

// memStore is a Store in memory, which fails as it is told.
type memStore struct {
	mu      sync.Mutex
	objects map[string][][]byte // versions
	calls   int
	reads   int // of a watchedSource
	// fail says of a call whether it fails before it does anything, or behind.
	fail func(call int) (before, behind bool)
}

func newStore() *memStore { return &memStore{objects: map[string][][]byte{}} }

// call counts a call. done is called behind it.
func (s *memStore) call() (before, behind error) {
	s.calls++
	if s.fail == nil {
		return nil, nil
	}
	b, a := s.fail(s.calls)
	if b {
		before = errStore
	}
	if a {
		behind = errStore
	}
	return before, behind
}

func (s *memStore) Put(_ context.Context, name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, behind := s.call()
	switch {
	case before != nil:
		return before
	case len(s.objects[name]) > 0:
		return errors.Join(behind, mirror.ErrExists)
	}
	s.objects[name] = [][]byte{slices.Clone(data)}
	return behind
}

func (s *memStore) Get(_ context.Context, name string, most int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		s.mu.Lock()
		before, behind := s.call()
		versions := slices.Clone(s.objects[name])
		s.mu.Unlock()
		if before != nil {
			yield(nil, before)
			return
		}
		for _, data := range versions {
			if !yield(slices.Clone(data[:min(int64(len(data)), most+1)]), nil) {
				return
			}
		}
		if behind != nil {
			yield(nil, behind)
		}
	}
}

func (s *memStore) List(_ context.Context, prefix, from string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s.mu.Lock()
		before, behind := s.call()
		var names []string
		for name := range s.objects {
			if strings.HasPrefix(name, prefix) && name >= from {
				names = append(names, name)
			}
		}
		s.mu.Unlock()
		slices.Sort(names)
		if before != nil {
			yield("", before)
			return
		}
		for _, name := range names {
			if !yield(name, nil) {
				return
			}
		}
		if behind != nil {
			yield("", behind)
		}
	}
}

// reports gathers what a mirror reports.
type reports struct {
	mu  sync.Mutex
	all []error
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, err)
}

func (r *reports) squatted() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.all {
		if e, ok := errors.AsType[*mirror.SquattedError](err); ok {
			names = append(names, e.Name)
		}
	}
	return names
}

func options(r *reports, keys ...key) *mirror.Options {
	o := &mirror.Options{OnError: r.add}
	for _, k := range keys {
		o.Keys = append(o.Keys, k.verifier)
	}
	return o
}

func newMirror(t testing.TB, source mirror.Source, store mirror.Store, o *mirror.Options) *mirror.Mirror {
	t.Helper()
	m, err := mirror.New(source, store, o)
	require.NoError(t, err)
	return m
}

// sync mirrors what there is.
func sync1(t testing.TB, source mirror.Source, store mirror.Store, keys ...key) mirror.Status {
	t.Helper()
	var r reports
	m := newMirror(t, source, store, options(&r, keys...))
	require.NoError(t, m.Sync(t.Context()))
	require.Empty(t, r.squatted())
	return m.Status()
}

// mirrored reads what a mirror holds.
func mirrored(t testing.TB, store mirror.Store, branch int, keys ...key) (lines []string) {
	t.Helper()
	o := &mirror.ReaderOptions{Branch: branch}
	for _, k := range keys {
		o.Keys = append(o.Keys, k.verifier)
	}
	r, err := mirror.OpenReader(t.Context(), store, o)
	require.NoError(t, err)
	for line, err := range r.Lines(t.Context(), 0) {
		require.NoError(t, err)
		lines = append(lines, string(line))
	}
	return lines
}

// readable reads the newest branch of a mirror up to the first error.
func readable(t testing.TB, store mirror.Store, keys ...key) (lines []string, err error) {
	t.Helper()
	o := &mirror.ReaderOptions{}
	for _, k := range keys {
		o.Keys = append(o.Keys, k.verifier)
	}
	r, err := mirror.OpenReader(t.Context(), store, o)
	require.NoError(t, err)
	for line, err := range r.Lines(t.Context(), 0) {
		if err != nil {
			return lines, err
		}
		lines = append(lines, string(line))
	}
	return lines, nil
}

// head is the log's newest head.
func (l *memLog) head() auditlog.Head {
	l.t.Helper()
	head, err := auditlog.CommitHead([]byte(l.lines[len(l.lines)-1]))
	require.NoError(l.t, err)
	return head
}
