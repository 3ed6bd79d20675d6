// Package cronaudit puts the jobs of a scheduler such as robfig/cron on record,
// and tells tick, skip and run apart. It imports no scheduler: a job is any
// interface{ Run() }.
//
//	audit := cronaudit.New(recorder, nil)
//	c.Schedule(hourly, cronaudit.Job(audit, submission, cleanUp,
//		cron.NewChain(cron.SkipIfStillRunning(logger), cron.Recover(logger)).Then))
//
// Every tick is a job of its own. Its submission is recorded when the schedule
// fires, outside of the chain; its start when the chain lets it through, however
// long [cron.DelayIfStillRunning] made it wait. A tick that the chain does not
// let through ends as cancelled, with code SKIPPED: the record names the run
// that was at work when the tick came, or says that none was.
//
// The chain is given to [Job] rather than to the scheduler as a whole
// ([cron.WithChain]): what a wrapper around the whole job skips is not seen
// here.
//
// # Recover stands last
//
// In robfig/cron 3, SkipIfStillRunning does not release a run that panics through
// it: if [cron.Recover] stands before it in the chain, the job never runs again
// after its first panic, and every later tick is skipped. So Recover is the last
// wrapper of the chain. OnError is called, once, when ticks are skipped again and
// again though no run stands in their way ([ErrStuck]).
//
// # What operators do
//
// An [Admin] runs a job now, removes an entry, and stops and starts the scheduler,
// on record with who did it and why.
//
// # Several processes
//
// A schedule is one process's. If the same schedule runs in several processes,
// each tick of each process is a job, in that process's own log; nothing here
// reads a log.
//
// [cron.DelayIfStillRunning]: https://pkg.go.dev/github.com/robfig/cron/v3#DelayIfStillRunning
// [cron.Recover]: https://pkg.go.dev/github.com/robfig/cron/v3#Recover
// [cron.WithChain]: https://pkg.go.dev/github.com/robfig/cron/v3#WithChain
package cronaudit

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/errlog"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// ErrStuck is given to OnError, in a [*jobaudit.AuditError] that names the skipped job,
// when a tick is skipped though no run is at work, for the second time in a row: a
// wrapper of the chain seems to keep the job from ever running again. It is reported
// once, until the job runs again.
var ErrStuck = errors.New("ticks are skipped though no run is at work; " +
	"in a chain of robfig/cron, Recover has to stand behind SkipIfStillRunning")

// Options are the optional parts of an [Audit]. The zero value, like nil, gives
// the defaults.
type Options struct {
	// BaseContext returns the context of each tick: when it ends, jobs that run
	// are cancelled, and ticks run nothing. Default: context.Background.
	BaseContext func() context.Context
	// OnError is called with what a tick cannot return: the function's own error,
	// an *AuditError if a tick or its start could not be recorded, in which
	// case the function was not called, [ErrStuck], and [queue.ErrNotWithdrawn].
	// It may be called from several goroutines. Default: slog.Default() is told of their kinds alone, as
	// their texts may quote inputs.
	OnError func(context.Context, error)
}

// Audit puts the jobs of schedulers on record. [New] makes one. It is safe for
// concurrent use.
type Audit struct {
	rec  *jobaudit.Recorder
	opts Options

	withdrawals queue.Withdrawals
}

// New returns an Audit that records with rec, which stays the caller's: stop the
// scheduler first, then close rec. opts may be nil.
func New(rec *jobaudit.Recorder, opts *Options) *Audit {
	a := &Audit{rec: rec}
	if opts != nil {
		a.opts = *opts
	}
	if a.opts.BaseContext == nil {
		a.opts.BaseContext = context.Background
	}
	if a.opts.OnError == nil {
		a.opts.OnError = errlog.Default("cronaudit", ErrStuck, queue.ErrNotWithdrawn)
	}
	return a
}

// Job returns fn as a job for a scheduler. submission says at each tick who asks
// for the job, and why; its trigger is most often [jobaudit.Scheduled]. then
// wraps the run in the scheduler's own wrappers, as does the method Then of
// robfig/cron's Chain; nil wraps it in nothing.
//
// A panic of fn is recorded and goes on, to the chain's Recover if it has one.
// While a tick waits in the chain to be let through, the ticks behind it wait
// in front of the chain.
//
// J is the scheduler's interface for jobs. Job panics if it asks for more than
// the method Run.
func Job[J interface{ Run() }](
	a *Audit, submission func(context.Context) jobaudit.Submission, fn func(context.Context) error, then func(J) J,
) J {
	s := &schedule{
		recorder: a.rec, submission: submission, fn: fn, opts: a.opts, withdrawals: &a.withdrawals,
		entrance: make(chan struct{}, 1), running: make(map[uuid.UUID]struct{}),
	}
	inner := as[J](runner(s.run))
	if then != nil {
		inner = then(inner)
	}
	s.chain = inner.Run
	return as[J](ticker{s})
}

