package sinktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jobaudit/jobaudit"
)

func roundTrip(ctx context.Context, b *bench) error {
	records := append(newAuthor().trail(), newAuthor().nasty()...)
	if err := b.append(ctx, records...); err != nil {
		return err
	}
	return b.holds(ctx, records...)
}

func order(ctx context.Context, b *bench) error {
	// IDs fall while the records go on, and times stand still: only the order
	// of acceptance can bring them back in theirs.
	var all []jobaudit.Record
	for range 40 {
		all = append(all, newAuthor().log("the first of its stream"))
	}
	slices.Reverse(all)
	for batch := range slices.Chunk(all, 7) {
		if err := b.append(ctx, batch...); err != nil {
			return err
		}
	}
	return b.holds(ctx, all...)
}

func retry(ctx context.Context, b *bench) error {
	records := newAuthor().logs(6)
	batches := [][]jobaudit.Record{
		records[:3],
		records[:3],                          // again
		records[1:2],                         // a part
		records[2:5],                         // overlapping
		{records[5], records[5], records[0]}, // twice in one batch
		records,
	}
	for i, batch := range batches {
		if err := b.append(ctx, batch...); err != nil {
			return fmt.Errorf("batch %d: %w", i+1, err)
		}
	}
	return b.holds(ctx, records...)
}

func conflict(ctx context.Context, b *bench) error {
	a := newAuthor()
	first, before, behind := a.log("first"), a.log("before"), a.log("behind")
	twin := a.twin(first)
	if err := b.append(ctx, first); err != nil {
		return err
	}
	if err := b.refuses(ctx, []jobaudit.Record{twin}, id(first.ID()), jobaudit.ErrConflict); err != nil {
		return err
	}
	if err := b.refuses(ctx, []jobaudit.Record{before, twin, behind}, id(first.ID()), jobaudit.ErrConflict); err != nil {
		return err
	}
	if err := b.holdsPrefix(ctx, []jobaudit.Record{first}, []jobaudit.Record{before}); err != nil {
		return fmt.Errorf("after a conflict: %w", err)
	}
	// Inside one batch, too.
	if err := b.refuses(ctx, []jobaudit.Record{behind, a.twin(behind)}, id(behind.ID()), jobaudit.ErrConflict); err != nil {
		return fmt.Errorf("two records of one batch: %w", err)
	}
	if err := b.append(ctx, before, behind); err != nil {
		return fmt.Errorf("the good records of a refused batch: %w", err)
	}
	return b.holds(ctx, first, before, behind)
}

func malformedRecord(ctx context.Context, b *bench) error {
	records := newAuthor().logs(2)
	var empty jobaudit.Record
	if err := b.refuses(ctx, []jobaudit.Record{empty}, id{}, nil); err != nil {
		return err
	}
	if err := b.refuses(ctx, []jobaudit.Record{records[0], empty, records[1]}, id{}, nil); err != nil {
		return err
	}
	if err := b.holdsPrefix(ctx, nil, records[:1]); err != nil {
		return fmt.Errorf("after a refusal: %w", err)
	}
	if err := b.append(ctx, records...); err != nil {
		return fmt.Errorf("the good records of a refused batch: %w", err)
	}
	return b.holds(ctx, records...)
}

// refuses returns nil if Append refuses the batch with a *RecordError that
// names the record and is cause.
func (b *bench) refuses(ctx context.Context, batch []jobaudit.Record, record id, cause error) error {
	err := b.sink.Append(ctx, batch)
	refusal, is := errors.AsType[*jobaudit.RecordError](err)
	switch {
	case err == nil:
		return errors.New("sink.Append returned nil")
	case !is:
		return fmt.Errorf("the error is no *RecordError but %T: %w", err, err)
	case id(refusal.ID) != record:
		return fmt.Errorf("the *RecordError names %s instead of %s: %w", refusal.ID, record, err)
	case cause != nil && !errors.Is(err, cause):
		return fmt.Errorf("the error is not %q: %w", cause, err)
	}
	return nil
}

// holdsPrefix returns nil if the sink holds the stored records and behind them
// any prefix of batch.
func (b *bench) holdsPrefix(ctx context.Context, stored, batch []jobaudit.Record) error {
	if b.traits.WriteOnly {
		return nil
	}
	got, err := b.read(ctx, jobaudit.Query{})
	if err != nil {
		return err
	}
	n := len(distinct(got)) - len(stored)
	if n < 0 || n > len(batch) {
		return fmt.Errorf("%d records are stored, which is no prefix of the batch behind the %d that were there", len(got), len(stored))
	}
	return b.compare(got, slices.Concat(stored, batch[:n]))
}

func aliasing(ctx context.Context, b *bench) error {
	records, others := newAuthor().logs(20), newAuthor().logs(20)
	batch := make([]jobaudit.Record, 5)
	for part := range slices.Chunk(records, len(batch)) {
		copy(batch, part)
		if err := b.append(ctx, batch...); err != nil {
			return err
		}
		if !slices.EqualFunc(batch, part, func(a, b jobaudit.Record) bool { return a.Hash() == b.Hash() }) {
			return errors.New("the caller's slice, which is what is sent again, has been changed")
		}
		copy(batch, others) // the slice is the caller's again
	}
	for _, r := range records {
		clear(r.Bytes())
	}
	if err := b.holds(ctx, records...); err != nil {
		return fmt.Errorf("after the caller used its slice again: %w", err)
	}
	return nil
}

func concurrentWriters(ctx context.Context, b *bench) error {
	const writers, batches, size = 64, 4, 3
	trails := make([][]jobaudit.Record, writers)
	for i := range trails {
		trails[i] = newAuthor().logs(batches * size)
	}
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i, trail := range trails {
		wg.Go(func() {
			errs[i] = guard(func() error {
				for batch := range slices.Chunk(trail, size) {
					if err := b.append(ctx, batch...); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil || b.traits.WriteOnly {
		return err
	}
	got, err := b.read(ctx, jobaudit.Query{})
	if err != nil {
		return err
	}
	return b.untangle(got, trails, size)
}

// untangle checks that got is made of the trails' batches, each contiguous
// and, within its trail, in order.
func (b *bench) untangle(got []jobaudit.Record, trails [][]jobaudit.Record, size int) error {
	if b.traits.Unordered || b.traits.AtLeastOnce {
		slices.SortFunc(got, compareIDs)
		all := slices.SortedFunc(slices.Values(slices.Concat(trails...)), compareIDs)
		return b.compare(got, all)
	}
	rest := make(map[id][]jobaudit.Record, len(trails))
	for _, trail := range trails {
		rest[id(trail[0].JobID())] = trail
	}
	for at := 0; at < len(got); at += size {
		job := id(got[at].JobID())
		if len(rest[job]) < size {
			return fmt.Errorf("record %d is not expected there: %v", at+1, got[at])
		}
		batch := got[at:min(at+size, len(got))]
		if err := b.compare(batch, rest[job][:size]); err != nil {
			return fmt.Errorf("the batch at record %d: %w", at+1, err)
		}
		rest[job] = rest[job][size:]
	}
	for _, missing := range rest {
		if len(missing) > 0 {
			return fmt.Errorf("an acknowledged record is missing: %v", missing[0])
		}
	}
	return nil
}

// guard turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return f()
}
