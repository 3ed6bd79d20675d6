package jobaudit

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
)

// Verdict is what a process other than the worker concludes from the records of
// a job: that an execution has no end because its worker is gone, or that the
// job never started in time. [Recorder.Conclude] records it; package
// watchdog finds what there is to conclude.
type Verdict struct {
	// Of is the record that nothing followed: the start of an execution
	// without an end, or the submission of a job that never started.
	Of Record
	// Last is the newest record of that execution, and Heartbeat its newest
	// heartbeat. They are the evidence. Default: there is none but Of.
	Last, Heartbeat Record
	// AttemptOnly says that the job goes on without the execution, or has
	// ended: only the attempt is lost. It need not be set for a job that a
	// queue owns, if one of the records says so.
	AttemptOnly bool
}

// Conclude records a verdict. Of an execution it says that the attempt is lost,
// and that the job has failed, ABANDONED, unless a queue owns the job's retries
// or v.AttemptOnly is set; of a job that never started, that it is cancelled,
// EXPIRED. The principal is this recorder's service, on behalf of the job's.
//
// All who reach the same verdict write it under the same ID, so a sink keeps one.
// recorded is false, and the error nil, if the sink had it already.
//
// The error is an [*AuditError]; it wraps a [*FieldError] if the records of the
// verdict do not belong together. What was recorded until then is unknown: call
// again.
func (r *Recorder) Conclude(ctx context.Context, v Verdict) (recorded bool, err error) {
	if err := r.opened("conclude"); err != nil {
		return false, err
	}
	c, err := v.conclusion(r)
	if err != nil {
		return false, &AuditError{Op: "conclude", JobID: v.Of.JobID(), Err: err}
	}
	for _, typ := range c.types() {
		isNew, err := r.conclude(ctx, c, typ)
		if err != nil {
			return recorded, &AuditError{Op: "conclude", JobID: c.of.Job.ID, Err: err}
		}
		recorded = recorded || isNew
	}
	return recorded, nil
}

