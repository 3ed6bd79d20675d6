package cronaudit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/cronaudit"
)

// The real robfig/cron is in the tests of examples/cron, a module of its own.
type job interface{ Run() }

type jobFunc func()

func (f jobFunc) Run() { f() }

func submission(context.Context) jobaudit.Submission {
	return jobaudit.Submission{
		Action:    "clean-up",
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cron"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every hour", Ref: "clean-up"},
	}
}

func open(t *testing.T, sink jobaudit.AuditSink) *jobaudit.Recorder {
	t.Helper()
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "cleaner", Environment: "test"}, nil)
	require.NoError(t, err)
	return rec
}

// told collects what OnError is told.
func told(errs *[]error) *cronaudit.Options {
	return &cronaudit.Options{OnError: func(_ context.Context, err error) { *errs = append(*errs, err) }}
}

func TestEveryTickIsAJobAndItsErrorIsTold(t *testing.T) {
	sink := memsink.New(nil)
	var errs []error
	full := errors.New("no space left")
	results := []error{nil, full}
	j := cronaudit.Job[job](cronaudit.New(open(t, sink), told(&errs)), submission, func(context.Context) error {
		err := results[0]
		results = results[1:]
		return err
	}, nil)
	j.Run()
	require.Empty(t, errs)
	j.Run()
	require.Equal(t, []error{full}, errs)
	jobs := sink.Jobs()
	require.Len(t, jobs, 2)
	sink.ExpectStates(t, jobs[0], jobaudit.Pending, jobaudit.Running, jobaudit.Success)
	sink.ExpectStates(t, jobs[1], jobaudit.Pending, jobaudit.Running, jobaudit.Failed)
}

func TestATickThatCannotBeRecordedDoesNotRun(t *testing.T) {
	log := memsink.New(nil)
	sink := faultsink.New(log)
	rec := open(t, sink)
	ran := false
	var errs []error
	first := make(chan error, 9) // what is withdrawn in the background may be told of as well
	opts := &cronaudit.Options{OnError: func(_ context.Context, err error) { first <- err }}
	j := cronaudit.Job[job](cronaudit.New(rec, opts), submission, func(context.Context) error { ran = true; return nil }, nil)
	sink.Set(faultsink.Rule{Fault: faultsink.Fail})
	j.Run()
	require.ErrorIs(t, <-first, faultsink.ErrInjected)

	log = memsink.New(nil)
	sink = faultsink.New(log)
	j = cronaudit.Job[job](cronaudit.New(open(t, sink), told(&errs)), submission, func(context.Context) error { ran = true; return nil }, nil)
	begun := sink.Appends()
	sink.Set(faultsink.Rule{First: begun + 2, Last: begun + 2, Fault: faultsink.Fail}) // the start
	j.Run()
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], faultsink.ErrInjected)
	require.False(t, ran)
	jobs := log.Jobs()
	sink.Set()
	done, err := jobaudit.Replay(log.Records(t.Context(), jobaudit.Query{JobID: jobs[len(jobs)-1]}))
	require.NoError(t, err)
	require.Equal(t, jobaudit.Cancelled, done.State)
	require.Equal(t, jobaudit.CodeSkipped, done.Error.Code)
}

func TestARunThatNoTickAskedForIsStillAJob(t *testing.T) {
	sink := memsink.New(nil)
	twice := func(j job) job {
		return jobFunc(func() { j.Run(); j.Run() })
	}
	n := 0
	cronaudit.Job(cronaudit.New(open(t, sink), nil), submission, func(context.Context) error { n++; return nil }, twice).Run()
	require.Equal(t, 2, n)
	require.Len(t, sink.Jobs(), 2)
	for _, id := range sink.Jobs() {
		sink.ExpectStates(t, id, jobaudit.Pending, jobaudit.Running, jobaudit.Success)
	}
}

func TestAWrapperThatPanicsHasSkippedTheTick(t *testing.T) {
	sink := memsink.New(nil)
	broken := true
	wrapper := func(j job) job {
		return jobFunc(func() {
			if broken {
				panic("a wrapper's own")
			}
			j.Run()
		})
	}
	j := cronaudit.Job(cronaudit.New(open(t, sink), nil), submission, func(context.Context) error { return nil }, wrapper)
	require.PanicsWithValue(t, "a wrapper's own", j.Run)
	broken = false
	j.Run() // which finds the entrance free
	sink.ExpectStates(t, sink.Jobs()[0], jobaudit.Pending, jobaudit.Cancelled)
	sink.ExpectStates(t, sink.Jobs()[1], jobaudit.Pending, jobaudit.Running, jobaudit.Success)
}

func TestTheBaseContextCancelsRuns(t *testing.T) {
	sink := memsink.New(nil)
	ctx, cancel := context.WithCancel(t.Context())
	var errs []error
	opts := told(&errs)
	opts.BaseContext = func() context.Context { return ctx }
	j := cronaudit.Job[job](cronaudit.New(open(t, sink), opts), submission, func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}, nil)
	j.Run()
	sink.ExpectStates(t, sink.Jobs()[0], jobaudit.Pending, jobaudit.Running, jobaudit.Cancelled)
	j.Run()
	require.Len(t, sink.Jobs(), 1, "a tick after the end is none")
	require.Len(t, errs, 2)
}

