package jobhttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/jobhttp"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func TestAJobIsRecordedDispatchedAndRead(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	request := uuid.NewString()
	w := s.do(t, call{method: "POST", path: "/api/jobs", who: "ada", body: order, header: map[string]string{"X-Request-Id": request}})
	job := w.job(http.StatusAccepted)
	require.Equal(t, request, w.Header().Get("X-Request-Id"))
	require.Equal(t, jobaudit.Pending, job.State)
	require.Equal(t, []string{}, job.Logs)
	require.JSONEq(t, `{"month":"2026-01"}`, string(job.Metadata.Inputs))
	require.Equal(t, "ada", job.Metadata.UserID)
	require.Equal(t, "acme", job.Metadata.OrgID)
	require.Equal(t, request, job.Metadata.RequestID.String())
	require.Len(t, s.dispatched, 1)
	require.Equal(t, job.ID, s.dispatched[0].JobID())
	require.JSONEq(t, `{"month":"2026-01","token":"s3cret-of-the-caller"}`, s.inputs[0])

	run(t, s.dispatched[0], "12 pages")
	again := s.get(t, "ada", "/api/jobs/"+strings.ToUpper(job.ID.String())).job(http.StatusOK)
	require.Equal(t, jobaudit.Success, again.State)
	require.Equal(t, []string{"12 pages"}, again.Logs)
	require.JSONEq(t, `{"pages":12}`, string(again.Output))

	first := s.log.Trail(job.ID)[0]
	require.True(t, first.Who.Principal.Verified)
	require.Equal(t, "192.0.2.1", first.Where.SourceIP.String())
	require.Equal(t, jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "asked for over HTTP"}, first.Why)
	s.log.ExpectAbsent(t, "s3cret-of-the-caller")
}

