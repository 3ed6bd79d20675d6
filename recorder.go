package jobaudit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/internal/carriertext"
	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/internal/environ"
	"github.com/jobaudit/jobaudit/internal/errtree"
)

// Options are the optional parts of a [Recorder]. The zero value, like nil,
// gives the defaults.
type Options struct {
	// Redactors say what of inputs and outputs may be stored. Default: nothing
	// may.
	Redactors *Registry

	// Defaults gives what submissions leave out: the principal that is logged in,
	// the tenant, the trace context. It is asked once for every job that is
	// submitted here, whatever the call, with that call's context. It fills
	// fields that are empty, each as a whole, and comes before what a job
	// inherits from its parent. A panic in it is an error of the call. Default:
	// nothing is filled.
	Defaults func(ctx context.Context) Submission

	// Authorize decides whether a job may start. Its context ends after
	// Timeout. An error means that no decision could be made: the job does not
	// start. Default: every job may, and its record says that nothing decided.
	Authorize func(ctx context.Context, s Submission) (Decision, error)
	// Reauthorize asks again at each heartbeat of a job that runs in
	// [Trail.Run]. If the answer is no, the job's context is cancelled, with
	// ErrDenied as its cause.
	Reauthorize bool

	// Fallback takes the outcomes that the sink does not, and what it refuses for
	// good. When the sink takes records again, and after a restart, they are sent
	// to it. Fallback must be an [AuditReader] as well, and be read in the order in
	// which it was written: package pgsink is none, where an event that is read may
	// yet get its place behind others, and one that has a method
	// Sequenced(context.Context) error, as that has, is refused. If it has a method Forget(ctx context.Context, ids
	// []uuid.UUID) error, that is called with what the sink then has. A Fallback
	// belongs to one log: all that it holds is sent there.
	Fallback AuditSink

	// Heartbeat is the time between the heartbeats that [Trail.Run] records.
	// A job that has given no sign of life for three times as long may be
	// taken for dead. Default: 30 s. Negative: Run records none.
	Heartbeat time.Duration
	// Timeout is how long a call that must succeed before work begins waits
	// for the sink, and how long the sink has for one Append. Default: 5 s.
	Timeout time.Duration
	// OutcomeTimeout is how long the call that records an outcome waits and
	// retries; with a Fallback it then waits up to Timeout for that. Default:
	// 30 s.
	OutcomeTimeout time.Duration
	// Buffer is how many events, of those that no call waits for, are kept
	// until the sink takes them; they may have 16 MiB together. What comes
	// when it is full is dropped, and counted in an audit.lost event.
	// Default: 10,000.
	Buffer int

	// OnError is called with every error of the audit path that no call returns.
	// It may be called from several goroutines, the job's own among them: it
	// must not wait, or the job waits with it. It may use the Recorder and its
	// Trails, but what it records may fail and be reported to it again. A panic in
	// it goes no further. Default: the errors are logged by slog.Default, without
	// texts that hold a secret or what was removed from a job's inputs.
	OnError func(context.Context, *AuditError)

	// CarrierKeys are secrets, of at least 32 random bytes each, by their IDs, of
	// 1 to 32 letters, digits, - and _. Carriers are signed with the one that
	// CarrierKey names, which may be left out where there is one only, and those
	// signed with any of them are proven when they come back. All programs that
	// share queues share the secrets: to rotate, give the new one to all of them,
	// then name it, then take the old one away when no queue holds its Carriers.
	CarrierKeys map[string][]byte
	CarrierKey  string
	// RequireCarrierProof lets Resume refuse a Carrier that is not signed with one
	// of CarrierKeys, but for those that [Record.Carrier] makes from the log.
	RequireCarrierProof bool

	// Environment is what the audit.opened event says of the process beyond what
	// it can tell by itself, which is the version of Go, the operating system,
	// the architecture, the main module, the revision of the source and whether
	// that was modified, a digest of the dependencies, and, on Linux, how good
	// the clock is.
	Environment struct {
		// Image is the container image, as in registry.example/billing@sha256:….
		Image string
		// Orchestrator holds what it calls the process, by the kind of name, as
		// "namespace", "pod" or "node": at most 16.
		Orchestrator map[string]string
		// Facts are the application's own: what the Redactor of the action
		// "audit.opened" keeps of them, on the side of inputs.
		Facts any
	}
	// CompanionOf names the log that the acts recorded here are about, where that
	// has another writer or another key: its origin, and its head as the actor
	// knows it.
	CompanionOf struct {
		Origin string
		Head   tlog.Tree
	}

	// Now is the clock that events are dated by. A time that is not between 1970
	// and 9999, or a panic, is replaced by time.Now and reported to OnError. Now and
	// NewID are called in goroutines of their own and must not block: the Trail
	// waits. Default: time.Now.
	Now func() time.Time
	// NewID makes the IDs of jobs, events, streams and executions: UUIDs of
	// version 7. What is not one, a panic, or an ID that was given before (of the
	// newest 1,024) is replaced and reported to OnError.
	// Default: from the clock and crypto/rand.
	NewID func() uuid.UUID
}

