package jobaudit

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/internal/delivery"
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
	// good. When the sink takes records again, and after a restart, they are
	// brought home to it. It must be an [AuditReader] as well, and be read in the
	// order in which it was written. If it has a method Forget(ctx
	// context.Context, ids []uuid.UUID) error, that is called with what has come
	// home.
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
	// and 9999, or a panic, is replaced by time.Now and reported to OnError. Default:
	// time.Now.
	Now func() time.Time
	// NewID makes the IDs of jobs, events, streams and executions: UUIDs of
	// version 7. What is not one, or a panic, is replaced and reported to OnError.
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
	carrierKeys carrierKeys
	home        homecoming
	executions  atomic.Int64 // begun here, and without an end
	closed      atomic.Bool
}

// Open starts recording in sink: it stores an audit.opened event, and an
// audit.policy event for each redaction policy that the log does not hold
// already, and returns once they are durable. where says which program this
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
	if single, ok := sink.(interface{ Recovery() Recovery }); ok {
		report := single.Recovery()
		recovery = &report
	}
	entries := r.opening(recovery)
	if err := r.store(ctx, entries, r.opts.Timeout); err != nil {
		r.closed.Store(true)
		r.queue.Stop()
		return nil, &AuditError{Op: "open", Err: err}
	}
	if weak, ok := sink.(interface{ Degraded(report func(error)) }); ok {
		weak.Degraded(r.sinkDegraded)
	}
	r.home.wake() // what an earlier process left behind
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
	}
	if err := cmp.Or(r.where.check(), r.opts.checkEnvironment()); err != nil {
		return err
	}
	keys, err := r.opts.carrierKeys()
	if err != nil {
		return err
	}
	r.carrierKeys = keys
	r.guardSources()
	r.incarnation = r.opts.NewID()
	setDefault(&r.where.Host, hostname())
	setDefault(&r.where.Instance, r.incarnation.String())
	build := thisProgram()
	setDefault(&r.where.Version, build.buildVersion())
	r.sanitizer = r.opts.Redactors.sanitizer("")
	r.sanitizer.recent = new(recentJobs)
	if r.opts.OnError == nil {
		r.opts.OnError = r.logError
	}
	r.sink = sink
	r.home.init(r)
	r.queue = delivery.New[Record](sink, r.opts.Fallback, delivery.Options[Record]{
		Timeout: r.opts.Timeout, Capacity: r.opts.Buffer, Closed: ErrClosed, Definite: definite, Bounded: bounded,
		Failed:     func(s *stream, err error) { r.reportLater("store", s.Job, err) },
		Refused:    r.degraded,
		FailedOver: r.home.later, Recovered: r.home.wake,
	})
	r.stream = r.queue.Open(r.incarnation, uuid.Nil, nil)
	return nil
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil || checkStrings(given{"where.host", name}) != nil {
		return "unknown"
	}
	return name
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

// store sends entries of the recorder's own stream and waits for the last.
func (r *Recorder) store(ctx context.Context, entries []entry, timeout time.Duration) error {
	last := &entries[len(entries)-1]
	last.Urgency = delivery.Admission
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
	return r.queue.Send(r.stream, e)
}

// sinkDegraded records that the sink works but does not give all that it
// promises, as when heads cannot be kept outside the log.
func (r *Recorder) sinkDegraded(err error) {
	if r.closed.Load() {
		return
	}
	if err := r.recordDegraded(degradedData{reason: message(r.sanitizer, err)}); err != nil {
		r.reportLater("degrade", uuid.Nil, err)
	}
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

// newID returns a UUID of version 7 (RFC 9562, section 5.7), with the fraction
// of its millisecond in rand_a (section 6.2, method 3). [uuid.NewV7] keeps its
// own in order, behind one lock that all callers share; nothing here reads an
// order out of IDs.
func newID() uuid.UUID {
	var id uuid.UUID
	_, _ = rand.Read(id[8:]) // it never fails
	now := time.Now().UnixNano()
	fraction := now % 1e6 * (1 << 12) / 1e6
	binary.BigEndian.PutUint64(id[:], uint64(now/1e6)<<16|7<<12|uint64(fraction))
	id[8] = id[8]&0x3f | 0x80
	return id
}
