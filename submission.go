package jobaudit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
)

// Submission asks for a job. Action, the principal's kind and ID, and the
// trigger's kind and reason are required.
//
// A job submitted under a context that carries a Trail is that job's child,
// unless Detached: it gets its parent, root, correlation and causation from
// there, and the parent's principal goes to the front of OnBehalfOf.
type Submission struct {
	// ID is the job's. Set it to be able to submit again, after an error that
	// left the outcome unknown, without making a second job. Default: new.
	ID     uuid.UUID
	Action string
	// Inputs are what the job works on. Only what the action's policy keeps is
	// stored. They are read before Submit returns, and never changed.
	Inputs     any
	Principal  Principal
	OrgID      string
	OnBehalfOf []Principal // nearest first, at most 16 are stored
	Upstream   Ref         // the event in another system that set a Cascade off; required then
	Trigger    Trigger

	CorrelationID uuid.UUID // default: the parent's, or the job's ID
	RequestID     uuid.UUID // default: the job's ID
	TraceParent   string    // W3C trace context, as in the traceparent header

	Resource string // what the job acts on
	Target   string // where: another system
	SourceIP netip.Addr
	Queue    Ref  // where a framework owns the job's retries
	Detached bool // not a child of the job that the context carries
	RetryOf  uuid.UUID
}

// isTraceParent reports whether s has the form of a traceparent header (W3C
// Trace Context, version 00): lower-case hexadecimal fields of 2, 32, 16 and 2
// digits, of which the version is not ff and neither ID is zero.
func isTraceParent(s string) bool {
	fields := strings.Split(s, "-")
	if len(fields) != 4 || strings.Trim(s, "0123456789abcdef-") != "" {
		return false
	}
	zero := func(s string) bool { return strings.Trim(s, "0") == "" }
	return len(fields[0]) == 2 && fields[0] != "ff" && len(fields[3]) == 2 &&
		len(fields[1]) == 32 && !zero(fields[1]) && len(fields[2]) == 16 && !zero(fields[2])
}

// check says which field of a caller's submission is missing or malformed, if
// one is.
func (s *Submission) check() error {
	if err := s.checkShape(); err != nil {
		return err
	}
	if err := checkPrincipal(principalFields, s.Principal); err != nil {
		return err
	}
	for _, p := range s.OnBehalfOf {
		if err := checkPrincipal(onBehalfOfFields, p); err != nil {
			return err
		}
	}
	for _, v := range []struct {
		path string
		id   uuid.UUID
	}{{"job.id", s.ID}, {"correlationId", s.CorrelationID}, {"requestId", s.RequestID}, {"job.retryOf", s.RetryOf}} {
		if v.id == uuid.Nil {
			continue // it has a default
		}
		if err := checkID(v.path, v.id); err != nil {
			return err
		}
	}
	if err := cmp.Or(checkSourceIP(s.SourceIP), s.Queue.check()); err != nil {
		return err
	}
	if s.Upstream != (Ref{}) {
		err := checkStrings(given{"who.upstream.system", s.Upstream.System}, given{"who.upstream.eventId", s.Upstream.ID})
		if err != nil {
			return err
		}
	}
	if s.OrgID != "" {
		if err := checkStrings(given{"who.orgId", s.OrgID}); err != nil {
			return err
		}
	}
	return checkStrings(given{"what.action", s.Action}, given{"what.resource", s.Resource},
		given{"why.reason", s.Trigger.Reason}, given{"where.target", s.Target}, given{"why.ref", s.Trigger.Ref})
}

// checkShape says what is missing, or of an unknown kind: what neither a caller
// nor a Carrier may leave out.
func (s *Submission) checkShape() error {
	if err := cmp.Or(checkKind("who.principal.kind", s.Principal.Kind), checkTrigger(s.Trigger.Kind)); err != nil {
		return err
	}
	required := []given{{"who.principal.id", s.Principal.ID}, {"what.action", s.Action}, {"why.reason", s.Trigger.Reason}}
	for _, p := range s.OnBehalfOf {
		if err := checkKind("who.onBehalfOf.kind", p.Kind); err != nil {
			return err
		}
		required = append(required, given{"who.onBehalfOf.id", p.ID})
	}
	if s.Trigger.Kind == Cascade || s.Upstream != (Ref{}) {
		required = append(required, given{"who.upstream.system", s.Upstream.System}, given{"who.upstream.eventId", s.Upstream.ID})
	}
	for _, v := range required {
		if v.value == "" {
			return &FieldError{Field: v.path, Problem: "is required"}
		}
	}
	if s.TraceParent != "" && !isTraceParent(s.TraceParent) {
		return &FieldError{Field: "traceparent", Problem: "is not W3C trace context"}
	}
	return nil
}