func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	setDefault(&opts.Heartbeat, 30*time.Second)
	setDefault(&opts.Timeout, 5*time.Second)
	setDefault(&opts.OutcomeTimeout, 30*time.Second)
	setDefault(&opts.Buffer, 10_000)
	return opts
}

// logError is the default of OnError. What a sink's error quotes may be content.
func (r *Recorder) logError(ctx context.Context, err *AuditError) {
	said := message(r.sanitizer, err)
	if said.dropped != "" {
		said.value = "the text was dropped: " + said.dropped
	}
	slog.Default().LogAttrs(ctx, slog.LevelError, "job audit",
		slog.String("error", said.value), slog.String("op", err.Op), slog.String("job", err.JobID.String()))
}

// Recorder records the lives of jobs in a sink. One per process is enough. It
// is safe for concurrent use. [Open] makes one.
type Recorder struct {
	opts        Options
	where       Source
	incarnation uuid.UUID
	sink        AuditSink
	queue       *delivery.Queue[Record]
	stream      *stream    // of the recorder's own events
	sanitizer   *sanitizer // of the recorder's own texts
	carrierKeys carriertext.Keys
	drainer     drainer
	heartbeats  heartbeats
	executions  atomic.Int64 // begun here, and without an end
	closed      atomic.Bool
}

// Open starts recording in sink: it stores an audit.opened event, and an
// audit.policy event for each redaction policy, but those that the sink's Recovery
// says the log holds already, and returns once they are durable. where says which program this
// is. opts may be nil.
//
// The error is an [*AuditError]; it wraps a [*FieldError] if where lacks a
// required field. The Recorder does not own the sink: close the Recorder
// first, then the sink.
func Open(ctx context.Context, sink AuditSink, where Source, opts *Options) (*Recorder, error) {
	r := &Recorder{opts: opts.withDefaults(), where: where}
	if err := r.prepare(sink); err != nil {
		return nil, &AuditError{Op: "open", Err: err}
	}
	var recovery *Recovery
	switch s := sink.(type) {
	case interface{ Recovery() Recovery }:
		report := s.Recovery()
		recovery = &report
	case interface{ Recovery() (Recovery, bool) }:
		if report, ok := s.Recovery(); ok {
			recovery = &report
		}
	}
	entries := r.opening(recovery)
	if err := r.store(ctx, entries, r.opts.Timeout); err != nil {
		r.closed.Store(true)
		r.queue.Stop()
		return nil, &AuditError{Op: "open", Err: err}
	}
	r.listen()
	r.drainer.wake() // what an earlier process left behind
	return r, nil
}

