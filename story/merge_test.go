package story_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
)

// host is a process with a log and a clock of its own. What it writes has IDs
// from its own range.
type host struct {
	*memsink.Sink
	*jobaudit.Recorder
	clock time.Duration // against begin
}

func newHost(t *testing.T, name string, ids byte, clock time.Duration) *host {
	t.Helper()
	h := &host{Sink: memsink.New(nil), clock: clock}
	n := uint32(0)
	rec, err := jobaudit.Open(t.Context(), h.Sink, jobaudit.Source{
		System: name, Environment: "test", Host: name, Instance: name + "-1", Version: "v1",
	}, &jobaudit.Options{
		Heartbeat: -1,
		Now:       func() time.Time { return begin.Add(h.clock) },
		NewID: func() uuid.UUID {
			n++
			id := uuid.UUID{0x01, ids, 6: 0x70, 8: 0x80}
			binary.BigEndian.PutUint32(id[12:], n)
			return id
		},
	})
	require.NoError(t, err)
	h.Recorder = rec
	return h
}

var request = jobaudit.Submission{
	Action:    "reindex",
	Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
	Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old"},
}

// started submits a job at one host and starts it at another.
func started(t *testing.T, submitter, worker *host) *jobaudit.Trail {
	t.Helper()
	asked, err := submitter.Submit(t.Context(), request)
	require.NoError(t, err)
	trail, err := worker.Resume(t.Context(), asked.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{Deadline: time.Minute}))
	return trail
}

func (h *host) of(job uuid.UUID) iter.Seq2[jobaudit.Record, error] {
	return h.Records(context.Background(), jobaudit.Query{JobID: job})
}

func (h *host) start(t *testing.T, job uuid.UUID) jobaudit.Record {
	t.Helper()
	for r, err := range h.of(job) {
		require.NoError(t, err)
		if r.Type() == jobaudit.JobStarted {
			return r
		}
	}
	require.Fail(t, "no start")
	return jobaudit.Record{}
}

// merged returns the types of the merged records of a job, which are the same
// whatever the order of the logs.
func merged(t *testing.T, job uuid.UUID, hosts ...*host) ([]jobaudit.EventType, jobaudit.Job) {
	t.Helper()
	var want []jobaudit.EventType
	var folded jobaudit.Job
	for first := range hosts {
		var logs []iter.Seq2[jobaudit.Record, error]
		for i := range hosts {
			logs = append(logs, hosts[(first+i)%len(hosts)].of(job))
		}
		slices.Reverse(logs)
		var got []jobaudit.EventType
		for r, err := range story.Merge(logs...) {
			require.NoError(t, err)
			got = append(got, r.Type())
		}
		j, err := jobaudit.Replay(story.Merge(logs...))
		require.NoError(t, err)
		if first == 0 {
			want, folded = got, j
		}
		require.Equal(t, want, got, "the order of the logs does not matter")
		require.Equal(t, folded, j)
	}
	return want, folded
}

func TestOneOrderOfSeveralLogsWhateverTheClocksSay(t *testing.T) {
	api, worker := newHost(t, "api", 9, time.Hour), newHost(t, "worker", 1, 0) // the worker's IDs are lower, too
	trail := started(t, api, worker)
	trail.Log(t.Context(), "hello")
	require.NoError(t, trail.Succeed(t.Context()))
	types, job := merged(t, trail.JobID(), api, worker)
	require.Equal(t, []jobaudit.EventType{
		jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.JobLogged, jobaudit.JobSucceeded,
	}, types)
	require.Equal(t, jobaudit.Success, job.State)
}

func TestAVerdictOfAnotherLogStandsBeforeTheEndThatCameLate(t *testing.T) {
	for range 4 { // verdicts' IDs are as good as random
		worker, watchdog := newHost(t, "worker", 1, 0), newHost(t, "watchdog", 2, 0)
		other, err := watchdog.Submit(t.Context(), request) // the watchdog's log has more in it
		require.NoError(t, err)
		trail := started(t, worker, worker)
		require.NoError(t, other.Cancel(t.Context(), "not wanted"))
		trail.Log(t.Context(), "frozen here")
		require.NoError(t, trail.Succeed(t.Context()))
		_, err = watchdog.Conclude(t.Context(), jobaudit.Verdict{Of: worker.start(t, trail.JobID())})
		require.NoError(t, err)
		types, job := merged(t, trail.JobID(), worker, watchdog)
		require.Equal(t, []jobaudit.EventType{
			jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.JobLogged,
			jobaudit.AttemptLost, jobaudit.JobFailed, jobaudit.JobSucceeded,
		}, types)
		require.Equal(t, jobaudit.Failed, job.State)
		require.Equal(t, jobaudit.JobSucceeded, job.Unapplied[0].Type)
	}
}

