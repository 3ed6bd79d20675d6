package gocronaudit

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/errlog"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// Options are the optional parts of an [Audit]. The zero value, like nil, gives
// the defaults.
type Options struct {
	// Monitor and SchedulerMonitor get what gocron gives its monitors:
	// the scheduler's own places for them are taken. Default: none.
	Monitor          gocron.Monitor
	SchedulerMonitor gocron.SchedulerMonitor
	// OnError is called with a tick that did not run and cannot be recorded. It may
	// be called from several goroutines. Default:
	// slog.Default() is told of it, with the kinds of errors alone, as their texts may
	// quote inputs.
	OnError func(context.Context, error)
}

// Audit puts the jobs of a scheduler on record. [New] makes one. It is safe for
// concurrent use.
type Audit struct {
	rec      *jobaudit.Recorder
	opts     Options
	watching atomic.Bool // a scheduler has our monitor

	withdrawals queue.Withdrawals

	mu sync.Mutex
	// schedules are found by gocron's identifiers for as long as gocron has
	// them: a tick may be skipped while its job is being removed.
	schedules map[uuid.UUID]weak.Pointer[schedule]
}

// New returns an Audit that records with rec, which stays the caller's: shut the
// scheduler down first, then close rec. opts may be nil.
func New(rec *jobaudit.Recorder, opts *Options) *Audit {
	a := &Audit{rec: rec, schedules: make(map[uuid.UUID]weak.Pointer[schedule])}
	if opts != nil {
		a.opts = *opts
	}
	if a.opts.Monitor == nil {
		a.opts.Monitor = noMonitor{}
	}
	if a.opts.SchedulerMonitor == nil {
		a.opts.SchedulerMonitor = noMonitor{}
	}
	if a.opts.OnError == nil {
		a.opts.OnError = errlog.Default("gocronaudit", errNotWatching, queue.ErrNotWithdrawn)
	}
	return a
}

// SchedulerOption returns the option that tells the Audit of ticks that do not
// run. Give it to gocron.NewScheduler.
func (a *Audit) SchedulerOption() gocron.SchedulerOption {
	m := &monitor{Monitor: a.opts.Monitor, SchedulerMonitor: a.opts.SchedulerMonitor, audit: a}
	return forScheduler(
		func() { a.watching.Store(true) },
		gocron.WithMonitor(m),
		gocron.WithSchedulerMonitor(m),
	)
}

// forScheduler makes one option of several. S is a type that gocron does not
// export.
func forScheduler[S any](applied func(), options ...func(*S) error) func(*S) error {
	return func(s *S) error {
		applied()
		for _, option := range options {
			if err := option(s); err != nil {
				return err
			}
		}
		return nil
	}
}

var errNotWatching = errors.New("gocronaudit: the scheduler was made without Audit.SchedulerOption")

// Job returns fn as a task, and the option that goes with it, for one call of
// NewJob; give the same two to Update. Options behind it take precedence.
// submission says at each tick who asks for the job, and why; its trigger is
// most often [jobaudit.Scheduled].
//
// The option names the job after fn, as gocron does by itself, since a
// distributed locker has nothing else to tell jobs by; it sets the job's
// identifier, by which skipped ticks are found, so leave out WithIdentifier; and
// it listens with AfterLockError. NewJob returns its error if no scheduler has been
// made with [Audit.SchedulerOption].
func (a *Audit) Job(
	submission func(context.Context) jobaudit.Submission, fn func(context.Context) error,
) (gocron.Task, gocron.JobOption) {
	s := &schedule{audit: a, submission: submission, fn: fn}
	id := uuid.New()
	return gocron.NewTask(s.run), forJob(
		func() error { return a.register(id, s) },
		gocron.WithName(runtime.FuncForPC(reflect.ValueOf(fn).Pointer()).Name()),
		gocron.WithIdentifier(id),
		gocron.WithEventListeners(gocron.AfterLockError(s.notLocked)),
	)
}

// forJob is forScheduler for a job.
func forJob[J any](applied func() error, options ...func(*J, time.Time) error) func(*J, time.Time) error {
	return func(j *J, now time.Time) error {
		err := applied()
		for _, option := range options {
			err = errors.Join(err, option(j, now))
		}
		return err
	}
}

func (a *Audit) register(id uuid.UUID, s *schedule) error {
	if !a.watching.Load() {
		return errNotWatching
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, again := a.schedules[id]; !again {
		a.schedules[id] = weak.Make(s)
		runtime.AddCleanup(s, a.forget, id)
	}
	return nil
}

func (a *Audit) forget(id uuid.UUID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.schedules, id)
}

// schedule returns what is on record under gocron's identifier, nil if that is
// a job without an Audit.
func (a *Audit) schedule(id uuid.UUID) *schedule {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.schedules[id].Value()
}
