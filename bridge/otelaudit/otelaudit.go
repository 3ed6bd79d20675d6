// Package otelaudit shows jobs in OpenTelemetry: the trace that a job belongs to is on
// its record, each run of a job is a span, and what a Recorder and a log hold are
// metrics.
//
//	bridge := otelaudit.New(otel.GetTracerProvider())
//	recorder, err := jobaudit.Open(ctx, sink, where, &jobaudit.Options{Defaults: bridge.Defaults(nil)})
//	…
//	err = recorder.Run(ctx, submission, bridge.Job(sendReport))
//
// # The bridge is never the record
//
// A span may be sampled away, and the SDK's batch processor drops what its queue has
// no room for and tells nobody: of 2,000 spans that ended at once it let 24 through,
// and ForceFlush returned nil. So nothing here is read back, and no error or panic of
// it reaches a job; the one wait is that of [Bridge.LinksFrom], at most a second.
// What a trace lacks, the log has; the job's ID is on the span as jobaudit.job.id.
//
// # What a span says
//
// The IDs, the action, and how it ended. Texts of errors, inputs and outputs are not
// on it: they pass no policy on their way to a tracing system. Its parent is the span
// that the job was submitted in. It has links, of kind jobaudit.link, to the newest
// span here of the same job (resumption), of the job that this one is a retry of
// (retry), and of the job that submitted it (parent), as far as this process has run
// them: of the newest 10,000.
//
// Of jobs that other processes ran the record has no span of a run, but the one that
// each was submitted in. So a job whose parent ran elsewhere is linked to the span that its
// parent submitted it in, which its Carrier takes along, and with [Bridge.LinksFrom] a retry is
// linked to the span that the job was submitted in that it retries.
//
// # Libraries
//
// OpenTelemetry's API for Go is what programs are instrumented with. Its SDK is used
// by the tests alone.
package otelaudit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/jobaudit/jobaudit"
)

const scope = "github.com/jobaudit/jobaudit/bridge/otelaudit"

// known is how many jobs' spans are kept to be linked to.
const known = 10_000

// Bridge makes spans of jobs. It is safe for concurrent use.
type Bridge struct {
	tracer trace.Tracer
	log    jobaudit.AuditReader // may be nil

	mu    sync.Mutex
	spans map[uuid.UUID]trace.SpanContext // the newest of each job
	order []uuid.UUID                     // of the jobs in spans, a ring
	next  int
}

// New returns a bridge to a provider of tracers.
func New(provider trace.TracerProvider) *Bridge {
	return &Bridge{tracer: provider.Tracer(scope), spans: make(map[uuid.UUID]trace.SpanContext)}
}

// lookupTime bounds how long a job waits for a link.
const lookupTime = time.Second

// LinksFrom returns a bridge that looks into a log for the trace of a job that is retried
// and that did not run here. The run waits for that, at most a second; without an answer
// it has no such link. What one bridge has run the other does not know.
func (b *Bridge) LinksFrom(log jobaudit.AuditReader) *Bridge {
	return &Bridge{tracer: b.tracer, log: log, spans: make(map[uuid.UUID]trace.SpanContext)}
}

// recorded is the span that a job was submitted in, as the log says. A reader that
// does not heed its context, or panics, holds up nobody: it has a goroutine of its own.
func (b *Bridge) recorded(ctx context.Context, id uuid.UUID) (at trace.SpanContext, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	found := make(chan trace.SpanContext, 1)
	go func() {
		defer close(found)
		defer func() { _ = recover() }()
		if at, ok := b.lookUp(ctx, id); ok {
			found <- at
		}
	}()
	select {
	case at, ok = <-found:
	case <-ctx.Done():
	}
	return at, ok
}

func (b *Bridge) lookUp(ctx context.Context, id uuid.UUID) (at trace.SpanContext, ok bool) {
	for r, err := range b.log.Records(ctx, jobaudit.Query{JobID: id, Types: []jobaudit.EventType{jobaudit.JobSubmitted}, Limit: 1}) {
		if err != nil {
			return at, false
		}
		return spanContext(r.Event().TraceParent)
	}
	return at, false
}

// Defaults returns a function for [jobaudit.Options]: it gives what next gives (nil
// gives nothing), and the trace context of the span in the context where next leaves
// that out.
func (b *Bridge) Defaults(next func(context.Context) jobaudit.Submission) func(context.Context) jobaudit.Submission {
	return func(ctx context.Context) (s jobaudit.Submission) {
		if next != nil {
			s = next(ctx)
		}
		if at := trace.SpanContextFromContext(ctx); s.TraceParent == "" && at.IsValid() {
			s.TraceParent = fmt.Sprintf("00-%s-%s-%s", at.TraceID(), at.SpanID(), at.TraceFlags()&trace.FlagsSampled)
		}
		return s
	}
}

// Job returns a function to be run as a job, whose runs are spans. Spans that fn
// begins are below the job's. Outside of a job it calls fn and makes no span.
func (b *Bridge) Job(fn func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		trail, ok := jobaudit.FromContext(ctx)
		if !ok {
			return fn(ctx)
		}
		within, span := b.begin(ctx, trail)
		ended := false
		defer func() {
			if !ended { // a panic, or runtime.Goexit
				harmless(func() { span.SetStatus(codes.Error, "the function did not return") })
			}
			harmless(func() { span.End() }) // itself deferred, it would put the panic's value on the span
		}()
		err := fn(within)
		ended = true
		if err != nil {
			harmless(func() {
				span.SetStatus(codes.Error, "") // its text may say what no policy has kept
				if code := codeOf(err); code != "" {
					span.SetAttributes(attribute.String("error.type", code))
				}
			})
		}
		return err
	}
}

