package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// A job whose start may be stored, and that did not run, has an end on record, or a loss,
// however many there are.
func TestAJobThatDidNotRunIsNeverLostUntold(t *testing.T) {
	for name, refused := range map[string]bool{"its start is not known to be stored": false, "it is refused": true} {
		for _, full := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", without room ", full), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := memsink.New(nil)
					sink := faultsink.New(store)
					opts := &jobaudit.Options{Heartbeat: -1, OnError: func(context.Context, *jobaudit.AuditError) {}}
					var rec *jobaudit.Recorder
					fill := func() {
						sink.Set(faultsink.Rule{Fault: faultsink.Ambiguous})
						if full {
							jobaudit.TakeRoom(t, rec, delivery.Reserved)
							jobaudit.TakeRoom(t, rec, delivery.JobRefused)
						}
					}
					if refused {
						opts.Authorize = func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
							fill()
							return jobaudit.Decision{By: "a test"}, nil
						}
					}
					rec = open(t, sink, opts)
					if !refused {
						fill()
					}
					id, err := run(t.Context(), rec, func(context.Context) error { return nil })
					require.Error(t, err)
					require.Equal(t, full, rec.Stats().Lost > 0)
					sink.Set()
					time.Sleep(time.Hour)
					list := store.Trail(id)
					require.NotEmpty(t, list)
					last := list[len(list)-1]
					if full {
						require.Equal(t, jobaudit.AuditLost, last.Type)
					} else {
						require.True(t, last.Job.State.Terminal())
					}
					require.NoError(t, rec.Close(t.Context()))
				})
			})
		}
	}
}

// What the sink has refused is told even if there is no room for each.
func TestThatEventsWereRefusedIsToldWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSwitched()
		rec := open(t, store, &jobaudit.Options{Heartbeat: -1, OnError: func(context.Context, *jobaudit.AuditError) {}})
		var trails []*jobaudit.Trail
		for range 5 {
			trails = append(trails, begun(t, rec))
		}
		store.set(func(records []jobaudit.Record) error {
			for _, r := range records {
				if r.Type() == jobaudit.JobSucceeded {
					return &jobaudit.RecordError{ID: r.ID(), Err: errWork}
				}
			}
			return errWork
		})
		jobaudit.TakeRoom(t, rec, delivery.Reserved)
		for _, tr := range trails {
			require.Error(t, tr.Succeed(t.Context()))
		}
		synctest.Wait()
		store.set(nil)
		time.Sleep(time.Hour)
		degraded := of(events(t, store), jobaudit.AuditDegraded)
		told := int64(0)
		for _, e := range degraded {
			told += e.Data.Degraded.Count
		}
		require.EqualValues(t, 5, told)
		require.NoError(t, rec.Close(t.Context()))
	})
}

// weak is a sink that reports, to the last who has said where.
type weak struct {
	*memsink.Sink
	report func(error)
}

func (w *weak) Degraded(report func(error)) { w.report = report }

// byValue is one that cannot be compared.
type byValue struct {
	*weak
	_ []int
}

// What a sink reports is recorded once, by a Recorder that is open, in whichever order
// they are closed.
func TestWhatASinkReportsIsRecordedByARecorderThatIsOpen(t *testing.T) {
	for first := range 3 {
		for second := range 3 {
			sink := &weak{Sink: memsink.New(nil)}
			var recs []*jobaudit.Recorder
			for range 3 {
				recs = append(recs, open(t, sink, nil))
			}
			want := 0
			report := func() {
				sink.report(errors.New("no head can be kept"))
				want++
			}
			report()
			require.NoError(t, recs[first].Close(t.Context()))
			report()
			if second != first {
				require.NoError(t, recs[second].Close(t.Context()))
				report()
			}
			for _, rec := range recs {
				_ = rec.Close(t.Context())
			}
			sink.report(errors.New("nobody listens"))
			last := open(t, sink, nil)
			report()
			require.NoError(t, last.Close(t.Context()))
			require.Len(t, of(events(t, sink), jobaudit.AuditDegraded), want)
		}
	}
	inner := &weak{Sink: memsink.New(nil)}
	rec := open(t, byValue{weak: inner}, nil)
	inner.report(errors.New("no head can be kept"))
	require.NoError(t, rec.Close(t.Context()))
	require.Len(t, of(events(t, inner), jobaudit.AuditDegraded), 1)
}

// What Conclude did not record, and starts and probes whose callers have given up, are in
// no fallback.
func TestCloseSendsNothingToTheFallbackThatNobodyWants(t *testing.T) {
	for name, call := range map[string]func(t *testing.T, rec *jobaudit.Recorder, v jobaudit.Verdict) error{
		"a verdict": func(t *testing.T, rec *jobaudit.Recorder, v jobaudit.Verdict) error {
			_, err := rec.Conclude(t.Context(), v)
			return err
		},
		"a probe": func(t *testing.T, rec *jobaudit.Recorder, _ jobaudit.Verdict) error { return rec.Probe(t.Context()) },
		"a submission": func(t *testing.T, rec *jobaudit.Recorder, _ jobaudit.Verdict) error {
			_, err := rec.Submit(t.Context(), submission())
			return err
		},
	} {
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " early ", early), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store, spare := memsink.New(nil), memsink.New(nil)
					sink := faultsink.New(store)
					worker := open(t, store, &jobaudit.Options{Heartbeat: -1})
					v := ghost(t, worker, store, submission())
					rec := open(t, sink, &jobaudit.Options{Fallback: spare, OnError: func(context.Context, *jobaudit.AuditError) {}})
					sink.Set(faultsink.Rule{Fault: faultsink.Hang})
					done := make(chan error, 1)
					go func() { done <- call(t, rec, v) }()
					time.Sleep(10 * time.Millisecond)
					if !early {
						require.Error(t, <-done)
					}
					ctx, cancel := context.WithCancel(t.Context())
					cancel()
					_ = rec.Close(ctx)
					if early {
						require.Error(t, <-done)
					}
					require.Zero(t, spare.Len())
				})
			})
		}
	}
}

// A step of the wall clock, or a sleep of the machine, makes no sink seem to hang: what
// waits is dated by the clock that does not step.
func TestHowLongEventsWaitIsNotTheWallClocks(t *testing.T) {
	store := newSwitched()
	rec := open(t, store, &jobaudit.Options{Heartbeat: -1, Now: func() time.Time { return time.Unix(1, 0) }})
	tr := begun(t, rec)
	hold, held := make(chan struct{}), make(chan struct{}, 9)
	store.set(func([]jobaudit.Record) error { held <- struct{}{}; <-hold; return nil })
	tr.Log(t.Context(), "line")
	<-held
	require.Contains(t, rec.Stats().Oldest.String(), " m=", "it has a reading of the monotonic clock")
	close(hold)
	require.NoError(t, rec.Close(t.Context()))
}
