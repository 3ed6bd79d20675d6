//go:build unix

package watchdog_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/watchdog"
)

// graveyard is workers with a log each, and a watchdog with its own, whose
// clock can be put forward. Nothing here waits for time to pass.
type graveyard struct {
	t       *testing.T
	base    string
	forward time.Duration
	dirs    []string
	logs    []jobaudit.AuditReader // the watchdog's own is the first
	rec     *jobaudit.Recorder
	own     *filesink.Sink
	dog     *watchdog.Watchdog
}

// newGraveyard makes the logs of so many workers.
func newGraveyard(t *testing.T, workers int) *graveyard {
	t.Helper()
	g := &graveyard{t: t, base: t.TempDir()}
	var err error
	g.own, g.rec, err = openLog(t.Context(), filepath.Join(g.base, "watchdog"), jobaudit.Source{System: "watchdog", Environment: "test"}, nil)
	require.NoError(t, err)
	g.logs = append(g.logs, g.own)
	for i := range workers {
		dir := filepath.Join(g.base, "worker-"+string(rune('a'+i)))
		sink, rec, err := openLog(t.Context(), dir, jobaudit.Source{System: "setup", Environment: "test"}, nil)
		require.NoError(t, err)
		require.NoError(t, rec.Close(t.Context()))
		require.NoError(t, sink.Close())
		reader, err := filesink.OpenReader(filepath.Join(dir, "log"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = reader.Close() })
		g.dirs, g.logs = append(g.dirs, dir), append(g.logs, reader)
	}
	g.dog = watchdog.New(g.rec, g.logs, &watchdog.Options{Now: func() time.Time { return time.Now().Add(g.forward) }})
	return g
}

// start starts a job that may be silent for a minute.
func (g *graveyard) start(p *process, carrier ...string) (string, uuid.UUID) {
	g.t.Helper()
	p.say(append([]string{"start", "1m"}, carrier...)...)
	words := strings.Fields(p.hear())
	require.Len(g.t, words, 2, words)
	id, err := uuid.Parse(words[1])
	require.NoError(g.t, err)
	return words[0], id
}

// conclude sweeps until well behind the deadline, and returns what is found.
func (g *graveyard) conclude() []watchdog.Finding {
	g.t.Helper()
	require.Empty(g.t, sweep(g.t, g.dog).Findings, "nothing is due yet")
	findings, err := watch(g.t.Context(), g.dog, &g.forward)
	require.NoError(g.t, err)
	return findings
}

// watch sweeps for five minutes by a clock that is put forward, and returns
// what is found.
func watch(ctx context.Context, w *watchdog.Watchdog, forward *time.Duration) (findings []watchdog.Finding, err error) {
	for range 10 {
		*forward += 30 * time.Second
		report, err := w.Sweep(ctx)
		findings = append(findings, report.Findings...)
		if err != nil {
			return findings, err
		}
	}
	return findings, nil
}

// requireAbandoned fails the test unless the job has one verdict, with the
// right evidence.
func (g *graveyard) requireAbandoned(id uuid.UUID, found []watchdog.Finding) jobaudit.Job {
	g.t.Helper()
	require.Len(g.t, found, 1)
	require.Equal(g.t, watchdog.Abandoned, found[0].Kind)
	require.Equal(g.t, id, found[0].JobID)
	require.True(g.t, found[0].Recorded)

	var start, last jobaudit.Event
	for _, log := range g.logs[1:] {
		for r, err := range log.Records(g.t.Context(), jobaudit.Query{JobID: id}) {
			require.NoError(g.t, err)
			switch e := r.Event(); e.Type {
			case jobaudit.JobStarted:
				start = e
			case jobaudit.JobHeartbeat:
				last = e
			}
		}
	}
	verdicts := map[jobaudit.EventType]jobaudit.Event{}
	for r, err := range g.own.Records(g.t.Context(), jobaudit.Query{JobID: id}) {
		require.NoError(g.t, err)
		verdicts[r.Type()] = r.Event()
	}
	require.Len(g.t, verdicts, 2)
	for _, typ := range []jobaudit.EventType{jobaudit.AttemptLost, jobaudit.JobFailed} {
		e := verdicts[typ]
		require.Equal(g.t, jobaudit.CodeAbandoned, e.Data.Error.Code)
		require.Equal(g.t, start.Job.ExecutionID, e.Job.ExecutionID)
		evidence := e.Data.Evidence
		require.Equal(g.t, last.ID, evidence.Last.ID)
		require.Equal(g.t, last.ID, evidence.Heartbeat.ID)
		require.Equal(g.t, last.Data.Heartbeat.Deadline, evidence.Deadline)
		require.Equal(g.t, start.Stream.ID, evidence.Owner.Stream, "the process, not its name")
		require.Equal(g.t, "pod-0", evidence.Owner.Instance)
	}
	job := replay(g.t, id, g.logs...)
	require.Equal(g.t, jobaudit.Failed, job.State)
	require.Equal(g.t, jobaudit.CodeAbandoned, job.Error.Code)
	require.Equal(g.t, found[0].ExecutionID, job.Executions[0].ID)
	return job
}

