package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/jobaudit/jobaudit"
)

// unreadableRecord makes stored records unreadable, and reads.
func unreadableRecord(ctx context.Context, b *bench) error {
	if b.medium.Replace == nil {
		return errors.New("Medium.Replace is nil, and Traits.Irreplaceable is not set")
	}
	all := mixed()
	if err := b.append(ctx, all...); err != nil {
		return err
	}
	broken := []jobaudit.Record{all[0], all[4], all[5], all[len(all)-1]} // the first, two in a row, the last
	for _, r := range broken {
		line := bytes.Replace(r.Bytes(), []byte(`"schemaVersion":"1.`), []byte(`"schemaVersion":"9.`), 1)
		if err := b.medium.Replace(ctx, r, line); err != nil {
			return fmt.Errorf("Medium.Replace: %w", err)
		}
	}
	reader, err := b.reader()
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(all), func(r jobaudit.Record) bool { return b.isOneOf(r, broken) })
	for _, q := range []jobaudit.Query{
		{}, {NewestFirst: true}, {Limit: 3}, {Limit: len(all)},
		{JobID: all[0].JobID()}, {JobID: all[1].JobID(), NewestFirst: true}, {CorrelationID: all[2].Event().CorrelationID},
		{PrincipalID: "u-2"}, {Types: []jobaudit.EventType{jobaudit.JobLogged}}, {After: all[3].ID()},
	} {
		if err := b.readsOn(reader.Records(ctx, q), q, all, left); err != nil {
			return fmt.Errorf("reading %+v with %d unreadable records: %w", q, len(broken), err)
		}
	}
	if tailer, ok := b.sink.(tailer); ok && !b.traits.NoTail {
		q := jobaudit.Query{Limit: len(left)}
		if err := b.readsOn(tailer.Tail(ctx, q), q, all, left); err != nil {
			return fmt.Errorf("a tail with %d unreadable records: %w", len(broken), err)
		}
	}
	_ = b.close() // which may find out and say so
	return nil
}

// isOneOf reports whether a record is one of a list.
func (b *bench) isOneOf(r jobaudit.Record, list []jobaudit.Record) bool {
	return slices.ContainsFunc(list, func(other jobaudit.Record) bool { return same(r, other) })
}

// readsOn returns nil if a pass yields what the query selects of the records
// that are left, and no errors but those that name unreadable records: each
// of them at most once, and at least once if the query selected it before and
// the pass is not cut short.
func (b *bench) readsOn(pass iter.Seq2[jobaudit.Record, error], q jobaudit.Query, all, left []jobaudit.Record) error {
	var got []jobaudit.Record
	places := make(map[string]bool)
	for r, err := range pass {
		if err == nil {
			got = append(got, r)
			continue
		}
		unreadable, is := errors.AsType[*jobaudit.UnreadableError](err)
		switch {
		case !is:
			return fmt.Errorf("the error %w (%T) wraps no *UnreadableError", err, err)
		case unreadable.Place == "":
			return fmt.Errorf("%w: the error does not say where the record is", err)
		case places[unreadable.Place]:
			return fmt.Errorf("%w: the error comes twice", err)
		case r.Len() > 0:
			return fmt.Errorf("%w: the error is yielded with a record", err)
		}
		places[unreadable.Place] = true
	}
	selected, want := selectedOf(q, all), selectedOf(q, left)
	if err := b.compare(distinct(got), want); err != nil {
		return err
	}
	if missing := len(selected) - len(want); q.Limit == 0 && len(places) < missing {
		return fmt.Errorf("%d unreadable records are named instead of at least %d", len(places), missing)
	}
	return nil
}

// selectedOf returns which of the records, in the order of the log, a query
// selects.
func selectedOf(q jobaudit.Query, records []jobaudit.Record) []jobaudit.Record {
	var selected []jobaudit.Record
	for _, r := range records {
		if q.Match(r) {
			selected = append(selected, r)
		}
		if id(r.ID()) == id(q.After) && q.After != [16]byte{} {
			selected = nil
		}
	}
	if q.NewestFirst {
		slices.Reverse(selected)
	}
	if q.Limit > 0 {
		selected = selected[:min(q.Limit, len(selected))]
	}
	return selected
}
