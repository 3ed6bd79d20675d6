package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/watchdog"
)

// watching is a call of watch.
type watching struct {
	dir, key, spool              string
	once                         bool
	interval, grace, startWithin time.Duration
}

func (a *app) watchCommand() *cobra.Command {
	var w watching
	cmd := &cobra.Command{
		Use:   "watch DIR",
		Short: "Record what became of jobs of exec that have no end",
		Long: `Find the jobs in a log of jobaudit exec that started, have no end and give no sign of life,
and record that they have failed, ABANDONED; with --start-within also, that those which were never
started are cancelled, EXPIRED. Before that it brings into the log what programs have left in the
spool: a job may have its end there. Nothing is concluded while that cannot be read.

It goes on until it is stopped, and counts only silence that it has seen itself. With --once it goes by the
times in the log, once, as from a crontab:

  */10 * * * * jobaudit watch /var/lib/jobaudit --once --start-within 1h

It holds the log only while it writes, as exec does, and prints what it has concluded. The log must
be all that these jobs are recorded in.`,
		Args:              wrongly(cobra.ExactArgs(1)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			if w.interval <= 0 || w.grace < 0 || w.startWithin < 0 {
				return usagef("--interval, --grace and --start-within are not negative, and --interval is not 0")
			}
			dir, err := filepath.Abs(args[0]) // what lies beside it is named after it
			if err != nil {
				return err
			}
			w.dir = dir
			w.key, w.spool = cmp.Or(w.key, w.dir+".key"), cmp.Or(w.spool, w.dir+".spool")
			if _, err := os.Stat(w.dir); err != nil {
				return err
			}
			if !cmd.Flags().Changed("grace") && w.once {
				w.grace = time.Hour
			}
			quiet()
			return a.watch(cmd.Context(), &w)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&w.key, "key", "", "file with the log's secret key (default: DIR.key)")
	flags.StringVar(&w.spool, "spool", "", "where jobaudit exec keeps outcomes that the log did not take (default: DIR.spool)")
	flags.BoolVar(&w.once, "once", false, "look once, go by the times in the log, and exit")
	flags.DurationVar(&w.interval, "interval", 30*time.Second, "time between two looks")
	flags.DurationVar(&w.grace, "grace", 30*time.Second, "how long beyond the time of a sign of life that was announced nothing is concluded (with --once: 1h)")
	flags.DurationVar(&w.startWithin, "start-within", 0, "how long a job may wait for its start (default: for ever)")
	return cmd
}

func (a *app) watch(ctx context.Context, w *watching) (err error) {
	where, err := whereOf(ctx, directory{path: w.dir})
	if err != nil {
		return err
	}
	signed, err := directory{path: w.dir}.newest(ctx, false)
	if err != nil {
		return err
	}
	origin, _, err := headOf(signed)
	if err != nil {
		return fmt.Errorf("%s: %w", w.dir, err)
	}
	log := &sharedLog{dir: w.dir, keyPath: w.key, name: origin, where: where}
	if err := w.drain(ctx, log); err != nil && w.once || log.key == nil {
		return err
	}
	reader, err := filesink.OpenReader(w.dir, log.key)
	if err != nil {
		return err
	}
	recorder, err := jobaudit.Open(ctx, log, where, &jobaudit.Options{
		Heartbeat: -1, OnError: func(_ context.Context, err *jobaudit.AuditError) { a.watchError(err) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, recorder.Close(context.WithoutCancel(ctx))) }()
	opts := &watchdog.Options{Interval: w.interval, Grace: cmp.Or(w.grace, -1), OneShot: w.once}
	if w.startWithin > 0 {
		opts.StartWithin = func(jobaudit.Event) time.Duration { return w.startWithin }
	}
	watcher := watchdog.New(recorder, []jobaudit.AuditReader{reader}, opts)
	if w.once {
		return a.look(ctx, watcher)
	}
	for tick := time.NewTicker(w.interval); ; {
		err := w.drain(ctx, log)
		if err == nil {
			err = a.look(ctx, watcher)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			a.watchError(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (a *app) watchError(err error) { fmt.Fprintf(a.err, "jobaudit watch: %s\n", plain(err.Error())) }

// drain brings what is in the spool into the log. What a file of a program that runs
// holds comes with a later one: it gives signs of life until then.
func (w *watching) drain(ctx context.Context, log *sharedLog) error {
	return log.hold(ctx, func(s *filesink.Sink) error {
		if err := log.report(ctx, s); err != nil {
			return err
		}
		_, err := drainSpool(ctx, w.spool, log.key, s)
		return errors.Join(err, leftBefore(w.spool, log.key))
	})
}

// look sweeps, and prints what was found.
func (a *app) look(ctx context.Context, watcher *watchdog.Watchdog) error {
	report, err := watcher.Sweep(ctx)
	for _, f := range report.Findings {
		fmt.Fprintf(a.out, "%s %s, since %s\n", f.Kind, f.JobID, f.Since.UTC().Format(time.RFC3339))
	}
	return errors.Join(append(report.Unreadable, err)...)
}
