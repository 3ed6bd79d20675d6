package openapitest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/jobhttp"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// page is what docs/openapi.yaml says.
func page(t *testing.T) validator.Validator {
	t.Helper()
	text, err := os.ReadFile("../../../docs/openapi.yaml")
	require.NoError(t, err)
	document, err := libopenapi.NewDocument(text)
	require.NoError(t, err)
	v, errs := validator.NewValidator(document)
	require.Empty(t, errs)
	valid, faults := v.ValidateDocument()
	require.True(t, valid, "%v", faults)
	return v
}

// api is a service whose callers log in by a cookie.
func api(t *testing.T) (*jobhttp.API, func() *jobaudit.Trail) {
	t.Helper()
	log := memsink.New(nil)
	recorder, err := jobaudit.Open(t.Context(), log, jobaudit.Source{System: "reports", Environment: "test"}, nil)
	require.NoError(t, err)
	var dispatched []*jobaudit.Trail
	a, err := jobhttp.New(recorder, log, jobhttp.Options{
		Authenticate: func(r *http.Request) (jobhttp.Caller, error) {
			cookie, err := r.Cookie("session")
			if err != nil {
				return jobhttp.Caller{}, err
			}
			if cookie.Value == "slow" {
				return jobhttp.Caller{}, context.DeadlineExceeded
			}
			return jobhttp.Caller{Principal: jobaudit.Principal{Kind: jobaudit.User, ID: cookie.Value}, OrgID: "acme"}, nil
		},
		Authorize: func(_ context.Context, _ jobhttp.Caller, _ jobhttp.Operation, job jobaudit.Job) error {
			if job.Metadata.Action == "forbidden" {
				return jobaudit.ErrDenied
			}
			return nil
		},
		Validate: func(action string, _ json.RawMessage) error {
			switch action {
			case "invalid":
				return &jobaudit.FieldError{Field: "inputs.month", Problem: "is no month"}
			case "panic":
				panic("a fault of the application's")
			}
			return nil
		},
		Dispatch: func(_ context.Context, t *jobaudit.Trail, _ json.RawMessage) error {
			dispatched = append(dispatched, t)
			return nil
		},
		Cancel: func(_ context.Context, job jobaudit.Job, _ string) (bool, error) {
			return job.State == jobaudit.Pending, nil
		},
		Secret: []byte(strings.Repeat("s", 32)),
		Log:    slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		a.Close()
		_ = recorder.Close(context.Background())
	})
	return a, func() *jobaudit.Trail { return dispatched[len(dispatched)-1] }
}

// request makes a request of a caller, "" for nobody.
func request(method, path, who, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if who != "" {
		r.AddCookie(&http.Cookie{Name: "session", Value: who})
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// fault says what an answer has that the page does not.
func fault(v validator.Validator, r *http.Request, w *http.Response) error {
	valid, errs := v.ValidateHttpResponse(r, w)
	if valid {
		return nil
	}
	var all []error
	for _, err := range errs {
		all = append(all, err)
		for _, schema := range err.SchemaValidationErrors {
			all = append(all, fmt.Errorf("%s", schema.Reason))
		}
	}
	return errors.Join(append(all, errors.New("the answer is not valid"))...)
}

func TestThePageSaysWhatIsAnswered(t *testing.T) {
	v := page(t)
	a, newest := api(t)
	answer := func(method, path, who, body string, status int, header ...string) *httptest.ResponseRecorder {
		t.Helper()
		r := request(method, path, who, body)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		require.Equal(t, status, w.Code, w.Body)
		require.NoError(t, fault(v, r, w.Result()), "%s %s: %s", method, path, w.Body)
		if status < 300 {
			again := request(method, path, who, body)
			again.Header = r.Header
			valid, errs := v.ValidateHttpRequest(again)
			require.True(t, valid, "%s %s: %v", method, path, errs)
		}
		return w
	}
	submit := func(header ...string) string {
		t.Helper()
		var status jobaudit.JobStatus
		w := answer("POST", "/api/jobs", "ada", `{"action":"send-report","inputs":{"month":"2026-01"},"reason":"the board meets"}`, 202, header...)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &status))
		return "/api/jobs/" + status.Job.ID.String()
	}
	pending, key := submit(), uuid.NewString()
	running := submit("Idempotency-Key", key, "X-Request-Id", "mine")
	require.NoError(t, newest().Start(t.Context(), jobaudit.Execution{}))
	ended := submit("X-Request-Id", strings.ToUpper(uuid.NewString()))
	require.Error(t, newest().Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
		newest().Log(ctx, "a line")
		return errors.New("no paper")
	}))
	for _, path := range []string{pending, running, ended} {
		answer("GET", path, "ada", "", 200)
	}
	answer("GET", ended+"/events?cursor=1", "ada", "", 200)
	answer("GET", ended+"/events?cursor=7", "ada", "", 200) // more than it has
	answer("GET", ended+"/events", "ada", "", 200, "Last-Event-ID", "1")
	answer("GET", "/api/jobs?limit=2&state=failed&since=2020-01-01T00:00:00Z", "ada", "", 200)
	answer("GET", "/api/jobs?limit=1", "ada", "", 200)
	answer("DELETE", pending+"?reason=enough", "bob", "", 200)
	answer("DELETE", running, "bob", "", 202)
	answer("DELETE", ended, "bob", "", 409)

	none := "/api/jobs/" + uuid.NewString()
	for _, path := range []string{none, none + "/events"} {
		answer("GET", path, "ada", "", 404)
		answer("GET", path, "", "", 401)
		answer("GET", path, "slow", "", 503)
	}
	answer("DELETE", none, "ada", "", 404)
	answer("GET", "/api/jobs?limit=0", "ada", "", 400)
	answer("GET", ended+"/events?cursor=7x", "ada", "", 400)
	answer("POST", "/api/jobs", "ada", `{`, 400)
	answer("POST", "/api/jobs", "ada", `{"action":"invalid"}`, 400)
	answer("POST", "/api/jobs", "ada", `{"action":"panic"}`, 500)
	answer("POST", "/api/jobs", "ada", `{"action":"forbidden"}`, 403)
	answer("POST", "/api/jobs", "ada", `{"action":"send-report"}`, 409, "Idempotency-Key", key)
}

func TestAnAnswerThatThePageDoesNotHaveIsFound(t *testing.T) {
	v := page(t)
	id := uuid.NewString()
	const job = `{"id":"7d444840-9dc0-41d1-b245-5ffdce74fad2","state":"pending","createdAt":"2026-01-02T03:04:05Z","logs":[],` +
		`"metadata":{"requestId":"7d444840-9dc0-41d1-b245-5ffdce74fad2","userId":"u","orgId":"","action":"a","inputs":null}}`
	for name, test := range map[string]struct {
		status         int
		body, fragment string
	}{
		"as it is":         {200, `{"requestId":"` + id + `","job":` + job + `}`, ""},
		"no request":       {200, `{"job":` + job + `}`, "requestId"},
		"an unknown state": {200, strings.Replace(`{"requestId":"`+id+`","job":`+job+`}`, "pending", "done", 1), "state"},
		"another status":   {418, `{}`, "418"},
		"an unknown code":  {404, `{"requestId":"` + id + `","error":{"code":"GONE","message":""}}`, "code"},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Request-Id", id)
			w.WriteHeader(test.status)
			_, _ = w.WriteString(test.body)
			err := fault(v, request("GET", "/api/jobs/"+id, "ada", ""), w.Result())
			if test.fragment == "" {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
			}
		})
	}
}
