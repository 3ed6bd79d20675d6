package jobhttp

import (
	"context"
	"encoding/json"
	"errors"
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
	q      *request
	caller Caller
	job    uuid.UUID
	// What events have to agree in to be the job's: another writer may have used
	// its ID.
	org, action       string
	root, correlation uuid.UUID

	cursor uint64    // the lines that the client has
	lines  uint64    // those that have been read
	last   uuid.UUID // the newest record that has been read
	state  jobaudit.JobState
	buf    []byte
}

// parseCursor reads how many lines the client has. The header is newer than the
// address, which a browser repeats.
func parseCursor(r *http.Request) (uint64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("cursor")
	}
	if text == "" {
		return 0, nil
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
	if !a.reserveStream(1) {
		return problem{code: unavailable, message: "too many clients follow events"}
	}
	defer a.reserveStream(-1)
	s := &stream{api: a, q: q, caller: c, cursor: cursor}
	f, err := s.open()
	if err != nil {
		return err
	}
	defer a.hub.leave(s.job, f)
	if err := s.begin(); err != nil {
		return err
	}
	return s.follow(f)
}

func (a *API) reserveStream(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n > 0 && a.streams >= a.opts.Streams {
		return false
	}
	a.streams += n
	return true
}

// open finds the job, and begins to follow it before its records are read: so
// nothing falls between the two.
func (s *stream) open() (*follower, error) {
	ctx, cancel := context.WithTimeout(s.q.r.Context(), s.api.opts.Timeout)
	defer cancel()
	found, err := s.api.job(ctx, s.q, s.caller, Read)
	if err != nil {
		return nil, err
	}
	if s.cursor > uint64(len(found.Logs)) {
		return nil, invalid("cursor") // of another job: what it should skip is not there
	}
	s.job, s.org, s.action = found.ID, found.Metadata.OrgID, found.Metadata.Action
	s.root, s.correlation = found.RootID, found.CorrelationID
	if !found.State.Terminal() { // else the lines come first
		s.status(&found.Job)
	}
	return s.api.hub.follow(ctx, s.job)
}

// begin sends the headers.
func (s *stream) begin() error {
	h := s.q.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // what a proxy keeps back comes too late
	if s.q.r.ProtoMajor == 1 {
		h.Set("Connection", "close") // the deadline of the last write stays
	}
	_ = s.q.control().SetReadDeadline(time.Time{})
	s.q.WriteHeader(http.StatusOK)
	return s.flush()
}

// follow sends what there is and what comes, until the job has ended, the client
// has gone, or the server stops. The answer has begun, so nothing is said of
// errors: the client comes back with its cursor.
func (s *stream) follow(f *follower) error {
	ctx := s.q.r.Context()
	asked := time.Now()
	silence := time.NewTimer(s.api.opts.Heartbeat)
	defer silence.Stop()
	for {
		ended, err := s.advance(ctx)
		if err != nil || ended {
			return nil
		}
		silence.Reset(s.api.opts.Heartbeat)
		select {
		case _, ok := <-f.wake:
			if !ok {
				return nil
			}
		case <-silence.C:
			s.buf = append(s.buf, ":\n\n"...)
		case <-ctx.Done():
			return nil
		case <-s.api.closing:
			return nil
		}
		if time.Since(asked) >= askAgain {
			if !s.mayGoOn(ctx) {
				return nil
			}
			asked = time.Now()
		}
	}
}

// mayGoOn asks again who the caller is, and whether they may read the job.
func (s *stream) mayGoOn(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.api.opts.Timeout)
	defer cancel()
	c, err := s.api.authenticate(s.q.r)
	if err != nil || c.Kind != s.caller.Kind || c.ID != s.caller.ID || c.OrgID != s.caller.OrgID {
		return false
	}
	f, err := s.api.lookUp(ctx, c, s.job)
	return err == nil && s.api.authorize(ctx, c, Read, f.Job) == nil
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
	for r, err := range s.api.log.Records(ctx, jobaudit.Query{JobID: s.job, After: s.last}) {
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
	_ = s.q.control().SetWriteDeadline(time.Now().Add(writeTimeout)) // a writer that has none bounds it otherwise
	if len(s.buf) > 0 {
		if _, err := s.q.Write(s.buf); err != nil {
			return err
		}
		s.buf = nil // an idle client keeps none
	}
	if err := s.q.control().Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
