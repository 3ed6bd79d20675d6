package asynqaudit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/watchdog"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// logs reads several logs one after another.
type logs []jobaudit.AuditReader

func (l logs) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		n := 0
		for _, log := range l {
			for r, err := range log.Records(ctx, q) {
				if !yield(r, err) {
					return
				}
				if n++; n == q.Limit {
					return
				}
			}
		}
	}
}

const (
	victimSocket = "ASYNQAUDIT_VICTIM_SOCKET"
	victimDir    = "ASYNQAUDIT_VICTIM_DIR"
)

// TestMain is also the worker process that a test kills.
func TestMain(m *testing.M) {
	if os.Getenv(victimSocket) != "" {
		if err := victim(); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func openLog(ctx context.Context, dir string) (*filesink.Sink, error) {
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "example.com/victim")
	if err != nil {
		return nil, err
	}
	return filesink.Open(ctx, filepath.Join(dir, "log"), key, nil)
}

// victim runs tasks that never end, until it is killed.
func victim() error {
	ctx := context.Background()
	sink, err := openLog(ctx, os.Getenv(victimDir))
	if err != nil {
		return err
	}
	rec, err := jobaudit.Open(ctx, sink, source, nil)
	if err != nil {
		return err
	}
	server := asynqaudit.New(rec, nil).NewServer(
		asynq.RedisClientOpt{Network: "unix", Addr: os.Getenv(victimSocket)}, quick())
	return server.Run(muxOf(func(context.Context, *asynq.Task) error {
		if _, err := os.Stdout.WriteString("running\n"); err != nil {
			return err
		}
		select {}
	}))
}

// killWorker lets a worker process take the task, and kills it.
func (r *rig) killWorker(dir string) {
	r.Helper()
	self, err := os.Executable()
	require.NoError(r, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), victimSocket+"="+r.redis.socket(), victimDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(r, err)
	require.NoError(r, cmd.Start())
	_, err = out.Read(make([]byte, 64))
	require.NoError(r, err)
	require.NoError(r, cmd.Process.Kill()) // SIGKILL
	_ = cmd.Wait()
}

// expireLease lets a minute pass, for Redis: asynq waits for the 30 s of a
// lease and for another 30 s. Neither can be configured.
func (r *rig) expireLease(info *asynq.TaskInfo) {
	r.Helper()
	long := float64(time.Now().Add(-2 * time.Minute).Unix())
	changed, err := r.redis.client().ZAddXX(r.ctx, "asynq:{default}:lease", redis.Z{Score: long, Member: info.ID}).Result()
	require.NoError(r, err)
	require.Zero(r, changed, "it has a lease, and nothing was added")
}

func TestAWorkerThatIsKilledLosesItsAttemptAndTheJobGoesOn(t *testing.T) {
	t.Parallel()
	for _, last := range []bool{false, true} {
		r := newRig(t)
		dir := t.TempDir()
		opts := []asynq.Option{asynq.MaxRetry(1), asynq.Retention(time.Hour)}
		if last {
			opts[0] = asynq.MaxRetry(0)
		}
		info := r.enqueue(opts...)
		r.killWorker(dir)
		r.expireLease(info)

		// The same worker, started again: it goes on in its own log.
		own, err := openLog(r.ctx, dir)
		require.NoError(t, err)
		log := logs{r.sink, own}
		rec, err := jobaudit.Open(r.ctx, own, source, nil)
		require.NoError(t, err)
		adapter := asynqaudit.New(rec, &asynqaudit.Options{Logs: log})
		inspector := adapter.NewInspector(r.redis.opt())
		settle := &queue.ReconcileOptions{Settle: -1}
		report, err := inspector.Reconcile(r.ctx, settle)
		require.NoError(t, err)
		require.Zero(t, report.Added(), "for asynq it still runs")
		server := adapter.NewServer(r.redis.opt(), quick())
		require.NoError(t, server.Start(muxOf(returns(nil)(nil))))
		job := func() jobaudit.Job {
			job, err := jobaudit.Replay(log.Records(r.ctx, jobaudit.Query{JobID: jobID(info)}))
			require.NoError(t, err)
			return job
		}
		if last {
			r.state(info, asynq.TaskStateArchived) // by asynq's recoverer, which tells nobody
			report, err = inspector.Reconcile(r.ctx, settle)
			require.NoError(t, err)
			require.Equal(t, 1, report.Ended)
			require.Equal(t, jobaudit.Failed, job().State)
			require.Equal(t, "asynq: task lease expired", job().Error.Message)
			require.Equal(t, []jobaudit.EventType{jobaudit.JobFailed}, ends(job()))
		} else {
			require.Equal(t, 1, r.state(info, asynq.TaskStateCompleted).Retried)
			poll(r.ctx, t, "the end is on record", func() bool { return job().State.Terminal() })
			require.Equal(t, jobaudit.Success, job().State)
			require.Equal(t, []jobaudit.EventType{jobaudit.AttemptSuperseded, jobaudit.JobSucceeded}, ends(job()))
			require.NotEqual(t, job().Executions[0].ID, job().Executions[1].ID)
		}
		server.Shutdown()
		report, err = inspector.Reconcile(r.ctx, settle)
		require.NoError(t, err)
		require.Zero(t, report.Added())
		require.Empty(t, job().Unapplied)
		require.Equal(t, "ann", job().Metadata.UserID)
		require.NoError(t, inspector.Close())
		require.NoError(t, rec.Close(r.ctx))
		require.NoError(t, own.Close())
	}
}

func TestARestartOfRedisWhileATaskRunsChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, startRedis(t, "--appendonly", "yes", "--appendfsync", "always"), nil)
	g := newGate()
	g.ignores = true
	server := r.serve(quick(), g.ProcessTask)
	info := r.enqueue(asynq.Retention(time.Hour))
	next(r, g.running)
	r.redis.stop()
	r.redis.start()
	// Until it has dialed again, asynq would lose its verdict: see the next test.
	poll(r.ctx, t, "the server has Redis back", func() bool { return server.Ping() == nil })
	g.open <- nil
	job := r.ended(jobID(info))
	r.state(info, asynq.TaskStateCompleted)
	require.Equal(t, jobaudit.Success, job.State)
	require.Len(t, job.Executions, 1)
	r.sound()
}

