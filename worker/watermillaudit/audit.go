package watermillaudit

import (
	"context"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/errlog"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// Options are the optional parts of an [Audit]. The zero value, like nil, gives
// the defaults.
type Options struct {
	// Logs are all the logs that the jobs of these topics are recorded in: the
	// recorder's own sink, and that of every other process that publishes or
	// subscribes, if those have logs of their own. They are read once for each
	// delivery, to number the attempts, to close those that were lost with their
	// process, and to find the jobs of messages that carry none. Without them
	// every delivery counts as a first attempt.
	Logs []jobaudit.AuditReader
	// Submission says who asks for the job that a message is, and why: Principal
	// and Trigger, and whatever else of a submission the message and its context
	// tell. Action is the topic, and Inputs are the payload, unless they
	// are set. Queue is filled in. It may be called from several
	// goroutines. Default: no principal is given, which is right for a program
	// that publishes only what its handlers do; other messages are refused.
	Submission func(topic string, msg *message.Message) jobaudit.Submission
	// Events says of which topics every message goes to several handlers, or to
	// several consumer groups. Publishing is a job there, which ends when the
	// message is published, and each handler's work is a job of its own, a child
	// of that one, whose action is the handler's name. Publishers and routers
	// must agree on it. Default: none; a message is one job, and goes to one.
	Events func(topic string) bool
	// Final says of a message that failed and is going to be nacked that it will
	// not be delivered again: the job has failed then. attempt counts from 1. It
	// is for Pub/Subs that stop after so many deliveries without saying so.
	// Default: every nacked message comes back.
	Final func(msg *message.Message, attempt int, err error) bool
	// Service is who a job is submitted by if it is not known who asked: for
	// messages that were published without the adapter, for those that a job
	// publishes, and for what the handlers of Events do. With the handler's name
	// it tells the subscribers of one topic apart. Default: the service
	// "watermillaudit".
	Service jobaudit.Principal
	// OnError is called with every error of the audit path that no call returns. It
	// may be called from several goroutines and must not wait. Default: they are
	// told to slog.Default() by their kinds alone, as their texts may quote inputs.
	OnError func(context.Context, error)
}

// Audit records the messages of watermill's topics as jobs. [New] makes one;
// one per Recorder is enough. It is safe for concurrent use.
type Audit struct {
	rec  *jobaudit.Recorder
	opts Options
	logs *queue.Logs

	withdrawals queue.Withdrawals

	mu         sync.Mutex                    // guards what follows, which is of attempts without an end:
	attempts   map[uuid.UUID]*attempt        // the newest of each job
	deliveries map[*message.Message]*attempt // the newest of each delivery
	open       int                           // how many there are
	idle       chan struct{}                 // closed when there are none; nil if no call waits
}

// New returns an Audit that records with rec, which stays the caller's: close the
// router first, then [Audit.Wait], then close rec. opts may be nil.
func New(rec *jobaudit.Recorder, opts *Options) *Audit {
	a := &Audit{
		rec:      rec,
		attempts: map[uuid.UUID]*attempt{}, deliveries: map[*message.Message]*attempt{},
	}
	if opts != nil {
		a.opts = *opts
	}
	o := &a.opts
	if o.Events == nil {
		o.Events = func(string) bool { return false }
	}
	if o.Final == nil {
		o.Final = func(*message.Message, int, error) bool { return false }
	}
	if o.Service == (jobaudit.Principal{}) {
		o.Service = jobaudit.Principal{Kind: jobaudit.Service, ID: "watermillaudit", Verified: true}
	}
	if o.OnError == nil {
		o.OnError = errlog.Default("watermillaudit", errNacked, queue.ErrPartialLog, queue.ErrNoLogs, queue.ErrNotWithdrawn)
	}
	a.logs = queue.NewLogs(o.Logs, o.OnError)
	return a
}

// Wait returns when every attempt that has begun is on record with its end, or
// with ctx's error. Call it after the router's Close and before the Recorder's.
func (a *Audit) Wait(ctx context.Context) error {
	a.mu.Lock()
	if a.open == 0 {
		a.mu.Unlock()
		return nil
	}
	if a.idle == nil {
		a.idle = make(chan struct{})
	}
	idle := a.idle
	a.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add makes an attempt the newest of its job and of its delivery.
func (a *Audit) add(at *attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attempts[at.trail.JobID()] = at
	a.deliveries[at.msg] = at
	a.open++
}

// newest returns the newest attempt of a job in this process, if it has no end
// yet.
func (a *Audit) newest(job uuid.UUID) *attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.attempts[job]
}

// delivery returns the attempt that a delivery is already, if it has no end yet.
func (a *Audit) delivery(msg *message.Message) *attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.deliveries[msg]
}

func (a *Audit) remove(at *attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if job := at.trail.JobID(); a.attempts[job] == at {
		delete(a.attempts, job)
	}
	if a.deliveries[at.msg] == at {
		delete(a.deliveries, at.msg)
	}
	if a.open--; a.open == 0 && a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
}

func (a *Audit) report(ctx context.Context, err error) {
	if err != nil {
		a.opts.OnError(ctx, err)
	}
}
