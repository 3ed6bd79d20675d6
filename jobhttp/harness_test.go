package jobhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/jobhttp"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

const action = "send-report"

// report is a job's output.
type report struct {
	Pages int    `json:"pages"`
	Draft string `json:"draft"`
}

// secret is what replicas share.
var secret = []byte("0123456789abcdef0123456789abcdef")

// service is a program that serves jobs: what the tests look into.
type service struct {
	*jobhttp.API
	recorder *jobaudit.Recorder
	log      *memsink.Sink

	mu         sync.Mutex
	dispatched []*jobaudit.Trail
	inputs     []string
	quick      func(jobaudit.Job) error // ends a job while it is cancelled
	cancelled  []string
	refuse     error // by Dispatch
}

// callers are those who are logged in, by the header Who.
var callers = map[string]jobhttp.Caller{
	"ada":    {Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"}, OrgID: "acme"},
	"bob":    {Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "bob"}, OrgID: "acme"},
	"reader": {Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "reader"}, OrgID: "acme"},
	"robot":  {Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "ada"}, OrgID: "acme"},
	"eve":    {Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "eve"}, OrgID: "evil"},
	"lone":   {Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "lone"}},
}

func (s *service) options() jobhttp.Options {
	return jobhttp.Options{
		Authenticate: func(r *http.Request) (jobhttp.Caller, error) {
			switch who := r.Header.Get("Who"); who {
			case "slow":
				return jobhttp.Caller{}, context.DeadlineExceeded
			case "panic":
				panic("the login panicked")
			default:
				c, ok := callers[who]
				if !ok {
					return c, errors.New("not logged in")
				}
				return c, nil
			}
		},
		Authorize: func(_ context.Context, c jobhttp.Caller, op jobhttp.Operation, job jobaudit.Job) error {
			switch {
			case job.Metadata.Action == "unsure":
				return errors.New("the rules cannot be read")
			case job.Metadata.Action == "forbidden", c.ID == "reader" && op != jobhttp.Read && op != jobhttp.List:
				return fmt.Errorf("%w: no", jobaudit.ErrDenied)
			}
			return nil
		},
		Validate: func(_ string, inputs json.RawMessage) error {
			switch {
			case strings.Contains(string(inputs), "bad"):
				return &jobaudit.FieldError{Field: "inputs.month", Problem: "bad is not a month"}
			case strings.Contains(string(inputs), "worse"):
				return &jobaudit.FieldError{Field: "inputs.worse\n", Problem: "worse"}
			}
			return nil
		},
		Dispatch: s.dispatch,
		Cancel: func(_ context.Context, job jobaudit.Job, reason string) (removed bool, err error) {
			if reason == "fail" {
				return false, errors.New("the queue is away")
			}
			if reason == "quick" {
				return false, s.quick(job)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.cancelled = append(s.cancelled, reason)
			return job.State == jobaudit.Pending && reason != "too late", nil
		},
		Secret: secret,
		Log:    slog.New(slog.DiscardHandler),
	}
}

func (s *service) dispatch(_ context.Context, t *jobaudit.Trail, inputs json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	s.dispatched = append(s.dispatched, t)
	s.inputs = append(s.inputs, string(inputs))
	return nil
}

// newService returns a service over log, with options that change may adjust.
func newService(t testing.TB, log *memsink.Sink, change func(*jobhttp.Options)) *service {
	t.Helper()
	return newServiceOver(t, log, log, log, change)
}

// newServiceOver records to sink and reads from reader.
func newServiceOver(t testing.TB, log *memsink.Sink, sink jobaudit.AuditSink, reader jobaudit.AuditReader, change func(*jobhttp.Options)) *service {
	t.Helper()
	redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor(action, "1",
		jobaudit.Inputs(func(in struct {
			Month string `json:"month"`
			Token string `json:"token"`
		}) (struct {
			Month string `json:"month"`
		}, error) {
			return struct {
				Month string `json:"month"`
			}{in.Month}, nil
		}), jobaudit.OutputPaths[report](jobaudit.Keep("pages"))))
	require.NoError(t, err)
	recorder, err := jobaudit.Open(context.Background(), sink, jobaudit.Source{System: "reports", Environment: "test"},
		&jobaudit.Options{
			Redactors: redactors, OnError: func(context.Context, *jobaudit.AuditError) {},
			Timeout: 10 * time.Minute, OutcomeTimeout: 10 * time.Minute, // of the machine that runs the test
		})
	require.NoError(t, err)
	s := &service{recorder: recorder, log: log}
	opts := s.options()
	if change != nil {
		change(&opts)
	}
	s.API, err = jobhttp.New(recorder, reader, opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		s.Close()
		_ = recorder.Close(context.Background())
	})
	return s
}

