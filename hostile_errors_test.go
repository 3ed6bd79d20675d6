package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// malignError has all the methods that anybody may ask an error for. Each does what it
// is told.
type malignError struct {
	text, code, is, as, unwrap, json, format func()
}

func do(f func()) {
	if f != nil {
		f()
	}
}
func (e *malignError) Error() string                { do(e.text); return "failed" }
func (e *malignError) JobErrorCode() string         { do(e.code); return "CODE" }
func (e *malignError) Is(error) bool                { do(e.is); return false }
func (e *malignError) As(any) bool                  { do(e.as); return false }
func (e *malignError) Unwrap() error                { do(e.unwrap); return nil }
func (e *malignError) MarshalJSON() ([]byte, error) { do(e.json); return []byte("1"), nil }
func (e *malignError) Format(fmt.State, rune)       { do(e.format) }

type listError struct{ list []error }

func (l *listError) Error() string   { return "several" }
func (l *listError) Unwrap() []error { return l.list }

// malignErrors are errors whose methods do what no method should.
func malignErrors() map[string]error {
	deeds := map[string]func(){
		"panics":                func() { panic("no") },
		"panics with nil":       func() { panic((error)(nil)) },
		"panics with an error":  func() { panic(errors.New("x")) },
		"panics by the runtime": func() { var list []int; list[len(list)] = 1 },
		"ends the goroutine":    runtime.Goexit,
	}
	errs := map[string]error{}
	for name, do := range deeds {
		errs["Error "+name] = &malignError{text: do}
		errs["JobErrorCode "+name] = &malignError{code: do}
		errs["Is "+name] = &malignError{is: do}
		errs["As "+name] = &malignError{as: do}
		errs["Unwrap "+name] = &malignError{unwrap: do}
		errs["MarshalJSON "+name] = &malignError{json: do}
		errs["Format "+name] = &malignError{format: do}
	}
	for name, err := range maps.Clone(errs) {
		errs["joined: "+name] = errors.Join(errors.New("one"), err)
		errs["in a list: "+name] = &listError{[]error{nil, err, nil}}
	}
	errs["typed nil"] = (*malignError)(nil)
	return errs
}

// A function's error is returned as it is, and its job has failed, whatever the
// error's methods do.
func TestNoErrorKeepsItsJobFromItsOutcome(t *testing.T) {
	for name, own := range malignErrors() {
		for _, queue := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", queue), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sink := memsink.New(nil)
					r, err := jobaudit.Open(t.Context(), sink, goldenSource, &jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) {}})
					require.NoError(t, err)
					trail, err := r.Submit(t.Context(), plainSubmission())
					require.NoError(t, err)
					id := trail.JobID()
					done := make(chan any, 1)
					go func() {
						ended := false
						defer func() {
							p := recover()
							if !ended && p == nil {
								p = "the goroutine ended"
							}
							done <- p
						}()
						if queue {
							trail.Retrying(context.Background(), own)
						}
						got := trail.Run(context.Background(), jobaudit.Execution{}, func(context.Context) error { return own })
						ended = true
						if got != own {
							panic("another error")
						}
					}()
					require.Nil(t, <-done)
					ctx := context.Background()
					require.NoError(t, r.Close(ctx))
					for _, j := range sink.Jobs() {
						if j == id {
							trail := sink.Trail(j)
							require.Equal(t, jobaudit.JobFailed, trail[len(trail)-1].Type)
						}
					}
				})
			})
		}
	}
}

// malignSink returns such an error for its first Appends, and then recovers.
type malignSink struct {
	*memsink.Sink
	err  error
	left atomic.Int64
}

func (s *malignSink) Append(ctx context.Context, records []jobaudit.Record) error {
	if s.left.Add(-1) >= 0 {
		return s.err
	}
	return s.Sink.Append(ctx, records)
}

// What a sink's errors do holds up nothing for good: when the sink has recovered,
// jobs run and have their outcomes.
func TestNoErrorOfASinkKeepsJobsFromRunningLater(t *testing.T) {
	for name, bad := range malignErrors() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := &malignSink{Sink: memsink.New(nil), err: bad}
				r, err := jobaudit.Open(t.Context(), sink, goldenSource, &jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) {}})
				require.NoError(t, err)
				for _, failures := range []int64{1, 3} {
					trail, err := r.Submit(t.Context(), plainSubmission())
					require.NoError(t, err)
					require.NoError(t, trail.Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
						sink.left.Store(failures)
						trail.Log(ctx, "line")
						return nil
					}))
					sink.left.Store(0)
					time.Sleep(2 * time.Minute)
					require.NoError(t, r.Run(t.Context(), plainSubmission(), func(context.Context) error { return nil }))
				}
				require.NoError(t, r.Close(t.Context()))
				for _, id := range sink.Jobs() {
					events := sink.Trail(id)
					require.Equal(t, jobaudit.JobSucceeded, events[len(events)-1].Type)
				}
			})
		})
	}
}

// The error of Options.Authorize is the application's: its methods may panic, as those of
// a nil pointer, when it is first asked and each time after.
func TestAnErrorOfAuthorizeWhoseMethodsPanicEndsNoProgram(t *testing.T) {
	boom := func() { panic("not here") }
	for name, malign := range map[string]*malignError{"text": {text: boom}, "is": {is: boom}, "as": {as: boom}, "unwrap": {unwrap: boom}} {
		for _, err := range []error{malign, fmt.Errorf("no: %w", malign), errors.Join(errors.New("one"), malign)} {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				store := memsink.New(nil)
				rec := open(t, store, &jobaudit.Options{
					Heartbeat: time.Second, Reauthorize: true, OnError: new(complaints).add,
					Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
						if asked.Add(1) == 1 {
							return jobaudit.Decision{Allowed: true}, nil
						}
						return jobaudit.Decision{}, err
					},
				})
				_, runErr := run(t.Context(), rec, func(context.Context) error { time.Sleep(5 * time.Second); return nil })
				require.NoError(t, runErr, name)
				_, runErr = run(t.Context(), rec, func(context.Context) error { return nil })
				require.Error(t, runErr, name)
				require.NotPanics(t, func() { _ = runErr.Error(); _ = errors.Is(runErr, errWork) })
				require.NoError(t, rec.Close(t.Context()))
			})
		}
	}
}
