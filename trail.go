package jobaudit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Trail is one writer's run of one job: what it records is one stream, in the
// order of the calls. [Recorder.Submit] opens one, [Recorder.Resume] opens one
// in another process. It is safe for concurrent use.
//
// Submit, Authorize, Deny and Start must succeed before work begins: they
// return within the recorder's Timeout, and after an error the job must not
// run. Whether the event was stored may be unknown then; the next call on the
// Trail settles it first.
//
// Log, Heartbeat, Snapshot and Retrying never wait for the sink and return
// nothing: what goes wrong is told to OnError.
//
// Succeed, Fail, Cancel and Correct return once the event and all before it
// are durable. They ignore ctx's end, retry, and give up after the recorder's
// OutcomeTimeout; the event is sent on in the background then. Calling the
// same again waits again and records nothing new.
type Trail struct {
	rec     *Recorder
	env     envelope
	sub     Submission
	door    *door
	stream  *stream
	resumed bool
	owned   bool // submitted by Run or Call: nobody else can start it

	mu sync.Mutex // guards what follows, and the order of the stream's events
	life
	output    *content
	impact    text
	progress  *Progress
	cancel    context.CancelCauseFunc // of the execution in Run
	asked     *entry                  // the submission, until Submit sends it
	submitted bool                    // by Submit
	panicked  *errorData              // how an unsettled execution ended
}

// life is what a Trail knows of its job.
type life struct {
	state      JobState
	authorized bool
	revoked    bool // denied while it ran, and not authorized since
	attempt    int
	execution  uuid.UUID
	open       bool // the execution has no end yet
	patience   time.Duration
	queue      QueueRef
	cause      uuid.UUID // the event that later ones follow from
	ended      EventType // the outcome recorded here
}

// Submit records that a job is asked for, and returns its Trail once that is
// durable. The error is an [*AuditError]; it wraps a [*FieldError] if a field
// is missing or malformed, or [ErrNoPolicy]. If the Trail is nil, nothing was
// stored. If there are both, the outcome is unknown: the Trail's next call
// settles it.
func (r *Recorder) Submit(ctx context.Context, s Submission) (*Trail, error) {
	t, e, err := r.submission(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, t.fail("submit", err)
	}
	t.mu.Lock()
	return t, t.unlockAndAdmit(ctx, "submit", admissionOf{entries: []entry{e}, before: t.life, stays: true})
}

// Prepare opens a Trail for a job that is going to be asked for, and stores
// nothing: [Trail.Submit] does. In between, its Carrier can go into a queue, as
// in a transaction that may yet be rolled back. The error is as [Recorder.Submit]
// says.
func (r *Recorder) Prepare(ctx context.Context, s Submission) (*Trail, error) {
	t, e, err := r.submission(ctx, s)
	if err != nil {
		return nil, err
	}
	t.asked = &e
	return t, nil
}

// Submit records the submission of a job that [Recorder.Prepare] opened, and
// returns once that is durable; calling it again records nothing new. On a
// resumed Trail it is for those who have found that no log holds the job's
// submission: it records what the Carrier says of it.
func (t *Trail) Submit(ctx context.Context) error {
	if err := t.ready(ctx); err != nil {
		return t.fail("submit", err)
	}
	t.mu.Lock()
	if t.asked == nil && t.resumed && !t.submitted {
		e, err := t.askAgain()
		if err != nil {
			t.mu.Unlock()
			return t.fail("submit", err)
		}
		t.asked = &e
	}
	if t.asked == nil {
		t.mu.Unlock()
		return t.fail("submit", t.flush(ctx, t.rec.opts.Timeout))
	}
	a := admissionOf{entries: []entry{*t.asked}, stays: true}
	t.asked, t.submitted = nil, true
	return t.unlockAndAdmit(ctx, "submit", a)
}

// askAgain makes the submission's event from what a Carrier says. mu is held.
func (t *Trail) askAgain() (entry, error) {
	inputs, err := t.door.inputs(t.sub.Inputs)
	if err != nil {
		return entry{}, err
	}
	d := t.draft(JobSubmitted)
	d.state, d.attempt, d.executionID = Pending, 0, uuid.Nil
	d.inputs, d.redaction = inputs.json, inputs.redaction
	return t.seal(&d, admission), nil
}

// submission opens a Trail and makes its first event.
func (r *Recorder) submission(ctx context.Context, s Submission) (*Trail, entry, error) {
	if s.ID == uuid.Nil {
		s.ID = r.opts.NewID()
	}
	refuse := func(err error) (*Trail, entry, error) {
		return nil, entry{}, &AuditError{Op: "submit", JobID: s.ID, Err: err}
	}
	if r.closed.Load() {
		return refuse(ErrClosed)
	}
	if err := s.check(); err != nil {
		return refuse(err)
	}
	t := &Trail{rec: r, door: r.opts.Redactors.door(s.Action)}
	t.door.about(&s)
	inputs, err := t.door.inputs(s.Inputs)
	if err != nil {
		return refuse(err)
	}
	parent, _ := FromContext(ctx)
	cause := s.inherit(parent, &t.env)
	t.sub = s
	if r.opts.Authorize == nil {
		t.sub.Inputs = nil // nobody asks for them again
	}
	t.env.describe(&t.sub, r.where, t.door)
	t.stream = r.courier.open(r.opts.NewID(), &t.env, nil)
	d := draft{
		id: r.opts.NewID(), typ: JobSubmitted, time: r.opts.Now(), state: Pending,
		queue: s.Queue, causationID: cause, inputs: inputs.json, redaction: inputs.redaction,
	}
	t.life = life{state: Pending, queue: s.Queue, cause: d.id, patience: 3 * r.opts.Heartbeat}
	return t, t.seal(&d, admission), nil
}

