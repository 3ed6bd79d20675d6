package memsink_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestConformance(t *testing.T) {
	sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
		var sink *memsink.Sink
		return sinktest.Medium{
			Open: func(context.Context) (jobaudit.AuditSink, error) {
				sink = memsink.New(nil)
				return sink, nil
			},
			Bytes: func(ctx context.Context) iter.Seq2[[]byte, error] {
				return func(yield func([]byte, error) bool) {
					for r, err := range sink.Records(ctx, jobaudit.Query{}) {
						if !yield(r.Bytes(), err) {
							return
						}
					}
				}
			},
		}, nil
	}, sinktest.Traits{Volatile: true, Unproven: true, NoFaults: true, Irreplaceable: true})
}

func stored(t *testing.T, sink *memsink.Sink, q jobaudit.Query) []jobaudit.Record {
	t.Helper()
	var records []jobaudit.Record
	for r, err := range sink.Records(t.Context(), q) {
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

func TestAFullSinkRefusesTheWholeBatchAndKeepsWhatItHas(t *testing.T) {
	records := sinktest.Records(5)
	size := int64(records[0].Len() + records[1].Len())
	sink := memsink.New(&memsink.Options{MaxBytes: size})
	require.NoError(t, sink.Append(t.Context(), records[:1]))
	err := sink.Append(t.Context(), records[1:])
	require.ErrorIs(t, err, memsink.ErrFull)
	_, refused := errors.AsType[*jobaudit.RecordError](err)
	require.False(t, refused, "a full sink is no reason never to send a record again")
	require.Equal(t, 1, sink.Len())
	require.NoError(t, sink.Append(t.Context(), records[1:2]), "what fits is taken")
	require.NoError(t, sink.Append(t.Context(), records[:2]), "what is stored needs no room")
	require.Equal(t, records[:2], stored(t, sink, jobaudit.Query{}))
}

func TestARefusedBatchLeavesNothing(t *testing.T) {
	records := sinktest.Records(5)
	sink := memsink.New(nil)
	require.Error(t, sink.Append(t.Context(), []jobaudit.Record{records[0], {}}))
	require.Zero(t, sink.Len())
	require.Empty(t, sink.Jobs())
	require.NoError(t, sink.Append(t.Context(), records))
	require.Equal(t, records, stored(t, sink, jobaudit.Query{JobID: records[0].JobID()}))
}

func TestAClosedSinkCanStillBeRead(t *testing.T) {
	records := sinktest.Records(5)
	sink := memsink.New(nil)
	require.NoError(t, sink.Append(t.Context(), records))
	require.NoError(t, sink.Close())
	require.NoError(t, sink.Close())
	require.ErrorIs(t, sink.Append(t.Context(), records), memsink.ErrClosed)
	require.Equal(t, records, stored(t, sink, jobaudit.Query{}))
}

func TestAPassSeesWhatWasStoredWhenItBegan(t *testing.T) {
	records := sinktest.Records(15)
	correlation := jobaudit.Query{CorrelationID: records[5].Event().CorrelationID}
	for _, q := range []jobaudit.Query{{}, {JobID: records[5].JobID()}, correlation, {NewestFirst: true}} {
		sink := memsink.New(nil)
		require.NoError(t, sink.Append(t.Context(), records[:6]))
		want := stored(t, sink, q)
		var got []jobaudit.Record
		for r, err := range sink.Records(t.Context(), q) {
			require.NoError(t, err)
			if len(got) == 0 {
				require.NoError(t, sink.Append(t.Context(), records[6:]))
				require.NotEqual(t, want, stored(t, sink, q), "another pass sees the rest")
			}
			got = append(got, r)
		}
		require.Equal(t, want, got)
	}
}

func TestReadersAndWritersDoNotDisturbEachOther(t *testing.T) {
	const writers = 8
	sink := memsink.New(nil)
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for range writers {
		writing.Go(func() {
			for range 20 {
				if err := sink.Append(t.Context(), sinktest.Records(5)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 4 {
		reading.Go(func() {
			for {
				for _, id := range sink.Jobs() {
					trail := sink.Trail(id)
					if len(trail) != 5 {
						t.Errorf("%d events of a batch of 5 are seen", len(trail))
						return
					}
					n := 0
					for range sink.Records(t.Context(), jobaudit.Query{CorrelationID: trail[0].CorrelationID}) {
						n++
					}
					if n != 5 {
						t.Errorf("%d events of a correlation of 5 are seen", n)
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	require.Equal(t, writers*20*5, sink.Len())
}

func TestTrailAndStatesAreThoseOfOneJob(t *testing.T) {
	records := sinktest.Records(10)
	sink := memsink.New(nil)
	require.NoError(t, sink.Append(t.Context(), records))
	require.Equal(t, []uuid.UUID{records[0].JobID(), records[5].JobID()}, sink.Jobs())
	trail := sink.Trail(records[5].JobID())
	require.Len(t, trail, 5)
	require.Equal(t, records[5].ID(), trail[0].ID)
	require.Equal(t, []jobaudit.JobState{jobaudit.Pending, jobaudit.Running, jobaudit.Success}, sink.States(records[5].JobID()))
	require.Empty(t, sink.Trail(uuid.Nil), "the unset ID is no job's")
}

func TestWaitReturnsTheEventAsSoonAsItIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := sinktest.Records(10)
		sink := memsink.New(nil)
		require.NoError(t, sink.Append(t.Context(), records[:5]))
		var waiting sync.WaitGroup
		for range 3 {
			waiting.Go(func() {
				r, err := sink.Wait(t.Context(), jobaudit.Query{JobID: records[9].JobID(), Types: []jobaudit.EventType{jobaudit.JobSucceeded}})
				if err != nil || r.ID() != records[9].ID() {
					t.Error(r, err)
				}
			})
		}
		for _, r := range records[5:] {
			synctest.Wait()
			require.NoError(t, sink.Append(t.Context(), []jobaudit.Record{r}))
		}
		waiting.Wait()
		r, err := sink.Wait(t.Context(), jobaudit.Query{})
		require.NoError(t, err)
		require.Equal(t, records[0], r, "what is stored needs no wait")
	})
}

func TestWaitEndsWithItsContextAndWithTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := memsink.New(nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := sink.Wait(ctx, jobaudit.Query{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = sink.Wait(t.Context(), jobaudit.Query{After: uuid.New()})
		require.Error(t, err, "an unknown ID will not come up")

		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := sink.Wait(t.Context(), jobaudit.Query{}); !errors.Is(err, memsink.ErrClosed) {
				t.Error(err)
			}
		})
		synctest.Wait()
		require.NoError(t, sink.Close())
		waiting.Wait()
	})
}

func BenchmarkAppend(b *testing.B) {
	records := sinktest.Records(10_000)
	sink := memsink.New(nil)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if i == len(records) {
			sink, i = memsink.New(nil), 0
		}
		if err := sink.Append(b.Context(), records[i:i+1]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
