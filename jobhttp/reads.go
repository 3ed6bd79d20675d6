package jobhttp

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit"
)

// readsWindow is the time in which the same reads by one reader are one event.
const readsWindow = 5 * time.Minute

// maxReads is how many readers' queries are counted at a time. Beyond that each
// read is an event of its own.
const maxReads = 10_000

// reads records who read what: PCI DSS 10.2.1.3 asks for that. The first read of a
// reader and a query is on record before it is answered; those of the next five
// minutes are counted, and recorded as one event at the end.
type reads struct {
	rec    *jobaudit.Recorder
	mu     sync.Mutex // guards what follows
	open   map[string]*readsOf
	closed bool
}

// readsOf are the reads of one query by one reader.
type readsOf struct {
	act    jobaudit.Act
	stored chan struct{} // closed when the first read is on record, or cannot be
	err    error         // why it cannot
	count  int           // of reads since the last event
	since  time.Time     // when the first of them was
	timer  *time.Timer
}

func (s *reads) init(rec *jobaudit.Recorder) {
	s.rec, s.open = rec, make(map[string]*readsOf)
}

// record returns when the read is on record, or will be.
func (s *reads) record(ctx context.Context, c Caller, scope jobaudit.Query) error {
	key, err := json.Marshal(struct {
		Kind, ID, Org string
		Scope         jobaudit.Query
	}{string(c.Kind), c.ID, c.OrgID, scope})
	if err != nil {
		return err
	}
	s.mu.Lock()
	of := s.open[string(key)]
	first := of == nil
	if first {
		of = &readsOf{stored: make(chan struct{})}
		of.act = jobaudit.Act{Type: jobaudit.AuditRead, Principal: c.Principal, OrgID: c.OrgID, Reason: "read over HTTP", Scope: scope}
		if len(s.open) < maxReads && !s.closed {
			s.open[string(key)] = of
		}
		go s.begin(string(key), of) // it does not end with the request
	} else {
		if of.count == 0 {
			of.since = time.Now()
		}
		of.count++
	}
	s.mu.Unlock()
	select {
	case <-of.stored:
		return of.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin records the first read.
func (s *reads) begin(key string, of *readsOf) {
	err := s.store(of.act, 1, time.Time{})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		of.err = unrecorded(err)
		if s.open[key] == of {
			delete(s.open, key)
		}
	case s.open[key] == of && !s.closed:
		of.timer = time.AfterFunc(readsWindow, func() { s.end(key, of) })
	}
	close(of.stored)
}

// end records the reads that were counted, if there are any, and goes on to count
// if there are.
func (s *reads) end(key string, of *readsOf) {
	s.mu.Lock()
	count, since := of.count, of.since
	of.count = 0
	if count == 0 && s.open[key] == of {
		delete(s.open, key)
	}
	s.mu.Unlock()
	if count == 0 {
		return
	}
	err := s.store(of.act, count, since) // of which the recorder's OnError knows, too
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		of.count, of.since = of.count+count, since
	}
	if !s.closed {
		of.timer.Reset(readsWindow)
	}
}

func (s *reads) store(act jobaudit.Act, count int, since time.Time) error {
	data := map[string]any{"count": count}
	if !since.IsZero() {
		data["since"] = since.UTC().Format(time.RFC3339)
	}
	act.Data = data
	return s.rec.Act(context.Background(), act)
}

// close records what has been counted.
func (s *reads) close() {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = make(map[string]*readsOf)
	s.mu.Unlock()
	for key, of := range open {
		<-of.stored
		if of.timer != nil {
			of.timer.Stop()
		}
		s.end(key, of)
	}
}

// unrecorded is the answer to a read that cannot be recorded.
func unrecorded(err error) error {
	if field, ok := errors.AsType[*jobaudit.FieldError](err); ok {
		name, isFilter := strings.CutPrefix(field.Field, "data.act.scope.")
		if name == "principalId" {
			name = "userId"
		}
		if isFilter {
			return invalid(name)
		}
		return problem{code: internal, message: "something went wrong", cause: err}
	}
	return problem{code: unavailable, message: "the read cannot be recorded now", cause: err}
}
