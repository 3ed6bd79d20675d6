package watchdog_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/watchdog"
)

func TestAJobThatDoesNotStartInTimeExpires(t *testing.T) {
	within := func(e jobaudit.Event) time.Duration {
		if e.What.Action == "reindex" {
			return time.Hour
		}
		return 0
	}
	s := newScene(t, watchdog.Options{Grace: 10 * time.Second, StartWithin: within})
	trail := s.submit(submission())
	patient := submission()
	patient.Action = "rebuild"
	s.submit(patient)
	putOff, err := s.worker.Resume(t.Context(), s.submit(submission()).Carrier(), nil)
	require.NoError(t, err)
	require.Equal(t, 2, s.sweep().Open, "the patient one is not watched")
	s.pass(time.Hour)
	require.NoError(t, putOff.Deny(t.Context(), jobaudit.Decision{By: "opa", AskAgain: true}))
	require.Empty(t, s.sweep().Findings)
	s.pass(10*time.Second + 1)
	report := s.sweep()
	require.Equal(t, []watchdog.Kind{watchdog.Expired}, kinds(report))
	require.Equal(t, trail.JobID(), report.Findings[0].JobID)
	require.True(t, report.Findings[0].Recorded)
	job := s.job(trail.JobID())
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, jobaudit.CodeExpired, job.Error.Code)
	require.Equal(t, jobaudit.Pending, s.job(putOff.JobID()).State, "it has an hour from then on")
	s.pass(time.Hour)
	require.Equal(t, []watchdog.Kind{watchdog.Expired}, kinds(s.sweep()))

	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{Deadline: time.Minute}))
	require.True(t, s.job(trail.JobID()).Executions[0].Late, "a late start changes nothing and is seen")
	require.Equal(t, jobaudit.Cancelled, s.job(trail.JobID()).State)
}

func TestAJobThatWasPutOffWaitsAnewWhicheverLogSaysSo(t *testing.T) {
	c := newClock()
	asked, putOff, own := memsink.New(nil), memsink.New(nil), memsink.New(nil)
	trail, err := open(t, asked, "api", c).Submit(t.Context(), submission())
	require.NoError(t, err)
	c.pass(50 * time.Minute)
	there, err := open(t, putOff, "worker", c).Resume(t.Context(), trail.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, there.Deny(t.Context(), jobaudit.Decision{By: "opa", AskAgain: true}))
	for _, logs := range [][]jobaudit.AuditReader{{asked, putOff}, {putOff, asked}} {
		dog := watchdog.New(open(t, own, "watchdog", c), logs, &watchdog.Options{
			Now: func() time.Time { return c.Now().Add(50 * time.Minute) }, StartWithin: func(jobaudit.Event) time.Duration { return time.Hour },
			OneShot: true,
		})
		require.Equal(t, watchdog.Report{Open: 1}, sweep(t, dog))
	}
}

func TestHeartbeatsWithoutProgressAreToldOnceAndNotRecorded(t *testing.T) {
	s := newScene(t, watchdog.Options{Grace: -1, StalledAfter: 3 * time.Minute})
	trail, mute := s.start(s.submit(submission())), s.start(s.submit(submission()))
	var told []watchdog.Finding
	at := []int64{1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3}
	var since []time.Time
	for i, done := range at {
		s.pass(50 * time.Second)
		if i == 2 || i == 8 {
			since = append(since, s.Now())
		}
		s.beat(trail, done)
		mute.Log(t.Context(), "at work")
		require.NoError(t, mute.Flush(t.Context()))
		before := s.log.Len()
		told = append(told, s.sweep().Findings...)
		require.Equal(t, before, s.log.Len(), "nothing is recorded")
	}
	require.Len(t, told, 2)
	for i, f := range told {
		require.Equal(t, watchdog.Stalled, f.Kind)
		require.False(t, f.Recorded)
		require.True(t, since[i].Equal(f.Since), "%v is not %v", f.Since, since[i])
		require.Equal(t, trail.JobID(), f.JobID)
		require.Equal(t, jobaudit.JobStarted, f.Evidence.Of.Type())
		require.Equal(t, int64(2+i), f.Evidence.Heartbeat.Event().Data.Heartbeat.Progress.Done)
	}
}

func TestAWorkerWhoseClockIsBehindIsNotAccused(t *testing.T) {
	s := newScene(t, watchdog.Options{})
	behind := newClock()
	behind.pass(-24 * time.Hour)
	s.worker = open(t, s.log, "worker", behind)
	s.sweep()
	trail := s.start(s.submit(submission()))
	for range 10 {
		s.pass(30 * time.Second)
		behind.pass(30 * time.Second)
		s.beat(trail, 1)
		require.Empty(t, s.sweep().Findings, "it arrived after the sweep before")
	}
	s.pass(50 * time.Second)
	require.Empty(t, s.sweep().Findings)
	s.pass(2 * time.Minute)
	require.Equal(t, []watchdog.Kind{watchdog.Abandoned}, kinds(s.sweep()))
}

func TestWithoutADeadlineOnlyTheHeartbeatTimeoutEndsAnExecution(t *testing.T) {
	s := newScene(t, watchdog.Options{})
	trail := s.submit(submission())
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	s.pass(500 * time.Hour)
	s.beat(trail, 1) // of a recorder without heartbeats of its own: it announces none
	s.pass(1000 * time.Hour)
	require.Equal(t, watchdog.Report{Open: 1}, s.sweep())
	patient := s.another(watchdog.Options{HeartbeatTimeout: 1001 * time.Hour}, s.log)
	require.Empty(t, sweep(t, patient).Findings)
	s.pass(2 * time.Hour)
	report := sweep(t, patient)
	require.Equal(t, []watchdog.Kind{watchdog.Abandoned}, kinds(report))
	for r, err := range s.log.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AttemptLost}}) {
		require.NoError(t, err)
		require.Zero(t, r.Event().Data.Evidence.Deadline, "none was announced")
	}
}