// TestEveryStatusAndErrorCode is the table of what can be answered.
func TestEveryStatusAndErrorCode(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	pending := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
	key := newKey()
	running := s.post(t, "ada", order, key).job(http.StatusAccepted).ID.String()
	require.NoError(t, s.dispatched[1].Start(t.Context(), jobaudit.Execution{}))
	ended := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
	run(t, s.dispatched[2])
	unknown := uuid.NewString()
	with := func(name, value string) map[string]string { return map[string]string{name: value} }
	deep := `{"action":"send-report","inputs":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`
	tests := []struct {
		name   string
		call   call
		status int
		code   string // "" for none
		field  string
	}{
		{"a job", call{method: "POST", path: "/api/jobs", who: "ada", body: order}, 202, "", ""},
		{"a job without inputs", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"send-report"}`}, 202, "", ""},
		{"fields that we do not know", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"send-report","priority":1}`}, 202, "", ""},
		{"a charset", call{method: "POST", path: "/api/jobs", who: "ada", body: order, header: with("Content-Type", "application/json; charset=UTF-8")}, 202, "", ""},
		{"status", call{method: "GET", path: "/api/jobs/" + running, who: "ada"}, 200, "", ""},
		{"status by HEAD", call{method: "HEAD", path: "/api/jobs/" + running, who: "ada"}, 200, "", ""},
		{"list", call{method: "GET", path: "/api/jobs?limit=2&state=pending", who: "ada"}, 200, "", ""},
		{"events", call{method: "GET", path: "/api/jobs/" + ended + "/events", who: "ada"}, 200, "", ""},
		{"events behind the last line", call{method: "GET", path: "/api/jobs/" + ended + "/events?cursor=9", who: "ada"}, 200, "", ""},
		{"a running job is told to stop", call{method: "DELETE", path: "/api/jobs/" + running + "?reason=enough", who: "bob"}, 202, "", ""},
		{"a pending job is cancelled", call{method: "DELETE", path: "/api/jobs/" + pending, who: "bob"}, 200, "", ""},
		{"a cancelled job is cancelled", call{method: "DELETE", path: "/api/jobs/" + pending, who: "bob"}, 200, "", ""},

		{"nobody", call{method: "GET", path: "/api/jobs/" + ended}, 401, "UNAUTHORIZED", ""},
		{"nobody, and no such job", call{method: "GET", path: "/api/jobs/" + unknown}, 401, "UNAUTHORIZED", ""},
		{"a login that is away", call{method: "GET", path: "/api/jobs", who: "slow"}, 503, "SERVICE_UNAVAILABLE", ""},
		{"a login that panics", call{method: "GET", path: "/api/jobs", who: "panic"}, 500, "INTERNAL_SERVER_ERROR", ""},
		{"not allowed", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"forbidden"}`}, 403, "FORBIDDEN", ""},
		{"not allowed to cancel", call{method: "DELETE", path: "/api/jobs/" + running, who: "reader"}, 403, "FORBIDDEN", ""},
		{"rules that are away", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"unsure"}`}, 503, "SERVICE_UNAVAILABLE", ""},
		{"another origin", call{method: "POST", path: "/api/jobs", who: "ada", body: order, header: with("Sec-Fetch-Site", "cross-site")}, 403, "FORBIDDEN", ""},
		{"another origin cancels", call{method: "DELETE", path: "/api/jobs/" + running, who: "ada", header: with("Origin", "https://evil.example")}, 403, "FORBIDDEN", ""},

		{"no such job", call{method: "GET", path: "/api/jobs/" + unknown, who: "ada"}, 404, "NOT_FOUND", ""},
		{"no such job's events", call{method: "GET", path: "/api/jobs/" + unknown + "/events", who: "ada"}, 404, "NOT_FOUND", ""},
		{"no such job to cancel", call{method: "DELETE", path: "/api/jobs/" + unknown, who: "ada"}, 404, "NOT_FOUND", ""},
		{"another organization's", call{method: "GET", path: "/api/jobs/" + ended, who: "eve"}, 404, "NOT_FOUND", ""},
		{"another organization's events", call{method: "GET", path: "/api/jobs/" + ended + "/events", who: "eve"}, 404, "NOT_FOUND", ""},
		{"another organization's to cancel", call{method: "DELETE", path: "/api/jobs/" + running, who: "eve"}, 404, "NOT_FOUND", ""},
		{"no organization's", call{method: "GET", path: "/api/jobs/" + ended, who: "lone"}, 404, "NOT_FOUND", ""},
		{"no such place", call{method: "GET", path: "/api/jobs/" + ended + "/logs", who: "ada"}, 404, "NOT_FOUND", ""},
		{"no such place above", call{method: "GET", path: "/api/job", who: "ada"}, 404, "NOT_FOUND", ""},
		{"a place that begins alike", call{method: "GET", path: "/api/jobsearch", who: "ada"}, 404, "NOT_FOUND", ""},
		{"no ID", call{method: "GET", path: "/api/jobs/", who: "ada"}, 404, "NOT_FOUND", ""},
		{"events of no ID", call{method: "GET", path: "/api/jobs//events", who: "ada"}, 404, "NOT_FOUND", ""},
		{"a path with dots", call{method: "GET", path: "/api/jobs/../jobs", who: "ada"}, 404, "NOT_FOUND", ""},

		{"an ID that is none", call{method: "GET", path: "/api/jobs/7", who: "ada"}, 400, "VALIDATION_ERROR", "id"},
		{"an ID in braces", call{method: "GET", path: "/api/jobs/{" + ended + "}", who: "ada"}, 400, "VALIDATION_ERROR", "id"},
		{"the nil ID", call{method: "GET", path: "/api/jobs/" + uuid.Nil.String(), who: "ada"}, 400, "VALIDATION_ERROR", "id"},
		{"a cursor that is none", call{method: "GET", path: "/api/jobs/" + ended + "/events?cursor=-1", who: "ada"}, 400, "VALIDATION_ERROR", "cursor"},
		{"a filter that holds a credential, which the record of the read would", call{method: "GET", path: "/api/jobs?action=gh" + "p_" + strings.Repeat("aB3dE6gH9", 4), who: "bob"}, 400, "VALIDATION_ERROR", "action"},
		{"an event ID that is none", call{method: "GET", path: "/api/jobs/" + ended + "/events?cursor=1", who: "ada", header: with("Last-Event-ID", "1 ")}, 400, "VALIDATION_ERROR", "cursor"},
		{"invalid inputs", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"send-report","inputs":{"month":"bad"}}`}, 400, "VALIDATION_ERROR", "inputs.month"},
		{"a field that the client made up", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"send-report","inputs":{"worse":1}}`}, 400, "VALIDATION_ERROR", ""},
		{"no action", call{method: "POST", path: "/api/jobs", who: "ada", body: `{}`}, 400, "VALIDATION_ERROR", "action"},
		{"an action that is no text", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":1}`}, 400, "VALIDATION_ERROR", "action"},
		{"an action with control characters", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"a\u0000"}`}, 400, "VALIDATION_ERROR", "action"},
		{"a long action", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"` + strings.Repeat("a", 300) + `"}`}, 400, "VALIDATION_ERROR", "action"},
		{"a reason that is no text", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"send-report","reason":{}}`}, 400, "VALIDATION_ERROR", "reason"},
		{"a long reason", call{method: "DELETE", path: "/api/jobs/" + running + "?reason=" + strings.Repeat("a", 2000), who: "ada"}, 400, "VALIDATION_ERROR", "reason"},
		{"no such filter", call{method: "GET", path: "/api/jobs?stat=running", who: "ada"}, 400, "VALIDATION_ERROR", ""},
		{"a filter twice", call{method: "GET", path: "/api/jobs?state=running&state=failed", who: "ada"}, 400, "VALIDATION_ERROR", "state"},
		{"no such state", call{method: "GET", path: "/api/jobs?state=done", who: "ada"}, 400, "VALIDATION_ERROR", "state"},
		{"a page of nothing", call{method: "GET", path: "/api/jobs?limit=0", who: "ada"}, 400, "VALIDATION_ERROR", "limit"},
		{"a page of too much", call{method: "GET", path: "/api/jobs?limit=201", who: "ada"}, 400, "VALIDATION_ERROR", "limit"},
		{"a cursor of no job", call{method: "GET", path: "/api/jobs?cursor=" + unknown, who: "ada"}, 400, "VALIDATION_ERROR", "cursor"},
		{"a cursor of another organization", call{method: "GET", path: "/api/jobs?cursor=" + ended, who: "eve"}, 400, "VALIDATION_ERROR", "cursor"},
		{"a filter that cannot be recorded", call{method: "GET", path: "/api/jobs?userId=a%00b", who: "ada"}, 400, "VALIDATION_ERROR", "userId"},

		{"not JSON", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":`}, 400, "BAD_REQUEST", ""},
		{"two values", call{method: "POST", path: "/api/jobs", who: "ada", body: order + order}, 400, "BAD_REQUEST", ""},
		{"not an object", call{method: "POST", path: "/api/jobs", who: "ada", body: `["send-report"]`}, 400, "BAD_REQUEST", ""},
		{"an empty body", call{method: "POST", path: "/api/jobs", who: "ada", header: with("Content-Type", "application/json")}, 400, "BAD_REQUEST", ""},
		{"a name twice", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"send-report","action":"other"}`}, 400, "BAD_REQUEST", ""},
		{"a name twice in the inputs", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"send-report","inputs":{"a":1,"a":2}}`}, 400, "BAD_REQUEST", ""},
		{"nested too deep", call{method: "POST", path: "/api/jobs", who: "ada", body: deep}, 400, "BAD_REQUEST", ""},
		{"half a surrogate pair", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"\ud800"}`}, 400, "BAD_REQUEST", ""},
		{"not UTF-8", call{method: "POST", path: "/api/jobs", who: "ada", body: "{\"action\":\"\xff\"}"}, 400, "BAD_REQUEST", ""},
		{"too large", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"` + strings.Repeat("a", 1<<20) + `"}`}, 400, "BAD_REQUEST", ""},
		{"a form", call{method: "POST", path: "/api/jobs", who: "ada", body: order, header: with("Content-Type", "text/plain")}, 400, "BAD_REQUEST", ""},
		{"another charset", call{method: "POST", path: "/api/jobs", who: "ada", body: order, header: with("Content-Type", "application/json; charset=utf-16")}, 400, "BAD_REQUEST", ""},
		{"compressed", call{method: "POST", path: "/api/jobs", who: "ada", body: order, header: with("Content-Encoding", "gzip")}, 400, "BAD_REQUEST", ""},
		{"a key that is no UUID", call{method: "POST", path: "/api/jobs", who: "ada", body: order, header: with("Idempotency-Key", "1")}, 400, "BAD_REQUEST", ""},
		{"a malformed query", call{method: "GET", path: "/api/jobs?a=%zz", who: "ada"}, 400, "BAD_REQUEST", ""},
		{"another method", call{method: "PUT", path: "/api/jobs/" + ended, who: "ada"}, 400, "BAD_REQUEST", ""},
		{"a preflight", call{method: "OPTIONS", path: "/api/jobs", who: "ada"}, 400, "BAD_REQUEST", ""},
		{"the head of events", call{method: "HEAD", path: "/api/jobs/" + ended + "/events", who: "ada"}, 400, "BAD_REQUEST", ""},

		{"the key of another body", call{method: "POST", path: "/api/jobs", who: "ada", body: `{"action":"send-report"}`, header: with("Idempotency-Key", key)}, 409, "CONFLICT", ""},
		{"an ended job is cancelled", call{method: "DELETE", path: "/api/jobs/" + ended, who: "ada"}, 409, "CONFLICT", ""},
		{"the queue is away", call{method: "DELETE", path: "/api/jobs/" + running + "?reason=fail", who: "ada"}, 503, "SERVICE_UNAVAILABLE", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := s.do(t, test.call)
			require.NotEmpty(t, w.Header().Get("X-Request-Id"))
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			if test.code == "" {
				require.Equal(t, test.status, w.Code, w.Body)
				return
			}
			if test.call.method == http.MethodHead {
				require.Equal(t, test.status, w.Code)
				return
			}
			_, details := w.fails(test.status, test.code)
			if test.field == "" {
				require.Nil(t, details)
			} else {
				require.Equal(t, map[string]any{"field": test.field}, details)
			}
			for _, echo := range []string{"bad is", "worse", "evil", "aaaaaaaaaaaa", "jobaudit:", ".go", "\x00"} {
				require.NotContains(t, w.Body.String(), echo)
			}
		})
	}
	require.Equal(t, "GET, POST", s.do(t, call{method: "PATCH", path: "/api/jobs", who: "ada"}).Header().Get("Allow"))
}

