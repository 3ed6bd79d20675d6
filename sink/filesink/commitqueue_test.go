package filesink_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
)

// impatient is a context that ends as soon as somebody waits for its end.
type impatient struct {
	context.Context
	waited atomic.Bool
}

func (i *impatient) Done() <-chan struct{} {
	i.waited.Store(true)
	ended := make(chan struct{})
	close(ended)
	return ended
}

func (i *impatient) Err() error {
	if i.waited.Load() {
		return context.DeadlineExceeded
	}
	return nil
}

// drop sends records and does not wait for the outcome.
func drop(t *testing.T, s *filesink.Sink, records ...jobaudit.Record) {
	t.Helper()
	require.ErrorIs(t, s.Append(&impatient{Context: t.Context()}, records), context.DeadlineExceeded)
}

// other returns a record with the same ID and other bytes.
func other(t *testing.T, r jobaudit.Record) jobaudit.Record {
	t.Helper()
	line := bytes.Replace(r.Bytes(), []byte(`"host":"h"`), []byte(`"host":"g"`), 1)
	changed, err := jobaudit.ParseRecord(line)
	require.NoError(t, err)
	require.Equal(t, r.ID(), changed.ID())
	require.NotEqual(t, r.Hash(), changed.Hash())
	return changed
}

// hang lets the next write of entries wait until heal is called.
func hang(faults *simdisk.Faults) (hung <-chan struct{}, heal func()) {
	reached, healed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	faults.Before(func(op simdisk.Op) error {
		if op.Kind == "write" && strings.HasPrefix(op.Name, "entries/") {
			once.Do(func() { close(reached) })
			<-healed
		}
		return nil
	})
	return reached, func() { close(healed) }
}

func TestAnEventThatIsSentAgainBeforeItIsDurableIsStoredOnce(t *testing.T) {
	p := newPlace(t)
	faults := simdisk.NewFaults(simdisk.OS)
	s := p.open(t, filesink.On(faults, nil))
	all := plain(t, 4)
	store(t, s, 1, all[0])

	hung, heal := hang(faults)
	drop(t, s, all[1])
	<-hung
	drop(t, s, all[2]) // behind the batch that is written
	conflict := func(r jobaudit.Record) {
		t.Helper()
		err := s.Append(t.Context(), []jobaudit.Record{all[3], other(t, r)})
		require.ErrorIs(t, err, jobaudit.ErrConflict, "which needs no disk to be told")
	}
	conflict(all[1])
	conflict(all[2])
	conflict(all[3])
	drop(t, s, all[1], all[2], all[2])
	heal()

	store(t, s, 3, all[1], all[2], all[0])
	requireRecords(t, all[:3], read(t, s, jobaudit.Query{}))
	require.NoError(t, s.Close())
	p.verify(t, s.Checkpoint().Head())
}

func TestADiskThatHangsDoesNotFillTheMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it records 10,000 events")
	}
	p := newPlace(t)
	faults := simdisk.NewFaults(simdisk.OS)
	s := p.open(t, filesink.On(faults, nil))
	hung, heal := hang(faults)
	drop(t, s, plain(t, 1)...)
	<-hung
	sent := 1
	for range 10 { // some 8 MB
		drop(t, s, plain(t, 1000)...)
		sent += 1000
	}
	heal()
	store(t, s, 1, plain(t, 1)...)
	require.Less(t, s.Checkpoint().Head().Size, int64(8000), "of %d; there was no room for the others", sent)
	require.NoError(t, s.Close())
	p.verify(t)
}

func TestWritersWhoRepeatThemselvesOnAFailingDiskStoreEachEventOnce(t *testing.T) {
	p := newPlace(t)
	faults := simdisk.NewFaults(simdisk.OS)
	s := p.open(t, filesink.On(faults, &filesink.Options{SegmentSize: 16 << 10, OnError: func(error) {}}))
	var calls atomic.Int64
	faults.Before(func(op simdisk.Op) error {
		if op.Changes() && strings.HasPrefix(op.Name, "entries") && calls.Add(1)%31 < 4 { // so that new segments cannot be begun either
			return simdisk.ErrInjected
		}
		return nil
	})
	all := plain(t, size.Times(300, 80))
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for w := range errs {
		random := rand.New(rand.NewPCG(uint64(w), 0))
		wg.Go(func() {
			for i := 0; i < len(all) && errs[w] == nil; {
				batch := all[i:min(i+1+random.IntN(4), len(all))]
				err := s.Append(context.WithoutCancel(t.Context()), batch)
				switch {
				case err == nil:
					i += len(batch)
				case !errors.Is(err, simdisk.ErrInjected):
					errs[w] = err
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	got := map[uuid.UUID]int{}
	for _, r := range read(t, s, jobaudit.Query{}) {
		got[r.ID()]++
	}
	require.Len(t, got, len(all))
	for id, n := range got {
		require.Equal(t, 1, n, "%s", id)
	}
	faults.Before(nil)
	require.NoError(t, s.Close())
	p.verify(t, s.Checkpoint().Head())
}

func TestAnIndexIsWrittenBesideTheCommitsThatFollow(t *testing.T) {
	p := newPlace(t)
	faults := simdisk.NewFaults(simdisk.OS)
	s := p.open(t, filesink.On(faults, &filesink.Options{SegmentSize: 16 << 10}))
	healed := make(chan struct{})
	faults.Before(func(op simdisk.Op) error {
		if op.Changes() && strings.HasPrefix(op.Name, "index/") {
			<-healed
		}
		return nil
	})
	all := plain(t, 30)
	store(t, s, 1, all[:25]...)
	require.Len(t, segments(t, p.dir), 2)
	store(t, s, 1, all[:25]...)
	require.ErrorIs(t, s.Append(t.Context(), []jobaudit.Record{other(t, all[0])}), jobaudit.ErrConflict)
	requireRecords(t, all[:25], read(t, s, jobaudit.Query{}))
	requireRecords(t, all[:25], read(t, openReader(t, p.dir), jobaudit.Query{}))
	_, err := s.Prove(t.Context(), all[3].ID())
	require.NoError(t, err)
	close(healed)
	store(t, s, 1, all...)
	requireRecords(t, all, read(t, s, jobaudit.Query{}))
	require.NoError(t, s.Close())
	p.verify(t, s.Checkpoint().Head())
}
