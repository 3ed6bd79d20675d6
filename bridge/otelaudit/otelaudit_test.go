package otelaudit_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/bridge/otelaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

type world struct {
	spans    *tracetest.SpanRecorder
	provider *sdktrace.TracerProvider
	bridge   *otelaudit.Bridge
	sink     *memsink.Sink
	recorder *jobaudit.Recorder
}

func newWorld(t *testing.T, opts jobaudit.Options) *world {
	t.Helper()
	w := &world{spans: tracetest.NewSpanRecorder(), sink: memsink.New(nil)}
	w.provider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(w.spans))
	w.bridge = otelaudit.New(w.provider)
	opts.Defaults = w.bridge.Defaults(opts.Defaults)
	var err error
	w.recorder, err = jobaudit.Open(t.Context(), w.sink, jobaudit.Source{System: "reports", Environment: "test"}, &opts)
	require.NoError(t, err)
	return w
}

func submission(action string) jobaudit.Submission {
	return jobaudit.Submission{
		Action:    action,
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "asked"},
	}
}

// span returns the newest ended span of a name.
func (w *world) span(t *testing.T, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	for _, s := range slices.Backward(w.spans.Ended()) {
		if s.Name() == name {
			return s
		}
	}
	t.Fatalf("no span is named %q", name)
	return nil
}

func links(s sdktrace.ReadOnlySpan) (list []string) {
	for _, l := range s.Links() {
		list = append(list, l.Attributes[0].Value.AsString()+" "+l.SpanContext.SpanID().String())
	}
	return list
}

func TestTheTraceOfARequestIsOnTheRecordAndTheJobsSpanIsInIt(t *testing.T) {
	w := newWorld(t, jobaudit.Options{})
	ctx, request := w.provider.Tracer("web").Start(t.Context(), "POST /reports")
	require.NoError(t, w.recorder.Run(ctx, submission("send-report"), w.bridge.Job(func(ctx context.Context) error {
		_, below := w.provider.Tracer("mail").Start(ctx, "smtp")
		below.End()
		return w.recorder.Run(ctx, submission("archive"), w.bridge.Job(func(context.Context) error { return nil }))
	})))
	request.End()

	report, archive, below := w.span(t, "job send-report"), w.span(t, "job archive"), w.span(t, "smtp")
	require.Equal(t, request.SpanContext().SpanID(), report.Parent().SpanID())
	require.Equal(t, request.SpanContext().TraceID(), archive.SpanContext().TraceID())
	require.Equal(t, report.SpanContext().SpanID(), below.Parent().SpanID())
	require.Equal(t, []string{"parent " + report.SpanContext().SpanID().String()}, links(archive))
	for r, err := range w.sink.Records(t.Context(), jobaudit.Query{Action: "send-report"}) {
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("00-%s-%s-01", request.SpanContext().TraceID(), request.SpanContext().SpanID()), r.Event().TraceParent)
	}
}

func TestAJobThatIsRunAgainLinksToItsEarlierRunsAndARetryToWhatItRetries(t *testing.T) {
	w := newWorld(t, jobaudit.Options{})
	trail, err := w.recorder.Submit(t.Context(), submission("resize"))
	require.NoError(t, err)
	run := func() sdktrace.ReadOnlySpan {
		resumed, err := w.recorder.Resume(t.Context(), trail.Carrier(), nil)
		require.NoError(t, err)
		_ = resumed.Run(t.Context(), jobaudit.Execution{}, w.bridge.Job(func(context.Context) error {
			err := errors.New("password hunter2 refused")
			resumed.Retrying(t.Context(), err)
			return err
		}))
		return w.span(t, "job resize")
	}
	first := run()
	second := run()
	require.Equal(t, []string{"resumption " + first.SpanContext().SpanID().String()}, links(second))
	require.NotContains(t, fmt.Sprint(second.Status(), second.Attributes(), second.Events()), "hunter2")

	retry := submission("resize-again")
	retry.RetryOf = trail.JobID()
	require.NoError(t, w.recorder.Run(t.Context(), retry, w.bridge.Job(func(context.Context) error { return nil })))
	require.Equal(t, []string{"retry " + second.SpanContext().SpanID().String()}, links(w.span(t, "job resize-again")))
}

