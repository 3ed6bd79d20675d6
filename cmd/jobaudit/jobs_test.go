package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// jobIDs are the jobs that jobs prints.
func jobIDs(t *testing.T, args ...string) (ids []uuid.UUID) {
	t.Helper()
	c := run(t, append([]string{"jobs", "--json"}, args...)...)
	require.Zero(t, c.code, c.err)
	for line := range strings.Lines(c.out) {
		var job struct{ ID uuid.UUID }
		require.NoError(t, json.Unmarshal([]byte(line), &job))
		ids = append(ids, job.ID)
	}
	return ids
}

func TestJobsPrintsALineForEachJobTheNewestFirst(t *testing.T) {
	l := newLog(t).close(t)
	require.Equal(t, []uuid.UUID{l.failed, l.child, l.parent}, jobIDs(t, l.dir))
	c := run(t, "jobs", l.dir)
	require.Zero(t, c.code, c.err)
	lines := strings.Split(strings.TrimSpace(c.out), "\n")
	require.Len(t, lines, 3)
	for _, want := range []string{"failed", "delete", "u-1", l.failed.String(), "ERROR: the disk is full"} {
		require.Contains(t, lines[0], want)
	}
	require.Contains(t, c.err, "not verified")
	require.Len(t, jobIDs(t, l.dir, "-n", "2"), 2)
}

func TestJobsAreSelectedByWhatBecameOfThem(t *testing.T) {
	l := newLog(t)
	onBehalf := l.submit(t, func(s *jobaudit.Submission) {
		s.Action, s.Resource, s.OrgID = "export", "customers", "acme"
		s.Principal = jobaudit.Principal{Kind: jobaudit.Service, ID: "exporter"}
		s.OnBehalfOf = []jobaudit.Principal{{Kind: jobaudit.User, ID: "grace"}}
	}, func(context.Context, *jobaudit.Trail) error { return context.DeadlineExceeded })
	retried := l.retried(t, 3)
	l.close(t)
	for _, tc := range []struct {
		filters []string
		want    []uuid.UUID
	}{
		{[]string{"--state", "failed"}, []uuid.UUID{retried, onBehalf, l.failed}},
		{[]string{"--state", "success"}, []uuid.UUID{l.child, l.parent}},
		{[]string{"--action", "delete"}, []uuid.UUID{l.failed}},
		{[]string{"--principal", "grace"}, []uuid.UUID{onBehalf}},
		{[]string{"--principal", "exporter"}, []uuid.UUID{onBehalf}},
		{[]string{"--acting", "grace"}, nil},
		{[]string{"--acting", "exporter"}, []uuid.UUID{onBehalf}},
		{[]string{"--resource", "customers"}, []uuid.UUID{onBehalf}},
		{[]string{"--org", "acme"}, []uuid.UUID{onBehalf}},
		{[]string{"--error-code", "TIMEOUT"}, []uuid.UUID{onBehalf}},
		{[]string{"--root", l.parent.String()}, []uuid.UUID{l.child, l.parent}},
		{[]string{"--correlation", l.parent.String(), "--state", "success"}, []uuid.UUID{l.child, l.parent}},
		{[]string{"--failures", "3"}, []uuid.UUID{retried}},
		{[]string{"--failures", "4"}, nil},
		{[]string{"--longer", "1000h"}, nil},
		{[]string{"--shorter", "1000h", "--action", "delete"}, []uuid.UUID{l.failed}},
		{[]string{"--since", "1d", "--action", "export"}, []uuid.UUID{onBehalf}},
		{[]string{"--until", "1d"}, nil},
		{[]string{"--overdue"}, nil},
	} {
		require.Equal(t, tc.want, jobIDs(t, append([]string{l.dir}, tc.filters...)...), "%v", tc.filters)
	}
	require.Len(t, events(t, l.dir, "--principal", "grace"), len(events(t, l.dir, "--job", onBehalf.String())))
	require.Empty(t, events(t, l.dir, "--acting", "grace"))
	require.Len(t, events(t, l.dir, "--error-code", "TIMEOUT"), 1)
	require.Len(t, events(t, l.dir, "--resource", "customers", "--type", "job.*"), len(events(t, l.dir, "--job", onBehalf.String())))
}

