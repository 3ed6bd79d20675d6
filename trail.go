package jobaudit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/internal/environ"
)

// Trail is one writer's run of one job: what it records is one stream, in the
// order of the calls. [Recorder.Submit] opens one, [Recorder.Resume] opens one
// in another process. It is safe for concurrent use.
//
// Submit, Authorize, Deny and Start must succeed before work begins: they
// return within the recorder's Timeout, and after an error the job must not
// run. Start waits as long again for Options.Authorize, even if ctx has ended: a no
// has to be on record. Whether the event was stored may be unknown then; the next call on the
// Trail settles it first.
//
// Log, Heartbeat, Snapshot, Retrying and Deferring never wait for the sink and
// return nothing: what goes wrong is reported to OnError.
//
// Succeed, Fail, Cancel and Correct return once the event and all before it
// are durable. They ignore ctx's end, retry, and give up after the recorder's
// OutcomeTimeout; the event is sent on in the background then. Calling the
// same again waits again and records nothing new.
//
// # Methods for adapters
//
// A job that [Recorder.Run], [Call] or [Trail.Run] runs has no need of the
// methods below. They are for adapters of queues and schedulers, where the
// framework decides when a job runs and what becomes of it:
//
//   - [Trail.Deduplicate] records that the queue already has the job, and
//     [Trail.Skip] that the scheduler decided not to run it.
//   - [Trail.KeepAlive] sends the heartbeats of an execution that the framework
//     begins and ends.
//   - [Trail.Retrying] and [Trail.Deferring] record that an attempt has ended and
//     that the queue will bring the job back. [Trail.Flush] waits until that is
//     durable, before the adapter answers the queue.
//   - [Trail.CancelBy] records that an operator of the queue cancelled the job.
//   - [Trail.Observe] and [Trail.Reconstruct] are for reconciliation with the
//     queue's own table: they record what no process recorded when it happened.
type Trail struct {
	rec       *Recorder
	env       envelope
	sub       Submission
	sanitizer *sanitizer // inRoom, and so is the stream: they live as long as the Trail
	stream    *stream
	inRoom    struct {
		sanitizer sanitizer
		stream    stream
	}
	resumed   bool
	inProcess bool // submitted by Run or Call: no other process can start it
	// submitter is the recorder that the job was submitted by, as far as it is
	// known.
	submitter uuid.UUID
	// submission is the stream that the submission stands in, likewise.
	submission uuid.UUID
	// vouched says that a Carrier of the Trail may be signed: the job was
	// submitted here, or a signed Carrier brought it.
	vouched bool

	asking atomic.Int64 // questions to Options.Authorize that it has not answered

	mu sync.Mutex // guards what follows, and the order of the stream's events
	trailState
	output    *content
	affected  *affectedData
	snapshots snapshots
	impact    text
	progress  *struct{ Done, Total int64 }
	cancel    context.CancelCauseFunc // of the execution in Run
	prepared  *draft                  // the submission, until Submit sends it
	rebuilt   bool                    // what is recorded is reconstructed
	queueTime time.Time               // and happened then, as the queue tells
	counted   bool                    // as an execution without an end
	observed  bool                    // and begun elsewhere, as a reader tells
	refusals  uint64                  // how often it was refused here
	submitted bool                    // by Submit
	existing  uuid.UUID               // the job that the queue has instead
	endedWho  *envelope               // of the outcome recorded here, if it is not the job's principal
	acks      [2]delivery.Ack         // most jobs wait for no more events
	acksUsed  int
}

// newAck returns an acknowledgement that one caller waits for. mu is held.
func (t *Trail) newAck() *delivery.Ack {
	if t.acksUsed == len(t.acks) {
		return delivery.NewAck()
	}
	t.acksUsed++
	return t.acks[t.acksUsed-1].Awaited()
}

// trailState is what a Trail knows of its job.
type trailState struct {
	state            JobState
	authorized       bool
	revoked          bool // denied, and not authorized since: while it ran, or the record lacks it
	attempt          int
	execution        uuid.UUID
	open             bool // the execution has no end yet
	heartbeatTimeout time.Duration
	queue            Ref
	cause            uuid.UUID // the event that later ones follow from
	ended            EventType // the outcome recorded here
	endedBy          string    // the call that recorded it
	failure          text      // the message of the error that ended the attempt
}

