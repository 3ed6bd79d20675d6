package watchdog_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/watchdog"
)

// slow is a log of which reading a job takes time; with perRecord it has no index,
// so that this is as long as reading all of it.
type slow struct {
	*memsink.Sink
	*clock
	each, perRecord time.Duration
}

func (s *slow) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		if q.JobID != uuid.Nil {
			s.pass(s.each + time.Duration(s.Len())*s.perRecord)
		}
		s.Sink.Records(ctx, q)(yield)
	}
}

// every sweeps at every interval as Run does: at once if a sweep took longer.
func every(t *testing.T, c *clock, dog *watchdog.Watchdog, sweep func(watchdog.Report, error) bool) {
	t.Helper()
	for next := c.Now(); ; {
		report, err := dog.Sweep(t.Context())
		if !sweep(report, err) {
			return
		}
		next = next.Add(interval)
		c.pass(max(0, next.Sub(c.Now())))
		next = latestOf(next, c.Now())
	}
}

func latestOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// crowd is many workers that die at once, and one that goes on.
type crowd struct {
	*clock
	sink  *memsink.Sink
	alive *author
}

func newCrowd(t *testing.T, ghosts int) *crowd {
	t.Helper()
	c := &crowd{newClock(), memsink.New(nil), newAuthor()}
	var records []jobaudit.Record
	for i := range ghosts + 1 {
		a := newAuthor()
		if i == ghosts {
			a = c.alive
		}
		records = append(records,
			a.next(c.Now(), jobaudit.JobSubmitted, jobaudit.Pending, ""),
			a.next(c.Now(), jobaudit.JobStarted, jobaudit.Running, deadline(c.Now().Add(90*time.Second))))
	}
	require.NoError(t, c.sink.Append(t.Context(), records))
	return c
}

func TestHoweverManyDieAtOnceAllAreFoundThoughReadingThemTakesLong(t *testing.T) {
	for _, c := range []struct {
		ghosts          int
		each, perRecord time.Duration
		logs            int
	}{
		{1, time.Second, 0, 1}, {10, time.Second, 0, 1}, {40, time.Second, 0, 1}, {50, time.Second, 0, 1},
		{100, time.Second, 0, 1}, {100, 20 * time.Second, 0, 1}, {300, time.Second, 0, 3}, {200, 0, 10 * time.Millisecond, 1},
		{size.Times(1000, 10), 200 * time.Millisecond, 0, 2},
	} {
		t.Run(fmt.Sprintf("%d of %v and %v in %d logs", c.ghosts, c.each, c.perRecord, c.logs), func(t *testing.T) {
			w := newCrowd(t, c.ghosts)
			logs := []jobaudit.AuditReader{&slow{w.sink, w.clock, c.each, c.perRecord}}
			for range c.logs - 1 {
				logs = append(logs, &slow{memsink.New(nil), w.clock, c.each, 0})
			}
			dog := watchdog.New(open(t, w.sink, "watchdog", w.clock), logs, &watchdog.Options{Now: w.Now, Interval: interval, Grace: 30 * time.Second})
			found, postponed, sweeps := 0, 0, 0
			every(t, w.clock, dog, func(r watchdog.Report, err error) bool {
				require.NoError(t, err)
				for _, f := range r.Findings {
					require.NotEqual(t, w.alive.job, f.JobID)
				}
				found, postponed, sweeps = found+len(r.Findings), postponed+r.Postponed, sweeps+1
				beat := w.alive.next(w.Now(), jobaudit.JobHeartbeat, jobaudit.Running, deadline(w.Now().Add(90*time.Second)))
				require.NoError(t, w.sink.Append(t.Context(), []jobaudit.Record{beat}))
				return found < c.ghosts && sweeps < 10+4*c.ghosts
			})
			require.Equal(t, c.ghosts, found)
			if time.Duration(c.ghosts)*c.each > interval {
				require.NotZero(t, postponed, "the report says that there is more to judge")
			}
		})
	}
}

func TestAReadThatTakesSoLongThatNothingCanBeConcludedIsTold(t *testing.T) {
	w := newCrowd(t, 3)
	dog := watchdog.New(open(t, w.sink, "watchdog", w.clock), []jobaudit.AuditReader{&slow{w.sink, w.clock, time.Minute, 0}},
		&watchdog.Options{Now: w.Now, Interval: interval, Grace: 30 * time.Second})
	told, sweeps := 0, 0
	every(t, w.clock, dog, func(r watchdog.Report, err error) bool {
		require.Empty(t, r.Findings)
		if err != nil {
			require.ErrorContains(t, err, "set a longer Interval")
			told++
		}
		sweeps++
		return sweeps < 50
	})
	require.NotZero(t, told)
}

func TestSweepsThatAlwaysComeTooLateAreTold(t *testing.T) {
	w := newCrowd(t, 1)
	dog := watchdog.New(open(t, w.sink, "watchdog", w.clock), []jobaudit.AuditReader{w.sink}, &watchdog.Options{Now: w.Now, Interval: interval})
	for i := range 10 {
		_, err := dog.Sweep(t.Context())
		if i < 2 {
			require.NoError(t, err, "a host may have slept")
		} else {
			require.ErrorContains(t, err, "sweep at every Interval")
		}
		w.pass(2 * interval)
	}
}
