package watchdog_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/watchdog"
)

// span is a part of a history, in time since its beginning.
type span struct{ from, to time.Duration }

// world is one random history: a shared log, its outages, workers whose clocks
// are wrong, watchdogs that are started again, and hosts that sleep.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	begun time.Time
	log   *memsink.Sink

	asleep  []span // nobody runs
	down    []span // the log cannot be written to
	unread  []span // nor read
	latency time.Duration
	grace   time.Duration
	length  time.Duration

	mu   sync.Mutex
	died map[uuid.UUID]bool // executions whose worker is gone, by their ID
}

var errDown = errors.New("no route to host")

func (w *world) now() time.Duration { return time.Since(w.begun) }

func in(list []span, at time.Duration) (span, bool) {
	for _, s := range list {
		if at >= s.from && at < s.to {
			return s, true
		}
	}
	return span{}, false
}

// sleep waits. Timers that end while the hosts sleep fire when they wake.
func (w *world) sleep(d time.Duration) {
	time.Sleep(d)
	if s, asleep := in(w.asleep, w.now()); asleep {
		time.Sleep(s.to - w.now())
	}
}

// Append is the shared log's, as it is reached from a worker or a watchdog.
func (w *world) Append(ctx context.Context, records []jobaudit.Record) error {
	if s, down := in(w.down, w.now()); down {
		if s.from.Nanoseconds()%2 == 0 { // it hangs rather than fails
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(s.to - w.now()):
			}
		}
		return errDown
	}
	return w.log.Append(ctx, records)
}

func (w *world) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	if _, down := in(w.unread, w.now()); down {
		return func(yield func(jobaudit.Record, error) bool) { yield(jobaudit.Record{}, errDown) }
	}
	return w.log.Records(ctx, q)
}

// spans returns random parts of the history of at most so much each.
func (w *world) spans(n int, most time.Duration) (list []span) {
	for range w.rng.IntN(n + 1) {
		from := time.Duration(w.rng.Int64N(int64(w.length)))
		list = append(list, span{from, from + time.Duration(w.rng.Int64N(int64(most)))})
	}
	return list
}

func newWorld(t *testing.T, seed uint64) *world {
	rng := newRand(seed, 1)
	w := &world{t: t, rng: rng, begun: time.Now(), log: memsink.New(nil), died: make(map[uuid.UUID]bool)}
	w.length = 20 * time.Minute
	w.grace = []time.Duration{10 * time.Second, 30 * time.Second, time.Minute}[rng.IntN(3)]
	w.latency = time.Duration(rng.Int64N(int64(w.grace / 3)))
	w.asleep = w.spans(2, time.Hour)
	w.down = w.spans(3, 10*time.Minute)
	for _, s := range w.down { // many of the outages keep readers out as well
		if rng.IntN(2) == 0 {
			w.unread = append(w.unread, s)
		}
	}
	w.unread = append(w.unread, w.spans(1, 5*time.Minute)...)
	return w
}

// worker runs one job: it starts it, gives signs of life as a Recorder does,
// and ends it, unless it dies.
type worker struct {
	*world
	*author
	rng      *rand.Rand
	skew     time.Duration
	deadline time.Duration
	pending  []jobaudit.Record // in their order
	wake     chan struct{}
	done     chan struct{}
}

func (w *worker) clock() time.Time { return time.Now().Add(w.skew) }

// deliver stores what is pending, as often as it takes.
func (w *worker) deliver() {
	for backoff := 10 * time.Millisecond; ; {
		w.mu.Lock()
		batch := w.pending
		w.mu.Unlock()
		if len(batch) == 0 {
			select {
			case <-w.wake:
				continue
			case <-w.done:
				return
			}
		}
		w.sleep(time.Duration(w.rng.Int64N(int64(w.latency + 1))))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := w.Append(ctx, batch)
		cancel()
		if err != nil {
			w.sleep(backoff)
			backoff = min(2*backoff, 2*time.Second)
			continue
		}
		backoff = 10 * time.Millisecond
		w.mu.Lock()
		w.pending = w.pending[min(len(batch), len(w.pending)):] // none, if it died meanwhile
		w.mu.Unlock()
	}
}

func (w *worker) record(typ jobaudit.EventType, state jobaudit.JobState, data string) {
	w.mu.Lock()
	w.pending = append(w.pending, w.next(w.clock(), typ, state, data))
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) announce() string {
	return fmt.Sprintf(`{"heartbeat":{"deadline":"%s"}}`, w.clock().Add(w.deadline).UTC().Format(stamp))
}

// run is one job. mortal says that the worker may die.
func (w *worker) run(mortal bool) {
	w.sleep(time.Duration(w.rng.Int64N(int64(w.length))))
	first := []jobaudit.Record{
		w.next(w.clock(), jobaudit.JobSubmitted, jobaudit.Pending, ""),
		w.next(w.clock(), jobaudit.JobStarted, jobaudit.Running, w.announce()),
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if w.Append(ctx, first) != nil {
		return // it does not run
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.deliver()
	}()
	ends := w.now() + time.Duration(w.rng.Int64N(int64(10*time.Minute)))
	dies := mortal && w.rng.IntN(2) == 0
	interval := min(30*time.Second, w.deadline/3)
	for w.now() < ends {
		w.sleep(min(interval, ends-w.now()))
		if w.now() < ends {
			w.record(jobaudit.JobHeartbeat, jobaudit.Running, w.announce())
		}
		if w.rng.IntN(20) == 0 { // stopped for a moment
			w.sleep(w.deadline / 3)
		}
	}
	if dies {
		w.mu.Lock()
		w.died[w.execution] = true
		w.pending = nil // what its process held is gone with it
		w.mu.Unlock()
	} else {
		w.record(jobaudit.JobSucceeded, jobaudit.Success, `{}`)
		for w.left() > 0 {
			w.sleep(time.Second)
		}
	}
	close(w.done)
	<-stopped
}

func (w *worker) left() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending)
}