// Another process has another bridge and another recorder.
func TestAJobIsLinkedToWhatRanInAnotherProcess(t *testing.T) {
	w := newWorld(t, jobaudit.Options{})
	var carrier jobaudit.Carrier
	ctx, request := w.provider.Tracer("web").Start(t.Context(), "request")
	require.NoError(t, w.recorder.Run(ctx, submission("report"), w.bridge.Job(func(ctx context.Context) error {
		child, err := w.recorder.Submit(ctx, submission("page"))
		carrier = child.Carrier()
		return err
	})))
	request.End()
	report := w.span(t, "job report")
	ids := w.sink.Jobs()

	other := newWorld(t, jobaudit.Options{})
	trail, err := other.recorder.Resume(t.Context(), carrier, nil)
	require.NoError(t, err)
	require.NoError(t, trail.Run(t.Context(), jobaudit.Execution{}, other.bridge.Job(func(context.Context) error { return nil })))
	page := other.span(t, "job page")
	require.Equal(t, report.SpanContext().TraceID(), page.SpanContext().TraceID())
	require.Equal(t, []string{"parent " + report.SpanContext().SpanID().String()}, links(page))

	retry := submission("report-again")
	retry.RetryOf = ids[0]
	nothing := func(context.Context) error { return nil }
	require.NoError(t, other.recorder.Run(t.Context(), retry, other.bridge.Job(nothing)))
	require.Empty(t, links(other.span(t, "job report-again")))
	require.NoError(t, other.recorder.Run(t.Context(), retry, other.bridge.LinksFrom(w.sink).Job(nothing)))
	require.Equal(t, []string{"retry " + request.SpanContext().SpanID().String()}, links(other.span(t, "job report-again")))
	retry.RetryOf = uuid.New()
	require.NoError(t, other.recorder.Run(t.Context(), retry, other.bridge.LinksFrom(w.sink).Job(nothing)))
	require.Empty(t, links(other.span(t, "job report-again")))
}

// A log that hangs or panics costs a job its link, and nothing else.
func TestALogThatLinksAreLookedUpInChangesNoJob(t *testing.T) {
	leave := make(chan struct{})
	defer close(leave)
	for name, log := range map[string]reader{
		"it hangs":       func(func(jobaudit.Record, error) bool) { <-leave },
		"it panics":      func(func(jobaudit.Record, error) bool) { panic("in the reader") },
		"it has ended":   func(func(jobaudit.Record, error) bool) { runtime.Goexit() },
		"it has failed":  func(yield func(jobaudit.Record, error) bool) { yield(jobaudit.Record{}, errors.New("no")) },
		"it has nothing": func(func(jobaudit.Record, error) bool) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jobaudit.Options{})
			retry := submission("again")
			retry.RetryOf = uuid.New()
			ran := false
			require.NoError(t, w.recorder.Run(t.Context(), retry, w.bridge.LinksFrom(log).Job(func(context.Context) error {
				ran = true
				return nil
			})))
			require.True(t, ran)
			require.Empty(t, links(w.span(t, "job again")))
		})
	}
}

// reader is a log of which each query gives the same.
type reader iter.Seq2[jobaudit.Record, error]

func (r reader) Records(context.Context, jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return iter.Seq2[jobaudit.Record, error](r)
}

// coded is an error whose code is what a function says.
type coded func() string

func (c coded) Error() string        { return "it failed" }
func (c coded) JobErrorCode() string { return c() }

