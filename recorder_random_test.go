package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// Whatever the sink does, and whatever callers do at once: what was
// acknowledged is stored, no stream has a gap, nothing stands twice, and what
// was dropped is counted.
func TestThePromisesHoldUnderChaos(t *testing.T) {
	for seed := range size.Times(40, 4) {
		runChaos(t, uint64(seed))
	}
}

func TestSoakThePromisesHoldUnderChaos(t *testing.T) {
	first := size.Soak(t)
	for seed := range uint64(20_000) {
		runChaos(t, first+seed)
	}
}

func runChaos(t *testing.T, seed uint64) {
	t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := &chaos{t: t, store: memsink.New(nil), spare: memsink.New(nil), rand: rand.New(rand.NewPCG(seed, 1))}
			c.run()
		})
	})
}

type chaos struct {
	t            *testing.T
	store, spare *memsink.Sink
	sink         *faultsink.Sink
	rec          *jobaudit.Recorder

	mu    sync.Mutex
	rand  *rand.Rand
	noted map[uuid.UUID]int // background events recorded, by job
}

func (c *chaos) intn(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rand.IntN(n)
}

func (c *chaos) run() {
	t := c.t
	c.sink, c.noted = faultsink.New(c.store), map[uuid.UUID]int{}
	var told complaints
	opts := &jobaudit.Options{
		Buffer: 1 + c.intn(20), Timeout: time.Second, OutcomeTimeout: 3 * time.Second,
		Heartbeat: time.Duration(1+c.intn(3)) * time.Second, OnError: told.add,
	}
	withSpare := c.intn(2) == 0
	if withSpare {
		opts.Fallback = c.spare
	}
	rec, err := jobaudit.Open(t.Context(), c.sink, source, opts)
	require.NoError(t, err)
	c.rec = rec

	ctx, cancel := context.WithCancel(t.Context())
	var weather, jobs sync.WaitGroup
	weather.Go(func() { c.weather(ctx) })
	for range 6 {
		jobs.Go(func() {
			for range 8 {
				c.job()
			}
		})
	}
	jobs.Wait()
	cancel()
	weather.Wait()
	c.sink.Set()
	c.sink.Release()
	time.Sleep(time.Minute) // what is on its way to the fallback gets there
	require.NoError(t, rec.Drain(t.Context()))
	require.NoError(t, rec.Close(t.Context()))
	c.check(withSpare)
}

// weather changes the sink's faults at random.
func (c *chaos) weather(ctx context.Context) {
	faults := []faultsink.Fault{faultsink.Fail, faultsink.Ambiguous, faultsink.Partial, faultsink.Hang, faultsink.Stick}
	for ctx.Err() == nil {
		c.sink.Set(faultsink.Rule{Fault: faults[c.intn(len(faults))], Keep: c.intn(3)})
		c.pause(4000)
		c.sink.Set()
		c.sink.Release()
		c.pause(2000)
	}
}

func (c *chaos) pause(ms int) { time.Sleep(time.Duration(c.intn(ms)) * time.Millisecond) }

func (c *chaos) job() {
	ctx := c.t.Context()
	if c.intn(4) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.intn(2000))*time.Millisecond)
		defer cancel()
	}
	c.pause(500)
	if c.intn(2) == 0 {
		_, err := run(ctx, c.rec, func(ctx context.Context) error { return c.work(ctx, trail(ctx)) })
		if _, audit := errors.AsType[*jobaudit.AuditError](err); err != nil && !audit && err != errWork {
			c.t.Errorf("Run returned %v", err)
		}
		return
	}
	tr, err := c.rec.Submit(ctx, submission())
	if tr == nil {
		return
	}
	c.acknowledged(tr, err, jobaudit.JobSubmitted)
	if err := tr.Start(ctx, jobaudit.Execution{}); err != nil {
		if err := tr.Start(c.t.Context(), jobaudit.Execution{}); err != nil {
			c.acknowledged(tr, tr.Cancel(ctx, "gave up"), jobaudit.JobCancelled)
			return
		}
	}
	c.acknowledged(tr, nil, jobaudit.JobSubmitted, jobaudit.JobAuthorized)
	_ = c.work(ctx, tr)
	err = tr.Fail(ctx, errWork)
	c.acknowledged(tr, err, jobaudit.JobFailed)
}

// work is a job's work: it must see its start stored and must not be
// disturbed.
func (c *chaos) work(ctx context.Context, tr *jobaudit.Trail) error {
	if len(of(c.store.Trail(tr.JobID()), jobaudit.JobStarted, jobaudit.AttemptStarted)) == 0 {
		c.t.Errorf("job %s runs, and its start is not stored", tr.JobID())
	}
	began, calls := time.Now(), c.intn(12)
	for range calls {
		tr.Log(ctx, "line")
	}
	if time.Since(began) > 0 {
		c.t.Errorf("a background call has waited")
	}
	c.mu.Lock()
	c.noted[tr.JobID()] = calls
	c.mu.Unlock()
	c.pause(3000)
	if c.intn(3) == 0 {
		c.acknowledged(tr, tr.Flush(ctx), jobaudit.JobStarted)
	}
	return errWork
}

// acknowledged checks that what a call acknowledged is stored.
func (c *chaos) acknowledged(tr *jobaudit.Trail, err error, types ...jobaudit.EventType) {
	if err != nil {
		return
	}
	stored := append(c.store.Trail(tr.JobID()), c.spare.Trail(tr.JobID())...)
	for _, typ := range types {
		if typ == jobaudit.JobStarted {
			types = []jobaudit.EventType{jobaudit.JobStarted, jobaudit.AttemptStarted}
		}
		if len(of(stored, typ)) == 0 && len(of(stored, types...)) == 0 {
			c.t.Errorf("%s was acknowledged and is not stored", typ)
		}
	}
}

func (c *chaos) check(withSpare bool) {
	t := c.t
	list := events(t, c.store)
	counted := map[uuid.UUID]int{}
	for _, e := range list {
		switch e.Type {
		case jobaudit.JobLogged:
			counted[e.Job.ID]++
		case jobaudit.AuditLost: // perhaps of heartbeats, too
			counted[e.Job.ID] += int(e.Data.Lost.Count)
		}
	}
	for job, want := range c.noted {
		require.GreaterOrEqual(t, counted[job], want, "job %s: every line is stored or counted as lost", job)
		j := jobOf(t, c.store, job)
		require.Equal(t, jobaudit.Failed, j.State, "job %s has an end (fallback %v)", job, withSpare)
	}
	for _, id := range c.store.Jobs() {
		j := jobOf(t, c.store, id)
		require.NotEqual(t, jobaudit.Running, j.State, "job %s never ends: %+v", id, j)
	}
}
