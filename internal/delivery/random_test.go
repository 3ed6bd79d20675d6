package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// Whenever all is quiet, whatever is queued and may be sent is in a call: no
// wake-up is lost, no room for a call is, no record changes on its way, and what
// is acknowledged is stored.
func TestNothingWaitsWhileThereIsRoomForACall(t *testing.T) {
	for seed := range uint64(size.Times(60, 8)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newWorld(t, seed).run() })
		})
	}
}

// world is a Queue over two sinks that do whatever they want.
type world struct {
	*testing.T
	q           *Queue[record]
	main, spare *wildSink
	healthy     atomic.Bool

	mu    sync.Mutex
	rand  *rand.Rand
	acked map[uuid.UUID]bool
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{T: t, rand: rand.New(rand.NewPCG(seed, 2)), acked: map[uuid.UUID]bool{}}
	w.main, w.spare = &wildSink{world: w, medium: newMedium(t)}, &wildSink{world: w, medium: newMedium(t)}
	opts := (&watcher{}).options(time.Second, 1+w.intn(50))
	opts.Immediate = seed%2 == 1
	w.q = New[record](w.main, w.spare, opts)
	return w
}

func (w *world) intn(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.IntN(n)
}

func (w *world) pause() { time.Sleep(time.Duration(w.intn(3000)) * time.Millisecond) }

// wildSink is a sink of the world's. underWay is how many of its calls have not
// returned.
type wildSink struct {
	*world
	medium   *medium
	underWay atomic.Int32
}

func (s *wildSink) Append(ctx context.Context, records []record) error {
	s.underWay.Add(1)
	defer s.underWay.Add(-1)
	before := append([]record(nil), records...)
	defer func() {
		for i := range records {
			if records[i] != before[i] {
				s.Errorf("a record has changed while it was sent")
			}
		}
	}()
	if !s.healthy.Load() {
		if n := s.intn(len(records) + 1); s.intn(3) == 0 {
			s.medium.keep(records[:n]) // any prefix may be stored, whatever the answer
		}
		switch s.intn(9) {
		case 0:
			return errNo
		case 1:
			return errRefused
		case 2:
			runtime.Goexit()
		case 3:
			panic("no answer")
		case 4:
			<-ctx.Done()
			return ctx.Err()
		case 5, 6:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(s.intn(1500)) * time.Millisecond):
			}
		}
	}
	s.medium.keep(records)
	return nil
}

func (w *world) run() {
	var writers sync.WaitGroup
	for range 3 * maxCalls[clean] {
		writers.Go(func() {
			for range 5 {
				w.write()
			}
		})
	}
	for range 200 {
		time.Sleep(time.Duration(w.intn(200)) * time.Millisecond)
		synctest.Wait()
		w.check(&w.q.main, w.main)
		w.check(&w.q.fallback, w.spare)
	}
	writers.Wait()
	w.healthy.Store(w.intn(2) == 0)
	ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
	defer cancel()
	_ = w.q.Drain(ctx)
	w.q.Stop()
	time.Sleep(time.Minute)
	synctest.Wait() // and no goroutine is left when the test ends
	for _, l := range []*sinkQueue[record]{&w.q.main, &w.q.fallback} {
		if l.workers != 0 || l.calls != [len(maxCalls)]int{} {
			w.Errorf("%d workers are left, and the calls %v", l.workers, l.calls)
		}
	}
	for id := range w.acked {
		_, inMain := w.main.medium.stored[id]
		_, inSpare := w.spare.medium.stored[id]
		if !inMain && !inSpare {
			w.Errorf("%s was acknowledged and is not stored", id)
		}
	}
	for _, m := range []*medium{w.main.medium, w.spare.medium} {
		for stream := range m.streams {
			gapless(w, stream, w.main.medium, w.spare.medium)
		}
	}
}

func (w *world) write() {
	ctx, cancel := context.WithTimeout(w.Context(), time.Duration(w.intn(3000))*time.Millisecond)
	defer cancel()
	w.pause()
	s := openStream(w.q)
	w.wait(ctx, s, Admission)
	for range w.intn(600) / 2 {
		u := Urgency(w.intn(3))
		if ok, err := w.q.Offer(s, entryOf(u)); err == nil && !ok {
			w.q.Drop(s, time.Now(), "line", lossEvent)
		}
	}
	w.pause()
	w.wait(context.Background(), s, Outcome)
}

// wait stores an event, and takes what its caller does who gives up.
func (w *world) wait(ctx context.Context, s *Stream[record], u Urgency) {
	e := entryOf(u)
	id := e.Event.ID()
	c, err := w.q.SendDirect(s, e)
	if err != nil {
		return
	}
	made := make(chan struct{})
	go func() { // which the sink may end
		defer close(made)
		w.q.Make(c)
	}()
	<-made
	err = w.q.Wait(ctx, s, e.Ack, 2*time.Second)
	switch {
	case err == nil:
		w.mu.Lock()
		w.acked[id] = true
		w.mu.Unlock()
	case u == Admission && w.intn(2) == 0:
		w.q.Withdraw(s, []Entry[record]{e})
	case u == Outcome:
		w.q.FailOver(s)
	}
}

func (w *world) check(l *sinkQueue[record], sink *wildSink) {
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	total := l.calls[clean] + l.calls[suspect] + l.calls[hanging]
	_, ready := l.next()
	switch {
	case l.gathering:
		w.Errorf("a worker never stops gathering")
	case total > maxCalls[clean] || l.calls[suspect]+l.calls[hanging] > maxCalls[suspect] || l.calls[hanging] > maxCalls[hanging]:
		w.Errorf("too many calls: %v", l.calls)
	case l.workers != total || total != int(sink.underWay.Load()):
		w.Errorf("%d workers and %d calls, and the sink knows of %d", l.workers, total, sink.underWay.Load())
	case ready && l.workers < maxCalls[clean]:
		w.Errorf("a stream waits, and there are only %d workers", l.workers)
	}
}
