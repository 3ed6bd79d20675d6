package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/bench/cost"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// workers are how many jobs of a queue run at once, and how many callers enqueue.
const workers = 256

// side is a queue and what works on it in this process: with the adapter and a log,
// or without.
type side struct {
	enqueue func() error
	ended   chan int // jobs that have ended; on record, with the adapter
	stop    func()
}

// round puts jobs through the side, and measures until the last has ended.
func (l *side) round(jobs int) (cost.Cost, error) {
	return cost.In(func(int) error {
		errs := make([]error, workers)
		var left atomic.Int64
		left.Store(int64(jobs))
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				for left.Add(-1) >= 0 && errs[i] == nil {
					errs[i] = l.enqueue()
				}
			})
		}
		// Jobs that are not enqueued do not end.
		done := make(chan error, 1)
		go func() {
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				done <- err
			}
		}()
		return l.wait(jobs, done)
	})(jobs)
}

func (l *side) wait(jobs int, failed <-chan error) error {
	for n := 0; n < jobs; {
		select {
		case more := <-l.ended:
			n += more
		case err := <-failed:
			return err
		}
	}
	return nil
}

// queues are the two sides of a queue.
type queues struct {
	work           *work
	plain, audited *side
	turn           int
	newest         [2]cost.Cost // of the newest round, without and with

	disk    *os.File
	every   time.Duration // between two enqueues
	samples map[int]*samples
}

// work is what a job does: nothing, or what takes a processor a millisecond.
type work struct {
	busy   atomic.Bool
	hashes int
}

var text [1024]byte

func newWork() *work {
	const try = 200
	fastest := time.Hour
	for range 50 {
		begun := time.Now()
		for range try {
			sha256.Sum256(text[:])
		}
		fastest = min(fastest, time.Since(begun))
	}
	return &work{hashes: int(try * time.Millisecond / fastest)}
}

func (w *work) do() {
	if !w.busy.Load() {
		return
	}
	for range w.hashes {
		sha256.Sum256(text[:])
	}
}

// opens starts a server and opens both sides.
type opens func(ctx context.Context, dir string, w *work) (plain, audited *side, done func(), err error)

// limits are what the adapter and the log may add to a job of a queue.
var limits = map[string]time.Duration{"asynq": 100 * time.Microsecond, "river": 120 * time.Microsecond}

// queueRows are a queue's rows. The server has a processor of its own, if there are
// several.
func queueRows(ctx context.Context, name string, open opens) (cost.Rows, func(), error) {
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		return nil, nil, err
	}
	disk, err := os.Create(filepath.Join(dir, "disk"))
	if err != nil {
		return nil, nil, err
	}
	q := &queues{work: newWork(), disk: disk, samples: map[int]*samples{50: {}, 99: {}}}
	plain, audited, done, err := open(ctx, dir, q.work)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	q.plain, q.audited = plain, audited
	jobs, busy, enqueues := 4000, 1500, 400
	if quick() {
		jobs, busy, enqueues = 1000, 400, 150
	}
	where := ", server on its own processor"
	if os.Getenv(serversVariable) == "" {
		where = ", server on the same ones"
	}
	of := func(i int) func(int) (cost.Cost, error) {
		return func(int) (cost.Cost, error) { return q.newest[i], nil }
	}
	rows := cost.Rows{
		name: {
			{Name: "added to a job" + where, Fixed: jobs, Run: q.added},
			cost.Always(limits[name].String(), limits[name]),
			{Name: "a job of " + name + " alone", Fixed: jobs, Run: of(0)},
			{Name: "a job with adapter and filesink", Fixed: jobs, Run: of(1)},
		},
		name + "-busy": {
			{Name: "with adapter and filesink" + where, Fixed: busy, Run: q.busy(audited)},
			{Name: name + " alone", Fixed: busy, Run: q.busy(plain)},
		},
		name + "-p50": q.latency(50, enqueues),
		name + "-p99": q.latency(99, enqueues),
	}
	return rows, func() {
		audited.stop()
		plain.stop()
		done()
		_, _ = disk.Close(), os.RemoveAll(dir) // nothing of it is needed
	}, nil
}

// added measures both sides, and what is more with the adapter. They take turns to be
// the first.
func (q *queues) added(jobs int) (cost.Cost, error) {
	sides := []*side{q.plain, q.audited}
	q.turn++
	for i := range sides {
		i = (i + q.turn) % len(sides)
		c, err := sides[i].round(jobs)
		if err != nil {
			return cost.Cost{}, err
		}
		q.newest[i] = c
	}
	return q.newest[1].Minus(q.newest[0]), nil
}

func (q *queues) busy(l *side) func(int) (cost.Cost, error) {
	return func(jobs int) (cost.Cost, error) {
		q.work.busy.Store(true)
		defer q.work.busy.Store(false)
		return l.round(jobs)
	}
}