func TestAnErrorsCodeIsOnTheSpanIfItIsOneAndChangesNoOutcome(t *testing.T) {
	for name, tt := range map[string]struct {
		code coded
		want string
	}{
		"a code":  {func() string { return "QUOTA" }, "QUOTA"},
		"a text":  {func() string { return "hunter2 was refused" }, ""},
		"long":    {func() string { return strings.Repeat("A", 65) }, ""},
		"a panic": {func() string { panic("broken") }, ""},
	} {
		w := newWorld(t, jobaudit.Options{})
		err := w.recorder.Run(t.Context(), submission("x"), w.bridge.Job(func(context.Context) error { return tt.code }))
		require.EqualError(t, err, "it failed", name)
		w.sink.ExpectStates(t, w.sink.Jobs()[0], jobaudit.Pending, jobaudit.Running, jobaudit.Failed)
		got := ""
		for _, a := range w.span(t, "job x").Attributes() {
			if a.Key == "error.type" {
				got = a.Value.AsString()
			}
		}
		require.Equal(t, tt.want, got, name)
	}
}

func TestAPanicEndsTheSpanAndGoesOn(t *testing.T) {
	w := newWorld(t, jobaudit.Options{})
	require.PanicsWithValue(t, "secret", func() {
		_ = w.recorder.Run(t.Context(), submission("burn"), w.bridge.Job(func(context.Context) error { panic("secret") }))
	})
	s := w.span(t, "job burn")
	require.Equal(t, "Error", s.Status().Code.String())
	require.NotContains(t, fmt.Sprint(s.Status(), s.Events()), "secret")
}

// panics is a part of the tracing that panics at one place.
type panics struct{ at string }

func (p panics) when(at string) {
	if p.at == at {
		panic("the tracing panicked at " + at)
	}
}

func (p panics) ShouldSample(sdktrace.SamplingParameters) sdktrace.SamplingResult {
	p.when("sampler")
	return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
}
func (p panics) Description() string                               { return "panics" }
func (p panics) OnStart(context.Context, sdktrace.ReadWriteSpan)   { p.when("start") }
func (p panics) OnEnd(sdktrace.ReadOnlySpan)                       { p.when("end") }
func (p panics) Shutdown(context.Context) error                    { return nil }
func (p panics) ForceFlush(context.Context) error                  { return nil }
func (p panics) Tracer(string, ...trace.TracerOption) trace.Tracer { return panicTracer{panics: p} }

// panicTracer makes spans that panic, as those of another provider may.
type panicTracer struct {
	embedded.Tracer
	panics
}

func (p panicTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	s := panicSpan{Span: trace.SpanFromContext(context.Background()), panics: p.panics}
	return trace.ContextWithSpan(ctx, s), s
}

type panicSpan struct {
	trace.Span
	panics
}

func (s panicSpan) SpanContext() trace.SpanContext      { s.when("context"); return trace.SpanContext{} }
func (s panicSpan) SetStatus(codes.Code, string)        { s.when("status") }
func (s panicSpan) SetAttributes(...attribute.KeyValue) { s.when("attributes") }
func (s panicSpan) End(...trace.SpanEndOption)          { s.when("span end") }

type panicProvider struct {
	embedded.TracerProvider
	panics
}

// paperError is an error with a code.
type paperError struct{ error }

func (paperError) JobErrorCode() string { return "PAPER" }

