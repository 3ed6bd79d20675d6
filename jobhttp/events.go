package jobhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

const (
	// writeTimeout is how long a client may take to read what is sent. One that
	// takes longer is dropped.
	writeTimeout = 30 * time.Second
	// askAgain is after how long it is asked again whether a caller may follow a job.
	askAgain = time.Minute
	// chunk is how many bytes of events are collected before they are sent.
	chunk = 16 << 10
)

// stream is one client that follows a job.
type stream struct {
	api    *API
	r      *http.Request
	w      output
	caller Caller
	job    uuid.UUID
	*follower
	// What events have to agree in to be the job's: another writer may have used
	// its ID.
	org, action       string
	root, correlation uuid.UUID

	cursor uint64    // the lines that the client has
	lines  uint64    // those that have been read
	last   uuid.UUID // the newest record that has been read
	state  jobaudit.JobState
	buf    []byte

	detached bool // another goroutine follows, and gives back what was taken
}

// output is where events go.
type output interface {
	io.Writer
	Flush() error
	SetWriteDeadline(time.Time) error
}

// response is an output that net/http looks after.
type response struct {
	io.Writer
	*http.ResponseController
}

// connection is an output that net/http has given up.
type connection struct{ net.Conn }

func (connection) Flush() error { return nil }

// parseCursor reads how many lines the client has. The header is newer than the
// address, which a browser repeats. It may be more than can be read here: another
// replica has seen them.
func parseCursor(r *http.Request) (uint64, error) {
	text, err := parameter(r, "cursor")
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		text = id
	}
	if text == "" || err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 53)
	if err != nil {
		return 0, invalid("cursor")
	}
	return n, nil
}

// events answers GET /api/jobs/{id}/events.
func (a *API) events(q *request, c Caller) error {
	cursor, err := parseCursor(q.r)
	if err != nil {
		return err
	}
	if !a.reserveStream(&c) {
		return problem{code: unavailable, message: "too many clients follow events"}
	}
	s := &stream{api: a, r: q.r, w: response{q, q.control()}, caller: c, cursor: cursor}
	defer func() { // also when a function of the application's, or the reader, panics
		if !s.detached {
			s.leave()
		}
	}()
	if err := s.open(q); err != nil {
		return err
	}
	h := q.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // what a proxy keeps back comes too late
	if q.r.ProtoMajor == 1 {
		h.Set("Connection", "close") // what the client has to tell us comes with the next request
	}
	if s.detach(q) {
		return nil
	}
	_ = q.control().SetReadDeadline(time.Time{})
	q.WriteHeader(http.StatusOK)
	s.follow(q.r.Context())
	return nil
}

// detach takes the connection over from net/http, where that can be, and goes on by
// itself: a client of HTTP/1.1 that waits would keep 24 kB of buffers and stack
// there.
func (s *stream) detach(q *request) bool {
	if !q.r.ProtoAtLeast(1, 1) || q.r.ProtoMajor != 1 {
		return false
	}
	conn, _, err := q.control().Hijack()
	if err != nil {
		return false
	}
	q.begun = true
	_ = conn.SetDeadline(time.Time{})
	head := bytes.NewBufferString("HTTP/1.1 200 OK\r\n")
	q.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	_ = q.Header().Write(head) // to memory
	s.buf = append(append(head.Bytes(), "\r\n"...), s.buf...)
	ctx, gone := context.WithCancel(context.WithoutCancel(q.r.Context())) // that one ends with the handler
	s.w, s.r = connection{conn}, q.r.WithContext(ctx)
	s.detached = s.api.background(func() {
		defer s.leave()
		go func() {
			defer gone()
			for b := make([]byte, 16); ; { // nothing comes but the end
				if _, err := conn.Read(b); err != nil {
					return
				}
			}
		}()
		defer conn.Close()
		defer func() {
			if p := recover(); p != nil {
				s.api.panicked(p)
			}
		}()
		s.follow(ctx)
	})
	if !s.detached {
		gone()
		_ = conn.Close()
	}
	return true
}

// leave gives back what the stream has taken.
func (s *stream) leave() {
	if s.follower != nil {
		s.api.hub.leave(s.job, s.follower)
	}
	s.api.releaseStream(&s.caller)
}

// reserveStream counts a stream of the caller's, if there may be one more.
func (a *API) reserveStream(c *Caller) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.streams >= a.opts.Streams || a.each[c.key()] >= a.opts.StreamsEach {
		return false
	}
	a.streams++
	a.each[c.key()]++
	return true
}

func (a *API) releaseStream(c *Caller) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams--
	if a.each[c.key()]--; a.each[c.key()] == 0 {
		delete(a.each, c.key())
	}
}

// open finds the job, and begins to follow it before its records are read: so
// nothing falls between the two.
func (s *stream) open(q *request) error {
	ctx, cancel := context.WithTimeout(q.r.Context(), s.api.opts.Timeout)
	defer cancel()
	found, err := s.api.job(ctx, q, s.caller, Read)
	if err != nil {
		return err
	}
	s.job, s.org, s.action = found.ID, found.Metadata.OrgID, found.Metadata.Action
	s.root, s.correlation = found.RootID, found.CorrelationID
	if !found.State.Terminal() { // else the lines come first
		s.status(&found.Job)
	}
	s.follower, err = s.api.hub.follow(ctx, s.job)
	return err
}