func TestOfTwoOutcomesInTwoLogsTheLowerIDComesFirst(t *testing.T) {
	a, b := newHost(t, "a", 5, 0), newHost(t, "b", 3, time.Hour)
	first := started(t, a, a)
	second, err := b.Resume(t.Context(), first.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, second.Start(t.Context(), jobaudit.Execution{}))
	require.NoError(t, first.Fail(t.Context(), errors.New("no space left")))
	require.NoError(t, second.Succeed(t.Context()))
	_, job := merged(t, first.JobID(), a, b)
	require.Equal(t, jobaudit.Success, job.State, "b's IDs are lower")
	require.Equal(t, jobaudit.JobFailed, job.Unapplied[0].Type)
}

func TestAnOutcomeThatFollowsFromAnotherStandsBehindIt(t *testing.T) {
	a, b := newHost(t, "a", 5, 0), newHost(t, "b", 3, 0)
	first := started(t, a, a)
	require.NoError(t, first.Fail(t.Context(), errors.New("no space left")))
	second, err := b.Resume(t.Context(), first.Carrier(), nil) // which names the failure
	require.NoError(t, err)
	require.NoError(t, second.Cancel(t.Context(), "too late"))
	types, job := merged(t, first.JobID(), a, b)
	require.Equal(t, []jobaudit.EventType{jobaudit.JobFailed, jobaudit.JobCancelled}, types[len(types)-2:])
	require.Equal(t, jobaudit.Failed, job.State)
}

func TestOneVerdictOfTwoWatchdogsIsLeft(t *testing.T) {
	worker := newHost(t, "worker", 1, 0)
	trail := started(t, worker, worker)
	w1, w2 := newHost(t, "w1", 2, time.Hour), newHost(t, "w2", 3, time.Hour)
	hashes := make(map[jobaudit.EventType][]jobaudit.Hash)
	for _, w := range []*host{w1, w2} {
		recorded, err := w.Conclude(t.Context(), jobaudit.Verdict{Of: worker.start(t, trail.JobID())})
		require.NoError(t, err)
		require.True(t, recorded, "its own log had none")
		for r := range w.of(trail.JobID()) {
			hashes[r.Type()] = append(hashes[r.Type()], r.Hash())
		}
	}
	types, _ := merged(t, trail.JobID(), worker, w1, w2)
	require.Equal(t, []jobaudit.EventType{
		jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.AttemptLost, jobaudit.JobFailed,
	}, types)
	for r, err := range story.Merge(w1.of(trail.JobID()), w2.of(trail.JobID())) {
		require.NoError(t, err)
		lowest := slices.MinFunc(hashes[r.Type()], func(a, b jobaudit.Hash) int { return slices.Compare(a[:], b[:]) })
		require.Equal(t, lowest, r.Hash())
	}
}

func TestCopiesOfALogInAnotherOrderAddNothing(t *testing.T) {
	a, b := newHost(t, "a", 5, 0), newHost(t, "b", 3, 0)
	trail := started(t, a, b)
	require.NoError(t, trail.Succeed(t.Context()))
	var copied []jobaudit.Record
	for r, err := range story.Merge(a.of(trail.JobID()), b.of(trail.JobID())) {
		require.NoError(t, err)
		copied = append(copied, r)
	}
	want := len(copied)
	slices.Reverse(copied)
	n := 0
	for _, err := range story.Merge(all(copied...), a.of(trail.JobID()), b.of(trail.JobID()), all(copied...)) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, want, n)
}

func TestLogsThatContradictEachOtherAreStillMerged(t *testing.T) {
	x, y := &writer{stream: 1, job: 1, root: 1}, &writer{stream: 2, job: 2, root: 2}
	a, b := x.event(t, 0, jobaudit.JobStarted, running, ""), y.event(t, 0, jobaudit.JobStarted, running, "")
	n := 0
	for _, err := range story.Merge(all(a, b), all(b, a)) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 2, n)
}

