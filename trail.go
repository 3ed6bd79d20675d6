package jobaudit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Execution is one time that a job runs.
type Execution struct {
	// Attempt counts the job's attempts from 1. Default: one more than this
	// Trail's last.
	Attempt int
	// Deadline is how long the job may be silent before it may be taken for
	// dead; each heartbeat starts it anew. Default: three times the recorder's
	// Heartbeat.
	Deadline time.Duration
	// Queue names the job in the framework that owns its retries, where the
	// submission could not.
	Queue QueueRef
	// Unsettled says that how the function of [Trail.Run] ends is not how the
	// job ends: a framework decides that. Run records no outcome then, and the
	// execution stays open for Succeed, Fail, Cancel, Retrying or Deferring. A
	// panic goes on, and is what the next Fail or Retrying tells of; an end by
	// runtime.Goexit is recorded as a failed attempt.
	Unsettled bool
}

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
	version   int // of life
	output    *content
	impact    text
	progress  *Progress
	revoked   *Decision
	cancel    context.CancelCauseFunc // of the execution in Run
	asked     *entry                  // the submission, until Submit sends it
	submitted bool                    // by Submit
	panicked  *errorData              // how an unsettled execution ended
}

// life is what a Trail knows of its job.
type life struct {
	state      JobState
	authorized bool
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
// is missing or malformed, or [ErrNoPolicy], and then the Trail is nil. With
// any other error the outcome is unknown: the Trail settles it.
func (r *Recorder) Submit(ctx context.Context, s Submission) (*Trail, error) {
	t, e, err := r.submission(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, t.fail("submit", err)
	}
	t.mu.Lock()
	return t, t.unlockAndAdmit(ctx, "submit", admissionOf{entries: []entry{e}, stays: true})
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
// them can be kept out of the job's later texts.
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
		t.version++
		return t.draft(typ), nil
	}
	return draft{}, fmt.Errorf("%s in state %s: %w", typ, t.state, ErrTransition)
}

