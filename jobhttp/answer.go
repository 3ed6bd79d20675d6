package jobhttp

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/errlog"
)

// request is a request, and its answer as far as that has been written.
type request struct {
	http.ResponseWriter
	r         *http.Request
	id        uuid.UUID
	requestID string // the ID as it came
	foreign   string // an ID that the client gave and that is no UUID
	job       string // the ID in the path
	begun     bool
}

// Unwrap is for [http.ResponseController].
func (q *request) Unwrap() http.ResponseWriter { return q.ResponseWriter }

func (q *request) control() *http.ResponseController {
	return http.NewResponseController(q.ResponseWriter)
}

// WriteHeader notes that the answer has begun.
func (q *request) WriteHeader(status int) {
	q.begun = true
	q.ResponseWriter.WriteHeader(status)
}

const (
	requestIDHeader = "X-Request-Id"
	// foreignIDHeader gives an ID back that is no UUID.
	foreignIDHeader = "X-Client-Request-Id"
)

// identify finds the request's ID, or gives it one, and says so in the answer.
func identify(w http.ResponseWriter, r *http.Request) *request {
	q := &request{ResponseWriter: w, r: r, requestID: r.Header.Get(requestIDHeader)}
	var ok bool
	if q.id, ok = parseUUID(q.requestID); !ok {
		if isReference(q.requestID) {
			q.foreign = q.requestID
			w.Header().Set(foreignIDHeader, q.foreign)
		}
		q.id = uuid.New()
		q.requestID = q.id.String()
	}
	h := w.Header()
	h.Set(requestIDHeader, q.requestID)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	return q
}

// isReference tells whether a text can be recorded and given back unchanged.
func isReference(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

// code is an error's code in the contract.
type code string

const (
	badRequest   code = "BAD_REQUEST"
	validation   code = "VALIDATION_ERROR"
	unauthorized code = "UNAUTHORIZED"
	forbidden    code = "FORBIDDEN"
	notFound     code = "NOT_FOUND"
	conflict     code = "CONFLICT"
	internal     code = "INTERNAL_SERVER_ERROR"
	unavailable  code = "SERVICE_UNAVAILABLE"
)

// statuses are the contract's, one for each code.
var statuses = map[code]int{
	badRequest: http.StatusBadRequest, validation: http.StatusBadRequest, unauthorized: http.StatusUnauthorized,
	forbidden: http.StatusForbidden, notFound: http.StatusNotFound, conflict: http.StatusConflict,
	internal: http.StatusInternalServerError, unavailable: http.StatusServiceUnavailable,
}

// problem is an error as a client gets it. The message is a constant.
type problem struct {
	code    code
	message string
	field   string // the one that is wrong
	cause   error  // for the log only
}

func (p problem) Error() string { return string(p.code) + ": " + p.message }

var errNotFound = problem{code: notFound, message: "no such job"}

// invalid is a field that the client has to correct.
func invalid(field string) problem {
	return problem{code: validation, message: "a field is missing or malformed", field: field}
}

func isContext(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded)
}

// problemOf says what a client is told of an error.
func problemOf(err error) problem {
	if p, ok := errors.AsType[problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, jobaudit.ErrNotFound):
		return errNotFound
	case isContext(err):
		return problem{code: unavailable, message: "it took too long", cause: err}
	case errors.Is(err, jobaudit.ErrClosed):
		return problem{code: unavailable, message: "the server stops", cause: err}
	}
	return problem{code: internal, message: "something went wrong", cause: err}
}

// logProblem tells the operator what a client is not told.
func (a *API) logProblem(q *request, p problem) {
	if p.cause != nil && q.r.Context().Err() == nil {
		a.opts.Log.LogAttrs(q.r.Context(), slog.LevelError, "job API",
			slog.String("request", q.id.String()), slog.String("code", string(p.code)), slog.String("answer", p.message), a.loggable(p.cause))
	}
}

// loggable is what the log is told of an error. The log that everything goes to if the
// application has named none gets no texts, which may quote inputs.
func (a *API) loggable(err error) slog.Attr {
	if !a.kindsOnly {
		return slog.Any("error", err)
	}
	return slog.String("error", errlog.Kinds(err))
}

// fail answers with an error.
func (a *API) fail(q *request, err error) {
	p := problemOf(err)
	a.logProblem(q, p)
	if q.begun {
		panic(http.ErrAbortHandler) // the client must not take what it got for the whole
	}
	type details struct {
		Field string `json:"field"`
	}
	var body struct {
		RequestID string `json:"requestId"`
		Error     struct {
			Code    code     `json:"code"`
			Message string   `json:"message"`
			Details *details `json:"details,omitempty"`
		} `json:"error"`
	}
	body.RequestID, body.Error.Code, body.Error.Message = q.requestID, p.code, p.message
	if p.field != "" {
		body.Error.Details = &details{p.field}
	}
	if p.code == unavailable {
		q.Header().Set("Retry-After", "5")
	}
	_ = q.answer(statuses[p.code], body)
}

// answer writes JSON.
func (q *request) answer(status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	q.Header().Set("Content-Type", "application/json")
	q.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_ = q.control().SetWriteDeadline(time.Now().Add(writeTimeout))
	q.WriteHeader(status)
	_, _ = q.Write(text) // a client that is gone needs no answer
	_ = q.control().Flush()
	_ = q.control().SetWriteDeadline(time.Time{}) // the connection's next answer may not be ours
	return nil
}

// answerJob writes a JobStatus, under the request's ID as it came.
func (q *request) answerJob(status int, job *jobaudit.Job) error {
	return q.answer(status, struct {
		RequestID string        `json:"requestId"`
		Job       *jobaudit.Job `json:"job"`
	}{q.requestID, forClients(job)})
}

// forClients leaves out what another organization's events say: somebody who controls
// a queue may use the job's ID.
func forClients(job *jobaudit.Job) *jobaudit.Job {
	for i := range job.Unapplied {
		if u := &job.Unapplied[i]; u.Cause == jobaudit.CauseForeign {
			u.Error, u.Inputs = nil, nil
		}
	}
	return job
}
