package watchdog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/watchdog"
)

// life is a job whose events are recorded in one of several logs each, until it is
// heard of no more.
type life struct {
	*clock
	t       *testing.T
	sinks   []*memsink.Sink
	workers []*jobaudit.Recorder
	dog     *watchdog.Watchdog
	job     jobaudit.Submission
	carrier jobaudit.Carrier
	story   string
	last    time.Time
}

// startLimit is how long a job of these tests may wait for a start.
const startLimit = 10 * time.Minute

func newLife(t *testing.T, logs int, fast bool, within func(jobaudit.Event) time.Duration) *life {
	l := &life{clock: newClock(), t: t, job: submission()}
	l.job.ID = uuid.Must(uuid.NewV7())
	var readers []jobaudit.AuditReader
	for range logs {
		sink := memsink.New(nil)
		l.sinks, l.workers = append(l.sinks, sink), append(l.workers, open(t, sink, "worker", l.clock))
		if fast {
			readers = append(readers, newFiled(t)(sink))
		} else {
			readers = append(readers, sink)
		}
	}
	l.dog = watchdog.New(open(t, l.sinks[0], "watchdog", l.clock), readers, &watchdog.Options{
		Now: l.Now, Interval: interval, Grace: 30 * time.Second, StartWithin: within,
	})
	return l
}

func (l *life) resume(log int) *jobaudit.Trail {
	trail, err := l.workers[log].Resume(l.t.Context(), l.carrier, nil)
	require.NoError(l.t, err)
	return trail
}

// do does one thing in one of the logs. It returns whether the job runs then.
func (l *life) do(what string, log int) (runs bool) {
	ctx := l.t.Context()
	l.story += fmt.Sprintf(" %s in %d,", what, log)
	l.last = l.Now()
	switch what {
	case "submitted":
		trail, err := l.workers[log].Submit(ctx, l.job)
		require.NoError(l.t, err)
		l.carrier = trail.Carrier()
	case "put off":
		require.NoError(l.t, l.resume(log).Deny(ctx, jobaudit.Decision{By: "opa", AskAgain: true}))
	case "failed", "deferred", "killed", "killed after a heartbeat in another":
		trail := l.resume(log)
		require.NoError(l.t, trail.Start(ctx, jobaudit.Execution{Deadline: 90 * time.Second}))
		l.carrier = trail.Carrier()
		switch what {
		case "failed":
			trail.Retrying(ctx, errors.New("x"))
		case "deferred":
			trail.Deferring(ctx, "x")
		case "killed after a heartbeat in another":
			l.pass(interval)
			l.last = l.Now()
			trail.Heartbeat(ctx, 1, 2)
			require.NoError(l.t, trail.Flush(ctx))
			l.copyHeartbeat(log)
			return true
		default:
			return true
		}
		require.NoError(l.t, trail.Flush(ctx))
	}
	return false
}

// copyHeartbeat stores the newest record of a log in another one as well, without
// those before it, and something newer in the first.
func (l *life) copyHeartbeat(log int) {
	var newest jobaudit.Record
	for r, err := range l.sinks[log].Records(l.t.Context(), jobaudit.Query{JobID: l.job.ID}) {
		require.NoError(l.t, err)
		newest = r
	}
	other := l.sinks[(log+1)%len(l.sinks)]
	if other != l.sinks[log] {
		require.NoError(l.t, other.Append(l.t.Context(), []jobaudit.Record{newest}))
	}
}

// sweep sweeps as often as this and returns what was found.
func (l *life) sweep(times int) (found []watchdog.Finding) {
	for range times {
		found = append(found, sweep(l.t, l.dog).Findings...)
		l.pass(interval)
	}
	return found
}

