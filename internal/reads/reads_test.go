package reads_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/reads"
)

// stored collects what is recorded.
type stored struct {
	mu   sync.Mutex
	list []string
	fail error
}

func (s *stored) store(count int, since time.Time, _ reads.Span) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	text := fmt.Sprint(count)
	if !since.IsZero() {
		text += " since " + since.UTC().Format(time.TimeOnly)
	}
	s.list = append(s.list, text)
	return nil
}

func (s *stored) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

func (s *stored) failWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func TestTheFirstReadIsOnRecordAndThoseOfFiveMinutesAreOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c reads.Counter
		var s stored
		for range 4 {
			require.NoError(t, c.Note(t.Context(), "a", reads.Span{}, s.store))
			require.Equal(t, []string{"1"}, s.all())
			time.Sleep(time.Second)
		}
		require.NoError(t, c.Note(t.Context(), "b", reads.Span{}, s.store))
		require.Equal(t, []string{"1", "1"}, s.all(), "of another reader")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"1", "1", "3 since 00:00:01"}, s.all())
		require.NoError(t, c.Note(t.Context(), "a", reads.Span{}, s.store))
		c.Close()
		require.Equal(t, "1 since 00:05:04", s.all()[3], "what was counted is on record at the end")
		require.NoError(t, c.Note(t.Context(), "a", reads.Span{}, s.store))
		require.Len(t, s.all(), 5, "and what comes later, at once")
	})
}

func TestAReadThatCannotBeRecordedIsAnErrorForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("the log is full")
		for want, store := range map[string]reads.Store{
			"full":     func(int, time.Time, reads.Span) error { return full },
			"panicked": func(int, time.Time, reads.Span) error { panic("at the log") },
		} {
			var c reads.Counter
			for range 3 {
				require.ErrorContains(t, c.Note(t.Context(), "a", reads.Span{}, store), want)
			}
			var s stored
			require.NoError(t, c.Note(t.Context(), "a", reads.Span{}, s.store))
			require.NoError(t, c.Note(t.Context(), "a", reads.Span{}, s.store))
			s.failWith(full)
			time.Sleep(6 * time.Minute)
			synctest.Wait()
			s.failWith(nil)
			time.Sleep(6 * time.Minute)
			synctest.Wait()
			require.Equal(t, []string{"1", "1 since " + s.all()[1][len("1 since "):]}, s.all(), "counts are not lost")
			c.Close()
		}
	})
}

func TestAReaderWhoGoesIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c reads.Counter
		var s stored
		leave := make(chan bool)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, c.Note(ctx, "a", reads.Span{}, func(count int, since time.Time, q reads.Span) error { <-leave; return s.store(count, since, q) }), context.Canceled)
		close(leave)
		synctest.Wait()
		require.Equal(t, []string{"1"}, s.all())
		c.Close()
	})
}

// Ten thousand are counted; with more, each read is an event, so that nothing grows.
func TestNoMoreThanTenThousandAreCountedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c reads.Counter
		var s stored
		for i := range 10_000 {
			require.NoError(t, c.Note(t.Context(), fmt.Sprint(i), reads.Span{}, s.store))
		}
		for range 2 {
			require.NoError(t, c.Note(t.Context(), "one more", reads.Span{}, s.store))
		}
		require.Len(t, s.all(), 10_002)
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		for range 2 {
			require.NoError(t, c.Note(t.Context(), "one more", reads.Span{}, s.store))
		}
		require.Len(t, s.all(), 10_003)
		c.Close()
	})
}

// The log that is written to is closed after Close: what a timer began to record has
// to be over by then, and is tried again if it failed.
func TestCloseWaitsForWhatIsBeingRecorded(t *testing.T) {
	for name, failure := range map[string]error{"it is stored": nil, "it fails": errors.New("the log is full")} {
		synctest.Test(t, func(t *testing.T) {
			var c reads.Counter
			var s stored
			var at, most atomic.Int32
			leave, failed := make(chan bool), false
			store := func(count int, since time.Time, q reads.Span) error {
				most.Store(max(most.Load(), at.Add(1)))
				defer at.Add(-1)
				if !since.IsZero() {
					<-leave
					if failure != nil && !failed {
						failed = true
						return failure
					}
				}
				return s.store(count, since, q)
			}
			for range 3 {
				require.NoError(t, c.Note(t.Context(), "a", reads.Span{}, store))
			}
			time.Sleep(6 * time.Minute) // the timer's store waits
			closed := make(chan bool)
			go func() { c.Close(); close(closed) }()
			synctest.Wait()
			select {
			case <-closed:
				t.Error("Close returned before the reads were on record")
			default:
			}
			close(leave)
			<-closed
			require.Equal(t, []string{"1", "2 since " + s.all()[1][len("2 since "):]}, s.all(), name)
			require.Equal(t, int32(1), most.Load(), "one at a time")
		})
	}
}

func TestCloseWaitsForFirstReadsThatAreNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c reads.Counter
		var s stored
		for i := range 10_000 {
			require.NoError(t, c.Note(t.Context(), fmt.Sprint(i), reads.Span{}, s.store))
		}
		leave, closed := make(chan bool), make(chan bool)
		go func() {
			_ = c.Note(context.WithoutCancel(t.Context()), "one more", reads.Span{}, func(count int, since time.Time, q reads.Span) error { <-leave; return s.store(count, since, q) })
		}()
		synctest.Wait()
		go func() { c.Close(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close returned before the read was on record")
		default:
		}
		close(leave)
		<-closed
		require.Len(t, s.all(), 10_001)
	})
}

// What is counted was read over all the time from the first look's bound to the last
// one's, also where a count could not be recorded at first.
func TestWhatIsCountedHasTheTimeOfAllOfItsReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c reads.Counter
		var spans []reads.Span
		var fail error
		var mu sync.Mutex
		set := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			fail = err
		}
		store := func(_ int, _ time.Time, q reads.Span) error {
			mu.Lock()
			defer mu.Unlock()
			if fail == nil {
				spans = append(spans, q)
			}
			return fail
		}
		start := time.Now()
		look := func() {
			now := time.Now()
			require.NoError(t, c.Note(t.Context(), "a", reads.Span{Since: now.Add(-48 * time.Hour), Until: now.Add(-24 * time.Hour)}, store))
		}
		at := func(d time.Duration) reads.Span {
			return reads.Span{Since: start.Add(d - 48*time.Hour)}
		}
		until := func(q reads.Span, d time.Duration) reads.Span {
			q.Until = start.Add(d - 24*time.Hour)
			return q
		}
		look()
		time.Sleep(time.Minute)
		look()
		time.Sleep(time.Minute)
		look()
		set(errors.New("full"))
		time.Sleep(3*time.Minute + time.Second) // the count fails
		look()
		set(nil)
		time.Sleep(5 * time.Minute)
		look()
		c.Close()
		require.Equal(t, []reads.Span{
			until(at(0), 0), until(at(time.Minute), 5*time.Minute+time.Second), until(at(10*time.Minute+time.Second), 10*time.Minute+time.Second),
		}, spans)
	})
}

// recorders is an error as a recorder returns it.
type recorders struct{ error }

func (e *recorders) Unwrap() error { return e.error }

// What a recorder sends on is not counted again; what nobody sends on is.
func TestReadsThatWereNotStoredInTimeAreCountedOnce(t *testing.T) {
	late := fmt.Errorf("not stored in time: %w", context.DeadlineExceeded)
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"the recorder's":           {&recorders{late}, 1},
		"the recorder's, wrapped":  {fmt.Errorf("record: %w", &recorders{late}), 1},
		"the application's":        {late, 2},
		"before anything was sent": {&recorders{context.DeadlineExceeded}, 2},
		"a refusal":                {&recorders{errors.New("the log is full")}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var counter reads.Counter
				var s stored
				store := func(count int, since time.Time, span reads.Span) error {
					return reads.SentOn[*recorders](s.store(count, since, span))
				}
				for range 3 {
					require.NoError(t, counter.Note(t.Context(), "a", reads.Span{}, store))
				}
				s.failWith(c.err)
				time.Sleep(6 * time.Minute)
				synctest.Wait()
				s.failWith(nil)
				time.Sleep(time.Hour)
				counter.Close()
				require.Len(t, s.all(), c.want)
			})
		})
	}
}
