package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// Whatever a sink does, which may be no sink at all: nothing that was
// acknowledged is lost by the Recorder, no stream has a gap, no job runs without
// an acknowledged start, and Run returns the function's own error.
func TestThePromisesHoldAgainstHostileSinks(t *testing.T) {
	for seed := range size.Times(20, 4) {
		newHostile(t, uint64(seed))
	}
}

func TestSoakThePromisesHoldAgainstHostileSinks(t *testing.T) {
	first := size.Soak(t)
	for seed := range uint64(200) {
		newHostile(t, first+seed)
	}
}

func newHostile(t *testing.T, seed uint64) {
	t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := &hostile{t: t, rand: rand.New(rand.NewPCG(seed, 3)), took: map[uuid.UUID]jobaudit.Record{}}
			h.run()
		})
	})
}

// hostile is a Recorder over sinks that are not to be trusted.
type hostile struct {
	t       *testing.T
	rec     *jobaudit.Recorder
	healthy atomic.Bool
	closed  atomic.Bool // the main sink
	calling atomic.Int32

	mu   sync.Mutex
	rand *rand.Rand
	took map[uuid.UUID]jobaudit.Record // what a sink has stored or acknowledged
	list []jobaudit.Record             // of the fallback
}

func (h *hostile) intn(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rand.IntN(n)
}

func (h *hostile) keep(spare bool, records []jobaudit.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range records {
		if have, ok := h.took[r.ID()]; ok && have.Hash() != r.Hash() {
			h.t.Errorf("record %s has changed", r.ID())
		}
		if _, again := h.took[r.ID()]; spare && !again {
			h.list = append(h.list, r)
		}
		h.took[r.ID()] = r
	}
}

func (h *hostile) has(job uuid.UUID, types ...jobaudit.EventType) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.took {
		if r.JobID() == job && slices.Contains(types, r.Type()) {
			return true
		}
	}
	return false
}

// hostileSink is one of the two sinks.
type hostileSink struct {
	*hostile
	spare bool
}

type panicking struct{}

func (panicking) Error() string   { panic("no text") }
func (panicking) Is(error) bool   { panic("no identity") }
func (panicking) Unwrap() []error { panic("no cause") }

var errHostile = errors.New("hostile")

// faults are what such a sink does. What it returns is its answer.
var faults = []func(s *hostileSink, ctx context.Context, records []jobaudit.Record) error{
	func(*hostileSink, context.Context, []jobaudit.Record) error { return errHostile },
	func(s *hostileSink, _ context.Context, records []jobaudit.Record) error { // stores all, and fails
		s.keep(s.spare, records)
		return errHostile
	},
	func(s *hostileSink, _ context.Context, records []jobaudit.Record) error { // stores a prefix
		s.keep(s.spare, records[:s.intn(len(records)+1)])
		return errHostile
	},
	func(_ *hostileSink, ctx context.Context, _ []jobaudit.Record) error { // hangs
		<-ctx.Done()
		return ctx.Err()
	},
	func(s *hostileSink, _ context.Context, _ []jobaudit.Record) error { // ignores its context
		time.Sleep(time.Duration(s.intn(5000)) * time.Millisecond)
		return errHostile
	},
	func(s *hostileSink, _ context.Context, records []jobaudit.Record) error { // is slow
		time.Sleep(time.Duration(s.intn(1500)) * time.Millisecond)
		s.keep(s.spare, records)
		return nil
	},
	func(*hostileSink, context.Context, []jobaudit.Record) error { panic("hostile") },
	func(*hostileSink, context.Context, []jobaudit.Record) error {
		runtime.Goexit()
		return nil
	},
	func(_ *hostileSink, _ context.Context, records []jobaudit.Record) error { // refuses
		return &jobaudit.RecordError{ID: records[len(records)-1].ID(), Err: errHostile}
	},
	func(*hostileSink, context.Context, []jobaudit.Record) error { return jobaudit.ErrConflict },
	func(_ *hostileSink, _ context.Context, records []jobaudit.Record) error { // changes the slice, and fails
		clear(records)
		return errHostile
	},
	func(s *hostileSink, _ context.Context, records []jobaudit.Record) error { // changes it, and stores
		s.keep(s.spare, records)
		slices.Reverse(records)
		return nil
	},
	func(s *hostileSink, _ context.Context, records []jobaudit.Record) error { // keeps it, and changes it later
		s.keep(s.spare, records)
		time.AfterFunc(time.Duration(s.intn(2000))*time.Millisecond, func() { clear(records) })
		return nil
	},
	func(s *hostileSink, ctx context.Context, records []jobaudit.Record) error { // calls back
		if s.calling.Add(1) <= 3 {
			tr, _ := s.rec.Submit(ctx, submission())
			if tr != nil {
				tr.Log(ctx, "from the sink")
				_ = tr.Cancel(ctx, "from the sink")
			}
			s.rec.Stats()
			_ = s.rec.Healthy()
		}
		s.calling.Add(-1)
		s.keep(s.spare, records)
		return nil
	},
	func(*hostileSink, context.Context, []jobaudit.Record) error { return panicking{} },
	func(*hostileSink, context.Context, []jobaudit.Record) error { return &endless{} },
	func(s *hostileSink, _ context.Context, _ []jobaudit.Record) error { // is closed meanwhile
		s.closed.Store(true)
		time.AfterFunc(3*time.Second, func() { s.closed.Store(false) })
		return errHostile
	},
	func(s *hostileSink, _ context.Context, records []jobaudit.Record) error { // acknowledges, and loses
		s.keep(false, records) // the Recorder has done its part
		return nil
	},
}

