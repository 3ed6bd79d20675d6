package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobaudit/jobaudit"
)

func writeAfterClose(ctx context.Context, b *bench) error {
	records := newAuthor().logs(2)
	if err := b.append(ctx, records[0]); err != nil {
		return err
	}
	sink := b.sink
	if err := b.close(); err != nil {
		return err
	}
	err := sink.Append(ctx, records[1:])
	if err == nil {
		return errors.New("sink.Append returned nil after Close")
	}
	return notRefused(err)
}

// run is what one writer did until its sink was closed.
type run struct {
	acknowledged, ambiguous []jobaudit.Record
	err                     error
}

func closeDuringWrites(ctx context.Context, b *bench) error {
	const writers, most = 8, 250
	sink := b.sink
	runs := make([]run, writers)
	var writing, all sync.WaitGroup
	var closed atomic.Bool
	for i := range runs {
		writing.Add(1)
		begun := sync.OnceFunc(writing.Done)
		all.Go(func() {
			defer begun()
			a := newAuthor()
			for range most {
				batch, late := a.logs(2), closed.Load()
				err := guard(func() error { return sink.Append(ctx, batch) })
				if err == nil && late {
					runs[i].err = errors.New("sink.Append returned nil after Close had returned")
					return
				}
				if err != nil {
					runs[i].ambiguous, runs[i].err = batch, notRefused(err)
					return
				}
				runs[i].acknowledged = append(runs[i].acknowledged, batch...)
				begun()
			}
		})
	}
	writing.Wait() // each has written, or could not
	err := guard(b.close)
	closed.Store(true)
	all.Wait()
	for _, r := range runs {
		err = errors.Join(err, r.err)
	}
	if err != nil || b.traits.Volatile || b.traits.WriteOnly {
		return err
	}
	return b.survived(ctx, runs)
}

// survived opens the medium again and looks for what the writers stored.
func (b *bench) survived(ctx context.Context, runs []run) error {
	if err := b.open(ctx); err != nil {
		return err
	}
	got, err := b.read(ctx, jobaudit.Query{})
	if err != nil {
		return err
	}
	byJob := make(map[id][]jobaudit.Record)
	for _, r := range got {
		byJob[id(r.JobID())] = append(byJob[id(r.JobID())], r)
	}
	for _, r := range runs {
		wrote := slices.Concat(r.acknowledged, r.ambiguous)
		if len(wrote) == 0 {
			continue
		}
		stored := distinct(byJob[id(wrote[0].JobID())])
		n := min(max(len(stored), len(r.acknowledged)), len(wrote))
		if err := b.compare(stored, wrote[:n]); err != nil {
			return fmt.Errorf("one writer's records, %d of them acknowledged: %w", len(r.acknowledged), err)
		}
	}
	return nil
}

func reopen(ctx context.Context, b *bench) error {
	a := newAuthor()
	first, second := a.logs(5), a.logs(2)
	if err := b.append(ctx, first...); err != nil {
		return err
	}
	if err := b.again(ctx, first); err != nil {
		return err
	}
	if err := b.append(ctx, first[1:3]...); err != nil {
		return fmt.Errorf("a retry after the open: %w", err)
	}
	if !b.traits.AtLeastOnce {
		twin := []jobaudit.Record{a.twin(first[0])}
		if err := b.refuses(ctx, twin, id(twin[0].ID()), jobaudit.ErrConflict); err != nil {
			return fmt.Errorf("a conflict with a record from before the open: %w", err)
		}
	}
	if err := b.append(ctx, second...); err != nil {
		return err
	}
	all := slices.Concat(first, second)
	if err := b.holds(ctx, all...); err != nil {
		return err
	}
	return b.again(ctx, all)
}

// again closes the sink, opens the medium again and looks for the records.
func (b *bench) again(ctx context.Context, want []jobaudit.Record) error {
	if err := b.close(); err != nil {
		return err
	}
	if err := b.open(ctx); err != nil {
		return err
	}
	if err := b.holds(ctx, want...); err != nil {
		return fmt.Errorf("after the medium was opened again: %w", err)
	}
	return nil
}

func goroutines(ctx context.Context, b *bench) error {
	// What the test's own medium needs may be started by its first Open, which
	// has been. What this sink starts inherits the label.
	if err := b.close(); err != nil {
		return err
	}
	mark := newID().String()
	done := make(chan error, 1)
	go pprof.Do(ctx, pprof.Labels("sinktest", mark), func(ctx context.Context) {
		done <- guard(func() error { return b.visit(ctx) })
	})
	if err := <-done; err != nil {
		return err
	}
	return gone(ctx, mark)
}

// visit uses a sink for a short while.
func (b *bench) visit(ctx context.Context) error {
	if err := b.open(ctx); err != nil {
		return err
	}
	if err := b.append(ctx, newAuthor().trail()...); err != nil {
		return err
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_ = b.sink.Append(ended, newAuthor().trail()) // another case's concern
	if reader, ok := b.sink.(jobaudit.AuditReader); ok {
		for _, err := range reader.Records(ctx, jobaudit.Query{}) {
			if err != nil {
				return err
			}
			break
		}
	}
	return b.close()
}

// leftover is how long a goroutine may take to end after Close returned.
const leftover = 4 * time.Second

// gone returns nil when no goroutine has the label. The runtime does not say
// when one ends, so this has to look again and again.
func gone(ctx context.Context, mark string) error {
	for wait := time.Millisecond; ; wait *= 2 {
		left, err := labelled(mark)
		if err != nil || left == "" {
			return err
		}
		if wait > leftover {
			return fmt.Errorf("still running:\n%s", left)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// labelled returns the stacks of the goroutines that have the label.
func labelled(mark string) (string, error) {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return "", err
	}
	var stacks []string
	for stack := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(stack, mark) {
			stacks = append(stacks, stack)
		}
	}
	return strings.Join(stacks, "\n"), nil
}