// Whatever came before, and in whichever log: a job that is to be started and is not
// expires, and one whose worker is gone is abandoned, once and in time.
func TestAJobThatNobodyGoesOnWithHasAnEndWhateverCameBefore(t *testing.T) {
	steps := []string{"submitted", "put off", "failed", "deferred"}
	for seed := range uint64(size.Times(150, 10)) {
		rng := newRand(seed, 3)
		l := newLife(t, 1+rng.IntN(2), rng.IntN(2) == 0, func(jobaudit.Event) time.Duration { return startLimit })
		log := func() int { return rng.IntN(len(l.sinks)) }
		l.do("submitted", log())
		ran := false
		for range rng.IntN(5) {
			require.Empty(t, l.sweep(rng.IntN(5)), l.story)
			step := steps[rng.IntN(len(steps))]
			if ran = ran || step == "failed" || step == "deferred"; ran && step == "put off" {
				continue
			}
			l.do(step, log())
		}
		kind, limit := watchdog.Expired, startLimit
		if rng.IntN(3) == 0 {
			kind, limit = watchdog.Abandoned, 90*time.Second
			l.do([]string{"killed", "killed after a heartbeat in another"}[rng.IntN(2)], log())
		}
		var found []watchdog.Finding
		for len(found) == 0 && l.Now().Sub(l.last) < 3*startLimit {
			found = l.sweep(1)
		}
		took := l.Now().Sub(l.last)
		require.Len(t, found, 1, "seed %d:%s", seed, l.story)
		require.Equal(t, kind, found[0].Kind, "seed %d:%s", seed, l.story)
		require.Greater(t, took, limit, "seed %d:%s", seed, l.story)
		require.LessOrEqual(t, took, limit+30*time.Second+5*interval, "seed %d:%s", seed, l.story)
		require.Empty(t, l.sweep(30), "once")
		var logs []jobaudit.AuditReader
		for _, sink := range l.sinks {
			logs = append(logs, sink)
		}
		require.True(t, replay(t, l.job.ID, logs...).State.Terminal(), "seed %d:%s", seed, l.story)
	}
}

func TestARetryThatNeverComesExpiresByTheRecordsTimesToo(t *testing.T) {
	for _, step := range []string{"failed", "deferred"} {
		l := newLife(t, 1, false, nil)
		dog := watchdog.New(open(t, l.sinks[0], "once", l.clock), []jobaudit.AuditReader{l.sinks[0]}, &watchdog.Options{
			Now: l.Now, OneShot: true, StartWithin: func(jobaudit.Event) time.Duration { return startLimit },
		})
		l.do("submitted", 0)
		l.pass(2 * startLimit)
		l.do(step, 0)
		require.Equal(t, watchdog.Report{Open: 1}, sweep(t, dog), "it was tried just now")
		l.pass(startLimit + time.Minute)
		require.Equal(t, []watchdog.Kind{watchdog.Expired}, kinds(sweep(t, dog)))
		require.Equal(t, jobaudit.CodeExpired, replay(t, l.job.ID, l.sinks[0]).Error.Code)
	}
}

// A queue says itself when it gives up, and without a limit nobody does.
func TestAJobThatAQueueOwnsOrThatMayWaitForEverDoesNotExpireBetweenAttempts(t *testing.T) {
	for _, fast := range []bool{false, true} {
		for _, queued := range []bool{false, true} {
			l := newLife(t, 2, fast, func(jobaudit.Event) time.Duration {
				if queued {
					return startLimit
				}
				return 0
			})
			if queued {
				l.job.Queue = jobaudit.Ref{System: "river", ID: "7"}
			}
			l.do("submitted", 1)
			l.do("failed", 0)
			require.Empty(t, l.sweep(100))
			require.Zero(t, sweep(t, l.dog).Open)
			l.do("deferred", 1)
			require.Empty(t, l.sweep(100))
			require.NoError(t, l.resume(0).Cancel(context.WithoutCancel(t.Context()), "x"))
			require.Equal(t, watchdog.Report{}, sweep(t, l.dog))
		}
	}
}
