package sinktest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/jobaudit/jobaudit"
)

func iteration(ctx context.Context, b *bench) error {
	a := newAuthor()
	records := a.logs(50)
	if err := b.append(ctx, records...); err != nil {
		return err
	}
	reader, err := b.reader()
	if err != nil {
		return err
	}
	all := reader.Records(ctx, jobaudit.Query{})
	if n, err := take(all, 3); n != 3 || err != nil {
		return fmt.Errorf("a pass that is left after 3 records yielded %d and the error %v", n, err)
	}
	if n, err := take(all, len(records)+1); n != len(records) || err != nil {
		return fmt.Errorf("a second pass yielded %d of %d records and the error %v", n, len(records), err)
	}
	if err := cancelledPass(ctx, reader); err != nil {
		return err
	}
	more := a.logs(2)
	if err := b.appendWithin(ctx, all, more); err != nil {
		return err
	}
	want := len(records) + len(more)
	if n, err := take(all, want+1); n != want || err != nil {
		return fmt.Errorf("a pass after a further Append yielded %d of %d records and the error %v", n, want, err)
	}
	return nil
}

// take reads at most n records and returns how many it got.
func take(pass iter.Seq2[jobaudit.Record, error], n int) (int, error) {
	got := 0
	for _, err := range pass {
		if err != nil {
			return got, err
		}
		if got++; got == n {
			break
		}
	}
	return got, nil
}

// cancelledPass cancels a pass before its first record and after its third.
func cancelledPass(ctx context.Context, reader jobaudit.AuditReader) error {
	for _, after := range []int{0, 3} {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if after == 0 {
			cancel()
		}
		n, failures := 0, []error(nil)
		for r, err := range reader.Records(ctx, jobaudit.Query{}) {
			if len(failures) > 0 {
				return fmt.Errorf("a pass goes on after it yielded the error %w", failures[0])
			}
			if err != nil {
				failures = append(failures, err)
				if r.Len() > 0 {
					return fmt.Errorf("the error %w is yielded with a record", err)
				}
				continue
			}
			if n++; n == after {
				cancel()
			}
		}
		if len(failures) == 0 || !errors.Is(failures[0], context.Canceled) {
			return fmt.Errorf("a pass whose context ended after %d records yielded %d and ended with %v instead of the context's error", after, n, errors.Join(failures...))
		}
	}
	return nil
}

// appendWithin appends, and reads, while a pass is under way.
func (b *bench) appendWithin(ctx context.Context, pass iter.Seq2[jobaudit.Record, error], more []jobaudit.Record) error {
	n := 0
	for _, err := range pass {
		if err != nil {
			return fmt.Errorf("a pass during which records are appended: %w", err)
		}
		if n++; n != 2 {
			continue
		}
		if err := b.append(ctx, more...); err != nil {
			return fmt.Errorf("while a pass is under way: %w", err)
		}
		if _, err := take(pass, 1); err != nil {
			return fmt.Errorf("a pass inside a pass: %w", err)
		}
	}
	return nil
}

// failure is the code of the error that one of the mixed jobs ends with.
const failure = "E_NOSPC"

// mixed returns the trails of three jobs that differ in all that a Query can
// select by, in turns.
func mixed() []jobaudit.Record {
	root := newAuthor()
	child := newAuthor()
	child.root, child.correlation, child.principal = root.job, root.correlation, "u-2"
	child.behalf = []string{"u-3", "u-1"}
	other := newAuthor()
	other.resource, other.fails = "index/\"orders\"", failure
	other.org, other.action, other.now = "o'brien \"& co\"", "rotate/%2e", other.now.Add(3*time.Second)
	trails := [][]jobaudit.Record{root.trail(), child.trail(), other.trail()}
	var turns []jobaudit.Record
	for i := range trails[0] {
		for _, trail := range trails {
			turns = append(turns, trail[i])
		}
	}
	return turns
}

func selection(ctx context.Context, b *bench) error {
	all := mixed()
	if err := b.append(ctx, all...); err != nil {
		return err
	}
	child, other := all[1].Event(), all[2].Event()
	middle := all[len(all)/2].Time()
	for _, q := range []jobaudit.Query{
		{JobID: child.Job.ID},
		{JobID: [16]byte(newID())},
		{CorrelationID: child.CorrelationID},
		{RootID: child.Job.RootID},
		{PrincipalID: "u-2"},
		{PrincipalID: "U-2"},
		{ActingFor: "u-1"},
		{ActingFor: "u-3"},
		{ActingFor: "u-4"},
		{OrgID: other.Who.OrgID},
		{Action: other.What.Action},
		{Types: []jobaudit.EventType{jobaudit.JobStarted, jobaudit.JobSucceeded}},
		{Resource: other.What.Resource},
		{State: jobaudit.Running},
		{ErrorCode: failure},
		{Since: middle},
		{Until: middle},
		{Since: middle, Until: middle},
		{Since: middle.Add(999)}, // finer than what is stored: still at or after middle
		{Until: middle.Add(999)},
		{Since: all[3].Time(), Until: other.Time.In(time.FixedZone("", 3600))},
		{CorrelationID: child.CorrelationID, PrincipalID: "u-1", Types: []jobaudit.EventType{jobaudit.JobLogged}},
		{JobID: other.Job.ID, CorrelationID: child.CorrelationID},
	} {
		var want []jobaudit.Record
		for _, r := range all {
			if q.Match(r) {
				want = append(want, r)
			}
		}
		got, err := b.read(ctx, q)
		if err != nil {
			return err
		}
		if err := b.compare(got, want); err != nil {
			return fmt.Errorf("%+v: %w", q, err)
		}
	}
	return nil
}