// sample is a percentile of how long enqueues took, and the median of fsyncs.
type sample struct{ plain, audited, sync time.Duration }

// samples are those of one percentile: both are of the same enqueues.
type samples struct {
	newest  sample
	waiting []sample // have not been asked for yet
}

// latency is the variants of a percentile: what is added to an enqueue, an fsync, and
// the enqueues themselves, one caller at half of its greatest rate. The fsync is
// always the median one.
func (q *queues) latency(percent, enqueues int) []cost.Variant {
	s := q.samples[percent]
	variant := func(name string, of func() time.Duration) cost.Variant {
		return cost.Variant{Name: name, Fixed: 1, Run: func(int) (cost.Cost, error) { return cost.Cost{Wall: of()}, nil }}
	}
	first := cost.Variant{Name: "added to an enqueue", Fixed: 1, Run: func(int) (cost.Cost, error) {
		if len(s.waiting) == 0 {
			if err := q.measure(enqueues); err != nil {
				return cost.Cost{}, err
			}
		}
		s.newest, s.waiting = s.waiting[0], s.waiting[1:]
		return cost.Cost{Wall: s.newest.audited - s.newest.plain}, nil
	}}
	return []cost.Variant{
		first,
		variant("a write and an fsync, median", func() time.Duration { return s.newest.sync }),
		variant("an enqueue alone", func() time.Duration { return s.newest.plain }),
		variant("an enqueue with adapter and filesink", func() time.Duration { return s.newest.audited }),
	}
}

// measure enqueues in turns, while the jobs run, and then writes and syncs a file on
// the same disk.
func (q *queues) measure(enqueues int) error {
	sides := []*side{q.plain, q.audited}
	if q.every == 0 {
		begun := time.Now()
		for range 100 {
			if err := q.audited.enqueue(); err != nil {
				return err
			}
		}
		q.every = time.Since(begun) / 100
		if err := q.audited.wait(100, nil); err != nil {
			return err
		}
	}
	took := make([][]time.Duration, len(sides)+1)
	next := time.Now()
	for range enqueues {
		for i, l := range sides { // each at half of the rate
			time.Sleep(time.Until(next))
			next = next.Add(q.every)
			begun := time.Now()
			if err := l.enqueue(); err != nil {
				return err
			}
			took[i] = append(took[i], time.Since(begun))
		}
	}
	for _, l := range sides {
		if err := l.wait(enqueues, nil); err != nil {
			return err
		}
	}
	for range enqueues {
		begun := time.Now()
		if _, err := q.disk.Write(text[:]); err != nil {
			return err
		}
		if err := q.disk.Sync(); err != nil {
			return err
		}
		took[2] = append(took[2], time.Since(begun))
	}
	for percent, s := range q.samples {
		s.waiting = append(s.waiting, sample{part(took[0], percent), part(took[1], percent), part(took[2], 50)})
	}
	return nil
}

// part returns a percentile.
func part(all []time.Duration, percent int) time.Duration {
	slices.Sort(all)
	return all[min(len(all)*percent/100, len(all)-1)]
}

// serversVariable names the processor that servers are to run on.
const serversVariable = "BENCH_SERVERS"

// startServer starts a server where it is to run.
func startServer(start func() error) error {
	processor, err := strconv.Atoi(os.Getenv(serversVariable))
	if err != nil {
		return start()
	}
	return cost.StartOn([]int{processor}, start)
}

// counting counts the outcomes that a sink has stored.
type counting struct {
	jobaudit.AuditSink
	outcomes chan int
}

// Append is jobaudit.AuditSink's.
func (c *counting) Append(ctx context.Context, records []jobaudit.Record) error {
	err := c.AuditSink.Append(ctx, records)
	n := 0
	for _, r := range records {
		if r.Type() == jobaudit.JobSucceeded {
			n++
		}
	}
	if err == nil && n > 0 {
		c.outcomes <- n
	}
	return err
}

// openLog opens a recorder on a signed log. The outcomes that it has stored are told
// to the side.
func openLog(ctx context.Context, dir string, l *side) (*jobaudit.Recorder, *filesink.Sink, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, nil, err
	}
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "example.com/bench")
	if err != nil {
		return nil, nil, err
	}
	log, err := filesink.Open(ctx, filepath.Join(dir, "log"), key, nil)
	if err != nil {
		return nil, nil, err
	}
	rec, err := jobaudit.Open(ctx, &counting{log, l.ended}, jobaudit.Source{System: "bench", Environment: "bench"}, nil)
	return rec, log, err
}

// ann is who enqueues.
func ann() jobaudit.Submission {
	return jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ann", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a benchmark"},
	}
}