// close ends the watchdog's log. No log is accused of anything.
func (g *graveyard) close() {
	g.t.Helper()
	require.NoError(g.t, g.rec.Close(g.t.Context()))
	require.NoError(g.t, g.own.Close())
	for _, dir := range append([]string{filepath.Join(g.base, "watchdog")}, g.dirs...) {
		log := filepath.Join(dir, "log")
		key, err := filesink.LoadOrCreateKey(log, filepath.Join(dir, "key"), "example.com/"+filepath.Base(dir))
		require.NoError(g.t, err)
		_, err = filesink.Verify(g.t.Context(), log, &filesink.VerifyOptions{Keys: []note.Verifier{key.Verifier()}})
		require.NoError(g.t, err)
	}
}

func TestAKilledWorkersJobIsAbandoned(t *testing.T) {
	g := newGraveyard(t, 1)
	worker := spawn(t, "worker", g.dirs[0])
	_, id := g.start(worker)
	worker.kill()
	found := g.conclude()
	job := g.requireAbandoned(id, found)
	require.Equal(t, jobaudit.AttemptLost, job.Executions[0].End)
	require.Empty(t, job.Unapplied)
	require.Empty(t, sweep(t, g.dog).Findings)
	g.close()
}

func TestAPanicInABareGoroutineLeavesAJobThatIsAbandoned(t *testing.T) {
	g := newGraveyard(t, 1)
	worker := spawn(t, "worker", g.dirs[0])
	_, id := g.start(worker)
	worker.say("panic")
	require.Error(t, worker.cmd.Wait())
	require.Equal(t, 2, worker.cmd.ProcessState.ExitCode(), "it died of the panic")
	g.requireAbandoned(id, g.conclude())
	g.close()
}

func TestAStoppedWorkersLateEndChangesNothingAndStaysVisible(t *testing.T) {
	g := newGraveyard(t, 1)
	worker := spawn(t, "worker", g.dirs[0])
	_, id := g.start(worker)
	worker.stop()
	found := g.conclude()
	g.requireAbandoned(id, found)

	worker.goOn()
	worker.say("succeed")
	require.Equal(t, "ended <nil>", worker.hear())
	worker.leave()
	job := g.requireAbandoned(id, found)
	require.Len(t, job.Unapplied, 1)
	require.Equal(t, jobaudit.JobSucceeded, job.Unapplied[0].Type)
	require.Equal(t, jobaudit.CauseLate, job.Unapplied[0].Cause)
	require.Equal(t, jobaudit.JobSucceeded, job.Executions[0].End, "its worker knows how it ended")
	require.Empty(t, sweep(t, g.dog).Findings)
	g.close()
}

func TestARestartUnderTheSameNameKeepsNoGhostAlive(t *testing.T) {
	g := newGraveyard(t, 1)
	worker := spawn(t, "worker", g.dirs[0])
	_, ghost := g.start(worker)
	worker.kill()
	again := spawn(t, "worker", g.dirs[0]) // same host, same instance, same log
	again.say("start", "10h")
	alive := uuid.MustParse(strings.Fields(again.hear())[1])
	g.requireAbandoned(ghost, g.conclude())
	require.Equal(t, jobaudit.Running, replay(t, alive, g.logs...).State)
	again.say("succeed")
	require.Equal(t, "ended <nil>", again.hear())
	again.leave()
	require.Equal(t, jobaudit.Success, replay(t, alive, g.logs...).State)
	require.Empty(t, sweep(t, g.dog).Findings)
	g.close()
}

