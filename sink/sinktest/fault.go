package sinktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit"
)

func cancelledContext(ctx context.Context, b *bench) error {
	records := newAuthor().logs(3)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	err := b.sink.Append(ended, records)
	if err := endedBy(err, context.Canceled); err != nil {
		return err
	}
	if err := b.append(ctx, records...); err != nil {
		return fmt.Errorf("the same records again: %w", err)
	}
	return b.holds(ctx, records...)
}

// endedBy returns nil if an Append's error is that of its ended context.
func endedBy(err, cause error) error {
	switch {
	case err == nil:
		return errors.New("sink.Append returned nil")
	case !errors.Is(err, cause):
		return fmt.Errorf("the error is not %q: %w", cause, err)
	}
	return notRefused(err)
}

// deadline is how long the callers of a hung medium wait. It only has to be
// long enough for a sink to reach its medium.
const deadline = 100 * time.Millisecond

func hungMedium(ctx context.Context, b *bench) error {
	if b.medium.Hang == nil {
		return errors.New("Medium.Hang is nil, and Traits.NoFaults is not set")
	}
	const size = 3
	trails := make([][]jobaudit.Record, 4)
	for i := range trails {
		trails[i] = newAuthor().logs(2 * size)
		if err := b.append(ctx, trails[i][:size]...); err != nil {
			return err
		}
	}
	heal := b.harm(b.medium.Hang())
	errs := make([]error, len(trails))
	var wg sync.WaitGroup
	for i, trail := range trails {
		wg.Go(func() { // several: the second may wait for the first one's lock
			errs[i] = guard(func() error {
				ctx, cancel := context.WithTimeout(ctx, deadline)
				defer cancel()
				return endedBy(b.sink.Append(ctx, trail[size:]), context.DeadlineExceeded)
			})
		})
	}
	wg.Wait()
	heal()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("while the medium hung: %w", err)
	}
	for _, trail := range trails {
		if err := b.append(ctx, trail[size:]...); err != nil {
			return fmt.Errorf("the same records again, after the medium was healed: %w", err)
		}
	}
	if b.traits.WriteOnly {
		return nil
	}
	got, err := b.read(ctx, jobaudit.Query{})
	if err != nil {
		return err
	}
	return b.untangle(got, trails, size)
}

func failedBatch(ctx context.Context, b *bench) error {
	if b.medium.Fail == nil {
		return errors.New("Medium.Fail is nil, and Traits.NoFaults is not set")
	}
	const rounds = 24
	var stored []jobaudit.Record
	for healthy := range rounds {
		batch := newAuthor().logs(8)
		heal := b.harm(b.medium.Fail(healthy))
		failure := b.sink.Append(ctx, batch)
		heal()
		if failure == nil && healthy == 0 {
			return errors.New("sink.Append returned nil although every write to the medium failed")
		}
		if err := b.settled(ctx, failure, stored, batch); err != nil {
			return fmt.Errorf("after %d healthy writes, then failing ones (Append returned %v): %w", healthy, failure, err)
		}
		stored = append(stored, batch...)
		if failure == nil {
			break // the medium had enough healthy writes for all of it
		}
	}
	return nil
}

// settled checks what a batch left behind on a medium that failed, and sends
// it again.
func (b *bench) settled(ctx context.Context, failure error, stored, batch []jobaudit.Record) error {
	if failure == nil {
		return b.holds(ctx, append(stored[:len(stored):len(stored)], batch...)...)
	}
	if err := notRefused(failure); err != nil {
		return err
	}
	if err := b.holdsPrefix(ctx, stored, batch); err != nil {
		return err
	}
	if err := b.append(ctx, batch...); err != nil {
		return fmt.Errorf("the same batch again, on a healed medium: %w", err)
	}
	return b.holds(ctx, append(stored[:len(stored):len(stored)], batch...)...)
}