// conclude records one event of a verdict, in a stream and an Append of its
// own. It reports false if the sink has it already.
func (r *Recorder) conclude(ctx context.Context, c *conclusion, typ EventType) (bool, error) {
	if r.closed.Load() {
		return false, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	d := c.draft(typ, r.opts.Now())
	s := r.queue.OpenSingle(r.opts.NewID(), c.of.Job.ID)
	e := entry{Event: c.env.encode(&d), Urgency: delivery.Admission, Ack: delivery.NewAck()}
	err := r.queue.Send(s, e)
	if err == nil {
		err = r.queue.Wait(ctx, s, e.Ack, r.opts.Timeout)
	}
	if errors.Is(err, ErrConflict) {
		return false, nil
	}
	if err != nil {
		r.queue.Withdraw(s, []entry{e})
	}
	return err == nil, err
}

// conclusion is a verdict on its way to its events.
type conclusion struct {
	of          Event
	env         *envelope
	evidence    evidenceData
	attemptOnly bool
	queue       Ref
}

// conclusion reads a verdict's records and says what is wrong with them.
func (v *Verdict) conclusion(r *Recorder) (*conclusion, error) {
	c := &conclusion{of: v.Of.Event(), attemptOnly: v.AttemptOnly}
	of := &c.of
	switch of.Type {
	case JobStarted, AttemptStarted, JobSubmitted:
	default:
		return nil, &FieldError{Field: "Verdict.Of", Problem: "is neither a start nor a submission"}
	}
	last, heartbeat := *of, Event{}
	for _, given := range []struct {
		field  string
		record Record
		event  *Event
	}{{"Verdict.Last", v.Last, &last}, {"Verdict.Heartbeat", v.Heartbeat, &heartbeat}} {
		if given.record.Len() == 0 {
			continue
		}
		*given.event = given.record.Event()
		if given.event.Job.ID != of.Job.ID || of.Type != JobSubmitted && given.event.Job.ExecutionID != of.Job.ExecutionID {
			return nil, &FieldError{Field: given.field, Problem: "is of another job or execution"}
		}
	}
	for _, e := range []*Event{of, &last, &heartbeat} {
		if e.Job.Queue != (Ref{}) {
			c.queue, c.attemptOnly = e.Job.Queue, true
		}
	}
	c.evidence = evidenceOf(of, &last, &heartbeat)
	c.env = r.verdictEnvelope(of)
	return c, nil
}

func evidenceOf(of, last, heartbeat *Event) evidenceData {
	d := evidenceData{
		last: last.ID, lastType: last.Type, lastTime: last.Time,
		heartbeat: heartbeat.ID, heartbeatTime: heartbeat.Time,
		stream: of.Stream.ID, host: of.Where.Host, instance: of.Where.Instance,
	}
	announcer := of
	if heartbeat.ID != uuid.Nil {
		announcer = heartbeat
	}
	if at := announcer.Data.Heartbeat.Deadline; at.After(announcer.Time) { // else it announced none
		d.deadline = at
	}
	return d
}

// verdictEnvelope is what the events of a verdict say of who, what, where and
// why, given the event that the verdict is about.
func (r *Recorder) verdictEnvelope(of *Event) *envelope {
	env := &envelope{
		jobID: of.Job.ID, parentID: of.Job.ParentID, rootID: of.Job.RootID, retryOf: of.Job.RetryOf,
		correlationID: of.CorrelationID, requestID: of.RequestID, traceParent: of.TraceParent, more: of.Who.More,
	}
	var behalf []Principal
	for _, p := range append([]Principal{of.Who.Principal}, of.Who.OnBehalfOf...) {
		behalf = append(behalf, Principal{Kind: p.Kind, ID: p.ID, Name: p.Name})
	}
	reason := "an execution gives no sign of life"
	if of.Type == JobSubmitted {
		reason = "a job was not started in time"
	}
	env.describe(&Submission{
		Action: of.What.Action, Resource: of.What.Resource, OrgID: of.Who.OrgID,
		Principal: Principal{Kind: Service, ID: r.where.System, Verified: true}, OnBehalfOf: behalf,
		Trigger: Trigger{Kind: OnEvent, Reason: reason},
	}, r.where, r.opts.Redactors.sanitizer(of.What.Action))
	return env
}

// types are those of the verdict's events, in their order.
func (c *conclusion) types() []EventType {
	switch {
	case c.of.Type != JobSubmitted && c.attemptOnly:
		return []EventType{AttemptLost}
	case c.of.Type != JobSubmitted:
		return []EventType{AttemptLost, JobFailed}
	case c.queue != (Ref{}):
		return nil // its queue says when it is too late
	default:
		return []EventType{JobCancelled}
	}
}

// draft makes one of the verdict's events.
func (c *conclusion) draft(typ EventType, now time.Time) draft {
	subject, state := c.of.Job.ExecutionID, Running
	data := &errorData{code: CodeAbandoned, message: text{value: "no sign of life within the announced deadline"}}
	if c.evidence.deadline.IsZero() {
		data.message.value = "no sign of life"
	}
	cause := c.evidence.last
	switch typ {
	case JobFailed:
		state, cause = Failed, verdictID(AttemptLost, subject)
	case JobCancelled:
		subject, state = c.of.Job.ID, Cancelled
		data = &errorData{code: CodeExpired, message: text{value: "not started in time"}}
	}
	return draft{
		id: verdictID(typ, subject), typ: typ, time: now, state: state, attempt: c.of.Job.Attempt,
		executionID: c.of.Job.ExecutionID, queue: c.queue, causationID: cause,
		data: payload{err: data, evidence: &c.evidence},
	}
}

// verdictID is the ID of a verdict's event (docs/format.md, F5): a UUIDv8 of the type
// and the execution concerned, or the job for a verdict that it has expired.
// All who reach the same verdict write the same ID, so a log keeps one.
func verdictID(typ EventType, subject uuid.UUID) uuid.UUID {
	sum := sha256.Sum256([]byte("jobaudit verdict\n" + string(typ) + "\n" + subject.String()))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // the variant of RFC 9562
	return id
}