func (r *Recorder) prepare(sink AuditSink) error {
	if sink == nil {
		return errors.New("no sink")
	}
	if r.opts.Timeout < 0 || r.opts.OutcomeTimeout < 0 || r.opts.Buffer < 0 {
		return &FieldError{Field: "Options", Problem: "has a negative Timeout, OutcomeTimeout or Buffer"}
	}
	if r.opts.Fallback != nil {
		if _, ok := r.opts.Fallback.(AuditReader); !ok {
			return &FieldError{Field: "Options.Fallback", Problem: "must be an AuditReader, for Drain"}
		}
		if _, ok := r.opts.Fallback.(interface{ Sequenced(context.Context) error }); ok {
			return &FieldError{Field: "Options.Fallback", Problem: "has no final order when it is read: Drain could miss an event"}
		}
	}
	if err := cmp.Or(r.where.check(), r.opts.Redactors.checkIdentifiers(r.where.given()...), r.opts.checkEnvironment()); err != nil {
		return err
	}
	keys, err := carriertext.NewKeys(r.opts.CarrierKeys, r.opts.CarrierKey)
	if err != nil {
		return asFieldError(err)
	}
	if r.opts.RequireCarrierProof && len(r.opts.CarrierKeys) == 0 {
		return &FieldError{Field: "Options.RequireCarrierProof", Problem: "needs CarrierKeys"}
	}
	r.carrierKeys = keys
	// A source's error may be reported under a lock.
	r.opts.Now = environ.Now(r.opts.Now, func(err error) { r.reportLater("clock", uuid.Nil, asFieldError(err)) })
	r.opts.NewID = environ.NewID(r.opts.NewID, func(err error) { r.reportLater("id", uuid.Nil, asFieldError(err)) })
	r.incarnation = r.opts.NewID()
	setDefault(&r.where.Host, orUnknown("where.host", environ.Host()))
	setDefault(&r.where.Instance, r.incarnation.String())
	build := environ.Build()
	setDefault(&r.where.Version, orUnknown("where.version", build.BuildVersion()))
	r.sanitizer = r.opts.Redactors.sanitizer("")
	r.sanitizer.recent = new(recentJobs)
	if r.opts.OnError == nil {
		r.opts.OnError = r.logError
	}
	r.sink = sink
	r.drainer.init(r)
	r.queue = delivery.New[Record](sink, r.opts.Fallback, delivery.Options[Record]{
		Immediate: isImmediate(sink),
		Timeout:   r.opts.Timeout, Capacity: r.opts.Buffer, Closed: ErrClosed, Definite: definite, Bounded: errtree.Bounded,
		Failed:     func(s *stream, err error) { r.reportLater("store", s.Job, err) },
		Refused:    r.degraded,
		FailedOver: r.drainer.later, Recovered: r.drainer.wake,
	})
	r.stream = r.queue.Open(r.incarnation, uuid.Nil, nil)
	return nil
}

// isImmediate reports whether a sink says of itself that its Append does not
// wait. The method of one that is embedded in another sink says nothing of that.
func isImmediate(sink AuditSink) bool {
	s, ok := sink.(interface{ Immediate() AuditSink })
	return ok && reflect.ValueOf(sink).Comparable() && s.Immediate() == sink
}

// orUnknown returns what the system says for a field, if that may be stored.
func orUnknown(field, value string) string {
	if value == "" || checkStrings(given{field, value}) != nil {
		return "unknown"
	}
	return value
}

// envelope returns what an event of the audit itself says of its who, what,
// where and why.
func (r *Recorder) envelope(typ EventType) *envelope {
	env := &envelope{correlationID: r.incarnation, requestID: r.incarnation}
	env.describe(&Submission{
		Action:    string(typ),
		Principal: Principal{Kind: Service, ID: r.where.System, Verified: true},
		Trigger:   Trigger{Kind: OnEvent, Reason: auditReasons[typ]},
	}, r.where, r.sanitizer)
	return env
}