// Wherever the tracing panics, the job runs once, and ends as it would without tracing.
func TestATracingThatPanicsChangesNoJob(t *testing.T) {
	var told int
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {
		told++
		panic("the handler, too")
	}))
	defer otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	for _, at := range []string{"sampler", "start", "end", "context", "status", "attributes", "span end"} {
		sdk := sdktrace.NewTracerProvider(sdktrace.WithSampler(panics{at}), sdktrace.WithSpanProcessor(panics{at}))
		for _, provider := range []trace.TracerProvider{sdk, panicProvider{panics: panics{at}}} {
			bridge, sink := otelaudit.New(provider), memsink.New(nil)
			recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "reports", Environment: "test"}, nil)
			require.NoError(t, err)
			for _, end := range []string{"success", "error", "panic"} {
				failure := paperError{errors.New("no paper")}
				runs := 0
				job := func() error {
					return recorder.Run(t.Context(), submission(end), bridge.Job(func(ctx context.Context) error {
						runs++
						require.NotNil(t, trace.SpanFromContext(ctx))
						switch end {
						case "error":
							return failure
						case "panic":
							panic("of the job")
						}
						return nil
					}))
				}
				switch end {
				case "success":
					require.NoError(t, job(), at)
				case "error":
					require.Equal(t, error(failure), job(), at)
				case "panic":
					require.PanicsWithValue(t, "of the job", func() { _ = job() }, at)
				}
				require.Equal(t, 1, runs, at)
			}
			require.NoError(t, recorder.Close(t.Context()))
			var states []jobaudit.JobState
			for job, err := range jobaudit.Jobs(t.Context(), sink, jobaudit.Query{}) {
				require.NoError(t, err)
				states = append(states, job.State)
			}
			require.ElementsMatch(t, []jobaudit.JobState{jobaudit.Success, jobaudit.Failed, jobaudit.Failed}, states, at)
		}
	}
	require.Positive(t, told)
}

func TestOutsideOfAJobThereIsNoSpanAndOwnDefaultsComeFirst(t *testing.T) {
	const own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w := newWorld(t, jobaudit.Options{Defaults: func(context.Context) jobaudit.Submission { return jobaudit.Submission{TraceParent: own} }})
	require.NoError(t, w.bridge.Job(func(context.Context) error { return nil })(t.Context()))
	require.Empty(t, w.spans.Ended())
	ctx, span := w.provider.Tracer("web").Start(t.Context(), "request")
	defer span.End()
	require.NoError(t, w.recorder.Run(ctx, submission("x"), w.bridge.Job(func(context.Context) error { return nil })))
	require.True(t, strings.Contains(own, w.span(t, "job x").SpanContext().TraceID().String()))
}

// The batch processor drops what it has no room for; the record drops nothing.
func TestWhatATracingSystemDropsTheRecordHas(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(blocked{block}, sdktrace.WithMaxQueueSize(1), sdktrace.WithMaxExportBatchSize(1)))
	bridge, sink := otelaudit.New(provider), memsink.New(nil)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "reports", Environment: "test"}, nil)
	require.NoError(t, err)
	for range 50 {
		require.NoError(t, recorder.Run(t.Context(), submission("x"), bridge.Job(func(context.Context) error { return nil })))
	}
	require.Len(t, sink.Jobs(), 50)
	for _, id := range sink.Jobs() {
		sink.ExpectStates(t, id, jobaudit.Pending, jobaudit.Running, jobaudit.Success)
	}
}

type blocked struct{ until chan struct{} }

func (b blocked) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { <-b.until; return nil }
func (b blocked) Shutdown(context.Context) error                             { return nil }

// openJobs are the records of jobs that have no outcome.
type openJobs []jobaudit.Record

func (o openJobs) OpenJobs(context.Context) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range o {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func TestMetricsSayWhatStatsAndTheLogSay(t *testing.T) {
	past := time.Now().Add(-24 * time.Hour)
	w := newWorld(t, jobaudit.Options{Now: func() time.Time { return past }})
	_, err := w.recorder.Submit(t.Context(), submission("waits"))
	require.NoError(t, err)
	trail, err := w.recorder.Submit(t.Context(), submission("runs"))
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	retried, err := w.recorder.Submit(t.Context(), submission("waits for its next attempt"))
	require.NoError(t, err)
	require.NoError(t, retried.Start(t.Context(), jobaudit.Execution{}))
	retried.Retrying(t.Context(), errors.New("the first try failed"))
	require.NoError(t, retried.Flush(t.Context()))
	var open openJobs
	for r, err := range w.sink.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		if r.JobID() != uuid.Nil {
			open = append(open, r)
		}
	}
	values, registration := collect(t, w, open)
	require.EqualValues(t, w.recorder.Stats().Stored, values()["jobaudit.events.stored"])
	require.EqualValues(t, 1, values()["jobaudit.executions"])
	require.EqualValues(t, 1, values()["jobaudit.jobs.open pending"])
	require.EqualValues(t, 2, values()["jobaudit.jobs.open running"])
	require.EqualValues(t, 1, values()["jobaudit.jobs.ghosts"], "who waits for a retry is none")
	require.Zero(t, values()["jobaudit.events.lost"])
	require.NotContains(t, values(), "jobaudit.jobs.ended success", "such a log cannot be read on")
	require.NoError(t, registration.Unregister())
}