// warnings tells of asynq's warnings that hold a text.
type warnings struct {
	text string
	told chan struct{}
}

func (warnings) Debug(...any) {}
func (warnings) Info(...any)  {}
func (warnings) Error(...any) {}
func (warnings) Fatal(...any) {}
func (w warnings) Warn(args ...any) {
	if strings.Contains(fmt.Sprint(args...), w.text) {
		w.told <- struct{}{}
	}
}

// asynq says that it will write its verdict later, but then does so under a
// context that has ended: the task's lease expires, and it runs again.
func TestASuccessThatRedisDidNotTakeIsNoSuccess(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, startRedis(t, "--appendonly", "yes", "--appendfsync", "always"), nil)
	g := newGate()
	g.ignores = true
	failed := warnings{"Will retry syncing", make(chan struct{}, 1)}
	cfg := quick()
	cfg.Logger, cfg.LogLevel = failed, asynq.WarnLevel
	first := r.serve(cfg, g.ProcessTask)
	info := r.enqueue(asynq.Retention(time.Hour))
	next(r, g.running)
	r.redis.stop()
	g.open <- nil
	next(r, failed.told)
	require.Equal(t, jobaudit.Running, r.job(jobID(info)).State)
	r.redis.start()
	first.Shutdown()
	r.sink.ExpectEvent(r.ctx, t, jobaudit.Query{JobID: jobID(info), Types: []jobaudit.EventType{jobaudit.AttemptFailed}})
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed}, ends(r.job(jobID(info))))
	r.state(info, asynq.TaskStateActive)
	r.sound()

	r.expireLease(info)
	r.serve(quick(), returns(nil)(nil))
	job := r.ended(jobID(info))
	require.Equal(t, 1, r.state(info, asynq.TaskStateCompleted).Retried)
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(job))
	r.sound()
}

// proxy stands between asynq and Redis and can lose an answer.
type proxy struct {
	asynq.RedisClientOpt
	loses func(sent []byte) bool
}

func (p proxy) MakeRedisClient() any {
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: p.Addr, Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &lossy{Conn: conn, loses: p.loses}, err
	}})
	return c
}

type lossy struct {
	net.Conn
	loses func([]byte) bool
	lost  bool
}

func (c *lossy) Write(b []byte) (int, error) {
	c.lost = c.lost || c.loses(b)
	return c.Conn.Write(b)
}