func TestAJobThatEndsTwiceHasOneOutcomeAndNoVerdictOnIt(t *testing.T) {
	g := newGraveyard(t, 2)
	first, second := spawn(t, "worker", g.dirs[0]), spawn(t, "worker", g.dirs[1])
	carrier, id := g.start(first)
	first.stop()
	g.start(second, carrier) // its queue gave it to another
	second.say("succeed")
	require.Equal(t, "ended <nil>", second.hear())
	second.leave()
	found := g.conclude()
	require.Len(t, found, 1)
	require.Equal(t, watchdog.Lost, found[0].Kind, "the first attempt, not the job")
	require.Equal(t, jobaudit.Success, replay(t, id, g.logs...).State)

	first.goOn()
	first.say("fail")
	require.Equal(t, "ended no space left", first.hear())
	first.leave()
	job := replay(t, id, g.logs...)
	require.Equal(t, jobaudit.Success, job.State)
	require.Len(t, job.Executions, 2)
	require.Len(t, job.Unapplied, 1)
	require.Equal(t, jobaudit.JobFailed, job.Unapplied[0].Type)
	require.Empty(t, sweep(t, g.dog).Findings)
	g.close()
}

func TestTwoWatchdogProcessesThatRaceReachOneVerdict(t *testing.T) {
	g := newGraveyard(t, 1)
	worker := spawn(t, "worker", g.dirs[0])
	_, id := g.start(worker)
	worker.kill()
	var dogs []*process
	for _, name := range []string{"dog-a", "dog-b"} {
		dogs = append(dogs, spawn(t, "watchdog", filepath.Join(g.base, name), g.dirs[0]))
	}
	for range 2 { // the second time there is nothing left
		for _, p := range dogs {
			p.say("watch")
		}
		for _, p := range dogs {
			require.Contains(t, []string{"1 <nil>", "0 <nil>"}, p.hear())
		}
	}
	logs := g.logs
	for i, name := range []string{"dog-a", "dog-b"} {
		dogs[i].leave()
		reader, err := filesink.OpenReader(filepath.Join(g.base, name, "log"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = reader.Close() })
		logs = append(logs, reader)
	}
	job := replay(t, id, logs...)
	require.Equal(t, jobaudit.Failed, job.State)
	require.Empty(t, job.Unapplied, "two records, one verdict")
	ids := map[jobaudit.EventType]map[uuid.UUID]int{}
	for _, log := range logs[2:] {
		for r, err := range log.Records(t.Context(), jobaudit.Query{JobID: id}) {
			require.NoError(t, err)
			if ids[r.Type()] == nil {
				ids[r.Type()] = map[uuid.UUID]int{}
			}
			ids[r.Type()][r.ID()]++
		}
	}
	require.Len(t, ids, 2)
	for typ, same := range ids {
		require.Len(t, same, 1, "%s has one ID in both logs", typ)
		for _, n := range same {
			require.Equal(t, 2, n)
		}
	}
	g.close()
}

func TestTwoWatchdogsOfOneProcessThatRaceReachOneVerdict(t *testing.T) {
	g := newGraveyard(t, 1)
	worker := spawn(t, "worker", g.dirs[0])
	_, id := g.start(worker)
	worker.kill()
	other, err := jobaudit.Open(t.Context(), g.own, jobaudit.Source{System: "watchdog", Environment: "test"}, nil)
	require.NoError(t, err)
	var forward time.Duration
	second := watchdog.New(other, g.logs, &watchdog.Options{Now: func() time.Time { return time.Now().Add(forward) }})
	reports := make(chan []watchdog.Finding)
	errs := make(chan error, 2)
	for w, forward := range map[*watchdog.Watchdog]*time.Duration{g.dog: &g.forward, second: &forward} {
		go func() {
			findings, err := watch(t.Context(), w, forward)
			errs <- err
			reports <- findings
		}()
	}
	var found []watchdog.Finding
	for range 2 {
		for _, f := range <-reports {
			if f.Recorded {
				found = append(found, f)
			}
		}
		require.NoError(t, <-errs)
	}
	require.NotEmpty(t, found)
	g.requireAbandoned(id, found[:1])
	require.NoError(t, other.Close(t.Context()))
	g.close()
}
