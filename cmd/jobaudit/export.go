package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
)

// exporting is one call of jobaudit export.
type exporting struct {
	*app
	filters     filters
	destination destination
	after       []string
	position    string
	keyFlags    []string
	follow      bool
	mu          sync.Mutex // several logs are followed at once
	positions   map[string]uuid.UUID
	sent        uint64
	failing     map[string]bool
	query       jobaudit.Query
}

func (a *app) exportCommand() *cobra.Command {
	x := &exporting{app: a, positions: map[string]uuid.UUID{}, failing: map[string]bool{}}
	cmd := &cobra.Command{
		Use:   "export SOURCE...",
		Short: "Write the events in the formats of other systems, or send them there",
		Long: `Write the events as csv, jsonl, cloudevents, ocsf, ecs, syslog, cef or otlp, each
log in its own order, one log after the other. docs/exports.md says what each format
cannot hold, and shows a call for each target.

With --follow it goes on with the events to come, and tries again where the target
fails, until it is interrupted; it says on standard error how far the target is behind.
If one log cannot be read any more, it ends for all, with the exit code 3.
Each event is sent at least once: a receiver knows a second one by the event's ID.
--position FILE keeps how far the target has come, and goes on from there.

  jobaudit export DIR --format csv --since 30d > events.csv
  jobaudit export DIR --to syslog+tls://siem.example:6514 --follow --position FILE
  jobaudit export DIR --to https://collector.example/v1/logs --header @FILE --follow --position FILE

It verifies nothing: see jobaudit verify.`,
		Args:              wrongly(cobra.MinimumNArgs(1)),
		ValidArgsFunction: onDir,
		RunE:              func(cmd *cobra.Command, args []string) error { return x.run(cmd.Context(), args) },
	}
	x.filters.addEvents(cmd)
	x.destination.add(cmd)
	keyFlag(cmd, &x.keyFlags)
	flags := cmd.Flags()
	flags.StringArrayVar(&x.after, "after", nil, "begin behind the event with this ID, in the log that holds it; may be repeated")
	flags.StringVar(&x.position, "position", "", "keep in this file which event of each log the target took last, and begin behind it")
	flags.BoolVarP(&x.follow, "follow", "f", false, "go on with the events to come")
	return cmd
}

func (x *exporting) run(ctx context.Context, args []string) (err error) {
	if x.query, _, err = x.filters.query(); err != nil {
		return err
	}
	target, err := x.destination.open(x.app)
	if err != nil {
		return err
	}
	if err := x.give(x.keyFlags); err != nil {
		return err
	}
	logs, err := x.openAll(ctx, args)
	if err != nil {
		return err
	}
	if err := x.begin(ctx, logs); err != nil {
		return err
	}
	ends := make([]error, len(logs))
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, l := range logs {
		export := func() {
			if ends[i] = x.export(ctx, l, target); ends[i] != nil && x.follow && len(logs) > 1 {
				x.mu.Lock()
				fmt.Fprintf(x.err, "jobaudit: %s is not exported any more, so the export of all ends\n", plain(l.String()))
				x.mu.Unlock()
				cancel() // or nobody would be told while the others go on
			}
		}
		if x.follow {
			running.Go(export)
			continue
		}
		if export(); ends[i] != nil {
			break
		}
	}
	running.Wait()
	err = errors.Join(ends...)
	if err == nil || x.sent > 0 {
		fmt.Fprintf(x.err, "jobaudit: %s exported\n", count(int64(x.sent), "event"))
	}
	return err
}

// begin finds out behind which event each log's export begins.
func (x *exporting) begin(ctx context.Context, logs sources) error {
	if x.position != "" {
		content, err := readInput(x.position)
		if err == nil {
			err = readJSON(content, &x.positions, false)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("--position %s: %w", plain(x.position), err)
		}
	}
	for _, text := range x.after {
		id, err := readID("--after", text)
		if err != nil {
			return err
		}
		found := false
		for _, l := range logs {
			holds, err := holds(ctx, l, id)
			if err != nil {
				return err
			}
			if holds {
				x.positions[l.String()], found = id, true
			}
		}
		if !found {
			return usagef("--after %s: no log holds this event", id)
		}
	}
	return nil
}

// holds reports whether a log holds an event.
func holds(ctx context.Context, l log, id uuid.UUID) (bool, error) {
	unread := 0
	for r, err := range l.records(ctx, jobaudit.Query{}, id.String(), &unread) {
		if err != nil {
			return false, err
		}
		if r.ID() == id {
			return true, nil
		}
	}
	return false, nil
}

