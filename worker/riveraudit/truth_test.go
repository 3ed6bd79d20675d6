package riveraudit_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	osexec "os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
)

// truth is how a job of a row of the truth table ends: what River says, and how
// often it was started.
type truth struct {
	id     int64
	state  rivertype.JobState
	starts int
	// others are the ends of the executions before the last one.
	others []jobaudit.EventType
	code   jobaudit.ErrorCode
	by     string // who cancelled it, through the adapter
}

var errNo = errors.New("no")

// rows are the truth table. Each brings about an end, with or without the
// adapter, and leaves no client behind. River has no deadline by which a job
// must have begun, so there is no row for one that is past.
var rows = map[string]func(w *world) []truth{
	"succeeds": func(w *world) []truth {
		w.start()
		id := w.insert(task{}, nil)
		w.await(id, rivertype.JobStateCompleted)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCompleted, starts: 1}}
	},
	"fails with attempts left": func(w *world) []truth {
		w.do = func(_ context.Context, job *river.Job[task]) error {
			if job.Attempt == 1 {
				return errNo
			}
			return nil
		}
		w.start()
		id := w.insert(task{}, nil)
		w.await(id, rivertype.JobStateCompleted)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCompleted, starts: 2, others: []jobaudit.EventType{jobaudit.AttemptFailed}}}
	},
	"fails finally": func(w *world) []truth {
		w.do = func(context.Context, *river.Job[task]) error { return errNo }
		w.start()
		id := w.insert(task{}, &river.InsertOpts{MaxAttempts: 2})
		w.await(id, rivertype.JobStateDiscarded)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateDiscarded, starts: 2, others: []jobaudit.EventType{jobaudit.AttemptFailed}, code: jobaudit.CodeError}}
	},
	"panics": func(w *world) []truth {
		w.do = func(context.Context, *river.Job[task]) error { panic("the password is hunter2") }
		w.start()
		id := w.insert(task{}, &river.InsertOpts{MaxAttempts: 2})
		w.await(id, rivertype.JobStateDiscarded)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateDiscarded, starts: 2, others: []jobaudit.EventType{jobaudit.AttemptFailed}, code: jobaudit.CodePanic}}
	},
	"returns nil after its timeout": func(w *world) []truth {
		w.timeout = 20 * time.Millisecond
		w.do = func(ctx context.Context, _ *river.Job[task]) error {
			<-ctx.Done()
			return nil
		}
		w.start()
		id := w.insert(task{}, nil)
		w.await(id, rivertype.JobStateCompleted)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCompleted, starts: 1}}
	},
	"returns an error after its timeout": func(w *world) []truth {
		w.timeout = 20 * time.Millisecond
		w.do = func(ctx context.Context, _ *river.Job[task]) error {
			<-ctx.Done()
			return ctx.Err()
		}
		w.start()
		id := w.insert(task{}, &river.InsertOpts{MaxAttempts: 1})
		w.await(id, rivertype.JobStateDiscarded)
		w.stop(false)
		code := jobaudit.CodeTimeout
		if w.plain {
			code = jobaudit.CodeError // the table has the text only
		}
		return []truth{{id: id, state: rivertype.JobStateDiscarded, starts: 1, code: code}}
	},
	"context cancelled by shutdown": func(w *world) []truth {
		running := make(chan struct{})
		w.do = func(ctx context.Context, _ *river.Job[task]) error {
			close(running)
			<-ctx.Done()
			return ctx.Err()
		}
		w.start()
		id := w.insert(task{}, nil)
		<-running
		w.stop(true)
		w.do = func(context.Context, *river.Job[task]) error { return nil }
		w.start()
		w.await(id, rivertype.JobStateCompleted)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCompleted, starts: 2, others: []jobaudit.EventType{jobaudit.AttemptDeferred}}}
	},
	"cancelled while running, and obeys": func(w *world) []truth {
		running := make(chan struct{})
		w.do = func(ctx context.Context, _ *river.Job[task]) error {
			close(running)
			<-ctx.Done()
			return ctx.Err()
		}
		w.start()
		id := w.insert(task{}, nil)
		<-running
		w.cancel(id)
		w.await(id, rivertype.JobStateCancelled)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCancelled, starts: 1, code: jobaudit.CodeCancelled}}
	},
	"cancelled while running, and ignores it": func(w *world) []truth {
		running := make(chan struct{})
		w.do = func(ctx context.Context, _ *river.Job[task]) error {
			close(running)
			<-ctx.Done()
			return nil
		}
		w.start()
		id := w.insert(task{}, nil)
		<-running
		w.cancel(id)
		w.await(id, rivertype.JobStateCompleted)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCompleted, starts: 1}}
	},
	"cancels itself": func(w *world) []truth {
		w.do = func(context.Context, *river.Job[task]) error { return river.JobCancel(errNo) }
		w.start()
		id := w.insert(task{}, nil)
		w.await(id, rivertype.JobStateCancelled)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCancelled, starts: 1, code: jobaudit.CodeCancelled}}
	},
	"cancelled by the error handler": func(w *world) []truth {
		w.do = func(context.Context, *river.Job[task]) error { return errNo }
		w.handler = cancelling{}
		w.start()
		id := w.insert(task{}, nil)
		w.await(id, rivertype.JobStateCancelled)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCancelled, starts: 1, code: jobaudit.CodeCancelled}}
	},
	"cancelled before it ran": func(w *world) []truth {
		w.start()
		id := w.insert(task{}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
		w.cancel(id)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCancelled, code: jobaudit.CodeCancelled, by: "grace"}}
	},
	"unknown kind": func(w *world) []truth {
		w.start()
		id := w.insert(strangeTask{}, &river.InsertOpts{MaxAttempts: 2})
		w.await(id, rivertype.JobStateDiscarded)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateDiscarded, starts: 2, others: []jobaudit.EventType{jobaudit.AttemptFailed}, code: jobaudit.CodeError}}
	},
	"undecodable payload": func(w *world) []truth {
		w.start()
		id := w.insert(brokenTask{Name: 1}, &river.InsertOpts{MaxAttempts: 2})
		w.await(id, rivertype.JobStateDiscarded)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateDiscarded, starts: 2, others: []jobaudit.EventType{jobaudit.AttemptFailed}, code: jobaudit.CodeError}}
	},
	"snoozed": func(w *world) []truth {
		w.do = func(context.Context, *river.Job[task]) error {
			if w.runs.Load() == 1 {
				return river.JobSnooze(time.Millisecond)
			}
			return nil
		}
		w.start()
		id := w.insert(task{}, nil)
		w.await(id, rivertype.JobStateCompleted)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCompleted, starts: 2, others: []jobaudit.EventType{jobaudit.AttemptDeferred}}}
	},
	"unique duplicate": func(w *world) []truth {
		opts := &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}
		id := w.insert(task{Name: "one"}, opts)
		result, err := w.inserter().Insert(w.Context(), task{Name: "one"}, opts)
		require.NoError(w, err)
		require.True(w, result.UniqueSkippedAsDuplicate)
		w.start()
		w.await(id, rivertype.JobStateCompleted)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCompleted, starts: 1}}
	},
	"bulk insert": func(w *world) []truth {
		var many []river.InsertManyParams
		for range 20 {
			many = append(many, river.InsertManyParams{Args: task{}})
		}
		results, err := w.inserter().InsertMany(w.Context(), many)
		require.NoError(w, err)
		n, err := w.inserter().InsertManyFast(w.Context(), many)
		require.NoError(w, err)
		require.Equal(w, 20, n)
		w.start()
		var truths []truth
		for id := results[0].Job.ID; id < results[0].Job.ID+40; id++ {
			w.await(id, rivertype.JobStateCompleted)
			truths = append(truths, truth{id: id, state: rivertype.JobStateCompleted, starts: 1})
		}
		w.stop(false)
		return truths
	},
	"transaction committed": func(w *world) []truth {
		var id int64
		insert := func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
				result, err := w.inserter().InsertTx(ctx, tx, task{}, nil)
				if err == nil {
					id = result.Job.ID
				}
				return err
			})
		}
		require.NoError(w, w.audit.Transact(w.Context(), insert))
		w.start()
		w.await(id, rivertype.JobStateCompleted)
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCompleted, starts: 1}}
	},
	"transaction rolled back": func(w *world) []truth {
		before := w.sink.Len()
		insert := func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
				if _, err := w.inserter().InsertTx(ctx, tx, task{}, nil); err != nil {
					return err
				}
				return errNo
			})
		}
		require.ErrorIs(w, w.audit.Transact(w.Context(), insert), errNo)
		require.Equal(w, before, w.sink.Len(), "there never was such a job")
		return nil
	},
	"killed, then rescued": func(w *world) []truth {
		id := w.insert(task{}, nil)
		w.killWhileRunning(id)
		w.rescue, w.timeout = time.Second, time.Second/2
		w.untilStuck()
		w.start()
		w.until("it ran again", func() bool {
			// River's scheduler has a look every five seconds only.
			w.dueAgain(id)
			return w.row(id).State == rivertype.JobStateCompleted
		})
		w.stop(false)
		return []truth{{id: id, state: rivertype.JobStateCompleted, starts: 2, others: []jobaudit.EventType{jobaudit.AttemptSuperseded}}}
	},
	"killed, then discarded by the rescuer": func(w *world) []truth {
		id := w.insert(task{}, &river.InsertOpts{MaxAttempts: 1})
		w.killWhileRunning(id)
		w.rescue, w.timeout = time.Second, time.Second/2
		w.untilStuck()
		w.start()
		w.await(id, rivertype.JobStateDiscarded)
		w.stop(false)
		if !w.plain { // River tells nobody: it is the reconciler's to find
			require.Equal(w, 1, w.reconcile().Added())
		}
		return []truth{{id: id, state: rivertype.JobStateDiscarded, starts: 1, code: jobaudit.CodeError}}
	},
}