func paging(ctx context.Context, b *bench) error {
	all := mixed()
	if err := b.append(ctx, all...); err != nil {
		return err
	}
	for _, q := range []jobaudit.Query{{}, {JobID: all[0].JobID()}, {CorrelationID: all[0].Event().CorrelationID}, {State: jobaudit.Running}} {
		for _, q.NewestFirst = range []bool{false, true} {
			if err := b.pages(ctx, q, all); err != nil {
				return err
			}
		}
	}
	// After need not be of the selection itself.
	q := jobaudit.Query{JobID: all[1].JobID(), After: all[5].ID()}
	got, err := b.read(ctx, q)
	if err != nil {
		return err
	}
	if err := b.compare(got, []jobaudit.Record{all[7], all[10], all[13]}); err != nil {
		return fmt.Errorf("%+v: %w", q, err)
	}
	return b.unknownAfter(ctx)
}

// pages reads a selection page by page.
func (b *bench) pages(ctx context.Context, q jobaudit.Query, all []jobaudit.Record) error {
	var want []jobaudit.Record
	for _, r := range all {
		if q.Match(r) {
			want = append(want, r)
		}
	}
	if q.NewestFirst {
		slices.Reverse(want)
	}
	for _, limit := range []int{0, 1, 2, len(want), len(want) + 1} {
		q.After, q.Limit = [16]byte{}, limit
		rest := want
		for {
			page := rest
			if limit > 0 {
				page = rest[:min(limit, len(rest))]
			}
			got, err := b.read(ctx, q)
			if err != nil {
				return err
			}
			if err := b.compare(got, page); err != nil {
				return fmt.Errorf("%+v: %w", q, err)
			}
			if len(page) == 0 {
				break
			}
			rest, q.After = rest[len(page):], page[len(page)-1].ID()
		}
	}
	return nil
}

func (b *bench) unknownAfter(ctx context.Context) error {
	reader, err := b.reader()
	if err != nil {
		return err
	}
	failures := 0
	for r, err := range reader.Records(ctx, jobaudit.Query{After: [16]byte(newID())}) {
		if err == nil {
			return fmt.Errorf("behind an ID that is not stored, %v is read", r)
		}
		failures++
	}
	if failures != 1 {
		return fmt.Errorf("an After that is not stored yields %d errors instead of 1", failures)
	}
	return nil
}

func hashLink(ctx context.Context, b *bench) error {
	all := mixed()
	if err := b.append(ctx, all...); err != nil {
		return err
	}
	got, err := b.read(ctx, jobaudit.Query{})
	if err != nil {
		return err
	}
	got = distinct(got)
	if b.traits.Unordered {
		slices.SortFunc(got, func(a, b jobaudit.Record) int {
			return int(a.Event().Stream.Seq) - int(b.Event().Stream.Seq)
		})
	}
	streams := make(map[id]*author)
	for _, r := range all {
		streams[id(r.Event().Stream.ID)] = new(author)
	}
	for _, r := range got {
		at, hash := r.Event().Stream, jobaudit.Hash(sha256.Sum256(append([]byte{0}, r.Bytes()...)))
		s := streams[id(at.ID)]
		switch {
		case s == nil:
			return fmt.Errorf("%v is of a stream that was not written", r)
		case at.Seq != s.seq+1:
			return fmt.Errorf("stream %s: seq %d comes after %d", at.ID, at.Seq, s.seq)
		case at.Prev != s.prev:
			return fmt.Errorf("stream %s: prev of seq %d is not the hash of seq %d", at.ID, at.Seq, s.seq)
		case hash != r.Hash():
			return fmt.Errorf("stream %s: the hash of seq %d is not that of its bytes", at.ID, at.Seq)
		}
		s.seq, s.prev = at.Seq, hash
	}
	for stream, s := range streams {
		if want := uint64(len(all) / len(streams)); s.seq != want {
			return fmt.Errorf("stream %s ends at seq %d instead of %d", stream, s.seq, want)
		}
	}
	return nil
}

func proof(ctx context.Context, b *bench) error {
	if b.medium.Prove == nil {
		return errors.New("Medium.Prove is nil, and Traits.Unproven is not set")
	}
	all := append(mixed(), newAuthor().nasty()...)
	if err := b.append(ctx, all...); err != nil {
		return err
	}
	got, err := b.read(ctx, jobaudit.Query{})
	if err != nil {
		return err
	}
	if err := b.compare(slices.Clone(got), all); err != nil {
		return err
	}
	for _, r := range got {
		if err := b.medium.Prove(ctx, b.sink, r); err != nil {
			return fmt.Errorf("%v: %w", r, err)
		}
	}
	if stranger := newAuthor().log("never stored"); b.medium.Prove(ctx, b.sink, stranger) == nil {
		return errors.New("a record that was never stored is proved, too")
	}
	return nil
}