// entry makes an event of the recorder's own stream.
func (r *Recorder) entry(typ EventType, data payload) entry {
	d := draft{id: r.opts.NewID(), typ: typ, time: r.opts.Now(), data: data}
	return entry{Event: r.envelope(typ).encode(&d), Urgency: delivery.Outcome}
}

func (r *Recorder) opening(recovery *Recovery) []entry {
	var data payload
	var known []Hash
	if recovery != nil {
		data.recovery = recovery.append(nil)
		known = recovery.Policies
	}
	if c := &r.opts.CompanionOf; c.Origin != "" {
		data.companionOf = &companionData{origin: c.Origin, head: c.Head}
	}
	d := draft{id: r.opts.NewID(), typ: AuditOpened, time: r.opts.Now()}
	data.environment, d.redaction = r.environment()
	d.data = data
	entries := []entry{{Event: r.envelope(AuditOpened).encode(&d), Urgency: delivery.Outcome}}
	for _, doc := range r.opts.Redactors.policies() {
		if !slices.Contains(known, doc.Digest) {
			entries = append(entries, r.entry(AuditPolicy, payload{policy: doc.JSON}))
		}
	}
	return entries
}

// process is what this process says of itself. Tests that compare bytes put
// something else in its place.
var process = environ.This

// environment describes the process. Its facts pass the policy of the action
// audit.opened, on the side of inputs; the block says what was done to them.
func (r *Recorder) environment() (*environment, *Redaction) {
	p := process()
	if p == nil {
		return nil, nil
	}
	e := &environment{Process: p, image: r.opts.Environment.Image, orchestrator: r.opts.Environment.Orchestrator}
	if absent(r.opts.Environment.Facts) {
		return e, nil
	}
	content := r.opts.Redactors.sanitizer(string(AuditOpened)).facts(r.opts.Environment.Facts)
	e.facts = content.json
	return e, content.redaction
}

// store sends entries of the recorder's own stream and waits for the last, as a
// caller does who must know before work begins: it is not retried, and what has not
// been handed over when it fails is taken back.
func (r *Recorder) store(ctx context.Context, entries []entry, timeout time.Duration) error {
	last := &entries[len(entries)-1]
	last.Urgency = delivery.Admission
	err := r.send(ctx, entries, timeout)
	if err != nil {
		r.queue.Forget(r.stream, last.Ack)
	}
	return err
}

// send sends entries of the recorder's own stream and waits for the last.
func (r *Recorder) send(ctx context.Context, entries []entry, timeout time.Duration) error {
	last := &entries[len(entries)-1]
	last.Ack = delivery.NewAck()
	if err := r.queue.Send(r.stream, entries...); err != nil {
		return err
	}
	return r.queue.Wait(ctx, r.stream, last.Ack, timeout)
}

// degraded records that the sink has refused an event for good. lost is how many
// events are not stored for that: 0 if the fallback gets them.
func (r *Recorder) degraded(s *stream, event uuid.UUID, lost int, err error) {
	r.reportLater("store", s.Job, err)
	if s == r.stream {
		return
	}
	reason := message(r.sanitizer, err)
	if lost == 0 && reason.dropped == "" {
		reason.value = "sent to the fallback: " + reason.value
	}
	d := degradedData{stream: s.ID, event: event, count: int64(max(lost-1, 0)), reason: reason}
	if err := r.recordDegraded(d); err != nil {
		r.reportLater("degrade", s.Job, err)
	}
}

func (r *Recorder) recordDegraded(d degradedData) error {
	e := r.entry(AuditDegraded, payload{degraded: &d})
	e.Urgency = delivery.Reserved
	err := r.queue.Send(r.stream, e)
	if err == delivery.ErrFull {
		r.countDegraded()
	}
	return err
}