func TestAnErrorOfOneLogIsAllThatAMergeGives(t *testing.T) {
	broken := errors.New("broken")
	failing := func(yield func(jobaudit.Record, error) bool) { yield(jobaudit.Record{}, broken) }
	n := 0
	for r, err := range story.Merge(all(parent(t)...), failing) {
		require.ErrorIs(t, err, broken)
		require.Zero(t, r.Len())
		n++
	}
	require.Equal(t, 1, n)
	for range story.Merge(all(parent(t)...)) {
		break // which must not panic
	}
}

func TestAStoryIsTheTimelineOfACorrelationInAllItsLogs(t *testing.T) {
	api, worker := newHost(t, "api", 1, 2*time.Hour), newHost(t, "worker", 2, 2*time.Hour-12003*time.Millisecond)
	watchdog := newHost(t, "watchdog", 3, 3*time.Hour)
	trail := started(t, api, worker)
	child := request
	child.Action = "notify"
	require.NoError(t, worker.Run(trail.Context(t.Context()), child, func(context.Context) error { return nil }))
	_, err := watchdog.Conclude(t.Context(), jobaudit.Verdict{Of: worker.start(t, trail.JobID())})
	require.NoError(t, err)
	_, err = api.Submit(t.Context(), request) // of another correlation
	require.NoError(t, err)

	var b strings.Builder
	require.NoError(t, story.Story(t.Context(), &b, trail.JobID(), watchdog, worker, api))
	golden(t, "story.txt", b.String())
}

func TestAClockThatIsBehindIsShownWithByHowMuch(t *testing.T) {
	a := &writer{stream: 1, job: 1, root: 1}
	submitted := a.event(t, 5*time.Second, jobaudit.JobSubmitted, pending, "", `,"inputs":null`)
	b := &writer{stream: 2, job: 1, root: 1, after: &submitted,
		where: `{"system":"indexer","environment":"production","host":"h2","instance":"i2","version":"v1.3"}`}
	records := []jobaudit.Record{
		submitted, b.event(t, 3*time.Second, jobaudit.JobStarted, running, ""),
		b.event(t, 3*time.Second, jobaudit.JobLogged, running, `{"line":"x"}`),
		b.event(t, 2*time.Second, jobaudit.JobLogged, running, `{"line":"y"}`),
	}
	got := timeline(t, records...)
	require.Equal(t, 2, strings.Count(got, "clock  "), got)
	require.Contains(t, got, "clock  2.000000s before job.submitted, which it follows: the clocks of h1 and h2 disagree\n")
	require.Contains(t, got, "clock  1.000000s before job.logged, which it follows: the clock of h2 was set back\n")
}

func TestRecordsThatCannotBeReadAreToldAndHideNoOthers(t *testing.T) {
	h := newHost(t, "api", 9, 0)
	trail := started(t, h, h)
	require.NoError(t, trail.Succeed(t.Context()))
	damaged := func(yield func(jobaudit.Record, error) bool) {
		for r, err := range h.of(trail.JobID()) {
			if !yield(r, err) || !yield(jobaudit.Record{}, &jobaudit.UnreadableError{Place: "line 7", Err: errors.New("garbage \x1b")}) {
				return
			}
		}
	}
	var records, errs int
	for _, err := range story.Merge(damaged, h.of(trail.JobID())) {
		if err != nil {
			errs++
		} else {
			records++
		}
	}
	require.Equal(t, 4, records)
	require.Equal(t, 4, errs)
	for name, print := range map[string]func(io.Writer, iter.Seq2[jobaudit.Record, error]) error{
		"timeline": story.Timeline, "tree": story.Tree,
	} {
		var whole, rest strings.Builder
		require.NoError(t, print(&whole, h.of(trail.JobID())), name)
		require.NoError(t, print(&rest, damaged), name)
		told, found := strings.CutPrefix(rest.String(), whole.String())
		require.True(t, found, name)
		require.Equal(t, strings.Repeat("unreadable record at line 7: garbage \\x1b\n", 4), told, name)
	}
}
