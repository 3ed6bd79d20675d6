package asynqaudit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/jobaudit/jobaudit"
)

const (
	system = "asynq"    // in job.queue
	header = "jobaudit" // the task header that holds the Carrier
)

// Options are the optional parts of an [Adapter]. The zero value, like nil,
// gives the defaults.
type Options struct {
	// Log reads what has been recorded, of every log that the jobs of these
	// queues are recorded in. [Inspector.Reconcile] needs it. Elsewhere it
	// closes executions that were lost with their process, and finds the
	// submissions of tasks that carry none.
	Log jobaudit.AuditReader
	// Service is who a job is submitted by whose task was put into its queue
	// by somebody without the adapter. Default: the service "asynqaudit".
	Service jobaudit.Principal
	// OnError is told of every error of the audit path that no call returns.
	// It may be called from several goroutines and must not wait. Default:
	// they are logged by slog.Default.
	OnError func(context.Context, error)
}

// Adapter records the tasks of asynq's queues as jobs. [New] makes one; one per
// Recorder is enough. It is safe for concurrent use.
type Adapter struct {
	rec  *jobaudit.Recorder
	opts Options
}

// New returns an Adapter that records with rec, which stays the caller's: close
// servers and clients first, then the Recorder. opts may be nil.
func New(rec *jobaudit.Recorder, opts *Options) *Adapter {
	a := &Adapter{rec: rec}
	if opts != nil {
		a.opts = *opts
	}
	if a.opts.Service == (jobaudit.Principal{}) {
		a.opts.Service = jobaudit.Principal{Kind: jobaudit.Service, ID: "asynqaudit", Verified: true}
	}
	if a.opts.OnError == nil {
		a.opts.OnError = func(ctx context.Context, err error) {
			slog.Default().ErrorContext(ctx, "asynqaudit", "err", err)
		}
	}
	return a
}

func (a *Adapter) report(ctx context.Context, err error) {
	if err != nil {
		a.opts.OnError(ctx, err)
	}
}

// place is where asynq keeps a task.
type place struct{ queue, id string }

// ref is the place's form in job.queue. The queue's name is escaped, so that
// the first slash ends it.
func (p place) ref() jobaudit.Ref {
	return jobaudit.Ref{System: system, ID: url.PathEscape(p.queue) + "/" + p.id}
}

// anywhere is the place of a task whose ID and queue asynq chooses after the
// submission: all that is known is that its header names the job.
func anywhere(job uuid.UUID) jobaudit.Ref {
	return jobaudit.Ref{System: system, ID: "*/" + job.String()}
}

// placeOf reads what ref wrote. It is false for anywhere.
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

// adoptedID is the ID of the job of a task that carries none: whoever meets the
// task makes the same of it.
func (p place) adoptedID() uuid.UUID {
	sum := sha256.Sum256([]byte("jobaudit " + system + " task\n" + p.ref().ID))
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

// trail opens a Trail for the task's job: by its header, else by what the log
// says of the job that it would be, else by submitting that job, since there is
// no job without a submission.
func (a *Adapter) trail(ctx context.Context, t task) (*jobaudit.Trail, error) {
	if c, ok := t.carrier(); ok {
		return a.rec.Resume(ctx, c, inputs(t.payload))
	}
	if a.opts.Log != nil {
		for r, err := range a.opts.Log.Records(ctx, jobaudit.Query{JobID: t.adoptedID(), Limit: 1}) {
			if err != nil {
				return nil, err
			}
			return a.rec.Resume(ctx, r.Carrier(), inputs(t.payload))
		}
	}
	return a.rec.Submit(ctx, a.adoption(t))
}

func (a *Adapter) adoption(t task) jobaudit.Submission {
	return jobaudit.Submission{
		ID: t.adoptedID(), Action: t.typ, Inputs: inputs(t.payload), Principal: a.opts.Service, Queue: t.ref(), Detached: true,
		Trigger: jobaudit.Trigger{
			Kind: jobaudit.OnEvent, Reason: "a task was found in its queue that nobody had submitted a job for",
		},
	}
}

// job returns what the log says of a job; false if it knows none, or if there
// is no log to read.
func (a *Adapter) job(ctx context.Context, id uuid.UUID) (jobaudit.Job, bool, error) {
	if a.opts.Log == nil {
		return jobaudit.Job{}, false, nil
	}
	known := false
	job, err := jobaudit.Replay(func(yield func(jobaudit.Record, error) bool) {
		for r, err := range a.opts.Log.Records(ctx, jobaudit.Query{JobID: id}) {
			known = true
			if !yield(r, err) {
				return
			}
		}
	})
	if !known {
		return jobaudit.Job{}, false, nil
	}
	return job, err == nil, err
}