// countDegraded records that there was an audit.degraded event for which there was no
// room: one event stands for all such in a row.
func (r *Recorder) countDegraded() {
	env := r.envelope(AuditDegraded)
	d := draft{id: r.opts.NewID(), typ: AuditDegraded, time: r.opts.Now()}
	r.queue.Drop(r.stream, d.time, string(AuditDegraded), func(l delivery.Loss) delivery.Event[Record] {
		d.data.degraded = &degradedData{count: int64(l.Count), reason: text{value: "the buffer was full: for so many events of this type there was no room"}}
		return env.encode(&d)
	})
}

// sinkDegraded records that the sink works but does not give all that it
// promises, as when heads cannot be kept outside the log. It reports false once the
// Recorder is closed.
func (r *Recorder) sinkDegraded(err error) bool {
	if r.closed.Load() {
		return false
	}
	if err := r.recordDegraded(degradedData{reason: message(r.sanitizer, err)}); err != nil {
		r.reportLater("degrade", uuid.Nil, err)
	}
	return true
}

// reportLater is report where nothing may wait for OnError.
func (r *Recorder) reportLater(op string, job uuid.UUID, err error) {
	go r.report(context.Background(), op, job, err)
}

// report calls OnError with an error that no call returns. A panic in it does
// not reach the job.
func (r *Recorder) report(ctx context.Context, op string, job uuid.UUID, err error) {
	defer func() { _ = recover() }()
	audit, ok := errors.AsType[*AuditError](err)
	if !ok {
		audit = &AuditError{Op: op, JobID: job, Err: err}
	}
	r.opts.OnError(ctx, audit)
}

// ID returns the ID of the recorder's own stream, of which audit.opened is the
// first event: what [Carrier.Recorder] names.
func (r *Recorder) ID() uuid.UUID {
	if r.opened("") != nil {
		return uuid.Nil
	}
	return r.incarnation
}

// Close stores what is still on its way, then an audit.closed event, and ends
// the Recorder: every later call on it or on its Trails returns [ErrClosed].
// Let the jobs end first. It waits until ctx ends, at most OutcomeTimeout and at
// least Timeout, and then Timeout for the Fallback and for its own event, which it
// sends to a failing sink for at most five seconds, and no longer than OutcomeTimeout.
// What could not be stored by then is lost. The error counts it, and the executions that were begun here and have no
// end: their ends can no longer be recorded.
func (r *Recorder) Close(ctx context.Context) error {
	if err := r.opened("close"); err != nil {
		return err
	}
	if r.closed.Swap(true) {
		return &AuditError{Op: "close", Err: ErrClosed}
	}
	r.deafen()
	r.drainer.stop()
	began := time.Now()
	err := r.drained(ctx, r.opts.OutcomeTimeout)
	ctx = context.WithoutCancel(ctx)
	if err != nil {
		err = r.drained(ctx, r.opts.Timeout)
	}
	if err != nil && r.opts.Fallback != nil {
		for _, s := range r.queue.Outstanding() {
			r.queue.FailOver(s)
		}
		err = r.drained(ctx, r.opts.Timeout)
	}
	own := 0
	if err == nil {
		if err = r.storeClosed(ctx, began); errors.Is(err, context.DeadlineExceeded) {
			own = 1 // it is still in the queue, and no event of a job
		}
	}
	stats := r.queue.Stats()
	lost := max(r.queue.Stop()-own, 0)
	if err == nil && lost > 0 {
		err = errors.New("they were recorded while it closed")
	}
	if err == nil {
		return nil
	}
	if stats.LastErr != nil && !stats.FailedAt.Before(began) && !errtree.Is(err, stats.LastErr) {
		err = fmt.Errorf("%w: %w", err, stats.LastErr)
	}
	err = fmt.Errorf("%d events are not known to be stored, and %d executions have no end: %w", lost, r.executions.Load(), err)
	return &AuditError{Op: "close", Err: err}
}

// closingRetries is how long Close sends its own event again to a sink that fails.
const closingRetries = 5 * time.Second

// closingLook is how often Close looks whether a call that takes longer has failed.
const closingLook = 50 * time.Millisecond