// call is one request.
type call struct {
	method, path, who, body string
	header                  map[string]string
	query                   string // as it is sent
}

// answer is what came of it.
type answer struct {
	*httptest.ResponseRecorder
	t testing.TB
}

func (s *service) do(t testing.TB, c call) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, strings.NewReader(c.body))
	if c.query != "" {
		r.URL.RawQuery = c.query
	}
	if c.who != "" {
		r.Header.Set("Who", c.who)
	}
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	produced.add(w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
	return answer{w, t}
}

func (s *service) post(t testing.TB, who, body, key string) answer {
	t.Helper()
	c := call{method: "POST", path: "/api/jobs", who: who, body: body}
	if key != "" {
		c.header = map[string]string{"Idempotency-Key": key}
	}
	return s.do(t, c)
}

func (s *service) get(t testing.TB, who, path string) answer {
	t.Helper()
	return s.do(t, call{method: "GET", path: path, who: who})
}

// job returns the job in an answer that must have the status.
func (a answer) job(status int) jobaudit.Job {
	a.t.Helper()
	require.Equal(a.t, status, a.Code, a.Body)
	var s jobaudit.JobStatus
	require.NoError(a.t, json.Unmarshal(a.Body.Bytes(), &s))
	require.Equal(a.t, strings.ToLower(a.Header().Get("X-Request-Id")), s.RequestID.String())
	return s.Job
}

// fails checks that an answer is an error, and returns its message and details.
func (a answer) fails(status int, code string) (message string, details any) {
	a.t.Helper()
	var envelope struct {
		RequestID string
		Error     struct {
			Code, Message string
			Details       any
		}
	}
	require.Equal(a.t, status, a.Code, a.Body)
	require.Equal(a.t, "application/json", a.Header().Get("Content-Type"))
	require.NoError(a.t, json.Unmarshal(a.Body.Bytes(), &envelope))
	require.Equal(a.t, code, envelope.Error.Code)
	require.NotEmpty(a.t, envelope.Error.Message)
	require.Equal(a.t, a.Header().Get("X-Request-Id"), envelope.RequestID)
	_, err := uuid.Parse(envelope.RequestID)
	require.NoError(a.t, err)
	return envelope.Error.Message, envelope.Error.Details
}

// produced are the answers of the test run, for the schema that clients have.
var produced answers

type answers struct {
	mu  sync.Mutex
	all []json.RawMessage
}

func (p *answers) add(status int, kind string, body []byte) {
	if kind != "application/json" || len(body) == 0 {
		return
	}
	line, err := json.Marshal(map[string]any{"status": status, "body": json.RawMessage(body)})
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, line)
}

// run runs a job that was dispatched.
func run(t testing.TB, trail *jobaudit.Trail, lines ...string) {
	t.Helper()
	require.NoError(t, trail.Run(context.Background(), jobaudit.Execution{}, func(ctx context.Context) error {
		for _, line := range lines {
			trail.Log(ctx, line)
		}
		trail.SetOutput(report{Pages: 12, Draft: "hidden"})
		return nil
	}))
}

const order = `{"action":"send-report","inputs":{"month":"2026-01","token":"s3cret-of-the-caller"}}`

func newKey() string { return uuid.NewString() }
