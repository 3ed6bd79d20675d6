package asynqaudit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/errlog"
	"github.com/jobaudit/jobaudit/worker/queue"
)

const (
	system = "asynq"    // in job.queue
	header = "jobaudit" // the task header that holds the Carrier
)

// Options are the optional parts of an [Audit]. The zero value, like nil,
// gives the defaults.
type Options struct {
	// Logs are all the logs that the jobs of these queues are recorded in: the
	// recorder's own sink, and that of every other process that enqueues tasks
	// or works on them, if those have logs of their own. [Inspector.Reconcile]
	// needs them. Elsewhere they close executions that were lost with their
	// process, and find the submissions of tasks that carry none.
	Logs []jobaudit.AuditReader
	// Service stands where it is not known who asked: for tasks that were
	// put into their queue without the adapter, and for those that asynq
	// aggregates. Default: the service "asynqaudit".
	Service jobaudit.Principal
	// OnError is called with every error of the audit path that no call returns.
	// It may be called from several goroutines and must not wait. Default:
	// slog.Default() is told of their kinds alone, as their texts may quote inputs.
	OnError func(context.Context, error)
}

// Audit records the tasks of asynq's queues as jobs. [New] makes one; one per
// Recorder is enough. It is safe for concurrent use.
type Audit struct {
	rec  *jobaudit.Recorder
	opts Options
	logs *queue.Logs

	settling    queue.Settling
	withdrawals queue.Withdrawals
}

// New returns an Audit that records with rec, which stays the caller's: close
// servers and clients first, then the Recorder. opts may be nil.
func New(rec *jobaudit.Recorder, opts *Options) *Audit {
	a := &Audit{rec: rec}
	if opts != nil {
		a.opts = *opts
	}
	if a.opts.Service == (jobaudit.Principal{}) {
		a.opts.Service = jobaudit.Principal{Kind: jobaudit.Service, ID: "asynqaudit", Verified: true}
	}
	if a.opts.OnError == nil {
		a.opts.OnError = errlog.Default("asynqaudit", queue.ErrPartialLog, queue.ErrNoLogs, queue.ErrNotWithdrawn, errNoVerdict, errRedelivered)
	}
	a.logs = queue.NewLogs(a.opts.Logs, a.opts.OnError)
	return a
}

func (a *Audit) report(ctx context.Context, err error) {
	if err != nil {
		a.opts.OnError(ctx, err)
	}
}

// place is where asynq keeps a task.
type place struct{ queue, id string }

// queueRef is the place's form in job.queue. The queue's name is escaped, so that
// the first slash ends it.
func (p place) queueRef() jobaudit.Ref {
	return jobaudit.Ref{System: system, ID: url.PathEscape(p.queue) + "/" + p.id}
}

// anywhere is the place of a task whose ID and queue asynq chooses after the
// submission: all that is known is that its header names the job.
func anywhere(job uuid.UUID) jobaudit.Ref {
	return jobaudit.Ref{System: system, ID: "*/" + job.String()}
}

// placeOf reads what queueRef wrote. It is false for anywhere.
func placeOf(ref jobaudit.Ref) (place, bool) {
	escaped, id, ok := strings.Cut(ref.ID, "/")
	if !ok || escaped == "*" || ref.System != system {
		return place{}, false
	}
	queue, err := url.PathUnescape(escaped)
	return place{queue, id}, err == nil
}

// task is what the adapter needs to know of a task, wherever it meets it.
type task struct {
	place
	typ     string
	payload []byte
	headers map[string]string
}

func taskOf(info *asynq.TaskInfo) task {
	return task{place{info.Queue, info.ID}, info.Type, info.Payload, info.Headers}
}

// inputs are a task's payload as far as a policy can read it.
func inputs(payload []byte) any {
	switch {
	case len(payload) == 0:
		return nil
	case json.Valid(payload):
		return json.RawMessage(payload)
	}
	return payload // no policy reads it, but what is in it is kept out of later texts
}

// adoptedID is the ID of the job of a task that carries none. It is the same in
// every process.
func (p place) adoptedID() uuid.UUID {
	sum := sha256.Sum256([]byte("jobaudit " + system + " task\n" + p.queueRef().ID))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // the variant of RFC 9562
	return id
}

// carrier returns what the task's header holds.
func (t task) carrier() (jobaudit.Carrier, bool) {
	c, err := jobaudit.ParseCarrier(t.headers[header])
	return c, err == nil
}

// trail opens a Trail for the task's job: by its header, else by what the logs
// say of the job that it would be, else by submitting that job, since there is
// no job without a submission.
func (a *Audit) trail(ctx context.Context, t task) (*jobaudit.Trail, error) {
	if c, ok := t.carrier(); ok {
		return a.rec.Resume(ctx, c, inputs(t.payload))
	}
	past, err := a.logs.Past(ctx, t.adoptedID())
	if err != nil {
		return nil, err
	}
	if past.Known {
		return a.rec.Resume(ctx, past.First.Carrier(), inputs(t.payload))
	}
	return a.adopt(ctx, t)
}

// adopt submits the job of a task that carries none. asynq does not tell when it
// was enqueued.
func (a *Audit) adopt(ctx context.Context, t task) (*jobaudit.Trail, error) {
	submission := jobaudit.Submission{
		ID: t.adoptedID(), Action: t.typ, Inputs: inputs(t.payload), Principal: a.opts.Service, Detached: true,
		Trigger: jobaudit.Trigger{
			Kind: jobaudit.OnEvent, Reason: "a task was found in its queue without a submitted job",
		},
	}
	var trail *jobaudit.Trail
	err := queue.WithRef(t.queueRef(), anywhere(submission.ID), func(ref jobaudit.Ref) (err error) {
		submission.Queue = ref
		trail, err = a.rec.Prepare(ctx, submission)
		return err
	})
	if err != nil {
		return nil, err
	}
	return trail, trail.Reconstruct(time.Time{}, func() error { return trail.Submit(ctx) })
}