// guard sweeps at its interval until stop, and is started again at times.
func (w *world) guard(rng *rand.Rand, stop <-chan struct{}) {
	skew := time.Duration(rng.Int64N(int64(2*time.Hour))) - time.Hour
	now := func() time.Time { return time.Now().Add(skew) }
	recorder, err := jobaudit.Open(w.t.Context(), memsinkUp{w}, jobaudit.Source{System: "watchdog", Environment: "test"},
		&jobaudit.Options{Now: now, OnError: func(context.Context, *jobaudit.AuditError) {}})
	require.NoError(w.t, err)
	interval := []time.Duration{5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute}[rng.IntN(4)]
	make := func() *watchdog.Watchdog {
		return watchdog.New(recorder, []jobaudit.AuditReader{w}, &watchdog.Options{Interval: interval, Grace: w.grace, Now: now})
	}
	watcher := make()
	for {
		if w.now() < w.length && rng.IntN(50) == 0 {
			watcher = make()
		}
		_, _ = watcher.Sweep(context.Background()) // it fails while the log does
		select {
		case <-stop:
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_ = recorder.Close(ctx)
			return
		default:
			w.sleep(interval)
		}
	}
}

// memsinkUp lets a recorder be opened while the log is down.
type memsinkUp struct{ *world }

func (m memsinkUp) Append(ctx context.Context, records []jobaudit.Record) error {
	if records[0].Type() == jobaudit.AuditOpened {
		return m.log.Append(ctx, records)
	}
	return m.world.Append(ctx, records)
}

// counts is what histories came to.
type counts struct{ jobs, died, verdicts int }

// history plays one and checks that exactly those are accused who died.
func history(t *testing.T, seed uint64, mortal bool) (n counts) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed)
		var workers, guards sync.WaitGroup
		for i := range 1 + w.rng.IntN(6) {
			deadline := []time.Duration{3 * time.Second, 15 * time.Second, 90 * time.Second, 5 * time.Minute}[w.rng.IntN(4)]
			job := &worker{
				world: w, author: newAuthor(), rng: newRand(seed, 10+uint64(i)), deadline: deadline,
				skew: time.Duration(w.rng.Int64N(int64(2*time.Hour))) - time.Hour,
				wake: make(chan struct{}, 1), done: make(chan struct{}),
			}
			workers.Go(func() { job.run(mortal) })
		}
		stop := make(chan struct{})
		for i := range 1 + w.rng.IntN(3) {
			rng := newRand(seed, 100+uint64(i))
			guards.Go(func() { w.guard(rng, stop) })
		}
		workers.Wait()
		for _, s := range append(append(w.asleep, w.down...), w.unread...) {
			time.Sleep(max(0, s.to-w.now()))
		}
		time.Sleep(max(0, w.length-w.now()))
		time.Sleep(5*time.Minute + 2*w.grace + 10*time.Minute)
		close(stop)
		guards.Wait()
		n = w.check(seed)
	})
	return n
}

func (w *world) check(seed uint64) (n counts) {
	started, lost, failed := map[uuid.UUID]bool{}, map[uuid.UUID]int{}, map[uuid.UUID]int{}
	for r, err := range w.log.Records(w.t.Context(), jobaudit.Query{}) {
		require.NoError(w.t, err)
		e := r.Event()
		switch e.Type {
		case jobaudit.JobStarted:
			started[e.Job.ExecutionID] = true
			n.jobs++
		case jobaudit.AttemptLost:
			lost[e.Job.ExecutionID]++
			n.verdicts++
			require.True(w.t, w.died[e.Job.ExecutionID], "seed %d: who lives is accused", seed)
		case jobaudit.JobFailed:
			failed[e.Job.ExecutionID]++
			require.True(w.t, w.died[e.Job.ExecutionID], "seed %d: who lives has failed", seed)
		}
	}
	for id := range w.died {
		if started[id] {
			n.died++
			require.Equal(w.t, 1, lost[id], "seed %d: who died is found once", seed)
			require.Equal(w.t, 1, failed[id], "seed %d", seed)
		}
	}
	return n
}

func play(t *testing.T, from uint64, histories int) {
	for _, mortal := range []bool{false, true} {
		var sum counts
		for i := range histories {
			n := history(t, from+uint64(i), mortal)
			sum.jobs, sum.died, sum.verdicts = sum.jobs+n.jobs, sum.died+n.died, sum.verdicts+n.verdicts
		}
		t.Logf("%d histories from seed %d, workers may die: %v: %d jobs, %d died, %d verdicts", histories, from, mortal, sum.jobs, sum.died, sum.verdicts)
		require.NotZero(t, sum.jobs)
		require.Equal(t, mortal, sum.died > 0)
	}
}

func TestWhoLivesIsNotAccusedAndWhoDiedIsFound(t *testing.T) {
	play(t, 1, size.Times(25, 4))
}

func TestSoakWhoLivesIsNotAccusedAndWhoDiedIsFound(t *testing.T) {
	play(t, size.Soak(t), 10_000)
}

// newRand returns random numbers that goroutines may draw at once.
func newRand(a, b uint64) *rand.Rand { return rand.New(&lockedSource{source: rand.NewPCG(a, b)}) }

type lockedSource struct {
	mu     sync.Mutex
	source rand.Source
}

func (l *lockedSource) Uint64() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source.Uint64()
}
