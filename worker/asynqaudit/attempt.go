package asynqaudit

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// attempt is one time that asynq gave a task to this process, from its start to
// asynq's verdict on it.
type attempt struct {
	a     *Audit
	place place
	// number counts the attempts that asynq counts: an attempt that is given
	// back has the number of the one before it.
	number int
	ctx    context.Context // asynq's, for this attempt; it ends with it at the latest

	over chan struct{} // closed when the end is on record

	stale bool // its context had ended when last looked at; guarded by the attempts' lock

	mu sync.Mutex // of what follows: the worker's goroutine sets it, and asynq's own read it
	facts
	concluded bool    // an end has been decided on
	intent    verdict // what asynq was about to write, if that was not seen to succeed
}

// facts are what the end of an attempt depends on.
type facts struct {
	trail   *jobaudit.Trail // nil until the job is known
	started bool            // its start is on record
	settled bool            // what becomes of the job is on record already, by a denial
	err     error           // what asynq has to say against it
	unwound error           // how the handler ended without returning
}

// known returns the facts as they are now.
func (at *attempt) known() facts {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.facts
}

// tell notes the error by which asynq has decided on the attempt.
func (at *attempt) tell(err error) {
	at.mu.Lock()
	defer at.mu.Unlock()
	at.err = err
}

// hasEnd reports whether an end has been decided on.
func (at *attempt) hasEnd() bool {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.concluded
}

// intend notes what asynq was about to write.
func (at *attempt) intend(v verdict) {
	at.mu.Lock()
	defer at.mu.Unlock()
	at.intent = v
}

func (at *attempt) intention() (v verdict, ok bool) {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.intent, at.intent.fate != ""
}

// because is the error that the record gives: never a panic's value.
func (f facts) because(fallback error) error {
	switch {
	case f.err == nil:
		return fallback
	case asynq.IsPanicError(f.err) && f.unwound != nil:
		return f.unwound
	case asynq.IsPanicError(f.err):
		return &panicked{}
	}
	return f.err
}

// The ends of attempts on which asynq says nothing.
var (
	errNoVerdict   = errors.New("asynq has recorded no verdict on the attempt: its lease had expired, or Redis did not take it")
	errRedelivered = errors.New("asynq has given the task out again")
)

// conclude records asynq's verdict, once, and calls done when it is on record.
// It does not wait for the sink: the worker is free for its next task, whose
// start waits for the same sink.
func (at *attempt) conclude(ctx context.Context, v verdict, pending *sync.WaitGroup, done func()) {
	at.mu.Lock()
	if at.concluded {
		at.mu.Unlock()
		return
	}
	at.concluded = true
	f := at.facts
	at.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	finish := func() {
		close(at.over)
		done()
	}
	switch {
	case f.settled || f.trail == nil:
		finish()
	case v.fate == requeued || v.fate == retried:
		f.giveBack(ctx, v)
		finish()
	default:
		pending.Go(func() {
			defer finish()
			at.end(ctx, v, f)
		})
	}
}

// giveBack records the end of an attempt of a job that goes on.
func (f facts) giveBack(ctx context.Context, v verdict) {
	switch {
	case v.fate == requeued:
		f.trail.Deferring(ctx, "the server was shut down, and the task is back in its queue")
	case !f.started:
		f.trail.Deferring(ctx, "the start could not be recorded, and the handler was not called")
	case !v.counted && f.err != nil:
		f.trail.Deferring(ctx, "tried again, and not counted as a failure: "+f.because(nil).Error())
	default:
		f.trail.Retrying(ctx, f.because(asynq.ErrLeaseExpired))
	}
}

// record records the start.
func (at *attempt) record(ctx context.Context, trail *jobaudit.Trail) error {
	return queue.WithRef(at.place.queueRef(), anywhere(trail.JobID()), func(ref jobaudit.Ref) error {
		return trail.Start(ctx, jobaudit.Execution{Attempt: at.number, Queue: ref})
	})
}

// end records the job's outcome.
func (at *attempt) end(ctx context.Context, v verdict, f facts) {
	switch {
	case v.fate == archived:
		if !f.started {
			if err := at.record(ctx, f.trail); err != nil {
				at.a.report(ctx, err)
				return
			}
		}
		at.a.report(ctx, f.trail.Fail(ctx, f.because(asynq.ErrLeaseExpired)))
	case f.err == nil:
		at.a.report(ctx, f.trail.Succeed(ctx))
	default:
		at.a.report(ctx, f.trail.Cancel(ctx, "revoked: "+f.because(nil).Error()))
	}
}

// abandon records that the attempt is over and that asynq has said nothing: the
// job goes on, and its queue decides how.
func (at *attempt) abandon(ctx context.Context, reason error) {
	at.mu.Lock()
	if at.concluded {
		at.mu.Unlock()
		return
	}
	at.concluded = true
	f := at.facts
	at.mu.Unlock()
	defer close(at.over)
	if f.trail != nil && f.started && !f.settled {
		f.trail.Retrying(context.WithoutCancel(ctx), f.because(reason))
	}
}

// returned records what the handler says after the verdict, which is too late
// to change anything.
func (at *attempt) returned(ctx context.Context, how string) {
	if at.hasEnd() {
		at.trail.Log(context.WithoutCancel(ctx), "the handler "+how+" after its attempt had ended")
	}
}

// panicked is a panic that asynq reports, without its value, which may hold
// anything.
type panicked struct{ frame string }

func (p *panicked) Error() string {
	if p.frame == "" {
		return "panic"
	}
	return "panic in " + p.frame
}

// JobErrorCode returns PANIC.
func (*panicked) JobErrorCode() string { return string(jobaudit.CodePanic) }

// attempts are those of a server that have no verdict yet.
type attempts struct {
	mu    sync.Mutex
	by    map[place]*attempt
	swept time.Time
}

// sweepInterval is how often attempts are looked for on which asynq will never
// say anything. It is longer than asynq goes on trying to tell Redis.
const sweepInterval = 2 * time.Minute

// put adds an attempt, and returns the one before it of the same task that has
// no verdict yet, and others that will never get one.
func (as *attempts) put(at *attempt) (before *attempt, dead []*attempt) {
	as.mu.Lock()
	defer as.mu.Unlock()
	before = as.by[at.place]
	as.by[at.place] = at
	now := time.Now()
	if now.Sub(as.swept) < sweepInterval {
		return before, nil
	}
	as.swept = now
	for p, other := range as.by {
		switch {
		case other.ctx.Err() == nil:
		case !other.stale:
			other.stale = true
		default:
			dead = append(dead, other)
			delete(as.by, p)
		}
	}
	return before, dead
}

func (as *attempts) get(p place) *attempt {
	as.mu.Lock()
	defer as.mu.Unlock()
	return as.by[p]
}

func (as *attempts) remove(at *attempt) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if as.by[at.place] == at {
		delete(as.by, at.place)
	}
}

// clear removes all and returns them.
func (as *attempts) clear() []*attempt {
	as.mu.Lock()
	defer as.mu.Unlock()
	var all []*attempt
	for _, at := range as.by {
		all = append(all, at)
	}
	clear(as.by)
	return all
}