func (s *hostileSink) Append(ctx context.Context, records []jobaudit.Record) error {
	switch {
	case s.healthy.Load():
	case s.closed.Load():
		return errHostile
	case s.intn(3) > 0:
		return faults[s.intn(len(faults))](s, ctx, records)
	}
	s.keep(s.spare, records)
	return nil
}

func (s *hostileSink) Records(context.Context, jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.list)
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range list {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (h *hostile) run() {
	h.healthy.Store(true)
	opts := &jobaudit.Options{
		Buffer: 1 + h.intn(50), Timeout: time.Second, OutcomeTimeout: 3 * time.Second, Heartbeat: time.Second,
		OnError: func(context.Context, *jobaudit.AuditError) {
			switch h.intn(5) {
			case 0:
				panic("hostile")
			case 1:
				runtime.Goexit()
			}
		},
	}
	if h.intn(2) == 0 {
		opts.Fallback = &hostileSink{hostile: h, spare: true}
	}
	// A report may come on the job's own goroutine, which Goexit would end.
	user := opts.OnError
	opts.OnError = func(ctx context.Context, err *jobaudit.AuditError) {
		go func() { defer func() { _ = recover() }(); user(ctx, err) }()
	}
	rec, err := jobaudit.Open(h.t.Context(), &hostileSink{hostile: h}, source, opts)
	require.NoError(h.t, err)
	h.rec = rec
	h.healthy.Store(false)
	var jobs sync.WaitGroup
	for range 48 {
		jobs.Go(func() {
			time.Sleep(time.Duration(h.intn(5000)) * time.Millisecond)
			for range 3 {
				h.job()
			}
		})
	}
	jobs.Wait()
	h.healthy.Store(true)
	time.Sleep(time.Minute)
	if err := rec.Close(h.t.Context()); err != nil { // its own stream may have been refused
		require.ErrorContains(h.t, err, "0 events are not known to be stored, and 0 executions have no end")
	}
	time.Sleep(time.Minute)
	h.check()
}

func (h *hostile) job() {
	s := submission()
	s.ID = uuid.New()
	ran := false
	own := fmt.Errorf("the function's own: %w", errWork)
	err := h.rec.Run(h.t.Context(), s, func(ctx context.Context) error {
		ran = true
		if !h.has(s.ID, jobaudit.JobStarted) {
			h.t.Errorf("job %s runs without a start", s.ID)
		}
		for range h.intn(10) {
			trail(ctx).Log(ctx, "line")
		}
		time.Sleep(time.Duration(h.intn(3000)) * time.Millisecond)
		switch h.intn(4) {
		case 0:
			if trail(ctx).Flush(ctx) == nil && !h.has(s.ID, jobaudit.JobStarted) {
				h.t.Errorf("what was flushed is lost")
			}
		case 1:
			if trail(ctx).Fail(ctx, own) == nil && !h.has(s.ID, jobaudit.JobFailed) {
				h.t.Errorf("an outcome was acknowledged and is lost")
			}
		}
		return own
	})
	switch _, audit := errors.AsType[*jobaudit.AuditError](err); {
	case ran && err != own:
		h.t.Errorf("Run returned %v", err)
	case !ran && !audit:
		h.t.Errorf("Run did not run and returned %v", err)
	}
}

// check looks for gaps in the streams.
func (h *hostile) check() {
	streams := map[uuid.UUID]map[uint64]jobaudit.Event{}
	hashes := map[uuid.UUID]jobaudit.Hash{}
	for id, r := range h.took {
		e := r.Event()
		if streams[e.Stream.ID] == nil {
			streams[e.Stream.ID] = map[uint64]jobaudit.Event{}
		}
		streams[e.Stream.ID][e.Stream.Seq] = e
		hashes[id] = r.Hash()
	}
	for stream, events := range streams {
		for seq := uint64(1); seq <= uint64(len(events)); seq++ {
			e, ok := events[seq]
			if !ok {
				h.t.Fatalf("stream %s lacks event %d of %d", stream, seq, len(events))
			}
			if seq > 1 && e.Stream.Prev != hashes[events[seq-1].ID] {
				h.t.Fatalf("stream %s: event %d does not follow the one before", stream, seq)
			}
		}
	}
}