// begin begins the span of a run. If that panics the job runs without one.
func (b *Bridge) begin(ctx context.Context, trail *jobaudit.Trail) (within context.Context, span trace.Span) {
	within, span = ctx, trace.SpanFromContext(context.Background()) // which does nothing
	harmless(func() {
		began, s := b.start(ctx, trail)
		within, span = began, s
	})
	return within, span
}

// harmless calls a part of the tracing, which is the application's: a sampler, a processor
// of spans. A panic of it must not change how a job ends.
func harmless(do func()) {
	defer func() {
		if p := recover(); p != nil {
			defer func() { _ = recover() }()
			otel.Handle(fmt.Errorf("otelaudit: the tracing panicked with a %T", p))
		}
	}()
	do()
}

// codeOf is what an error says of its kind, nothing where its method panics: the job has
// ended by then, and the bridge is not to change how.
func codeOf(err error) (code string) {
	defer func() {
		if recover() != nil {
			code = ""
		}
	}()
	coded, ok := err.(interface{ JobErrorCode() string })
	if !ok {
		return ""
	}
	code = coded.JobErrorCode()
	if len(code) > 64 || strings.Trim(code, codeCharacters) != "" {
		return "" // a text, which no policy has kept
	}
	return code
}

// codeCharacters are what codes consist of.
const codeCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."

// job is what a Carrier's text says of a job: docs/format.md, F3.
type job struct {
	Action      string    `json:"action"`
	Parent      uuid.UUID `json:"parent"`
	RetryOf     uuid.UUID `json:"retryOf"`
	Root        uuid.UUID `json:"root"`
	Correlation uuid.UUID `json:"correlation"`
	TraceParent string    `json:"traceparent"`
}

func jobOf(trail *jobaudit.Trail) (j job) {
	parts := strings.Split(trail.Carrier().String(), ".")
	if len(parts) < 2 {
		return j
	}
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		_ = json.Unmarshal(content, &j) // what is missing stays away from the span
	}
	return j
}

// start begins the span of a run.
func (b *Bridge) start(ctx context.Context, trail *jobaudit.Trail) (context.Context, trace.Span) {
	id, j := trail.JobID(), jobOf(trail)
	if at, ok := spanContext(j.TraceParent); ok {
		ctx = trace.ContextWithRemoteSpanContext(ctx, at)
	}
	attributes := []attribute.KeyValue{attribute.String("jobaudit.job.id", id.String()), attribute.String("jobaudit.action", j.Action)}
	for name, other := range map[string]uuid.UUID{
		"jobaudit.job.parent_id": j.Parent, "jobaudit.job.retry_of": j.RetryOf, "jobaudit.job.root_id": j.Root, "jobaudit.correlation_id": j.Correlation,
	} {
		if other != uuid.Nil {
			attributes = append(attributes, attribute.String(name, other.String()))
		}
	}
	links := b.links(ctx, id, j)
	ctx, span := b.tracer.Start(ctx, "job "+j.Action, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...), trace.WithLinks(links...))
	b.keep(id, span.SpanContext())
	return ctx, span
}

// links are those of a run.
func (b *Bridge) links(ctx context.Context, id uuid.UUID, j job) (links []trace.Link) {
	for _, to := range []struct {
		job  uuid.UUID
		kind string
	}{{id, "resumption"}, {j.RetryOf, "retry"}, {j.Parent, "parent"}} {
		b.mu.Lock()
		at, ok := b.spans[to.job]
		b.mu.Unlock()
		switch {
		case ok || to.job == uuid.Nil:
		case to.kind == "parent":
			at, ok = spanContext(j.TraceParent)
		case to.kind == "retry" && b.log != nil:
			at, ok = b.recorded(ctx, to.job)
		}
		if ok {
			links = append(links, trace.Link{SpanContext: at, Attributes: []attribute.KeyValue{attribute.String("jobaudit.link", to.kind)}})
		}
	}
	return links
}

// keep remembers the newest span of a job, and forgets the oldest job's.
func (b *Bridge) keep(id uuid.UUID, at trace.SpanContext) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.spans[id]; !ok {
		if len(b.order) < known {
			b.order = append(b.order, id)
		} else {
			delete(b.spans, b.order[b.next])
			b.order[b.next] = id
			b.next = (b.next + 1) % known
		}
	}
	b.spans[id] = at
}

// spanContext reads a traceparent header.
func spanContext(header string) (at trace.SpanContext, ok bool) {
	parts := strings.Split(header, "-")
	if len(parts) != 4 {
		return at, false
	}
	id, err := trace.TraceIDFromHex(parts[1])
	if err != nil {
		return at, false
	}
	span, err := trace.SpanIDFromHex(parts[2])
	if err != nil {
		return at, false
	}
	var flags trace.TraceFlags
	if strings.HasSuffix(parts[3], "1") {
		flags = trace.FlagsSampled
	}
	at = trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: flags, Remote: true})
	return at, at.IsValid()
}