// checkIdentifiers refuses a submission of which a field that is stored unchanged
// holds a credential.
func (s *Submission) checkIdentifiers(g *Registry) error {
	err := g.checkIdentifiers(given{"what.action", s.Action}, given{"who.orgId", s.OrgID},
		given{"who.upstream.system", s.Upstream.System}, given{"who.upstream.eventId", s.Upstream.ID},
		given{"where.target", s.Target}, given{"why.ref", s.Trigger.Ref},
		given{"job.queue.system", s.Queue.System}, given{"job.queue.id", s.Queue.ID})
	if err != nil {
		return err
	}
	if err := g.checkPrincipal(principalFields, &s.Principal); err != nil {
		return err
	}
	for i := range s.OnBehalfOf {
		if err := g.checkPrincipal(onBehalfOfFields, &s.OnBehalfOf[i]); err != nil {
			return err
		}
	}
	return nil
}

// dropCredentials replaces the identifiers that hold a credential, where there is no
// caller to refuse them to: a Carrier comes from a queue.
func (s *Submission) dropCredentials(g *Registry) {
	for _, id := range []*string{
		&s.Action, &s.OrgID, &s.Upstream.System, &s.Upstream.ID, &s.Target, &s.Trigger.Ref, &s.Queue.System, &s.Queue.ID,
	} {
		*id = g.safe(*id)
	}
	s.Principal.dropCredentials(g)
	s.OnBehalfOf = slices.Clone(s.OnBehalfOf) // all copies of a Carrier share it
	for i := range s.OnBehalfOf {
		s.OnBehalfOf[i].dropCredentials(g)
	}
}

func (p *Principal) dropCredentials(g *Registry) {
	p.ID, p.AuthMethod, p.AuthSession = g.safe(p.ID), g.safe(p.AuthMethod), g.safe(p.AuthSession)
}

// inherit completes a submission from the job that the context carries, if it
// carries one, and returns the ID of the event that caused it.
func (s *Submission) inherit(parent *Trail, env *envelope) (cause uuid.UUID) {
	env.jobID, env.rootID, env.retryOf = s.ID, s.ID, s.RetryOf
	if parent != nil && !s.Detached {
		env.parentID, env.rootID = parent.env.jobID, parent.env.rootID
		if s.CorrelationID == uuid.Nil {
			s.CorrelationID = parent.env.correlationID
		}
		if s.TraceParent == "" {
			s.TraceParent = parent.env.traceParent
		}
		s.OnBehalfOf = delegates(s.Principal, parent.sub.Principal, parent.sub.OnBehalfOf, s.OnBehalfOf)
		env.more = parent.env.more
		cause = parent.newestCause()
	}
	if s.CorrelationID == uuid.Nil {
		s.CorrelationID = s.ID
	}
	if s.RequestID == uuid.Nil {
		s.RequestID = s.ID
	}
	env.correlationID, env.requestID, env.traceParent = s.CorrelationID, s.RequestID, s.TraceParent
	return cause
}

// delegates returns on whose behalf a child job runs: the parent's principal
// first, then those behind it, then its own. A principal is not named twice in
// a row.
func delegates(self, parent Principal, behindParent, own []Principal) []Principal {
	chain := append([]Principal{parent}, behindParent...)
	chain = append(chain, own...)
	last := self
	return slices.DeleteFunc(chain, func(p Principal) bool {
		same := p.Kind == last.Kind && p.ID == last.ID
		last = p
		return same
	})
}

