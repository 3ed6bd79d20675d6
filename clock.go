package jobaudit

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/fields"
)

// source calls a function of the user's, the clock or the source of IDs, and
// replaces what it must not give. An event, an outcome above all, is never lost
// for that; OnError is called.
type source[T any] struct {
	name    string
	ask     func() T
	check   func(T) (problem string)
	instead func() T
	report  func(error)
	telling atomic.Bool // an error is being reported: further ones are not, rather than wait
}

func (s *source[T]) next() T {
	v, err := s.call()
	if err == nil {
		return v
	}
	// The caller may hold a Trail's lock, which OnError may need.
	if s.telling.CompareAndSwap(false, true) {
		go func() {
			defer s.telling.Store(false)
			s.report(err)
		}()
	}
	return s.instead()
}

func (s *source[T]) call() (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the function in Options.%s panicked with a %T", s.name, p)
		}
	}()
	v = s.ask()
	if problem := s.check(v); problem != "" {
		return v, &FieldError{Field: "Options." + s.name, Problem: problem}
	}
	return v, nil
}

// guardSources sees to it that the clock and the source of IDs give what can be
// stored, whatever the options' functions do.
func (r *Recorder) guardSources() {
	tell := func(op string) func(error) {
		return func(err error) { r.reportLater(op, uuid.Nil, err) } // it may be called under a lock
	}
	if given := r.opts.Now; given != nil {
		clock := &source[time.Time]{name: "Now", ask: given, check: clockProblem, instead: systemTime, report: tell("clock")}
		r.opts.Now = clock.next
	} else {
		r.opts.Now = systemTime
	}
	if given := r.opts.NewID; given != nil {
		ids := &source[uuid.UUID]{name: "NewID", ask: given, check: newIDProblem, instead: newID, report: tell("id")}
		r.opts.NewID = ids.next
	} else {
		r.opts.NewID = newID
	}
}

func clockProblem(t time.Time) string {
	if t.Before(fields.MinTime) || t.After(fields.MaxTime) {
		return "gives a time that is not between 1970 and 9999"
	}
	return ""
}

func newIDProblem(id uuid.UUID) string {
	if id[6]>>4 != 7 || id[8]>>6 != 2 {
		return "gives something else than a UUID of version 7"
	}
	return ""
}

// systemTime is time.Now within what can be stored.
func systemTime() time.Time { return within(time.Now()) }

func within(t time.Time) time.Time {
	switch {
	case t.Before(fields.MinTime):
		return fields.MinTime
	case t.After(fields.MaxTime):
		return fields.MaxTime
	}
	return t
}