// submit runs a job with another submission.
func (l *aLog) submit(t *testing.T, change func(*jobaudit.Submission), do func(context.Context, *jobaudit.Trail) error) (id uuid.UUID) {
	t.Helper()
	s := submission("other")
	change(&s)
	_ = l.recorder.Run(t.Context(), s, func(ctx context.Context) error {
		trail, _ := jobaudit.FromContext(ctx)
		id = trail.JobID()
		return do(ctx, trail)
	})
	return id
}

// retried fails a job so often.
func (l *aLog) retried(t *testing.T, times int) uuid.UUID {
	t.Helper()
	trail, err := l.recorder.Submit(t.Context(), submission("flaky"))
	require.NoError(t, err)
	for n := range times {
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
		if n < times-1 {
			trail.Retrying(t.Context(), errors.New("not yet"))
		}
	}
	require.NoError(t, trail.Fail(t.Context(), errors.New("never")))
	return trail.JobID()
}

func TestJobsOfSeveralLogsAreOnesStory(t *testing.T) {
	submitted, worked := newLog(t), newLog(t)
	trail, err := submitted.recorder.Submit(t.Context(), submission("split"))
	require.NoError(t, err)
	worker, err := worked.recorder.Resume(t.Context(), trail.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, worker.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { return nil }))
	submitted.close(t)
	worked.close(t)

	require.Contains(t, run(t, "jobs", submitted.dir, "--action", "split").out, "pending")
	require.Contains(t, run(t, "jobs", worked.dir, "--action", "split").out, "submitted in another log")
	both := run(t, "jobs", worked.dir, submitted.dir, "--action", "split").out
	require.Contains(t, both, "success")
	require.Equal(t, 1, strings.Count(both, "\n"))
	c := run(t, "jobs", worked.dir, "--since", "1d", "--action", "split")
	require.Empty(t, c.out)
	require.Contains(t, c.err, "1 job of this period left out")
}

func TestAStartWithoutAnEndIsOverdue(t *testing.T) {
	l := newLog(t)
	trail, err := l.recorder.Submit(t.Context(), submission("ghost"))
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{Deadline: time.Nanosecond}))
	require.Equal(t, []uuid.UUID{trail.JobID()}, jobIDs(t, l.dir, "--overdue"))
	require.Contains(t, run(t, "jobs", l.dir, "--state", "running").out, "overdue")
}

// A job that its queue will run again owes no sign of life.
func TestAJobThatWaitsForARetryOrIsPutOffIsNotOverdue(t *testing.T) {
	l := newLog(t)
	for _, end := range []func(*jobaudit.Trail){
		func(tr *jobaudit.Trail) { tr.Retrying(t.Context(), errors.New("busy")) },
		func(tr *jobaudit.Trail) { tr.Deferring(t.Context(), "later") },
	} {
		trail, err := l.recorder.Submit(t.Context(), submission("waits"))
		require.NoError(t, err)
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{Deadline: time.Nanosecond}))
		end(trail)
	}
	l.close(t)
	require.Empty(t, jobIDs(t, l.dir, "--overdue"))
	require.NotContains(t, run(t, "jobs", l.dir, "--action", "waits").out, "overdue")
}

func TestAnAttemptThatWasLostAndEndedItsJobCountsOnce(t *testing.T) {
	l := newLog(t)
	trail, err := l.recorder.Submit(t.Context(), submission("lost"))
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	for _, r := range l.events(t, "--job", trail.JobID().String(), "--type", "job.started") {
		_, err = l.recorder.Conclude(t.Context(), jobaudit.Verdict{Of: r})
		require.NoError(t, err)
	}
	l.close(t)
	require.Equal(t, []uuid.UUID{trail.JobID()}, jobIDs(t, l.dir, "--failures", "1", "--action", "lost"))
	require.Empty(t, jobIDs(t, l.dir, "--failures", "2"))
}