// Submit records that a job is asked for, and returns its Trail once that is
// durable. The error is an [*AuditError]; it wraps a [*FieldError] if a field
// is missing or malformed, or [ErrNoPolicy]. If the Trail is nil, nothing was
// stored. If there are both, the outcome is unknown: the Trail's next call
// settles it.
func (r *Recorder) Submit(ctx context.Context, s Submission) (*Trail, error) {
	if err := r.opened("submit"); err != nil {
		return nil, err
	}
	t, d, err := r.submission(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, t.fail("submit", err)
	}
	t.mu.Lock()
	a := admission{before: t.trailState, stays: true}
	a.add(t.encode(&d, delivery.Admission))
	return t, t.unlockAndAdmit(ctx, "submit", &a)
}

// Prepare opens a Trail for a job that is going to be asked for, and stores
// nothing: [Trail.Submit] does. In between, its Carrier can go into a queue, as
// in a transaction that may yet be rolled back. The error is as [Recorder.Submit]
// says.
func (r *Recorder) Prepare(ctx context.Context, s Submission) (*Trail, error) {
	if err := r.opened("prepare"); err != nil {
		return nil, err
	}
	t, d, err := r.submission(ctx, s)
	if err != nil {
		return nil, err
	}
	t.prepared = &d
	return t, nil
}

// Submit records the submission of a job that [Recorder.Prepare] opened, and
// returns once that is durable; calling it again records nothing new. On a
// resumed Trail it is for those who have found that no log holds the job's
// submission: it records what the Carrier says of it.
func (t *Trail) Submit(ctx context.Context) error {
	if err := t.opened("submit"); err != nil {
		return err
	}
	if err := t.ready(ctx); err != nil {
		return t.fail("submit", err)
	}
	var inputs content
	if t.resumed { // mu is not held while a policy of the application's is called
		var err error
		if inputs, err = t.sanitizer.inputs(t.sub.Inputs); err != nil {
			return t.fail("submit", err)
		}
	}
	t.mu.Lock()
	prepared, submitted := t.prepared, t.submitted
	if prepared == nil && t.resumed && !submitted {
		prepared = t.resubmission(inputs)
	}
	if prepared == nil {
		t.mu.Unlock()
		return t.fail("submit", t.flush(ctx, t.rec.opts.Timeout))
	}
	prepared.reconstructed, prepared.queueTime = t.rebuilt, t.queueTime
	a := admission{before: t.trailState, stays: true}
	a.undo = func() { t.prepared, t.submitted = prepared, submitted }
	a.add(t.encode(prepared, delivery.Admission))
	t.prepared, t.submitted = nil, true
	return t.unlockAndAdmit(ctx, "submit", &a)
}

// resubmission makes the submission's event from what a Carrier says. mu is held.
func (t *Trail) resubmission(inputs content) *draft {
	d := t.draft(JobSubmitted)
	d.state, d.attempt, d.executionID, d.inputs = Pending, 0, uuid.Nil, inputs.json
	if inputs.redaction != nil {
		d.redaction = inputs.redaction
	}
	return &d
}

// submission opens a Trail and makes its first event.
func (r *Recorder) submission(ctx context.Context, s Submission) (*Trail, draft, error) {
	defaultsErr := r.complete(ctx, &s)
	if s.ID == uuid.Nil {
		s.ID = r.opts.NewID()
	}
	refuse := func(err error) (*Trail, draft, error) {
		return nil, draft{}, &AuditError{Op: "submit", JobID: s.ID, Err: err}
	}
	if r.closed.Load() {
		return refuse(ErrClosed)
	}
	if err := cmp.Or(defaultsErr, s.check(), s.checkIdentifiers(r.opts.Redactors)); err != nil {
		return refuse(err)
	}
	t := &Trail{rec: r, submitter: r.incarnation, vouched: true}
	t.sanitizer = t.inRoom.sanitizer.of(r.opts.Redactors, s.Action)
	t.sanitizer.describes(&s)
	parent, _ := FromContext(ctx)
	t.sanitizer.under(parent)
	inputs, err := t.sanitizer.inputs(s.Inputs)
	if err != nil {
		return refuse(err)
	}
	r.sanitizer.recent.add(t.sanitizer)
	cause := s.inherit(parent, &t.env)
	t.sub = s
	t.sub.OnBehalfOf = slices.Clone(s.OnBehalfOf) // it is the caller's
	if r.opts.Authorize == nil {
		t.sub.Inputs = nil // they are not needed again
	}
	t.env.describe(&t.sub, r.where, t.sanitizer)
	t.stream = r.queue.OpenIn(&t.inRoom.stream, r.opts.NewID(), t.env.jobID, nil)
	t.submission = t.stream.ID
	d := draft{
		id: r.opts.NewID(), typ: JobSubmitted, time: r.opts.Now(), state: Pending,
		queue: s.Queue, causationID: cause, inputs: inputs.json, redaction: inputs.redaction,
	}
	t.trailState = trailState{state: Pending, queue: s.Queue, cause: d.id, heartbeatTimeout: 3 * r.opts.Heartbeat}
	return t, d, nil
}