func TestWhatIsMissingIsRefusedAndNotAllowed(t *testing.T) {
	sink := memsink.New(nil)
	s := newService(t, sink, nil)
	for field, change := range map[string]func(*jobhttp.Options){
		"Options.Authenticate": func(o *jobhttp.Options) { o.Authenticate = nil },
		"Options.Authorize":    func(o *jobhttp.Options) { o.Authorize = nil },
		"Options.Secret":       func(o *jobhttp.Options) { o.Secret = o.Secret[1:] },
	} {
		opts := s.options()
		change(&opts)
		_, err := jobhttp.New(s.recorder, sink, opts)
		fault, ok := errors.AsType[*jobaudit.FieldError](err)
		require.True(t, ok, field)
		require.Equal(t, field, fault.Field)
	}
	_, err := jobhttp.New(nil, sink, s.options())
	require.Error(t, err)
	_, err = jobhttp.New(s.recorder, onlyRecords{sink}, s.options())
	require.Error(t, err)

	for _, change := range []func(*jobhttp.Options){
		func(o *jobhttp.Options) { o.Validate = nil },
		func(o *jobhttp.Options) { o.Dispatch = nil },
	} {
		newService(t, sink, change).post(t, "ada", order, "").fails(http.StatusForbidden, "FORBIDDEN")
	}
	require.Empty(t, sink.Jobs())

	cannot := newService(t, sink, func(o *jobhttp.Options) { o.Cancel = nil })
	job := cannot.post(t, "ada", order, "").job(http.StatusAccepted)
	require.NoError(t, cannot.dispatched[0].Start(t.Context(), jobaudit.Execution{}))
	cannot.do(t, call{method: "DELETE", path: "/api/jobs/" + job.ID.String(), who: "ada"}).fails(http.StatusConflict, "CONFLICT")

	nobody := newService(t, sink, func(o *jobhttp.Options) {
		o.Authenticate = func(*http.Request) (jobhttp.Caller, error) { return jobhttp.Caller{}, nil }
	})
	nobody.get(t, "", "/api/jobs").fails(http.StatusUnauthorized, "UNAUTHORIZED")
}