func (t *Trail) seal(d *draft, u urgency) entry {
	buf := bufPool.Get().(*[]byte)
	return entry{sealed: t.env.seal(*buf, d), urgency: u}
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

// ready says whether a call that must succeed before work begins can begin.
func (t *Trail) ready(ctx context.Context) error {
	if t.rec.closed.Load() {
		return ErrClosed
	}
	return ctx.Err()
}

// admissionOf is what a call records before work begins.
type admissionOf struct {
	entries []entry
	stays   bool   // if the caller gives up: the entries wait for the next call
	before  life   // what the Trail knew without them
	version int    // of life, with them
	sent    func() // called when they are on their way
}

// unlockAndAdmit sends what was made under mu, in that order, and waits for
// the last entry. When it gives up, what has not been handed over is taken
// back.
func (t *Trail) unlockAndAdmit(ctx context.Context, op string, a admissionOf) error {
	last := &a.entries[len(a.entries)-1]
	last.ticket = newTicket(nil)
	err := t.rec.courier.send(t.stream, a.entries...)
	t.mu.Unlock()
	if a.sent != nil {
		a.sent()
	}
	if err != nil {
		return t.fail(op, err)
	}
	return t.admitted(ctx, op, last.ticket, a)
}

func (t *Trail) admitted(ctx context.Context, op string, ticket *ticket, a admissionOf) error {
	err := wait(ctx, ticket, t.rec.opts.Timeout)
	if err == nil {
		return nil
	}
	var ids []uuid.UUID
	if !a.stays {
		for i := range a.entries {
			ids = append(ids, a.entries[i].id)
		}
	}
	if t.rec.courier.withdraw(t.stream, ids) && !a.stays {
		t.mu.Lock()
		if t.version == a.version {
			t.life = a.before
			t.version++
		}
		t.mu.Unlock()
	}
	return t.fail(op, err)
}

// Authorize records a decision that was taken elsewhere. A decision that does
// not allow the job is recorded as [Trail.Deny] does.
func (t *Trail) Authorize(ctx context.Context, d Decision) error {
	if !d.Allowed {
		return t.Deny(ctx, d)
	}
	if err := t.ready(ctx); err != nil {
		return t.fail("authorize", err)
	}
	data, err := t.decision(d)
	if err != nil {
		return t.fail("authorize", err)
	}
	t.mu.Lock()
	a := admissionOf{before: t.life}
	a.entries = []entry{t.authorization(data)}
	a.version = t.version
	return t.unlockAndAdmit(ctx, "authorize", a)
}

func (t *Trail) authorization(data *decisionData) entry {
	d := t.draft(JobAuthorized)
	d.data.decision = data
	t.authorized, t.cause = true, d.id
	t.version++
	return t.seal(&d, admission)
}

func (t *Trail) decision(d Decision) (*decisionData, error) {
	setDefault(&d.By, "none")
	err := checkIdentifiers([]struct{ field, value string }{
		{"data.decision.by", d.By}, {"data.decision.permission", d.Permission},
	})
	if err != nil {
		return nil, err
	}
	return &decisionData{allowed: d.Allowed, by: d.By, permission: d.Permission, reason: t.textOf(d.Reason)}, nil
}

// textOf passes an optional text through the door.
func (t *Trail) textOf(s string) text {
	if s == "" {
		return text{}
	}
	return t.door.text(s)
}

// Deny records that the job is refused. A pending job is cancelled by it, or,
// with AskAgain, left pending with its attempt deferred. A running job is
// revoked: its context is cancelled if it runs in [Trail.Run], and its outcome
// there will be cancelled, FORBIDDEN.
func (t *Trail) Deny(ctx context.Context, d Decision) error {
	d.Allowed = false
	if err := t.ready(ctx); err != nil {
		return t.fail("deny", err)
	}
	data, err := t.decision(d)
	if err != nil {
		return t.fail("deny", err)
	}
	typ := JobDenied
	if d.AskAgain {
		typ = AttemptDeferred
	}
	t.mu.Lock()
	if t.ended == typ {
		t.mu.Unlock()
		return t.fail("deny", t.flush(ctx, t.rec.opts.Timeout))
	}
	a := admissionOf{before: t.life}
	event, err := t.advance(typ)
	if err != nil {
		t.mu.Unlock()
		return t.fail("deny", err)
	}
	if t.state.Terminal() {
		t.ended = typ
	} else if typ == JobDenied {
		t.revoked = &d
	}
	event.data.decision = data
	a.entries, a.version = []entry{t.seal(&event, admission)}, t.version
	if cancel := t.cancel; cancel != nil && typ == JobDenied {
		a.sent = func() { cancel(ErrDenied) } // whether or not the sink answers
	}
	return t.unlockAndAdmit(ctx, "deny", a)
}

// Deduplicate records that a queue already has this job under another ID: this
// one is cancelled, and its record names the other.
func (t *Trail) Deduplicate(ctx context.Context, existing uuid.UUID) error {
	if err := t.ready(ctx); err != nil {
		return t.fail("deduplicate", err)
	}
	if existing == uuid.Nil {
		return t.fail("deduplicate", &FieldError{Field: "data.existing", Problem: "is required"})
	}
	t.mu.Lock()
	if t.ended == JobDeduplicated {
		t.mu.Unlock()
		return t.fail("deduplicate", t.flush(ctx, t.rec.opts.Timeout))
	}
	a := admissionOf{before: t.life}
	event, err := t.advance(JobDeduplicated)
	if err != nil {
		t.mu.Unlock()
		return t.fail("deduplicate", err)
	}
	t.ended = JobDeduplicated
	event.data.existing = existing
	a.entries, a.version = []entry{t.seal(&event, admission)}, t.version
	return t.unlockAndAdmit(ctx, "deduplicate", a)
}

// Start records that the job starts, and returns once that is durable. Before
// the first start the job is authorized: by what [Trail.Authorize] recorded,
// else by the recorder's Authorize, else by nothing, which the record says.
// If the answer is no the error wraps [ErrDenied]; [AuditError.AskAgain] tells
// whether the job is only put off.
//
// A start while the last one has no end records that one as superseded.
func (t *Trail) Start(ctx context.Context, x Execution) error {
	return t.start(ctx, x, nil)
}

// start records the start, behind first, if that is not nil.
func (t *Trail) start(ctx context.Context, x Execution, first *entry) error {
	if err := cmp.Or(t.ready(ctx), x.Queue.check()); err != nil {
		return t.fail("start", err)
	}
	decision, err := t.decide(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	a := admissionOf{before: t.life}
	if first != nil {
		a.entries = append(a.entries, *first)
	}
	if decision != nil && !t.authorized {
		a.entries = append(a.entries, t.authorization(decision))
	}
	if t.open && !t.state.Terminal() {
		d := t.draft(AttemptSuperseded)
		a.entries = append(a.entries, t.seal(&d, admission))
	}
	started, err := t.begin(x)
	if err != nil {
		t.life = a.before
		t.mu.Unlock()
		return t.fail("start", err)
	}
	a.entries, a.version = append(a.entries, started), t.version
	return t.unlockAndAdmit(ctx, "start", a)
}

// begin makes the event of a start.
func (t *Trail) begin(x Execution) (entry, error) {
	if x.Attempt <= 0 {
		x.Attempt = t.attempt + 1
	}
	typ := JobStarted
	if x.Attempt > 1 {
		typ = AttemptStarted
	}
	if t.ended == JobDenied {
		return entry{}, ErrDenied
	}
	if effect, _ := step(t.state, typ); effect == late {
		return entry{}, fmt.Errorf("%s in state %s: %w", typ, t.state, ErrTransition)
	}
	if x.Queue != (QueueRef{}) {
		t.queue = x.Queue
	}
	if x.Deadline > 0 {
		t.patience = x.Deadline
	}
	t.attempt, t.execution, t.open = x.Attempt, t.rec.opts.NewID(), true
	t.panicked = nil
	d, err := t.advance(typ)
	if err != nil {
		return entry{}, err
	}
	if t.patience > 0 {
		d.data.heartbeat = &heartbeatData{deadline: d.time.Add(t.patience)}
	}
	t.cause = d.id
	return t.seal(&d, admission), nil
}

// decide asks whether the job may start, unless that has been recorded. It
// records a no.
func (t *Trail) decide(ctx context.Context) (*decisionData, error) {
	t.mu.Lock()
	authorized := t.authorized
	t.mu.Unlock()
	if authorized {
		return nil, nil
	}
	d, err := t.ask(ctx)
	if err != nil {
		return nil, t.fail("authorize", err)
	}
	if !d.Allowed {
		err := errors.Join(ErrDenied, t.Deny(ctx, d))
		return nil, &AuditError{Op: "authorize", JobID: t.env.jobID, Err: err, putOff: d.AskAgain}
	}
	data, err := t.decision(d)
	return data, t.fail("authorize", err)
}

// ask calls the recorder's Authorize.
func (t *Trail) ask(ctx context.Context) (d Decision, err error) {
	authorize := t.rec.opts.Authorize
	if authorize == nil {
		return Decision{Allowed: true}, nil
	}
	defer func() {
		if p := recover(); p != nil {
			d, err = Decision{}, fmt.Errorf("Authorize panicked with a %T", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, t.rec.opts.Timeout)
	defer cancel()
	return authorize(ctx, t.sub)
}

// Log records a line that the job has printed.
func (t *Trail) Log(ctx context.Context, line string) {
	passed := t.door.text(line)
	t.report(ctx, "log", t.note(JobLogged, func(d *draft) { d.data.line = &passed }))
}

// Heartbeat records that the job is alive, and how far it has come.
func (t *Trail) Heartbeat(ctx context.Context, p Progress) {
	t.mu.Lock()
	t.progress = &p
	t.mu.Unlock()
	t.report(ctx, "heartbeat", t.beat())
}

// beat records a heartbeat with the newest progress.
func (t *Trail) beat() error {
	return t.note(JobHeartbeat, func(d *draft) {
		d.data.heartbeat = &heartbeatData{progress: t.progress, deadline: d.time.Add(max(t.patience, 0))}
	})
}

// Snapshot records the state of a resource before or after the job changed
// it. Resource and Digest are required.
func (t *Trail) Snapshot(ctx context.Context, s Snapshot) {
	err := checkIdentifiers([]struct{ field, value string }{
		{"data.snapshot.resource", s.Resource}, {"data.snapshot.digest", s.Digest},
	})
	switch {
	case err != nil:
	case s.Resource == "":
		err = &FieldError{Field: "data.snapshot.resource", Problem: "is required"}
	case s.Digest == "":
		err = &FieldError{Field: "data.snapshot.digest", Problem: "is required"}
	}
	if err != nil {
		t.report(ctx, "snapshot", err)
		return
	}
	data := &snapshotData{resource: t.door.text(s.Resource), after: s.After, digest: s.Digest, summary: t.textOf(s.Summary)}
	t.report(ctx, "snapshot", t.note(JobSnapshot, func(d *draft) { d.data.snapshot = data }))
}

// Retrying records that the attempt has failed and that its queue will run the
// job again. The job stays running; the next start is another execution.
func (t *Trail) Retrying(ctx context.Context, err error) {
	data := t.errorData(err)
	t.report(ctx, "retry", t.note(AttemptFailed, func(d *draft) {
		d.data.err = cmp.Or(t.panicked, data)
		t.open = false
	}))
}

// errBufferFull is told to OnError when events begin to be dropped.
var errBufferFull = errors.New("the buffer is full: events are dropped, and counted in an audit.lost event")

func (t *Trail) report(ctx context.Context, op string, err error) {
	if err != nil {
		t.rec.report(ctx, op, t.env.jobID, err)
	}
}

// Deferring records that the attempt ends without having failed and that its
// queue will bring the job back: a snooze, a shutdown. The job stays as it is;
// the next start is another execution.
func (t *Trail) Deferring(ctx context.Context, reason string) {
	data := &errorData{code: CodeDeferred, message: t.door.text(reason)}
	t.report(ctx, "defer", t.note(AttemptDeferred, func(d *draft) {
		d.data.err = data
		t.open = false
	}))
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
	t.version++
	t.state, t.attempt, t.execution, t.open = j.State, j.Attempt, uuid.Nil, false
	t.authorized = t.authorized || len(j.Executions) > 0
	for _, x := range j.Executions {
		if x.End == "" {
			t.attempt, t.execution, t.open = x.Attempt, x.ID, true
		}
	}
	return nil
}

// note records an event that no caller waits for.
func (t *Trail) note(typ EventType, fill func(*draft)) error {
	if t.rec.closed.Load() {
		return ErrClosed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d, err := t.advance(typ)
	if err != nil {
		return err
	}
	fill(&d)
	stored, err := t.rec.courier.offer(t.stream, t.seal(&d, background).sealed)
	if err == nil && !stored && t.rec.courier.lose(t.stream, &d) {
		err = errBufferFull
	}
	return err
}

// SetOutput gives the job's output: what the action's policy keeps of it is
// stored with [Trail.Succeed]. It is read before SetOutput returns.
func (t *Trail) SetOutput(v any) {
	c := t.door.output(v)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.output = &c
}

// SetImpact says in words what the job has changed, as in "1,000 records
// updated". It is stored with the outcome.
func (t *Trail) SetImpact(s string) {
	impact := t.textOf(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.impact = impact
}

// Succeed records that the job has succeeded.
func (t *Trail) Succeed(ctx context.Context) error {
	return t.end(ctx, "succeed", JobSucceeded, func(d *draft) {
		if t.output != nil {
			d.data.output, d.redaction = t.output.json, t.output.redaction
		}
	})
}

// Fail records that the job has failed, for good.
func (t *Trail) Fail(ctx context.Context, err error) error {
	data := t.errorData(err)
	return t.end(ctx, "fail", JobFailed, func(d *draft) { d.data.err = cmp.Or(t.panicked, data) })
}

// Cancel records that the job was cancelled. If it was revoked, by [Trail.Deny]
// while it ran, the record says so.
func (t *Trail) Cancel(ctx context.Context, reason string) error {
	data := &errorData{code: CodeCancelled, message: t.door.text(reason)}
	return t.end(ctx, "cancel", JobCancelled, func(d *draft) {
		if t.revoked != nil {
			data.code = CodeForbidden
		}
		d.data.err = data
	})
}

// end records an outcome.
func (t *Trail) end(ctx context.Context, op string, typ EventType, fill func(*draft)) error {
	t.mu.Lock()
	if t.ended == typ {
		t.mu.Unlock()
		return t.fail(op, t.settle(ctx, nil))
	}
	if t.rec.closed.Load() {
		t.mu.Unlock()
		return t.fail(op, ErrClosed)
	}
	d, err := t.advance(typ)
	if err != nil {
		t.mu.Unlock()
		return t.fail(op, err)
	}
	t.ended, t.open = typ, false
	d.data.impact = t.impact
	fill(&d)
	return t.fail(op, t.unlockAndSettle(ctx, &d))
}

// unlockAndSettle sends an event and waits, through retries, until it is
// stored.
func (t *Trail) unlockAndSettle(ctx context.Context, d *draft) error {
	e := t.seal(d, outcome)
	e.ticket = newTicket(nil)
	err := t.rec.courier.send(t.stream, e)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	return t.settle(ctx, e.ticket)
}

// settle waits for a ticket, or for all that the stream holds, up to the
// recorder's own deadline, and then turns to the fallback sink.
func (t *Trail) settle(ctx context.Context, ticket *ticket) error {
	ctx = context.WithoutCancel(ctx)
	if ticket == nil {
		return t.flush(ctx, t.rec.opts.OutcomeTimeout)
	}
	err := wait(ctx, ticket, t.rec.opts.OutcomeTimeout)
	if errors.Is(err, context.DeadlineExceeded) && t.rec.courier.divert(t.stream) {
		t.report(ctx, "store", fmt.Errorf("turning to the fallback sink: %w", err))
		err = wait(ctx, ticket, t.rec.opts.Timeout)
	}
	return err
}

// Correct adds to an event of the job what was found out later. It is possible
// in every state.
func (t *Trail) Correct(ctx context.Context, c Correction) error {
	switch {
	case t.rec.closed.Load():
		return t.fail("correct", ErrClosed)
	case c.Of == uuid.Nil:
		return t.fail("correct", &FieldError{Field: "data.correction.of", Problem: "is required"})
	case c.Reason == "":
		return t.fail("correct", &FieldError{Field: "data.correction.reason", Problem: "is required"})
	}
	data := &correctionData{of: c.Of, reversal: c.Reversal, reason: t.door.text(c.Reason)}
	var redaction *Redaction
	if c.Value != nil {
		value := t.door.output(c.Value)
		data.value, redaction = value.json, value.redaction
	}
	t.mu.Lock()
	d, err := t.advance(JobCorrected)
	if err != nil {
		t.mu.Unlock()
		return t.fail("correct", err)
	}
	d.data.correction, d.redaction = data, redaction
	return t.fail("correct", t.unlockAndSettle(ctx, &d))
}

// Flush returns once all that the Trail has recorded is durable, or with an
// error when ctx ends or the recorder's OutcomeTimeout has passed.
func (t *Trail) Flush(ctx context.Context) error {
	return t.fail("flush", t.flush(ctx, t.rec.opts.OutcomeTimeout))
}

func (t *Trail) flush(ctx context.Context, timeout time.Duration) error {
	ticket, err := t.rec.courier.flush(t.stream)
	if ticket == nil || err != nil {
		return err
	}
	return wait(ctx, ticket, timeout)
}