// storeClosed stores the audit.closed event. A sink that fails, as on a connection that
// broke while it stood idle, is called again for a while; one that is slow has Timeout.
func (r *Recorder) storeClosed(ctx context.Context, began time.Time) error {
	entries := []entry{r.entry(AuditClosed, payload{})}
	entries[0].Urgency = delivery.Outcome
	wait := min(r.opts.Timeout, r.opts.OutcomeTimeout, closingRetries)
	err := r.send(ctx, entries, wait)
	for left := r.opts.Timeout - wait; left > 0; left -= closingLook {
		if !errors.Is(err, context.DeadlineExceeded) || !r.queue.Stats().FailedAt.Before(began) {
			break // a call that has failed by now is not followed by another one
		}
		err = r.queue.Wait(ctx, r.stream, entries[0].Ack, min(left, closingLook))
	}
	return err
}

// drained waits until nothing is left to store.
func (r *Recorder) drained(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return r.queue.Drain(ctx)
}

// Stats is what a [Recorder] has done, and what it holds.
type Stats struct {
	Stored     uint64    // events that the sink has acknowledged
	Lost       uint64    // events that were dropped or refused
	Buffered   int       // events that wait for the sink
	Oldest     time.Time // when the oldest of these was recorded; zero if none waits
	InFallback uint64    // events that the fallback took here and the sink does not have yet
	Executions int64     // begun here, and without an end
	LastError  error     // of the sink; nil if there was none
	LastFailed time.Time // when that was; zero if never
}

// Stats returns what the Recorder has done and holds, for metrics.
func (r *Recorder) Stats() Stats {
	if r.opened("") != nil {
		return Stats{}
	}
	s := r.queue.Stats()
	return Stats{
		Stored: s.Stored, Lost: s.Lost, Buffered: s.Buffered, Oldest: s.Oldest, InFallback: r.drainer.missing(s.Fallback),
		Executions: r.executions.Load(), LastError: s.LastErr, LastFailed: s.FailedAt,
	}
}

// Healthy returns nil if a job that is submitted now may be expected to start:
// the Recorder is open, the sink's newest call succeeded, and no event has
// waited longer than Timeout for it. It makes no call to the sink, and is for
// probes.
func (r *Recorder) Healthy() error {
	if err := r.opened("healthy"); err != nil {
		return err
	}
	unhealthy := func(err error) error { return &AuditError{Op: "healthy", Err: err} }
	if r.closed.Load() {
		return unhealthy(ErrClosed)
	}
	s := r.queue.Stats()
	if s.Err != nil {
		return unhealthy(fmt.Errorf("the sink's newest call failed: %w", s.Err))
	}
	if waited := time.Since(s.Oldest); !s.Oldest.IsZero() && waited > r.opts.Timeout {
		return unhealthy(fmt.Errorf("%d events wait for the sink, the oldest for %v", s.Buffered, waited.Round(time.Millisecond)))
	}
	return nil
}

// opened says that a Recorder is not one that Open returned.
func (r *Recorder) opened(op string) error {
	if r == nil || r.queue == nil {
		return &AuditError{Op: op, Err: errNotOpened}
	}
	return nil
}

// opened says that a Trail is not one of a Recorder's.
func (t *Trail) opened(op string) error {
	if t == nil || t.rec == nil {
		return &AuditError{Op: op, Err: errNotOpened}
	}
	return nil
}

// Probe records an audit.probed event, and returns nil when it is stored: the
// log takes records. Silence in a log proves nothing while it takes none, so a
// watchdog probes before it concludes. The error is an [*AuditError].
func (r *Recorder) Probe(ctx context.Context) error {
	if err := r.opened("probe"); err != nil {
		return err
	}
	if r.closed.Load() {
		return &AuditError{Op: "probe", Err: ErrClosed}
	}
	if err := r.store(ctx, []entry{r.entry(AuditProbed, payload{})}, r.opts.Timeout); err != nil {
		return &AuditError{Op: "probe", Err: err}
	}
	return nil
}
