package gocronaudit

import (
	"context"
	"reflect"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// schedule is one job of a scheduler.
type schedule struct {
	audit      *Audit
	submission func(context.Context) jobaudit.Submission
	fn         func(context.Context) error

	mu      sync.Mutex      // guards what follows
	running *jobaudit.Trail // of the newest run, until it ends
	locks   pending         // errors of the locker
	returns pending         // errors of runs
}

// pending are errors that gocron is about to tell the monitor of.
type pending []error

// add adds an error, unless so many are there that another monitor must be in
// the place of ours.
func (p *pending) add(err error) {
	if len(*p) < 1000 {
		*p = append(*p, err)
	}
}

// run is what gocron calls at a tick that runs.
func (s *schedule) run(ctx context.Context) error {
	err := s.audit.rec.Run(ctx, s.submission(ctx), func(ctx context.Context) error {
		if trail, ok := jobaudit.FromContext(ctx); ok {
			s.enter(trail)
			defer s.leave(trail)
		}
		return s.fn(ctx)
	})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.returns.add(err)
	}
	return err
}

func (s *schedule) enter(run *jobaudit.Trail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = run
}

func (s *schedule) leave(run *jobaudit.Trail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == run {
		s.running = nil
	}
}

// atWork returns the newest run, nil if it has ended.
func (s *schedule) atWork() *jobaudit.Trail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// notLocked is called when a tick did not get its lock, just before the monitor
// learns that it is skipped.
func (s *schedule) notLocked(_ uuid.UUID, _ string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locks.add(err)
}

// lockError takes the error of a tick that did not get its lock, nil if there is
// none. Of ticks that are skipped at the same time it is one's or the other's.
func (s *schedule) lockError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.locks) == 0 {
		return nil
	}
	err := s.locks[0]
	s.locks = slices.Delete(s.locks, 0, 1)
	return err
}

// returned takes an error that a run has returned. It reports false if none has
// returned that one.
func (s *schedule) returned(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.returns, func(other error) bool { return same(err, other) })
	if i < 0 {
		return false
	}
	s.returns = slices.Delete(s.returns, i, i+1)
	return true
}

// same compares errors, of which some, such as slices, have no ==.
func same(a, b error) bool {
	if !reflect.ValueOf(a).Comparable() || !reflect.ValueOf(b).Comparable() {
		return reflect.DeepEqual(a, b)
	}
	return a == b
}

// inTheWay says which run a singleton's tick has found running.
func (s *schedule) inTheWay() string {
	run := s.atWork()
	if run == nil {
		return ""
	}
	return "; job " + run.JobID().String() + " was still running"
}

// skip records a tick that does not run.
func (s *schedule) skip(reason string) {
	ctx := context.Background() // gocron has no other for us
	trail, err := s.audit.rec.Submit(ctx, s.submission(ctx))
	if err == nil {
		err = trail.Skip(ctx, reason)
	} else if queue.Unsure(err) { // nobody asks for it again, and gocron need not wait twice
		s.audit.withdrawals.Record(trail, s.audit.opts.OnError, func(ctx context.Context) error { return trail.Skip(ctx, reason) })
	}
	if err != nil {
		s.audit.opts.OnError(ctx, err)
	}
}