// What came behind its end is part of a Job: jobs prints what show does.
func TestAJobIsPrintedWithWhatCameBehindItsEnd(t *testing.T) {
	l := newLog(t)
	trail, err := l.recorder.Submit(t.Context(), submission("late"))
	require.NoError(t, err)
	other, err := l.recorder.Resume(t.Context(), trail.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, other.Start(t.Context(), jobaudit.Execution{}))
	require.NoError(t, trail.Cancel(t.Context(), "enough"))
	require.NoError(t, other.Succeed(t.Context()))
	l.close(t)
	jobs, show := run(t, "jobs", l.dir, "--action", "late", "--json").out, run(t, "show", l.dir, trail.JobID().String(), "--json").out
	require.Contains(t, show, "unapplied")
	require.JSONEq(t, show, jobs)
}

// An instance can have a new build: the newest opening before the start tells which one ran.
func TestAJobRanInTheBuildThatWasOpenedLastBeforeIt(t *testing.T) {
	l := newLog(t).close(t)
	key, err := filesink.LoadOrCreateKey(l.dir, l.key, "example.com/jobs")
	require.NoError(t, err)
	var want []uuid.UUID
	for _, modified := range []string{"false", "true", "false"} {
		from := memsink.New(nil)
		r, err := jobaudit.Open(t.Context(), from, jobaudit.Source{System: "s", Environment: "test", Instance: "one"}, nil)
		require.NoError(t, err)
		trail, err := r.Submit(t.Context(), submission("built"))
		require.NoError(t, err)
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
		require.NoError(t, trail.Succeed(t.Context()))
		require.NoError(t, r.Close(t.Context()))
		if modified == "true" {
			want = append(want, trail.JobID())
		}
		sink, err := filesink.Open(t.Context(), l.dir, key, nil)
		require.NoError(t, err)
		var records []jobaudit.Record
		for record, err := range from.Records(t.Context(), jobaudit.Query{}) {
			require.NoError(t, err)
			if record.Type() == jobaudit.AuditOpened {
				record, err = jobaudit.ParseRecord(bytes.Replace(record.Bytes(), []byte(`"environment":{`), []byte(`"environment":{"vcs":{"revision":"4f1c","modified":`+modified+`},`), 1))
				require.NoError(t, err)
			}
			records = append(records, record)
		}
		require.NoError(t, sink.Append(t.Context(), records))
		require.NoError(t, sink.Close())
	}
	require.Equal(t, want, jobIDs(t, l.dir, "--modified"))
}

func TestAWrongFilterIsAnErrorThatNamesTheNearOnes(t *testing.T) {
	l := newLog(t).close(t)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--type", "job.fail"}, "did you mean job.failed"},
		{[]string{"--type", "job.suceeded"}, "did you mean job.succeeded"},
		{[]string{"--type", "x"}, "it is job.submitted"},
		{[]string{"--type", "jobs.*"}, "is not known"},
		{[]string{"--state", "sucess"}, "did you mean success"},
		{[]string{"--state", "asleep"}, "it is pending, running, success, failed or cancelled"},
		{[]string{"--action", "x", "--action", "y"}, "given twice"},
		{[]string{"--since", "30 days"}, "is no time"},
		{[]string{"--since", "-3h"}, "is no time"},
		{[]string{"--since", "2999-01-01"}, "in the future"},
		{[]string{"--since", "2025-02-01", "--until", "2025-01-01"}, "is not before"},
		{[]string{"--actoin", "x"}, "unknown flag: --actoin"},
	} {
		c := run(t, append([]string{"list", l.dir}, tc.args...)...)
		require.Equal(t, 2, c.code, "%v: %s", tc.args, c.err)
		require.Empty(t, c.out)
		require.Contains(t, c.err, tc.want, "%v", tc.args)
	}
	for _, command := range []string{"list", "jobs"} {
		c := run(t, command, l.dir, "--action", "delet")
		require.Zero(t, c.code)
		require.Empty(t, c.out)
		require.Contains(t, c.err, "nothing in the log has --action delet: did you mean delete?")
		require.Contains(t, run(t, command, l.dir, "--principal", "u1").err, "did you mean u-1?")
		require.Contains(t, run(t, command, l.dir, "--error-code", "timeout").err, "did you mean TIMEOUT?")
	}
}