func as[J any](r interface{ Run() }) J {
	j, ok := r.(J)
	if !ok {
		panic(fmt.Sprintf("cronaudit: %T is no interface that has the method Run and no other", *new(J)))
	}
	return j
}

type runner func()

func (r runner) Run() { r() }

// ticker is what a scheduler runs.
type ticker struct{ *schedule }

func (t ticker) Run() { t.tick(t.opts.BaseContext()) }

// schedule is one job of a scheduler.
type schedule struct {
	recorder   *jobaudit.Recorder
	submission func(context.Context) jobaudit.Submission
	fn         func(context.Context) error
	opts       Options
	chain      func() // the scheduler's wrappers around run

	withdrawals *queue.Withdrawals

	// entrance is held for the tick that is in the chain and has not been let
	// through: run has no argument to tell by which tick it is called.
	entrance chan struct{} // of one: full while a tick is there

	mu      sync.Mutex
	waiting *jobaudit.Trail // the tick at the entrance
	running map[uuid.UUID]struct{}
	stuck   int // skips in a row that no run stood in the way of
}

// tick is what the scheduler calls.
func (s *schedule) tick(ctx context.Context) {
	trail, err := s.recorder.Submit(ctx, s.submission(ctx))
	if err != nil {
		if queue.Unsure(err) { // nobody asks for it again
			s.withdrawals.Cancel(trail, "its submission could not be recorded in time", s.opts.OnError)
		}
		s.opts.OnError(ctx, err)
		return
	}
	s.entrance <- struct{}{}
	s.mu.Lock()
	s.waiting = trail
	s.mu.Unlock()
	inTheWay := s.oldest()
	defer func() { // also if a wrapper panics
		if s.take(trail) {
			s.skip(ctx, trail, inTheWay)
		}
	}()
	s.chain()
}

// take takes a tick from the entrance, for which the next one waits. It reports
// false if the tick is not there any more.
func (s *schedule) take(trail *jobaudit.Trail) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting != trail {
		return false
	}
	s.waiting = nil
	<-s.entrance
	return true
}

// run is what the chain lets through.
func (s *schedule) run() {
	ctx := s.opts.BaseContext()
	trail := s.enter()
	if trail == nil { // a wrapper calls it once more
		s.tell(ctx, s.recorder.Run(ctx, s.submission(ctx), s.fn))
		return
	}
	defer s.leave(trail)
	called := false
	err := trail.Run(ctx, jobaudit.Execution{}, func(ctx context.Context) error {
		called = true
		return s.fn(ctx)
	})
	if !called && !errors.Is(err, jobaudit.ErrDenied) {
		err = errors.Join(err, trail.Skip(ctx, "its start could not be recorded"))
	}
	s.tell(ctx, err)
}

// enter takes the tick that the chain lets through, nil if there is none. It is
// among those at work before the next tick comes in.
func (s *schedule) enter() *jobaudit.Trail {
	s.mu.Lock()
	defer s.mu.Unlock()
	trail := s.waiting
	if trail == nil {
		return nil
	}
	s.running[trail.JobID()] = struct{}{}
	s.waiting, s.stuck = nil, 0
	<-s.entrance
	return trail
}

func (s *schedule) leave(trail *jobaudit.Trail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, trail.JobID())
}

// skip records that the chain did not let a tick through, and which run was at
// work when it came, or that none was.
func (s *schedule) skip(ctx context.Context, trail *jobaudit.Trail, inTheWay string) {
	reason := "its scheduler passed it over, though no run of it was at work"
	if inTheWay != "" {
		reason = "its scheduler passed it over; job " + inTheWay + " was still running"
	}
	s.tell(ctx, trail.Skip(ctx, reason))
	if s.isStuck(inTheWay == "") {
		s.tell(ctx, &jobaudit.AuditError{Op: "skip", JobID: trail.JobID(), Err: ErrStuck})
	}
}

// isStuck counts a skip. It reports true for the second one in a row that no run
// stood in the way of.
func (s *schedule) isStuck(free bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !free {
		s.stuck = 0
		return false
	}
	s.stuck++
	return s.stuck == 2
}

// oldest returns the run that was asked for first of those at work.
func (s *schedule) oldest() (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.running {
		if text := other.String(); id == "" || text < id {
			id = text
		}
	}
	return id
}

func (s *schedule) tell(ctx context.Context, err error) {
	if err != nil {
		s.opts.OnError(ctx, err)
	}
}