// Resume opens a Trail for a job that was submitted elsewhere. It stores
// nothing by itself. inputs are the job's inputs as the worker got them, or
// nil: they are not stored again, but what the action's policy removes from
// them is kept out of the job's later texts and output. Where there is a policy
// and no inputs, where the Carrier says that something was removed from inputs that
// are not given, and where it says so of a job above that ctx does not carry, the
// events' redaction blocks say that this could not be done.
//
// The error is an [*AuditError] that wraps a [*FieldError] if the Carrier is
// empty.
func (r *Recorder) Resume(ctx context.Context, c Carrier, inputs any) (*Trail, error) {
	if err := r.opened("resume"); err != nil {
		return nil, err
	}
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
	proven, problem := r.carrierKeys.Prove(g.signature, r.opts.RequireCarrierProof && !g.logged)
	if problem != "" {
		return nil, &AuditError{Op: "resume", Err: &FieldError{Field: "carrier", Problem: problem}}
	}
	s := g.sub
	s.Inputs = inputs
	action := s.Action
	s.dropCredentials(r.opts.Redactors)
	t := &Trail{rec: r, sub: s, submitter: g.recorder, submission: g.submission, vouched: proven, resumed: true}
	t.sanitizer = t.inRoom.sanitizer.of(r.opts.Redactors, action)
	t.sanitizer.describes(&s)
	if parent, ok := FromContext(ctx); ok {
		t.sanitizer.under(parent)
	}
	t.sanitizer.resume(inputs, g.removed, g.removedAbove)
	r.sanitizer.recent.add(t.sanitizer)
	t.env = envelope{
		jobID: s.ID, parentID: g.parentID, rootID: g.rootID, retryOf: s.RetryOf,
		correlationID: s.CorrelationID, requestID: s.RequestID, traceParent: s.TraceParent, more: g.more,
	}
	if proven {
		t.env.proof = proof{carrier: g.signature.KeyID, submission: g.submission}
	}
	t.env.describe(&t.sub, r.where, t.sanitizer)
	t.stream = r.queue.OpenIn(&t.inRoom.stream, r.opts.NewID(), t.env.jobID, g.head)
	t.trailState = trailState{state: Pending, heartbeatTimeout: 3 * r.opts.Heartbeat}
	t.cause = g.cause
	if g.head != nil {
		t.cause = g.head.Event
	}
	return t, nil
}

// complete fills what a submission leaves empty with what Options.Defaults says
// of its context.
func (r *Recorder) complete(ctx context.Context, s *Submission) (err error) {
	if r.opts.Defaults == nil {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("Options.Defaults panicked with a %T", p)
		}
	}()
	d := r.opts.Defaults(ctx)
	setDefault(&s.ID, d.ID)
	setDefault(&s.Action, d.Action)
	if s.Inputs == nil {
		s.Inputs = d.Inputs
	}
	setDefault(&s.Principal, d.Principal)
	setDefault(&s.OrgID, d.OrgID)
	if len(s.OnBehalfOf) == 0 {
		s.OnBehalfOf = d.OnBehalfOf
	}
	setDefault(&s.Upstream, d.Upstream)
	setDefault(&s.Trigger, d.Trigger)
	setDefault(&s.CorrelationID, d.CorrelationID)
	setDefault(&s.RequestID, d.RequestID)
	setDefault(&s.TraceParent, d.TraceParent)
	setDefault(&s.Resource, d.Resource)
	setDefault(&s.Target, d.Target)
	if s.SourceIP == (netip.Addr{}) {
		s.SourceIP = d.SourceIP
	}
	setDefault(&s.Queue, d.Queue)
	setDefault(&s.Detached, d.Detached)
	setDefault(&s.RetryOf, d.RetryOf)
	return nil
}