func (c *lossy) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.lost && err == nil {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func TestAVerdictWhoseAnswerWasLostCounts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err   error
		opts  []asynq.Option
		key   string // which only this verdict changes
		state jobaudit.JobState
	}{
		"removed":   {nil, nil, ":processed:", jobaudit.Success},
		"completed": {nil, []asynq.Option{asynq.Retention(time.Hour)}, "completed\r\n", jobaudit.Success},
		"archived":  {errBroken, []asynq.Option{asynq.MaxRetry(0)}, "archived\r\n", jobaudit.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			warm := r.serve(quick(), returns(test.err)(nil)) // Redis learns the scripts
			r.ended(jobID(r.enqueue(test.opts...)))
			warm.Shutdown()
			var once sync.Once
			var lost atomic.Bool
			server := r.adapter.NewServer(proxy{r.redis.opt(), func(sent []byte) (now bool) {
				if bytes.Contains(sent, []byte(test.key)) && bytes.Contains(sent, []byte("evalsha")) && bytes.Contains(sent, []byte("active\r\n")) {
					once.Do(func() { now = true; lost.Store(true) })
				}
				return now
			}}, quick())
			require.NoError(t, server.Start(muxOf(returns(test.err)(nil))))
			t.Cleanup(server.Shutdown)
			info := r.enqueue(test.opts...)
			require.Equal(t, test.state, r.ended(jobID(info)).State)
			require.True(t, lost.Load())
			r.sound()
		})
	}
}

func TestATaskThatIsLostWithItsWorkerIsAbandonedAndNotSuccessful(t *testing.T) {
	t.Parallel()
	for _, watched := range []bool{false, true} {
		r := newRig(t)
		g := newGate()
		g.ignores = true
		r.serve(quick(), g.ProcessTask)
		info := r.enqueue()
		next(r, g.running)
		if watched { // its attempt is taken for lost; the job is the queue's
			later := func() time.Time { return time.Now().Add(time.Hour) }
			dog := watchdog.New(r.rec, []jobaudit.AuditReader{r.sink}, &watchdog.Options{OneShot: true, Grace: -1, Now: later})
			_, err := dog.Sweep(r.ctx)
			require.NoError(t, err)
			require.Equal(t, []jobaudit.EventType{jobaudit.AttemptLost}, ends(r.job(jobID(info))))
		}
		require.NoError(t, r.redis.client().FlushAll(r.ctx).Err()) // as a Redis without persistence forgets
		require.Equal(t, 1, r.reconcile().Ended)
		job := r.job(jobID(info))
		require.Equal(t, jobaudit.Failed, job.State)
		require.Equal(t, jobaudit.CodeAbandoned, job.Error.Code)
		r.sound()
		g.open <- nil
	}
}

// broken is a sink that can be switched off.
type broken struct {
	*memsink.Sink
	off atomic.Bool
}

var errDisk = errors.New("no space left")

func (b *broken) Append(ctx context.Context, records []jobaudit.Record) error {
	if b.off.Load() {
		return errDisk
	}
	return b.Sink.Append(ctx, records)
}

func TestATaskWhoseStartCannotBeRecordedDoesNotRunAndBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	for _, left := range []int{0, 1} { // attempts that asynq would try again
		r := &rig{T: t, redis: startRedis(t), sink: memsink.New(nil)}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		t.Cleanup(cancel)
		r.ctx = ctx
		sink := &broken{Sink: r.sink}
		failing := make(chan struct{}, 64)
		r.open(sink, r.sink, &jobaudit.Options{
			Timeout: time.Second,
			OnError: func(context.Context, *jobaudit.AuditError) {},
		})
		var ran atomic.Int32
		cfg := quick()
		cfg.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration {
			select {
			case failing <- struct{}{}:
			default:
			}
			return 0
		}
		info := r.enqueue(asynq.MaxRetry(left), asynq.Retention(time.Hour))
		sink.off.Store(true)
		r.serve(cfg, func(context.Context, *asynq.Task) error { ran.Add(1); return nil })
		if left > 0 {
			next(r, failing)
		} else {
			r.state(info, asynq.TaskStateActive)
		}
		require.Zero(t, ran.Load())
		sink.off.Store(false)
		job := r.ended(jobID(info))
		require.Equal(t, jobaudit.Success, job.State)
		require.Equal(t, int32(1), ran.Load())
		require.Zero(t, r.state(info, asynq.TaskStateCompleted).Retried)
		require.Zero(t, r.reconcile().Added())
	}
}
