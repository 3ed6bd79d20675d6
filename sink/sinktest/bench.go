package sinktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/jobaudit/jobaudit"
)

// bench is what a case works on: a medium and the sink that is open on it.
type bench struct {
	traits Traits
	medium Medium
	sink   jobaudit.AuditSink // nil between close and open

	mu    sync.Mutex
	heals []func() // of faults that are still in force
}

// run gives the case a new medium with an open sink, and closes what the case
// leaves open.
func (b *bench) run(ctx context.Context, open func(context.Context) (Medium, error), body func(context.Context, *bench) error) error {
	medium, err := open(ctx)
	if err != nil {
		return fmt.Errorf("the test gave no medium: %w", err)
	}
	b.medium = medium
	if err := b.open(ctx); err != nil {
		return err
	}
	if err := body(ctx, b); err != nil {
		b.heal()
		_ = b.close() // the case's error is the one that counts
		return err
	}
	return b.close()
}

// open opens a sink over the medium.
func (b *bench) open(ctx context.Context) error {
	sink, err := b.medium.Open(ctx)
	if err != nil {
		return fmt.Errorf("Medium.Open: %w", err)
	}
	if _, closes := sink.(io.Closer); !closes && !b.traits.NoClose {
		return fmt.Errorf("%T is no io.Closer, and Traits.NoClose is not set", sink)
	}
	b.sink = sink
	return nil
}

// close closes the open sink, if there is one and it can be closed.
func (b *bench) close() error {
	closer, ok := b.sink.(io.Closer)
	b.sink = nil
	if !ok || b.traits.NoClose {
		return nil
	}
	if err := closer.Close(); err != nil {
		return fmt.Errorf("sink.Close: %w", err)
	}
	return nil
}

// harm remembers how a fault is healed, for the case that hangs. The returned
// function heals it.
func (b *bench) harm(heal func()) func() {
	once := sync.OnceFunc(heal)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heals = append(b.heals, once)
	return once
}

// heal heals the medium.
func (b *bench) heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, heal := range b.heals {
		heal()
	}
}

// append stores a batch that nothing speaks against.
func (b *bench) append(ctx context.Context, records ...jobaudit.Record) error {
	if err := b.sink.Append(ctx, records); err != nil {
		return fmt.Errorf("sink.Append of %d good records: %w", len(records), err)
	}
	return nil
}

func (b *bench) reader() (jobaudit.AuditReader, error) {
	reader, ok := b.sink.(jobaudit.AuditReader)
	if !ok {
		return nil, fmt.Errorf("%T is no AuditReader, and Traits.WriteOnly is not set", b.sink)
	}
	return reader, nil
}

// read returns what a query selects.
func (b *bench) read(ctx context.Context, q jobaudit.Query) ([]jobaudit.Record, error) {
	reader, err := b.reader()
	if err != nil {
		return nil, err
	}
	var records []jobaudit.Record
	for r, err := range reader.Records(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("reading %+v: %w", q, err)
		}
		records = append(records, r)
	}
	return records, nil
}

// holds returns nil if the sink holds exactly these records, as far as its
// traits let one see that: in this order unless it is unordered, each once
// unless it stores at least once.
func (b *bench) holds(ctx context.Context, want ...jobaudit.Record) error {
	if b.traits.WriteOnly {
		return nil
	}
	got, err := b.read(ctx, jobaudit.Query{})
	if err != nil {
		return err
	}
	return b.compare(got, want)
}

func (b *bench) compare(got, want []jobaudit.Record) error {
	want = slices.Clone(want)
	if b.traits.AtLeastOnce {
		got = distinct(got)
	}
	if b.traits.Unordered {
		slices.SortFunc(got, compareIDs)
		slices.SortFunc(want, compareIDs)
	}
	for i, w := range want {
		switch {
		case i >= len(got):
			return fmt.Errorf("%d records are read back instead of %d: the first one missing is %v", len(got), len(want), w)
		case got[i].ID() != w.ID():
			return fmt.Errorf("record %d of %d is %v instead of %v", i+1, len(want), got[i], w)
		case !same(got[i], w):
			return fmt.Errorf("record %d of %d has other bytes:\n\t%s\n\tinstead of\n\t%s", i+1, len(want), got[i].Bytes(), w.Bytes())
		}
	}
	if len(got) > len(want) {
		return fmt.Errorf("%d records are read back instead of %d: the first one too many is %v", len(got), len(want), got[len(want)])
	}
	return nil
}

func same(a, b jobaudit.Record) bool {
	return string(a.Bytes()) == string(b.Bytes()) && a.Hash() == b.Hash()
}

func compareIDs(a, b jobaudit.Record) int {
	x, y := a.ID(), b.ID()
	return slices.Compare(x[:], y[:])
}

// distinct returns the records without those that stand before already with
// the same bytes.
func distinct(records []jobaudit.Record) []jobaudit.Record {
	seen := make(map[jobaudit.Hash]bool, len(records))
	var first []jobaudit.Record
	for _, r := range records {
		if !seen[r.Hash()] {
			first = append(first, r)
		}
		seen[r.Hash()] = true
	}
	return first
}

// notRefused returns an error if err says that a good record can never be
// stored: its caller would never send it again.
func notRefused(err error) error {
	if refusal, is := errors.AsType[*jobaudit.RecordError](err); is {
		return fmt.Errorf("a good record is refused permanently, with a *RecordError: %w", refusal)
	}
	return nil
}