type ownCode struct{ error }

func (ownCode) JobErrorCode() string { return "timeout" }

// What the log does have is never said to be missing, and can be selected.
func TestWhatTheLogHasIsNotSaidToBeMissing(t *testing.T) {
	l := newLog(t)
	id := l.submit(t, func(s *jobaudit.Submission) {
		s.OnBehalfOf = []jobaudit.Principal{{Kind: jobaudit.User, ID: "zoe"}}
	}, func(context.Context, *jobaudit.Trail) error { return ownCode{errors.New("a code of its own")} })
	l.close(t)
	c := run(t, "list", l.dir, "--principal", "zoe", "--type", "job.denied")
	require.Contains(t, c.err, "no event matches")
	require.NotContains(t, c.err, "nothing in the log has")
	require.Equal(t, []uuid.UUID{id}, jobIDs(t, l.dir, "--error-code", "timeout"))
}

func TestTimesAreReadInTheirZones(t *testing.T) {
	l := newLog(t).close(t)
	all := len(events(t, l.dir))
	for _, since := range []string{"30d", "2w", "1d12h", "90m", "2025-01", "2025-01-02", "2025-01-02T03:04", "2025-01-02 03:04:05", "2025-01-02T03:04:05+01:00", "2025-01-02 03:04 Europe/Berlin"} {
		require.Len(t, events(t, l.dir, "--since", since), all, since)
	}
	in := func(zone string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), program, append([]string{"list", l.dir, "-n", "1"}, args...)...)
		cmd.Env = append(os.Environ(), "TZ="+zone)
		out, err := cmd.Output()
		require.NoError(t, err)
		return string(out)
	}
	first := events(t, l.dir)[0].Time
	east := time.FixedZone("", 5*60*60)
	require.Contains(t, in("Asia/Karachi"), first.UTC().Format("2006-01-02 15:04"))
	require.Contains(t, in("Asia/Karachi", "--local"), first.In(east).Format("2006-01-02 15:04"))
}

func TestLinesFitTheScreenAndNoIDIsBroken(t *testing.T) {
	l := newLog(t)
	l.submit(t, func(s *jobaudit.Submission) {
		s.Action, s.Principal.ID = "rebuild-the-whole-search-index-of-everything", "a-principal-with-a-long-identifier"
	}, func(context.Context, *jobaudit.Trail) error { return errors.New(strings.Repeat("long ", 50)) })
	l.close(t)
	for _, columns := range []string{"80", "120"} {
		for _, args := range [][]string{{"list", l.dir}, {"jobs", l.dir}, {"tail", l.dir}} {
			t.Setenv("COLUMNS", columns)
			c := run(t, args...)
			require.Zero(t, c.code)
			limit := map[string]int{"80": 80, "120": 120}[columns]
			for line := range strings.Lines(c.out) {
				require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSpace(line)), limit, "%v: %s", args, line)
			}
			require.Contains(t, c.out, l.failed.String())
		}
	}
}

func TestTheZeroIDSelectsNothing(t *testing.T) {
	l := newLog(t).close(t)
	for _, args := range [][]string{{"list", l.dir, "--job", uuid.Nil.String()}, {"jobs", l.dir, "--correlation", uuid.Nil.String()}, {"show", l.dir, uuid.Nil.String()}} {
		c := run(t, args...)
		require.Equal(t, 2, c.code, args)
		require.Empty(t, c.out, args)
	}
}