// onlyRecords is a reader that cannot wait.
type onlyRecords struct{ jobaudit.AuditReader }

func TestAJobThatCannotBeRecordedIsNotDispatched(t *testing.T) {
	memory := memsink.New(nil)
	sink := faultsink.New(memory)
	s := newServiceOver(t, memory, sink, memory, nil)
	sink.Set(faultsink.Rule{Fault: faultsink.Fail})
	w := s.post(t, "ada", order, newKey())
	w.fails(http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE")
	require.Equal(t, "5", w.Header().Get("Retry-After"))
	require.Empty(t, s.dispatched)
	sink.Set()
}

func TestRequestIDsAreKept(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	upper := strings.ToUpper(uuid.NewString())
	w := s.do(t, call{method: "POST", path: "/api/jobs", who: "ada", body: order, header: map[string]string{"X-Request-Id": upper}})
	require.Equal(t, upper, w.Header().Get("X-Request-Id"))
	require.Equal(t, strings.ToLower(upper), w.job(http.StatusAccepted).Metadata.RequestID.String())

	w = s.do(t, call{method: "POST", path: "/api/jobs", who: "ada", body: order, header: map[string]string{"X-Request-Id": "req-4711"}})
	job := w.job(http.StatusAccepted)
	require.Equal(t, uuid.Version(4), uuid.MustParse(w.Header().Get("X-Request-Id")).Version())
	require.Equal(t, "req-4711", w.Header().Get("X-Client-Request-Id"))
	require.Equal(t, "req-4711", s.log.Trail(job.ID)[0].Why.Ref)

	for _, foreign := range []string{"a b", "a\tb", "ä", strings.Repeat("a", 300), uuid.Nil.String() + "\xff"} {
		w = s.do(t, call{method: "POST", path: "/api/jobs", who: "ada", body: order, header: map[string]string{"X-Request-Id": foreign, "traceparent": foreign}})
		job = w.job(http.StatusAccepted)
		require.Empty(t, w.Header().Get("X-Client-Request-Id"))
		require.Empty(t, s.log.Trail(job.ID)[0].Why.Ref)
	}
	// A reference that looks like a secret is not recorded; the job is.
	w = s.do(t, call{method: "POST", path: "/api/jobs", who: "ada", body: order, header: map[string]string{"X-Request-Id": "ghp_" + strings.Repeat("Ab1", 12)}})
	require.Empty(t, s.log.Trail(w.job(http.StatusAccepted).ID)[0].Why.Ref)
}

func TestAnAPIThatIsClosedAnswersSo(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	s.Close()
	s.Close()
	s.get(t, "ada", "/api/jobs").fails(http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE")
}

// What an application's error quotes of inputs goes to the log that the application has
// named, and not to the one that everything goes to.
func TestTheDefaultLogIsToldTheKindsOfErrorsAlone(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	for _, named := range []bool{false, true} {
		var said bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&said, nil))
		slog.SetDefault(logger)
		s := newService(t, memsink.New(nil), func(o *jobhttp.Options) {
			if o.Log = nil; named {
				o.Log = logger
			}
			o.Dispatch = func(_ context.Context, _ *jobaudit.Trail, inputs json.RawMessage) error {
				return fmt.Errorf("enqueue %s: %w", inputs, &fs.PathError{Op: "write", Path: string(inputs), Err: syscall.ENOSPC})
			}
			o.Cancel = func(_ context.Context, job jobaudit.Job, reason string) (bool, error) {
				return false, fmt.Errorf("%s of %s: %w", reason, job.Metadata.Inputs, &jobaudit.UnreadableError{Place: "line 7", Err: syscall.EIO})
			}
			o.Authorize = func(_ context.Context, _ jobhttp.Caller, op jobhttp.Operation, job jobaudit.Job) error {
				if op == jobhttp.List {
					return errors.New("of s3cret-of-the-caller nobody knows")
				}
				return nil
			}
		})
		s.post(t, "ada", order, "").fails(503, "SERVICE_UNAVAILABLE")
		id := s.log.Jobs()[0].String()
		s.do(t, call{method: "DELETE", path: "/api/jobs/" + id + "?reason=s3cret-of-the-caller", who: "ada"}).fails(503, "SERVICE_UNAVAILABLE")
		s.get(t, "ada", "/api/jobs").fails(503, "SERVICE_UNAVAILABLE")
		require.Equal(t, 3, strings.Count(said.String(), "job API"))
		require.Equal(t, named, strings.Contains(said.String(), "s3cret-of-the-caller"), said.String())
		require.Equal(t, named, strings.Contains(said.String(), "2026-01\\"), said.String())
		require.Contains(t, said.String(), "no space left on device")
		require.Contains(t, said.String(), "unreadable record at line 7")
		require.Contains(t, said.String(), "could not be dispatched")
		s.get(t, "panic", "/api/jobs").fails(500, "INTERNAL_SERVER_ERROR")
		require.Contains(t, said.String(), "panicked with a string")
	}
}
