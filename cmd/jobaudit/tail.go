package main

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/story"
)

// pollInterval is how often tail -f looks for new events. Polling, unlike
// notifications, works on every file system.
const pollInterval = 200 * time.Millisecond

func (a *app) tailCommand() *cobra.Command {
	var f filters
	var asJSON, follow bool
	var keys []string
	var n int
	cmd := &cobra.Command{
		Use:   "tail SOURCE...",
		Short: "Print the newest events, and with -f those to come",
		Long: `Print the newest events and, with -f, those to come as soon as they are
committed, until it is interrupted. Several logs are read as one; -f follows one.`,
		Args:              wrongly(cobra.MinimumNArgs(1)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, _, err := f.query()
			if err != nil {
				return err
			}
			if follow && len(args) > 1 {
				return usagef("-f follows one log: run it once for each")
			}
			if err := a.give(keys); err != nil {
				return err
			}
			logs, err := a.openAll(cmd.Context(), args)
			if err != nil {
				return err
			}
			unread, printed := 0, 0
			for r, err := range logs.tail(cmd.Context(), q, max(n, 0), follow, &unread) {
				if err != nil {
					return err
				}
				if err := a.event(r, &f, asJSON); err != nil {
					return err
				}
				printed++
			}
			a.unreadable(unread)
			switch {
			case follow:
			case printed > 0:
				a.unverified(logs)
			case n > 0:
				return a.nothing(cmd.Context(), logs, &f, "event")
			}
			return nil
		},
	}
	f.addEvents(cmd)
	keyFlag(cmd, &keys)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with the events to come")
	cmd.Flags().IntVarP(&n, "lines", "n", 10, "begin with this many events")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the events as they are stored")
	return cmd
}

// tail is the newest records of all logs, in the one order of their causes, or what
// the only one yields.
func (s sources) tail(ctx context.Context, q jobaudit.Query, n int, follow bool, unread *int) iter.Seq2[jobaudit.Record, error] {
	if len(s) == 1 {
		return s[0].tail(ctx, q, n, follow, unread)
	}
	return func(yield func(jobaudit.Record, error) bool) {
		var logs []iter.Seq2[jobaudit.Record, error]
		for _, l := range s {
			logs = append(logs, l.tail(ctx, q, n, false, unread))
		}
		var newest []jobaudit.Record
		for r, err := range story.Merge(logs...) {
			if err != nil {
				yield(r, err)
				return
			}
			newest = append(newest, r)
		}
		for _, r := range newest[max(0, len(newest)-n):] {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (d directory) tail(ctx context.Context, q jobaudit.Query, n int, follow bool, unread *int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		t := &tail{dir: d, query: q, unread: unread}
		newest, err := t.newest(ctx, n)
		left := false
		for _, r := range slices.Backward(newest) {
			if left = !yield(r, nil); left {
				return
			}
		}
		if err == nil && follow {
			err = t.follow(ctx, func(r jobaudit.Record) bool {
				left = !yield(r, nil)
				return !left
			})
		}
		if err != nil && !left {
			yield(jobaudit.Record{}, err)
		}
	}
}

// newest reads the newest n records that match, the last first, and finds where
// to go on from.
func (t *tail) newest(ctx context.Context, n int) (newest []jobaudit.Record, err error) {
	may := maybe(t.query, "")
	for l, err := range t.dir.backward(ctx) {
		if err != nil {
			return newest, err
		}
		if auditlog.IsCommit(l.text) {
			if head, err := auditlog.CommitHead(l.text); err == nil && t.at.segment == "" {
				t.at, t.seen = position{segment: l.segment, offset: l.end, index: head.Size}, head.Size
			}
			continue
		}
		if len(newest) >= n {
			break
		}
		if !may(l.text) {
			continue
		}
		r, err := jobaudit.ParseRecord(l.text)
		if err != nil {
			*t.unread++
			continue
		}
		if t.query.Match(r) {
			newest = append(newest, r)
		}
	}
	return newest, nil
}

// tail reads on where it was.
type tail struct {
	dir    directory
	query  jobaudit.Query
	at     position
	seen   int64 // records before this index were read
	unread *int
}

// follow yields what is added, until the context ends, which is no error.
func (t *tail) follow(ctx context.Context, yield func(jobaudit.Record) bool) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		left := false
		err := t.read(ctx, func(r jobaudit.Record) bool {
			left = !yield(r)
			return !left
		})
		if ctx.Err() != nil || left {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// read goes through the batches that were added, until yield says no.
func (t *tail) read(ctx context.Context, yield func(jobaudit.Record) bool) error {
	for b, err := range t.dir.batches(ctx, &t.at) {
		if err != nil {
			return err
		}
		for i, line := range b.lines {
			index := b.first + int64(i)
			if index < t.seen {
				continue // an interrupted write that was written again
			}
			t.seen = index + 1
			r, err := jobaudit.ParseRecord(line)
			if err != nil {
				*t.unread++
				continue
			}
			if t.query.Match(r) && !yield(r) {
				return nil
			}
		}
	}
	return nil
}
