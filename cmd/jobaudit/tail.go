package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
)

// pollInterval is how often tail -f looks for new events. Polling, unlike
// notifications, works on every file system.
const pollInterval = 200 * time.Millisecond

func (a *app) tailCommand() *cobra.Command {
	var f filters
	var asJSON, follow bool
	var n int
	cmd := &cobra.Command{
		Use:   "tail DIR",
		Short: "Print the newest events, and with -f those to come",
		Long: `Print the newest events and, with -f, those to come as soon as they are
committed, until it is interrupted.`,
		Args:              wrongly(cobra.ExactArgs(1)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, _, err := f.query()
			if err != nil {
				return err
			}
			source, err := open(args[0])
			if err != nil {
				return err
			}
			t := &tail{app: a, dir: source, query: q, asJSON: asJSON, keep: max(n, 0)}
			if err := t.catchUp(cmd.Context()); err != nil {
				return err
			}
			for _, r := range t.newest {
				if err := a.event(r, asJSON); err != nil {
					return err
				}
			}
			if follow {
				err = t.follow(cmd.Context())
			}
			a.unreadable(t.unread)
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with the events to come")
	cmd.Flags().IntVarP(&n, "lines", "n", 10, "begin with this many events")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the events as they are stored")
	return cmd
}

// tail reads on where it was.
type tail struct {
	*app
	dir    directory
	query  jobaudit.Query
	asJSON bool
	at     position
	keep   int
	seen   int64 // records before this index were read
	newest []jobaudit.Record
	unread int
}

// catchUp reads what is there and keeps the newest.
func (t *tail) catchUp(ctx context.Context) error {
	return t.read(ctx, func(r jobaudit.Record) error {
		t.newest = append(t.newest, r)
		if extra := len(t.newest) - t.keep; extra > 0 {
			t.newest = append(t.newest[:0], t.newest[extra:]...)
		}
		return nil
	})
}

// follow prints what is added, until the context ends, which is no error.
func (t *tail) follow(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := t.read(ctx, func(r jobaudit.Record) error { return t.event(r, t.asJSON) })
		if ctx.Err() != nil {
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

// read goes through the batches that were added.
func (t *tail) read(ctx context.Context, do func(jobaudit.Record) error) error {
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
				t.unread++
				continue
			}
			if !t.query.Match(r) {
				continue
			}
			if err := do(r); err != nil {
				return err
			}
		}
	}
	return nil
}