// killWhileRunning runs a job in a process of its own and kills that.
func (w *world) killWhileRunning(id int64) {
	w.Helper()
	program, err := os.Executable()
	require.NoError(w, err)
	cmd := osexec.CommandContext(context.Background(), program)
	cmd.Env = append(os.Environ(), childURL+"="+w.url)
	if w.plain {
		cmd.Env = append(cmd.Env, "RIVERAUDIT_TEST_PLAIN=1")
	}
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(w, err)
	stdin, err := cmd.StdinPipe()
	require.NoError(w, err)
	require.NoError(w, cmd.Start())
	served := make(chan struct{})
	go func() {
		defer close(served)
		w.serve(stdout, stdin)
	}()
	w.await(id, rivertype.JobStateRunning)
	if !w.plain {
		w.until("its start is on record", func() bool {
			started := false
			for r := range w.sink.Records(w.Context(), jobaudit.Query{}) {
				started = started || r.Type() == jobaudit.JobStarted
			}
			return started
		})
	}
	require.NoError(w, cmd.Process.Kill())
	<-served
	require.Error(w, cmd.Wait())
}

// dueAgain has a job that waits for its next attempt run now.
func (w *world) dueAgain(id int64) {
	w.Helper()
	_, err := w.pool.Exec(w.Context(), "UPDATE river_job SET state = 'available', scheduled_at = now() WHERE id = $1 AND state = 'retryable'", id)
	require.NoError(w, err)
}