// Resume opens a Trail for a job that was submitted elsewhere. It stores
// nothing by itself. inputs are the job's inputs as the worker got them, or
// nil: they are not stored again, but what the action's policy removes from
// them is kept out of the job's later texts and output. Where there is a policy
// and no inputs, the redaction blocks of starts, outcomes and corrections say
// that this could not be done.
//
// The error is an [*AuditError] that wraps a [*FieldError] if the Carrier is
// empty.
func (r *Recorder) Resume(ctx context.Context, c Carrier, inputs any) (*Trail, error) {
	if r.closed.Load() {
		return nil, &AuditError{Op: "resume", Err: ErrClosed}
	}
	if err := ctx.Err(); err != nil {
		return nil, &AuditError{Op: "resume", Err: err}
	}
	g, err := c.open()
	if err != nil {
		return nil, &AuditError{Op: "resume", Err: err}
	}
	s := g.sub
	s.Inputs = inputs
	t := &Trail{rec: r, sub: s, resumed: true, door: r.opts.Redactors.door(s.Action)}
	t.door.about(&s)
	t.door.resume(inputs)
	t.env = envelope{
		jobID: s.ID, parentID: g.parentID, rootID: g.rootID, retryOf: s.RetryOf,
		correlationID: s.CorrelationID, requestID: s.RequestID, traceParent: s.TraceParent,
	}
	t.env.describe(&t.sub, r.where, t.door)
	t.stream = r.courier.open(r.opts.NewID(), &t.env, g.head)
	t.life = life{state: Pending, patience: 3 * r.opts.Heartbeat}
	t.cause = g.cause
	if g.head != nil {
		t.cause = g.head.event
	}
	return t, nil
}

// JobID returns the job's ID.
func (t *Trail) JobID() uuid.UUID { return t.env.jobID }

// Carrier returns what takes the job's identity through a queue.
func (t *Trail) Carrier() Carrier {
	g := cargo{
		sub: t.sub, parentID: t.env.parentID, rootID: t.env.rootID,
		reason: t.door.text(t.sub.Trigger.Reason), head: t.rec.courier.head(t.stream), cause: t.newestCause(),
	}
	g.sub.Resource = t.env.resource.value
	return g.encode()
}

type trailKey struct{}

// Context returns a context that carries the Trail: jobs submitted under it
// are children of this job.
func (t *Trail) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, trailKey{}, t)
}

// FromContext returns the Trail of the job that runs under ctx.
func FromContext(ctx context.Context) (*Trail, bool) {
	t, ok := ctx.Value(trailKey{}).(*Trail)
	return t, ok
}

func (t *Trail) newestCause() uuid.UUID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cause
}

// draft begins an event of the job as it is now. mu is held, as in all that
// calls it.
func (t *Trail) draft(typ EventType) draft {
	return draft{
		id: t.rec.opts.NewID(), typ: typ, time: t.rec.opts.Now(),
		state: t.state, attempt: t.attempt, executionID: t.execution, queue: t.queue, causationID: t.cause,
	}
}

// advance moves the job on by an event of this type and begins the event.
func (t *Trail) advance(typ EventType) (draft, error) {
	effect, next := step(t.state, typ)
	switch effect {
	case enters, keeps, executes:
		t.state = next
		return t.draft(typ), nil
	}
	return draft{}, fmt.Errorf("%s in state %s: %w", typ, t.state, ErrTransition)
}

func (t *Trail) seal(d *draft, u urgency) entry {
	buf := bufPool.Get().(*[]byte)
	return entry{sealed: t.env.seal(*buf, d), pooled: buf, urgency: u}
}

func (t *Trail) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*AuditError](err); ok {
		return err
	}
	return &AuditError{Op: op, JobID: t.env.jobID, Err: err}
}

// textOf passes an optional text through the door.
func (t *Trail) textOf(s string) text {
	if s == "" {
		return text{}
	}
	return t.door.text(s)
}

func (t *Trail) report(ctx context.Context, op string, err error) {
	if err != nil {
		t.rec.report(ctx, op, t.env.jobID, err)
	}
}

// Observe tells a Trail what a reader knows of its job: the state, the newest
// attempt, and the execution that has no end yet. It is for those who record
// an end that the worker did not, as a queue's own table tells it. Nothing is
// stored. A job other than the Trail's is an error and changes nothing.
func (t *Trail) Observe(j Job) error {
	if j.ID != t.env.jobID {
		return t.fail("observe", &FieldError{Field: "id", Problem: "is another job's"})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state, t.attempt, t.execution, t.open = j.State, j.Attempt, uuid.Nil, false
	if t.rec.opts.Authorize == nil { // else it is asked again: a yes may have been withdrawn since
		t.authorized = t.authorized || len(j.Executions) > 0
	}
	for _, x := range j.Executions {
		if x.End == "" {
			t.attempt, t.execution, t.open = x.Attempt, x.ID, true
		}
	}
	return nil
}