// count keeps the recorder's number of executions without an end. mu is held.
func (t *Trail) count() {
	if open := t.open && !t.observed && !t.state.Terminal(); open != t.counted {
		t.counted = open
		if open {
			t.rec.executions.Add(1)
		} else {
			t.rec.executions.Add(-1)
		}
	}
}

// JobID returns the job's ID.
func (t *Trail) JobID() uuid.UUID {
	if t.opened("") != nil {
		return uuid.Nil
	}
	return t.env.jobID
}

// Carrier returns what takes the job's identity through a queue.
func (t *Trail) Carrier() Carrier {
	if t.opened("") != nil {
		return Carrier{}
	}
	return t.carrierAt(t.rec.queue.Head(t.stream))
}

// carrierAt returns the Carrier that names head as the stream's newest event.
func (t *Trail) carrierAt(head *streamHead) Carrier {
	g := &carrierData{
		sub: t.sub, parentID: t.env.parentID, rootID: t.env.rootID,
		reason: t.sanitizer.text(t.sub.Trigger.Reason), head: head, cause: t.newestCause(),
		recorder: t.submitter, submission: t.submission, more: t.env.more,
	}
	g.sub.Resource = t.env.resource.value
	g.removed, g.removedAbove = t.sanitizer.missed()
	if t.vouched {
		return g.encode(t.rec.carrierKeys.Signer)
	}
	return g.encode(nil)
}

type trailKey struct{}

// Context returns a context that carries the Trail: jobs submitted under it
// are children of this job.
func (t *Trail) Context(ctx context.Context) context.Context {
	if t.opened("") != nil {
		return ctx
	}
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
		reconstructed: t.rebuilt, queueTime: t.queueTime,
		redaction: t.sanitizer.gap(),
	}
}

// advance moves the job on by an event of this type and begins the event.
func (t *Trail) advance(typ EventType) (draft, error) {
	if err := t.isSubmitted(typ); err != nil {
		return draft{}, err
	}
	effect, next := step(t.state, typ)
	switch effect {
	case enters, keeps, executes:
		t.state = next
		return t.draft(typ), nil
	}
	return draft{}, fmt.Errorf("%s in state %s: %w", typ, t.state, ErrTransition)
}

// isSubmitted refuses an event of a job whose submission is still to be sent: it would
// not be on record who wanted it. mu is held.
func (t *Trail) isSubmitted(typ EventType) error {
	if t.prepared == nil {
		return nil
	}
	return fmt.Errorf("%s of a job that was prepared and not submitted: %w", typ, ErrTransition)
}

func (t *Trail) encode(d *draft, u delivery.Urgency) entry {
	env := &t.env
	if d.by != nil {
		env = d.by
	}
	return entry{Event: env.encode(d), Urgency: u}
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
	if err := t.opened("observe"); err != nil {
		return err
	}
	if j.ID != t.env.jobID {
		return t.fail("observe", &FieldError{Field: "id", Problem: "is another job's"})
	}
	if err := checkObserved(&j); err != nil {
		return t.fail("observe", err)
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
	t.observed = t.open
	t.count()
	return nil
}

// checkObserved refuses a job that no replay gives: what is recorded of it could
// not be read back.
func checkObserved(j *Job) error {
	if j.State != Pending && j.State != Running && !j.State.Terminal() {
		return &FieldError{Field: "state", Problem: "is no job state"}
	}
	if err := checkAttempt("attempt", j.Attempt, 0); err != nil {
		return err
	}
	for _, x := range j.Executions {
		if err := checkAttempt("executions.attempt", x.Attempt, 0); err != nil {
			return err
		}
	}
	return nil
}

// Reconstruct calls record and returns its error. What is recorded on the Trail
// meanwhile says that it was not recorded when it happened: it is read from a
// queue's own table, which says that it happened at that moment. The zero time,
// and one outside the years 1970 to 9999, mean that the table does not say.
// Readers find it in [Event.Reconstructed] and [Event.QueueTime].
func (t *Trail) Reconstruct(at time.Time, record func() error) error {
	if err := t.opened("reconstruct"); err != nil {
		return err
	}
	at = at.UTC()
	// Not by its Year, which has 32 bits on some machines.
	if at.Before(time.Unix(0, 0)) || !at.Before(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)) {
		at = time.Time{}
	}
	mark := func(rebuilt bool, at time.Time) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.rebuilt, t.queueTime = rebuilt, at
	}
	mark(true, at)
	defer mark(false, time.Time{})
	return record()
}

