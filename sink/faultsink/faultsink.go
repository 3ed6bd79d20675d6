// Package faultsink puts faults between a recorder and its sink, so that a
// program's behaviour under a failing audit store can be tested.
//
//	sink := faultsink.New(memsink.New(nil),
//		faultsink.Rule{First: 3, Last: 5, Fault: faultsink.Fail}) // then it recovers
//
// Which Append goes wrong is decided by its number alone, so a test that makes
// its calls in order sees the same faults every time.
package faultsink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/jobaudit/jobaudit"
)

// ErrInjected is the error of an Append that was made to fail, unless its
// [Rule] says otherwise.
var ErrInjected = errors.New("faultsink: injected fault")

// Fault is what goes wrong.
type Fault int

// The faults. All but Hang and Stick return the rule's error.
const (
	// Fail stores nothing.
	Fail Fault = iota + 1
	// Ambiguous stores everything.
	Ambiguous
	// Partial stores the first Keep records.
	Partial
	// Hang waits until the context ends, stores nothing and returns the
	// context's error.
	Hang
	// Stick ignores the context and waits for [Sink.Release], then stores
	// everything and succeeds: a store that comes back after its callers left.
	Stick
)

// Rule says which Appends go wrong, and how. Of several rules for an Append,
// the first counts.
type Rule struct {
	// First and Last are the numbers of the first and the last Append that go
	// wrong, counted from 1. The zero First is the first Append, the zero Last
	// says that it does not end.
	First, Last int
	Fault       Fault
	Keep        int   // for Partial; a batch that has no more records is stored whole
	Err         error // default [ErrInjected]
}

// Sink passes records on to another sink, except where a rule says otherwise.
// Make one with [New]. It is safe for concurrent use. Appends are numbered in
// the order in which they begin.
type Sink struct {
	next jobaudit.AuditSink

	mu       sync.Mutex
	rules    []Rule
	begun    int
	waiters  []waiter
	released chan struct{}
}

type waiter struct {
	n    int
	done chan struct{}
}

// New returns a sink in front of next.
func New(next jobaudit.AuditSink, rules ...Rule) *Sink {
	return &Sink{next: next, rules: rules, released: make(chan struct{})}
}

// Set puts other rules in the place of the present ones; without rules the
// sink is healthy. Numbers go on from where they are. Appends that have begun
// are not affected.
func (s *Sink) Set(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = rules
}

// Append stores the records in the sink behind this one, or goes wrong.
func (s *Sink) Append(ctx context.Context, records []jobaudit.Record) error {
	rule, released := s.begin()
	fail := rule.Err
	if fail == nil {
		fail = ErrInjected
	}
	switch rule.Fault {
	case Fail:
		return fail
	case Ambiguous:
		return errors.Join(fail, s.next.Append(ctx, records))
	case Partial:
		return errors.Join(fail, s.next.Append(ctx, records[:min(rule.Keep, len(records))]))
	case Hang:
		<-ctx.Done()
		return ctx.Err()
	case Stick:
		<-released
		ctx = context.WithoutCancel(ctx)
	}
	return s.next.Append(ctx, records)
}

// begin numbers an Append and finds its rule.
func (s *Sink) begin() (Rule, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
	s.waiters = wake(s.waiters, s.begun)
	for _, r := range s.rules {
		if s.begun >= r.First && (r.Last == 0 || s.begun <= r.Last) {
			return r, s.released
		}
	}
	return Rule{}, s.released
}

// wake wakes those who wait for Append n and returns the others.
func wake(waiters []waiter, n int) []waiter {
	var left []waiter
	for _, w := range waiters {
		if w.n <= n {
			close(w.done)
		} else {
			left = append(left, w)
		}
	}
	return left
}

// Release ends the wait of all Appends that a [Stick] holds now.
func (s *Sink) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.released)
	s.released = make(chan struct{})
}

// Appends returns how many Appends have begun.
func (s *Sink) Appends() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

// Wait returns when n Appends have begun, or with ctx's error when it ends.
func (s *Sink) Wait(ctx context.Context, n int) error {
	s.mu.Lock()
	if s.begun >= n {
		s.mu.Unlock()
		return nil
	}
	done := make(chan struct{})
	s.waiters = append(s.waiters, waiter{n, done})
	s.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Records reads the sink behind this one. Reading has no faults. If that sink
// cannot be read, the error is [errors.ErrUnsupported].
func (s *Sink) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	if reader, ok := s.next.(jobaudit.AuditReader); ok {
		return reader.Records(ctx, q)
	}
	return func(yield func(jobaudit.Record, error) bool) {
		yield(jobaudit.Record{}, fmt.Errorf("faultsink: reading %T: %w", s.next, errors.ErrUnsupported))
	}
}

// Close closes the sink behind this one, if it can be closed.
func (s *Sink) Close() error {
	if closer, ok := s.next.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