// export exports one log.
func (x *exporting) export(ctx context.Context, l log, target export.Target) error {
	name, unread := l.String(), 0
	x.mu.Lock()
	after := x.positions[name]
	x.mu.Unlock()
	if after != uuid.Nil {
		if found, err := holds(ctx, l, after); err != nil || !found {
			return errors.Join(err, fmt.Errorf("%s does not hold the event %s, behind which the export was to begin", plain(name), after))
		}
	}
	records := func(ctx context.Context) iter.Seq2[jobaudit.Record, error] {
		return x.records(ctx, l, after, &unread)
	}
	progress, err := export.Forward(ctx, target, records, &export.ForwardOptions{
		Once:    !x.follow,
		OnSent:  func(p export.Progress) error { return x.taken(name, p) },
		OnError: func(p export.Progress, err error) { x.refused(name, p, err) },
	})
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent += progress.Sent
	x.unreadable(unread)
	if x.follow && ctx.Err() != nil {
		return nil
	}
	if err != nil && progress.Last != uuid.Nil {
		err = fmt.Errorf("%w; to go on: --after %s", err, progress.Last)
	}
	return err
}

// records are those of a log behind an event, and with --follow those to come.
func (x *exporting) records(ctx context.Context, l log, after uuid.UUID, unread *int) iter.Seq2[jobaudit.Record, error] {
	all := jobaudit.Query{} // the event to begin behind need not be selected
	switch l := l.(type) {
	case *database:
		q := x.query
		q.After = after
		if x.follow {
			return readable(l.sink.Tail(ctx, q), unread)
		}
		return l.records(ctx, q, "", unread)
	case directory:
		if x.follow {
			return x.behind(after, l.following(ctx, all, unread))
		}
	case *mirrored:
		if x.follow {
			return x.behind(after, l.following(ctx, all, unread))
		}
	}
	return x.behind(after, l.records(ctx, all, "", unread))
}

// behind are the selected records that follow the one with the ID.
func (x *exporting) behind(after uuid.UUID, records iter.Seq2[jobaudit.Record, error]) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for r, err := range records {
			switch {
			case err != nil:
				yield(r, err)
				return
			case after != uuid.Nil:
				if r.ID() == after {
					after = uuid.Nil
				}
			case x.query.Match(r) && !yield(r, nil):
				return
			}
		}
	}
}

// following iterates over all records of a directory and those to come.
func (d directory) following(ctx context.Context, q jobaudit.Query, unread *int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		left := false
		t := &tail{dir: d, query: q, unread: unread}
		err := t.follow(ctx, func(r jobaudit.Record) bool {
			left = !yield(r, nil)
			return !left
		})
		if err != nil && !left {
			yield(jobaudit.Record{}, err)
		}
	}
}

// following iterates over all records of a mirror and those to come.
func (m *mirrored) following(ctx context.Context, q jobaudit.Query, unread *int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		left := false
		err := m.follow(ctx, 0, q, unread, func(r jobaudit.Record) bool {
			left = !yield(r, nil)
			return !left
		})
		if err != nil && !left {
			yield(jobaudit.Record{}, err)
		}
	}
}

// taken keeps how far the target has come.
func (x *exporting) taken(name string, p export.Progress) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failing[name] {
		x.failing[name] = false
		fmt.Fprintf(x.err, "jobaudit: %s: the target takes events again, %s behind\n", plain(name), p.Lag.Round(time.Millisecond))
	}
	x.positions[name] = p.Last
	if x.position == "" {
		return nil
	}
	content, err := json.Marshal(x.positions)
	if err != nil {
		return err
	}
	return replaceFile(x.position, content)
}

// refused says that the target failed, and how far it is behind.
func (x *exporting) refused(name string, p export.Progress, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failing[name] = true
	if x.follow {
		fmt.Fprintf(x.err, "jobaudit: %s: %s; %s sent, the next one is %s old\n", plain(name), plain(err.Error()),
			count(int64(p.Sent), "event"), p.Lag.Round(time.Millisecond))
	}
}

// headerLines reads headers, one a line, from a file's content or from one argument.
func headerLines(arg string) ([]string, error) {
	name, found := strings.CutPrefix(arg, "@")
	if !found {
		return []string{arg}, nil
	}
	content, err := readInput(name)
	if err != nil {
		return nil, fmt.Errorf("--header: %w", err)
	}
	lines := strings.Split(string(bytes.TrimSpace(content)), "\n")
	return slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" }), nil
}
