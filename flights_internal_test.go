package jobaudit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Whenever all is quiet, whatever is queued waits for a flight that is in the
// air: no wake-up is lost, and no room for a flight is.
func TestNothingWaitsWhileThereIsRoomForAFlight(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { (&flights{T: t, rand: rand.New(rand.NewPCG(seed, 2))}).run() })
		})
	}
}

// flights is a recorder over two sinks that do whatever they want.
type flights struct {
	*testing.T
	rec     *Recorder
	healthy atomic.Bool

	mu   sync.Mutex
	rand *rand.Rand
}

func (f *flights) intn(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rand.IntN(n)
}

func (f *flights) pause() { time.Sleep(time.Duration(f.intn(3000)) * time.Millisecond) }

// wild is a sink of theirs. inAir is how many calls of it have not returned.
type wild struct {
	*flights
	inAir atomic.Int32
}

func (w *wild) Append(ctx context.Context, records []Record) error {
	w.inAir.Add(1)
	defer w.inAir.Add(-1)
	before := make([]Hash, len(records))
	for i := range records {
		before[i] = records[i].hash
	}
	defer func() {
		for i := range records {
			if records[i].hash != before[i] {
				w.Errorf("a record has changed in the air")
			}
		}
	}()
	if w.healthy.Load() {
		return nil
	}
	switch w.intn(9) {
	case 0:
		return errors.New("no answer")
	case 1:
		return ErrConflict
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
		case <-time.After(time.Duration(w.intn(1500)) * time.Millisecond):
		}
	}
	return nil
}

func (w *wild) Records(context.Context, Query) iter.Seq2[Record, error] {
	return func(func(Record, error) bool) {}
}

func (f *flights) run() {
	main, spare := &wild{flights: f}, &wild{flights: f}
	f.healthy.Store(true)
	rec, err := Open(f.Context(), main, Source{System: "worker", Environment: "test"}, &Options{
		Buffer: 1 + f.intn(50), Timeout: time.Second, OutcomeTimeout: 2 * time.Second, Fallback: spare,
		OnError: func(context.Context, *AuditError) {
			switch f.intn(4) {
			case 0:
				f.pause()
			case 1:
				runtime.Goexit()
			}
		},
	})
	require.NoError(f, err)
	f.rec = rec
	f.healthy.Store(false)
	var jobs sync.WaitGroup
	for range 3 * maxFlights {
		jobs.Go(func() {
			for range 5 {
				f.job()
			}
		})
	}
	for range 200 {
		time.Sleep(time.Duration(f.intn(200)) * time.Millisecond)
		synctest.Wait()
		f.check(&rec.courier.main, main)
		f.check(&rec.courier.fallback, spare)
	}
	jobs.Wait()
	f.healthy.Store(f.intn(2) == 0)
	ctx, cancel := context.WithTimeout(f.Context(), 10*time.Second)
	defer cancel()
	_ = rec.Close(ctx)
	time.Sleep(time.Minute) // an OnError may take its time
	synctest.Wait()         // and no goroutine is left when the test ends
	require.Zero(f, rec.courier.main.flights)
	require.Zero(f, rec.courier.fallback.flights)
}

func (f *flights) job() {
	ctx, cancel := context.WithTimeout(f.Context(), time.Duration(f.intn(3000))*time.Millisecond)
	defer cancel()
	f.pause()
	trail, _ := f.rec.Submit(ctx, testSubmission())
	if trail == nil {
		return
	}
	if err := trail.Start(ctx, Execution{}); err == nil {
		for range f.intn(600) / 2 {
			trail.Log(ctx, "line")
		}
		f.pause()
	}
	_ = trail.Cancel(ctx, "done")
}

func (f *flights) check(l *lane, sink *wild) {
	c := f.rec.courier
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case l.boarding:
		f.Errorf("somebody boards for ever")
	case l.flights > maxFlights:
		f.Errorf("%d flights", l.flights)
	case l.flights != int(sink.inAir.Load()):
		f.Errorf("%d flights, and the sink knows of %d", l.flights, sink.inAir.Load())
	case l.queue.first != nil && l.flights < maxFlights:
		f.Errorf("a stream waits, and there are only %d flights", l.flights)
	}
}