// untilStuck waits until a rescuer takes the only job for stuck.
func (w *world) untilStuck() {
	w.Helper()
	w.until("it counts as stuck", func() bool {
		var stuck bool
		err := w.pool.QueryRow(w.Context(), "SELECT attempted_at < now() - interval '1.1 s' FROM river_job").Scan(&stuck)
		return err == nil && stuck
	})
}

// serve stores what a pipeSink sends.
func (w *world) serve(from io.Reader, to io.Writer) {
	var batch []jobaudit.Record
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(lines.Bytes()) > 0 {
			r, err := jobaudit.ParseRecord(lines.Bytes())
			if err != nil {
				w.Error(err)
				return
			}
			batch = append(batch, r)
			continue
		}
		if !w.plain { // the log of a run without the adapter says nothing
			if err := w.sink.Append(context.Background(), batch); err != nil {
				w.Error(err)
				return
			}
		}
		batch = nil
		if _, err := io.WriteString(to, "stored\n"); err != nil {
			return
		}
	}
}

type cancelling struct{}

func (cancelling) HandleError(context.Context, *rivertype.JobRow, error) *river.ErrorHandlerResult {
	return &river.ErrorHandlerResult{SetCancelled: true}
}

func (cancelling) HandlePanic(context.Context, *rivertype.JobRow, any, string) *river.ErrorHandlerResult {
	return nil
}

var states = map[rivertype.JobState]jobaudit.JobState{
	rivertype.JobStateCompleted: jobaudit.Success,
	rivertype.JobStateDiscarded: jobaudit.Failed,
	rivertype.JobStateCancelled: jobaudit.Cancelled,
}

func TestTheRecordAgreesWithRiver(t *testing.T) {
	t.Parallel()
	for name, bring := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, database(t, server(t)), false)
			truths := bring(w)
			for _, want := range truths {
				w.requireTruth(want)
			}
			size := w.sink.Len()
			report := w.reconcile()
			require.Equal(t, len(truths), report.Jobs)
			require.Zero(t, report.Added(), "the reconciler finds nothing to add")
			require.Equal(t, size, w.sink.Len())
		})
	}
}

func TestWithoutTheMiddlewareTheReconcilerFindsEverything(t *testing.T) {
	t.Parallel()
	for name, bring := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, database(t, server(t)), true)
			truths := bring(w)
			report := w.reconcile()
			require.Equal(t, len(truths), report.Submitted)
			for _, want := range truths {
				require.Equal(t, want.state, w.row(want.id).State)
				job, events := w.recorded(want.id)
				require.Equal(t, states[want.state], job.State)
				require.Empty(t, job.Unapplied)
				require.False(t, job.Incomplete)
				require.Equal(t, jobaudit.Service, events[0].Who.Principal.Kind)
				require.Contains(t, events[0].Why.Reason, "without an audit record")
				w.requireReconstructed(want.id, events)
				if want.starts > 0 && want.others == nil {
					require.Len(t, job.Executions, want.starts)
				}
				for i, x := range job.Executions {
					if i < len(job.Executions)-1 {
						require.Equal(t, jobaudit.AttemptFailed, x.End, "River keeps its errors")
					}
					require.NotEmpty(t, x.End)
				}
				if want.code != "" {
					require.Equal(t, want.code, job.Error.Code)
				}
			}
			size := w.sink.Len()
			require.Zero(t, w.reconcile().Added(), "and a second time nothing")
			require.Equal(t, size, w.sink.Len())
		})
	}
}