// SubmitAll is [Recorder.Submit] for several jobs that are asked for at once: it
// stores them with one Append, and returns their Trails in the order of the
// submissions. All are checked before one is sent: if one of them cannot be
// submitted, nothing is stored, there are no Trails, and the error names its
// index. If there are Trails and an error, the outcome of those jobs is unknown,
// or some were refused: each Trail's next call settles its own.
func (r *Recorder) SubmitAll(ctx context.Context, submissions []Submission) ([]*Trail, error) {
	if err := r.opened("submit"); err != nil {
		return nil, err
	}
	if len(submissions) == 0 {
		return nil, nil
	}
	trails, streams := make([]*Trail, len(submissions)), make([]*stream, len(submissions))
	entries := make([]entry, len(submissions))
	seen := make(map[uuid.UUID]bool, len(submissions))
	for i, s := range submissions {
		t, d, err := r.submission(ctx, s)
		switch {
		case err != nil:
			return nil, ofSubmission(i, err)
		case seen[t.env.jobID]:
			return nil, ofSubmission(i, t.fail("submit", &FieldError{Field: "job.id", Problem: "is that of another submission of the call"}))
		}
		seen[t.env.jobID] = true
		trails[i], streams[i], entries[i] = t, t.stream, t.encode(&d, delivery.Admission)
		entries[i].Ack = t.newAck()
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	err := ctx.Err()
	if err == nil {
		err = r.queue.SendTogether(streams, entries)
	}
	if err != nil {
		return nil, trails[0].fail("submit", err)
	}
	var failed error
	for i, t := range trails {
		if err := r.queue.Wait(ctx, t.stream, entries[i].Ack, r.opts.Timeout); err != nil && failed == nil {
			failed = ofSubmission(i, t.fail("submit", err))
		}
	}
	return trails, failed
}

// ofSubmission adds to an error which of several submissions it is of.
func ofSubmission(i int, err error) error {
	audit, ok := errors.AsType[*AuditError](err)
	if !ok {
		return err
	}
	return &AuditError{Op: audit.Op, JobID: audit.JobID, Err: fmt.Errorf("submission %d: %w", i, audit.Err)}
}

// SubmitTx records submissions through a sink that stores them in a transaction
// of the caller's, and returns a Carrier for each, in their order: the record
// lives or dies with the business change that asked for the job, and with the
// queue's own row where that is in the same database. One call is one Append.
//
// nil does not mean that anything is durable: that is for the commit to say. If
// the transaction is rolled back, there is no trace of the submissions, and the
// Carriers are to be thrown away. Nothing is tried again and nothing goes to
// the Fallback: after an error, which is an [*AuditError], the caller rolls
// back. Who tries the whole again gives the Submissions the same ID, so that
// an unknown commit makes no second job.
//
// What follows, from the authorization on, goes through a Trail that Resume
// opens, with the Recorder's own sink: an outcome has to outlive any
// transaction of the job.
func (r *Recorder) SubmitTx(ctx context.Context, tx AuditSink, submissions ...Submission) ([]Carrier, error) {
	if err := r.opened("submit"); err != nil {
		return nil, err
	}
	records := make([]Record, 0, len(submissions))
	carriers := make([]Carrier, 0, len(submissions))
	for _, s := range submissions {
		t, d, err := r.submission(ctx, s)
		if err != nil {
			return nil, err
		}
		record, _, err := t.env.encode(&d).Place(delivery.Position{Stream: t.stream.ID, Seq: 1}, nil)
		if err != nil {
			return nil, t.fail("submit", err)
		}
		records = append(records, record)
		carriers = append(carriers, t.carrierAt(&streamHead{Stream: t.stream.ID, Seq: 1, Hash: record.hash, Event: record.id}))
	}
	if len(records) == 0 {
		return carriers, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	if tx == nil {
		return nil, &AuditError{Op: "submit", JobID: records[0].jobID, Err: &FieldError{Field: "tx", Problem: "is nil"}}
	}
	if err := tx.Append(ctx, records); err != nil {
		return nil, &AuditError{Op: "submit", JobID: records[0].jobID, Err: err}
	}
	return carriers, nil
}