// Log records a line that the job has printed.
func (t *Trail) Log(ctx context.Context, line string) {
	if t.opened("") != nil {
		return
	}
	passed := t.sanitizer.text(line)
	t.report(ctx, "log", t.offer(JobLogged, func(d *draft) { d.data.line = &passed }))
}

// Heartbeat records that the job is alive, and that so much of the total is
// done; a total of 0 says that it is not known. The heartbeats that follow
// repeat it.
func (t *Trail) Heartbeat(ctx context.Context, done, total int64) {
	if t.opened("") != nil {
		return
	}
	t.mu.Lock()
	t.progress = &struct{ Done, Total int64 }{done, total}
	t.mu.Unlock()
	t.report(ctx, "heartbeat", t.offerHeartbeat())
}

// offerHeartbeat records a heartbeat with the newest progress.
func (t *Trail) offerHeartbeat() error {
	return t.offer(JobHeartbeat, func(d *draft) {
		d.data.heartbeat = &heartbeatData{progress: t.progress}
		if t.heartbeatTimeout > 0 {
			d.data.heartbeat.deadline = environ.Within(d.time.Add(t.heartbeatTimeout))
		}
	})
}

// Retrying records that the attempt has failed and that its queue will run the
// job again. The job stays running; the next start is another execution.
func (t *Trail) Retrying(ctx context.Context, err error) {
	if t.opened("") != nil {
		return
	}
	data := t.errorData(err)
	t.report(ctx, "retry", t.offer(AttemptFailed, func(d *draft) {
		d.data.err = data
		t.open, t.failure = false, data.message
	}))
}

// Deferring records that the attempt ends without having failed and that its
// queue will bring the job back: a snooze, a shutdown. The job stays as it is;
// the next start is another execution.
func (t *Trail) Deferring(ctx context.Context, reason string) {
	if t.opened("") != nil {
		return
	}
	data := &errorData{code: CodeDeferred, message: t.sanitizer.text(reason)}
	t.report(ctx, "defer", t.offer(AttemptDeferred, func(d *draft) {
		d.data.err = data
		t.open = false
	}))
}

// offer records an event that no caller waits for.
func (t *Trail) offer(typ EventType, fill func(*draft)) error {
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
	t.count()
	stored, err := t.rec.queue.Offer(t.stream, t.encode(&d, urgency(typ)))
	if err == nil && !stored && t.rec.queue.Drop(t.stream, d.time, string(typ), t.lost(d)) {
		err = delivery.ErrFull
	}
	return err
}

// urgency says what room there is for an event that no caller waits for. Without
// its end an attempt would seem to go on, and a snapshot cannot be taken again.
func urgency(typ EventType) delivery.Urgency {
	switch typ {
	case JobLogged, JobHeartbeat:
		return delivery.Background
	case JobSnapshot:
		return delivery.Snapshot
	}
	return delivery.Reserved
}

// lost makes the event that counts events which were dropped, d the first.
func (t *Trail) lost(d draft) func(delivery.Loss) delivery.Event[Record] {
	return func(l delivery.Loss) delivery.Event[Record] {
		data := &lostData{count: int64(l.Count), from: l.From, to: l.To}
		for _, typ := range l.Types {
			data.types = append(data.types, EventType(typ))
		}
		d.typ, d.time, d.redaction, d.data = AuditLost, l.To, nil, payload{lost: data}
		return t.env.encode(&d)
	}
}