// requireReconstructed holds what was read from River's table to say so, and to
// carry River's own times.
func (w *world) requireReconstructed(id int64, events []jobaudit.Event) {
	w.Helper()
	row := w.row(id)
	times := map[jobaudit.EventType]*time.Time{
		jobaudit.JobSubmitted: &row.CreatedAt, jobaudit.JobSucceeded: row.FinalizedAt, jobaudit.JobFailed: row.FinalizedAt,
		jobaudit.JobCancelled: row.FinalizedAt,
	}
	for _, e := range events {
		require.True(w, e.Reconstructed, e.Type)
		if want := times[e.Type]; want != nil {
			require.WithinDuration(w, *want, e.QueueTime, time.Microsecond, e.Type)
		}
		if (e.Type == jobaudit.JobStarted || e.Type == jobaudit.AttemptStarted) && e.Job.Attempt == row.Attempt {
			require.WithinDuration(w, *row.AttemptedAt, e.QueueTime, time.Microsecond, e.Type)
		}
	}
}

// requireTruth holds the record of a job to what River says of it.
func (w *world) requireTruth(want truth) {
	w.Helper()
	require.Equal(w, want.state, w.row(want.id).State)
	job, events := w.recorded(want.id)
	require.Equal(w, states[want.state], job.State)
	require.Empty(w, job.Unapplied, "nothing is recorded twice")
	require.False(w, job.Incomplete)
	require.Len(w, job.Executions, want.starts)
	ids := map[uuid.UUID]bool{}
	for i, x := range job.Executions {
		require.False(w, ids[x.ID], "every attempt has an execution ID of its own")
		ids[x.ID] = true
		require.NotEmpty(w, x.End, "every execution has an end")
		if i < len(want.others) {
			require.Equal(w, want.others[i], x.End)
		}
	}
	if want.code != "" {
		require.Equal(w, want.code, job.Error.Code)
	}
	counts := map[jobaudit.EventType]int{}
	for _, e := range events {
		counts[e.Type]++
		require.Equal(w, w.story, e.CorrelationID, "the correlation reaches from submit to end")
		if e.Type != jobaudit.JobCancelled || want.by == "" {
			require.Equal(w, "ada", e.Who.Principal.ID, "and so does the principal")
		} else {
			require.Equal(w, want.by, e.Who.Principal.ID, "who cancels is not who submitted")
		}
		require.Equal(w, "acme", e.Who.OrgID)
		if e.Type == jobaudit.JobStarted || e.Type == jobaudit.AttemptStarted {
			require.Equal(w, jobaudit.Ref{System: "river", ID: strconv.FormatInt(want.id, 10)}, e.Job.Queue)
		}
		require.NotContains(w, string(e.Data.Output), "hunter2")
		if e.Data.Error != nil {
			require.NotContains(w, e.Data.Error.Message, "hunter2")
		}
	}
	require.Equal(w, 1, counts[jobaudit.JobSubmitted])
	require.Equal(w, 1, counts[jobaudit.JobSucceeded]+counts[jobaudit.JobFailed]+counts[jobaudit.JobCancelled])
	require.Equal(w, len(want.others), counts[jobaudit.AttemptFailed]+counts[jobaudit.AttemptDeferred]+counts[jobaudit.AttemptSuperseded])
}

func TestADatabaseThatRestartsMidJobIsNoGap(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it needs a PostgreSQL server of its own")
	}
	s, err := pgserver.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	makeTemplate(t, s)
	for _, fails := range []bool{false, true} {
		w := newWorld(t, database(t, s), false)
		running, release := make(chan struct{}), make(chan struct{})
		w.do = func(context.Context, *river.Job[task]) error {
			close(running)
			<-release
			if fails {
				return errNo
			}
			return nil
		}
		w.start()
		id := w.insert(task{}, &river.InsertOpts{MaxAttempts: 1})
		<-running
		require.NoError(t, s.Restart(t.Context()))
		close(release)
		want := truth{id: id, state: rivertype.JobStateCompleted, starts: 1}
		if fails {
			want.state, want.code = rivertype.JobStateDiscarded, jobaudit.CodeError
		}
		w.await(id, want.state)
		w.stop(false)
		w.requireTruth(want)
		require.Zero(t, w.reconcile().Added())
	}
}
