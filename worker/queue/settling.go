package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Settling remembers since when a process has seen jobs as they are. What has
// settled is never read from the time that a record or a queue gives, which is
// another process's clock: it is for how long this process, by its own monotonic
// clock, has seen no change. The zero value is ready; an adapter has one for all its
// comparisons. It is safe for concurrent use.
type Settling struct {
	mu      sync.Mutex
	jobs    map[uuid.UUID]sight
	watches int // so far
}

// sight is a job as it was seen.
type sight struct {
	as    string
	since time.Time
	last  time.Time // when it was seen last
	watch int       // and by which Watch
}

// A job that comparisons do not meet again is forgotten when one of them is done, or,
// if they fail again and again, after so long a time and so many of them.
const (
	forgetAfter   = time.Hour
	forgetWatches = 8
)

// Watch returns what one comparison asks.
func (s *Settling) Watch(settle time.Duration) *Watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches++
	maps.DeleteFunc(s.jobs, func(_ uuid.UUID, j sight) bool {
		return s.watches-j.watch > forgetWatches && time.Since(j.last) > forgetAfter
	})
	return &Watch{settling: s, settle: settle, met: map[uuid.UUID]sight{}}
}

// Watch is one comparison's part of a [Settling]. It is for one goroutine.
type Watch struct {
	settling *Settling
	settle   time.Duration
	met      map[uuid.UUID]sight
}

// Settled reports whether nothing has happened to a job for [ReconcileOptions.Settle]:
// nothing was recorded of it, and its queue shows the same. A job that is met for
// the first time has not settled. A nil Watch knows no job.
func (w *Watch) Settled(job uuid.UUID, past Past, shown ...any) bool {
	if w == nil {
		return false
	}
	if w.settle <= 0 {
		return true
	}
	seen := time.Now()
	now := sight{as: fmt.Sprint(past.records, past.mark, shown), since: seen, last: seen}
	w.settling.mu.Lock()
	defer w.settling.mu.Unlock()
	now.watch = w.settling.watches
	before, again := w.settling.jobs[job]
	if again = again && before.as == now.as; again {
		now.since = before.since
	}
	if w.settling.jobs == nil {
		w.settling.jobs = map[uuid.UUID]sight{}
	}
	w.settling.jobs[job], w.met[job] = now, now
	return again && time.Since(now.since) >= w.settle
}

// Done is called when a comparison has met all jobs. The others are forgotten.
func (w *Watch) Done() {
	if w.settle <= 0 { // it has noted none
		return
	}
	w.settling.mu.Lock()
	defer w.settling.mu.Unlock()
	w.settling.jobs = w.met
}

// Run makes one comparison or, with [ReconcileOptions.Wait], a second one for what
// had not settled in the first.
func (o ReconcileOptions) Run(ctx context.Context, compare func() (Report, error)) (Report, error) {
	first, err := compare()
	if !o.Wait || first.Unsettled == 0 {
		return first, err
	}
	select {
	case <-ctx.Done():
		return first, errors.Join(err, ctx.Err())
	case <-time.After(o.Settle):
	}
	second, err := compare()
	second.Submitted += first.Submitted
	second.Attempts += first.Attempts
	second.Ended += first.Ended
	return second, err
}

// maxFailures is how many jobs an error of a comparison names, and maxProbes how many
// probes of the sink one makes.
const maxFailures, maxProbes = 16, 16

// Failures are what went wrong with single jobs of a comparison, which goes on with
// the others: who can write to a queue could end it otherwise.
type Failures struct {
	Recorder *jobaudit.Recorder
	// Ambiguous says that an error was not of the job itself, but of a log, of the queue
	// or of the sink, so that it is not known what else it hides.
	Ambiguous bool

	errs   []error
	more   int
	probed int
}

// Add notes an error. It reports whether the comparison is to end: its context has
// ended, a log or the queue cannot be read, or the sink takes nothing. nil is no error.
func (f *Failures) Add(ctx context.Context, err error) (ends bool) {
	if err == nil {
		return false
	}
	if len(f.errs) < maxFailures {
		f.errs = append(f.errs, err)
	} else {
		f.more++
	}
	if ctx.Err() != nil {
		f.Ambiguous = true
		return true
	}
	if own(err) {
		return false
	}
	f.Ambiguous = true
	if _, ok := errors.AsType[*jobaudit.AuditError](err); !ok {
		return true
	}
	if f.probed == maxProbes {
		return false
	}
	f.probed++
	return f.Recorder.Probe(ctx) != nil
}

// own reports whether an error comes of what a queue or the logs hold of one job: a
// Carrier that is refused, records that contradict each other, an end that was there first.
func own(err error) bool {
	_, field := errors.AsType[*jobaudit.FieldError](err)
	_, record := errors.AsType[*jobaudit.RecordError](err)
	return field || record || errors.Is(err, jobaudit.ErrTransition) || errors.Is(err, jobaudit.ErrDenied) ||
		errors.Is(err, jobaudit.ErrNoPolicy)
}

// Err joins the errors; of very many, some.
func (f *Failures) Err() error {
	if f.more > 0 {
		return errors.Join(append(f.errs, fmt.Errorf("and %d more", f.more))...)
	}
	return errors.Join(f.errs...)
}