// readable is a log that can be read on.
type readable struct {
	openJobs
	jobaudit.AuditReader
}

func TestMetricsCountTheJobsThatEndedByState(t *testing.T) {
	w := newWorld(t, jobaudit.Options{})
	run := func(err error) {
		_ = w.recorder.Run(t.Context(), submission("x"), func(context.Context) error { return err })
	}
	run(nil)
	values, _ := collect(t, w, readable{nil, w.sink})
	require.Contains(t, values(), "jobaudit.jobs.ended success")
	require.Zero(t, values()["jobaudit.jobs.ended success"], "what ended before is not counted")
	run(nil)
	run(nil)
	run(errors.New("no"))
	require.EqualValues(t, 2, values()["jobaudit.jobs.ended success"])
	trail, err := w.recorder.Submit(t.Context(), submission("x"))
	require.NoError(t, err)
	require.NoError(t, trail.Cancel(t.Context(), "not needed"))
	require.EqualValues(t, 2, values()["jobaudit.jobs.ended success"])
	require.EqualValues(t, 1, values()["jobaudit.jobs.ended failed"])
	require.EqualValues(t, 1, values()["jobaudit.jobs.ended cancelled"])
}

// A collection goes on behind the newest event, whatever type that has.
func TestMetricsReadNoEventTwice(t *testing.T) {
	w := newWorld(t, jobaudit.Options{})
	log := &counting{Sink: w.sink}
	values, _ := collect(t, w, readable{nil, log})
	trail, err := w.recorder.Submit(t.Context(), submission("long"))
	require.NoError(t, err)
	for range 20 {
		require.NoError(t, trail.Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
			trail.Log(ctx, "a line")
			trail.Retrying(ctx, errors.New("again"))
			return trail.Flush(ctx)
		}))
		values()
	}
	require.LessOrEqual(t, log.yielded, w.sink.Len()+1)
}

// counting counts what its readers get.
type counting struct {
	*memsink.Sink
	yielded int
}

func (c *counting) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for r, err := range c.Sink.Records(ctx, jobaudit.Query{After: q.After, NewestFirst: q.NewestFirst}) {
			c.yielded++
			if q.Match(r) && !yield(r, err) {
				return
			}
		}
	}
}

// collect registers the metrics, and returns what reads them.
func collect(t *testing.T, w *world, log otelaudit.OpenJobs) (values func() map[string]int64, registration metric.Registration) {
	t.Helper()
	reader := sdkmetric.NewManualReader()
	registration, err := otelaudit.Metrics(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), w.recorder, log)
	require.NoError(t, err)
	return func() map[string]int64 {
		var collected metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(t.Context(), &collected))
		values := map[string]int64{}
		add := func(name string, points []metricdata.DataPoint[int64]) {
			for _, point := range points {
				state, _ := point.Attributes.Value("jobaudit.job.state")
				values[strings.TrimSpace(name+" "+state.AsString())] = point.Value
			}
		}
		for _, m := range collected.ScopeMetrics[0].Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				add(m.Name, data.DataPoints)
			case metricdata.Gauge[int64]:
				add(m.Name, data.DataPoints)
			}
		}
		return values
	}, registration
}