// follow sends what there is and what comes, until the job has ended, the client
// has gone, or the server stops. The answer has begun, so nothing is said of
// errors: the client comes back with its cursor.
func (s *stream) follow(ctx context.Context) {
	asked := time.Now()
	silence := time.NewTimer(s.api.opts.Heartbeat)
	defer silence.Stop()
	for {
		ended, err := s.advance(ctx)
		if err != nil || ended {
			return
		}
		silence.Reset(s.api.opts.Heartbeat)
		select {
		case _, ok := <-s.wake:
			if !ok {
				return
			}
		case <-silence.C:
			s.buf = append(s.buf, ":\n\n"...)
		case <-ctx.Done():
			return
		case <-s.api.closing:
			return
		}
		if time.Since(asked) >= askAgain {
			if !s.mayGoOn(ctx) {
				return
			}
			asked = time.Now()
		}
	}
}

// mayGoOn asks again who the caller is, and whether they may read the job. Its lines are
// not read again for that: thousands of streams ask at once.
func (s *stream) mayGoOn(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.api.opts.Timeout)
	defer cancel()
	c, err := s.api.authenticate(s.r)
	if err != nil || c.Kind != s.caller.Kind || c.ID != s.caller.ID || c.OrgID != s.caller.OrgID {
		return false
	}
	job, err := s.fold(ctx)
	return err == nil && s.api.authorize(ctx, c, Read, job) == nil
}

// advance sends what is new, and reports whether the job has ended.
func (s *stream) advance(ctx context.Context) (ended bool, err error) {
	changed, err := s.readLines(ctx)
	if err != nil {
		return false, err
	}
	if changed {
		job, err := s.fold(ctx)
		if err != nil {
			return false, err
		}
		if ended = job.State.Terminal(); ended { // the lines that came before that
			if _, err := s.readLines(ctx); err != nil {
				return false, err
			}
		}
		if job.State != s.state {
			s.status(&job)
		}
	}
	return ended, s.flush()
}

// readLines sends the lines that have not been read, and reports whether there is
// anything that may change the job.
func (s *stream) readLines(ctx context.Context) (changed bool, err error) {
	// With a limit, even where there is none, what comes later stands behind it.
	for r, err := range s.api.log.Records(ctx, jobaudit.Query{JobID: s.job, After: s.last, Limit: math.MaxInt}) {
		if _, damaged := errors.AsType[*jobaudit.UnreadableError](err); damaged {
			continue
		}
		if err != nil {
			return changed, err
		}
		s.last = r.ID()
		switch r.Type() {
		case jobaudit.JobLogged:
			if err := s.line(r); err != nil {
				return changed, err
			}
		case jobaudit.JobHeartbeat, jobaudit.JobSnapshot:
		default:
			changed = true
		}
	}
	return changed, nil
}

func (s *stream) line(r jobaudit.Record) error {
	e := r.Event()
	if e.Who.OrgID != s.org || e.What.Action != s.action || e.Job.RootID != s.root || e.CorrelationID != s.correlation {
		return nil
	}
	if s.lines++; s.lines <= s.cursor {
		return nil
	}
	s.event("log", struct {
		Line   string `json:"line"`
		Cursor uint64 `json:"cursor"`
	}{e.Data.Line, s.lines})
	s.buf = append(s.buf, "id: "...)
	s.buf = strconv.AppendUint(s.buf, s.lines, 10)
	s.buf = append(s.buf, "\n\n"...)
	if len(s.buf) >= chunk {
		return s.flush()
	}
	return nil
}

// changes are the types of events that change a job's state, or say whose it is.
var changes = []jobaudit.EventType{
	jobaudit.JobSubmitted, jobaudit.JobDeduplicated, jobaudit.JobDenied, jobaudit.JobStarted, jobaudit.AttemptStarted,
	jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled,
}

// fold returns the job as it is now, without its lines.
func (s *stream) fold(ctx context.Context) (jobaudit.Job, error) {
	job, err := jobaudit.Replay(s.api.log.Records(ctx, jobaudit.Query{JobID: s.job, Types: changes}))
	if err == nil && (job.Metadata.OrgID != s.org || job.Metadata.Action != s.action || job.RootID != s.root || job.CorrelationID != s.correlation) {
		err = jobaudit.ErrNotFound // it turned out to be another's
	}
	return job, err
}

// status adds the event that tells the job's state.
func (s *stream) status(job *jobaudit.Job) {
	s.state = job.State
	s.event("status", struct {
		State  jobaudit.JobState     `json:"state"`
		Output json.RawMessage       `json:"output,omitempty"`
		Error  *jobaudit.ErrorDetail `json:"error,omitempty"`
	}{job.State, job.Output, job.Error})
	s.buf = append(s.buf, '\n')
}

// event adds an event without its end.
func (s *stream) event(name string, data any) {
	text, err := json.Marshal(data)
	if err != nil {
		return // cannot be: what a log holds is JSON
	}
	s.buf = append(append(append(append(s.buf, "event: "...), name...), "\ndata: "...), text...)
	s.buf = append(s.buf, '\n')
}

// flush sends what was added.
func (s *stream) flush() error {
	_ = s.w.SetWriteDeadline(time.Now().Add(writeTimeout)) // a writer that has none bounds it otherwise
	if len(s.buf) > 0 {
		if _, err := s.w.Write(s.buf); err != nil {
			return err
		}
		s.buf = nil // an idle client keeps none
	}
	if err := s.w.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
