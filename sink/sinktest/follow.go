package sinktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/jobaudit/jobaudit"
)

// jobs holds [jobaudit.Jobs] over the sink to its contract: its own method Jobs,
// if it has one, otherwise its Records.
func jobs(ctx context.Context, b *bench) error {
	all := mixed()
	if err := b.append(ctx, all...); err != nil {
		return err
	}
	reader, err := b.reader()
	if err != nil {
		return err
	}
	first, second, third := all[0].Event(), all[1].Event(), all[2].Event()
	ids := []id{id(third.Job.ID), id(second.Job.ID), id(first.Job.ID)} // newest first
	for _, want := range []struct {
		query jobaudit.Query
		jobs  []id
	}{
		{jobaudit.Query{}, ids},
		{jobaudit.Query{Limit: 2}, ids[:2]},
		{jobaudit.Query{After: third.Job.ID}, ids[1:]},
		{jobaudit.Query{After: second.Job.ID, Limit: 1}, ids[2:]},
		{jobaudit.Query{After: first.Job.ID}, nil},
		{jobaudit.Query{NewestFirst: true}, ids},
		{jobaudit.Query{JobID: second.Job.ID}, ids[1:2]},
		{jobaudit.Query{RootID: first.Job.ID}, ids[1:]},
		{jobaudit.Query{PrincipalID: second.Who.Principal.ID}, ids[1:2]},
		{jobaudit.Query{ActingFor: "u-1"}, ids},
		{jobaudit.Query{Resource: third.What.Resource}, ids[:1]},
		{jobaudit.Query{State: jobaudit.Success}, ids[1:]},
		{jobaudit.Query{State: jobaudit.Failed}, ids[:1]},
		{jobaudit.Query{State: jobaudit.Pending}, nil},
		{jobaudit.Query{ErrorCode: failure}, ids[:1]},
		{jobaudit.Query{Since: third.Time}, ids[:1]},
		{jobaudit.Query{Until: third.Time}, ids[1:]},
	} {
		if err := listed(ctx, reader, want.query, want.jobs); err != nil {
			return fmt.Errorf("the jobs of %+v: %w", want.query, err)
		}
	}
	for _, q := range []jobaudit.Query{{After: [16]byte(newID())}, {Types: []jobaudit.EventType{jobaudit.JobFailed}}} {
		if err := onlyAnError(jobaudit.Jobs(ctx, reader, q)); err != nil {
			return fmt.Errorf("the jobs of %+v: %w", q, err)
		}
	}
	return nil
}

// listed returns nil if Jobs yields these jobs, each as Replay folds it.
func listed(ctx context.Context, reader jobaudit.AuditReader, q jobaudit.Query, want []id) error {
	var got []id
	for job, err := range jobaudit.Jobs(ctx, reader, q) {
		if err != nil {
			return err
		}
		got = append(got, id(job.ID))
		folded, err := jobaudit.Replay(reader.Records(ctx, jobaudit.Query{JobID: job.ID}))
		if err != nil {
			return err
		}
		is, err := json.Marshal(job)
		if err != nil {
			return err
		}
		if replayed, err := json.Marshal(folded); err != nil || string(is) != string(replayed) {
			return fmt.Errorf("%s\n\tinstead of what Replay makes of it:\n\t%s %w", is, replayed, err)
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("jobs %v instead of %v", got, want)
	}
	return nil
}

// onlyAnError returns nil if an iteration yields one error and nothing else.
func onlyAnError[T any](pass iter.Seq2[T, error]) error {
	values, failures := 0, 0
	for _, err := range pass {
		if err == nil {
			values++
		} else {
			failures++
		}
	}
	if values > 0 || failures != 1 {
		return fmt.Errorf("%d values and %d errors are yielded instead of one error", values, failures)
	}
	return nil
}

// tailer is what readers may implement that can wait for records to come.
type tailer interface {
	Tail(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error]
}

// tail reads a log while it grows.
func tail(ctx context.Context, b *bench) error {
	tailer, ok := b.sink.(tailer)
	if !ok {
		return fmt.Errorf("%T has no method Tail, and Traits.NoTail is not set", b.sink)
	}
	all := mixed()
	if err := b.append(ctx, all[:4]...); err != nil {
		return err
	}
	child := jobaudit.Query{JobID: all[1].JobID()} // every third record from the second on
	if err := b.follow(ctx, tailer, child, all[1:2], all[4:]); err != nil {
		return err
	}
	for _, q := range []jobaudit.Query{{NewestFirst: true}, {After: [16]byte(newID())}} {
		if err := onlyAnError(tailer.Tail(ctx, q)); err != nil {
			return fmt.Errorf("a tail of %+v: %w", q, err)
		}
	}
	behind := jobaudit.Query{After: all[len(all)-1].ID(), Limit: 2}
	more := newAuthor().logs(3)
	next, stop := iter.Pull2(tailer.Tail(ctx, behind))
	defer stop()
	for _, r := range more {
		if err := b.append(ctx, r); err != nil {
			return err
		}
	}
	for _, want := range more[:2] {
		if err := pulled(next, want); err != nil {
			return err
		}
	}
	if r, err, goesOn := next(); goesOn {
		return fmt.Errorf("a tail with a limit goes on behind it with %v and the error %w", r, err)
	}
	return b.tailOfClosed(ctx, tailer)
}

// follow tails a selection of what is stored and what comes, one record after
// the other, until the context ends.
func (b *bench) follow(ctx context.Context, tailer tailer, q jobaudit.Query, stored, coming []jobaudit.Record) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next, stop := iter.Pull2(tailer.Tail(ctx, q))
	defer stop()
	for _, r := range stored {
		if err := pulled(next, r); err != nil {
			return err
		}
	}
	for _, r := range coming {
		appended := make(chan error, 1)
		go func() { // so that it may come while the tail waits
			appended <- guard(func() error { return b.append(ctx, r) })
		}()
		if q.Match(r) {
			if err := pulled(next, r); err != nil {
				return errors.Join(err, <-appended)
			}
		}
		if err := <-appended; err != nil {
			return err
		}
	}
	cancel()
	if _, err, _ := next(); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("a tail whose context has ended ends with %v instead of the context's error", err)
	}
	if _, err, goesOn := next(); goesOn {
		return fmt.Errorf("a tail goes on behind its context's error, with %w", err)
	}
	return nil
}

// pulled returns nil if what comes next is the record.
func pulled(next func() (jobaudit.Record, error, bool), want jobaudit.Record) error {
	r, err, ok := next()
	switch {
	case !ok:
		return fmt.Errorf("the tail ends instead of yielding %v", want)
	case err != nil:
		return fmt.Errorf("instead of %v the tail yields the error %w", want, err)
	case !same(r, want):
		return fmt.Errorf("the tail yields %v instead of %v", r, want)
	}
	return nil
}

// tailOfClosed closes the sink while a tail waits.
func (b *bench) tailOfClosed(ctx context.Context, tailer tailer) error {
	if b.traits.NoClose {
		return nil
	}
	last, err := b.read(ctx, jobaudit.Query{NewestFirst: true, Limit: 1})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		done <- guard(func() error { return onlyAnError(tailer.Tail(ctx, jobaudit.Query{After: last[0].ID()})) })
	}()
	if err := b.close(); err != nil {
		return err
	}
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("a tail of a sink that is closed: %w", err)
		}
		return nil
	case <-ctx.Done():
		return errors.New("a tail waits on although its sink has been closed")
	}
}