func TestAnInterfaceThatAsksForMoreIsRefusedAtOnce(t *testing.T) {
	type more interface {
		Run()
		Stop()
	}
	require.Panics(t, func() {
		cronaudit.Job[more](cronaudit.New(nil, nil), submission, func(context.Context) error { return nil }, nil)
	})
}

func TestASkipThatNoRunStoodInTheWayOfSaysSoAndIsToldOnce(t *testing.T) {
	sink := memsink.New(nil)
	var errs []error
	letsThrough := false
	gate := func(j job) job {
		return jobFunc(func() {
			if letsThrough {
				j.Run()
			}
		})
	}
	j := cronaudit.Job(cronaudit.New(open(t, sink), told(&errs)), submission, func(context.Context) error { return nil }, gate)
	stuck := func() (n int) {
		for _, err := range errs {
			require.ErrorIs(t, err, cronaudit.ErrStuck)
			about, ok := errors.AsType[*jobaudit.AuditError](err)
			require.True(t, ok)
			require.Contains(t, sink.Jobs(), about.JobID)
		}
		return len(errs)
	}
	for i, want := range []int{0, 1, 1, 1} {
		j.Run()
		require.Equal(t, want, stuck(), "after tick %d", i+1)
	}
	for _, id := range sink.Jobs() {
		require.Contains(t, sink.Trail(id)[1].Data.Error.Message, "no run of it was at work")
	}
	letsThrough = true
	j.Run()
	letsThrough = false
	for _, want := range []int{1, 2, 2} { // it ran in between
		j.Run()
		require.Equal(t, want, stuck())
	}
}

// entries are a scheduler.
type entries struct{ calls []string }

func (e *entries) Start()        { e.calls = append(e.calls, "start") }
func (e *entries) Remove(id int) { e.calls = append(e.calls, fmt.Sprint("remove ", id)) }
func (e *entries) Stop() context.Context {
	e.calls = append(e.calls, "stop")
	return context.Background()
}

func TestWhatAnOperatorDoesIsOnRecord(t *testing.T) {
	sink, scheduler := memsink.New(nil), &entries{}
	var errs []error
	audit := cronaudit.New(open(t, sink), told(&errs))
	admin := cronaudit.NewAdmin(audit, scheduler)
	by := jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "grace", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "it does harm"},
	}
	require.NoError(t, admin.Start(t.Context(), by))
	require.NoError(t, admin.Remove(t.Context(), by, 7))
	running, err := admin.Stop(t.Context(), by)
	require.NoError(t, err)
	require.NotNil(t, running)
	require.Equal(t, []string{"start", "remove 7", "stop"}, scheduler.calls)
	for i, action := range []string{"cron-scheduler-start", "cron-job-remove", "cron-scheduler-stop"} {
		id := sink.Jobs()[i]
		sink.ExpectStates(t, id, jobaudit.Pending, jobaudit.Running, jobaudit.Success)
		asked := sink.Trail(id)[0]
		require.Equal(t, action, asked.What.Action)
		require.Equal(t, "grace", asked.Who.Principal.ID)
		require.Equal(t, "it does harm", asked.Why.Reason)
	}

	err = admin.Remove(t.Context(), jobaudit.Submission{}, 8)
	require.ErrorAs(t, err, new(*jobaudit.FieldError))
	require.Len(t, scheduler.calls, 3, "who does not say who and why does nothing")
	require.Empty(t, errs)
}

func TestARunThatAnOperatorAsksForIsTheirs(t *testing.T) {
	for name, then := range map[string]func(job) job{
		"plain":   nil,
		"a chain": func(j job) job { return jobFunc(j.Run) },
	} {
		sink := memsink.New(nil)
		var errs []error
		audit := cronaudit.New(open(t, sink), told(&errs))
		j := cronaudit.Job(audit, submission, func(context.Context) error { return nil }, then)
		by := jobaudit.Submission{
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "grace", Verified: true},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "not before midnight"},
		}
		require.NoError(t, cronaudit.NewAdmin(audit, &entries{}).RunNow(t.Context(), by, "clean-up", j))
		jobs := sink.Jobs()
		require.Len(t, jobs, 2, name)
		sink.ExpectStates(t, jobs[0], jobaudit.Pending, jobaudit.Running, jobaudit.Success)
		sink.ExpectStates(t, jobs[1], jobaudit.Pending, jobaudit.Running, jobaudit.Success)
		run := sink.Trail(jobs[1])[0]
		require.Equal(t, jobs[0], run.Job.ParentID)
		require.Equal(t, "clean-up", run.What.Action)
		require.Equal(t, "grace", run.Who.OnBehalfOf[0].ID)
		require.Empty(t, errs)

		ran := 0
		require.NoError(t, cronaudit.NewAdmin(audit, &entries{}).RunNow(t.Context(), by, "other", jobFunc(func() { ran++ })))
		require.Equal(t, 1, ran, "a job that is not on record runs all the same")
	}
}
