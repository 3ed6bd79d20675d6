package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/pgsink"
)

func (a *app) sequenceCommand() *cobra.Command {
	var keyFile, anchor, predecessor string
	var pooled, probe bool
	var backlog, grace time.Duration
	cmd := &cobra.Command{
		Use:   "sequence postgres://… --key FILE",
		Short: "Give the events in a database their places, and sign for them",
		Long: `Give the events that are accepted in a database their places in the log, and
sign its heads, until it is interrupted. It is the only process that needs the
key. Any number may run: one works, and another takes over when it ends. The
user needs the sequencer's role.

The password is better in PGPASSWORD or a password file than in the URL, which
other users of the host can read.

With --probe it signs nothing: it exits with 0 if no event has waited longer
than --backlog, and with 1 otherwise, for an alert. With --grace as well it exits
with 1 only if the log did not grow for that long either: a sequencer that is
behind and at work is not to be restarted.`,
		Args: wrongly(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !isDatabase(args[0]) {
				return usagef("%q is no postgres://… URL", plain(args[0]))
			}
			if cmd.Flags().Changed("grace") && (!probe || grace <= 0) {
				return usagef("--grace is how long --probe waits for the log to grow, such as 8s")
			}
			if probe {
				return a.probe(cmd.Context(), args[0], pooled, backlog, grace)
			}
			opts, err := sequencerOptions(keyFile, anchor, predecessor)
			if err != nil {
				return err
			}
			s, err := pgsink.NewSequencer(args[0], opts, &pgsink.Options{Pooled: pooled, OnError: func(err error) {
				fmt.Fprintf(a.err, "jobaudit: %s\n", plain(err.Error()))
			}})
			if err != nil {
				return err
			}
			fmt.Fprintf(a.err, "jobaudit: signing for %s in %s\n", plain(opts.Signer.Name()), plain(bareURL(args[0])))
			if err := s.Run(cmd.Context()); !errors.Is(err, context.Canceled) {
				return err
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&keyFile, "key", "", "the file with the log's private key: jobaudit key --create makes one")
	flags.StringVar(&anchor, "anchor", "", "a file that keeps the newest head, on another disk than the database's")
	flags.StringVar(&predecessor, "predecessor", "", "the verifier key of the log that this one continues, as text or in a file")
	flags.BoolVar(&pooled, "pooled", false, "the URL is that of a pooler such as PgBouncer, in any mode")
	flags.BoolVar(&probe, "probe", false, "look how far behind the sequencer is, and exit")
	flags.DurationVar(&backlog, "backlog", time.Minute, "how long an event may wait, for --probe")
	flags.DurationVar(&grace, "grace", 0, "with --probe: fail only if the log does not grow for so long either")
	return cmd
}

func sequencerOptions(keyFile, anchor, predecessor string) (opts pgsink.SequencerOptions, err error) {
	if keyFile == "" {
		return opts, usagef("--key is missing: the file with the log's private key")
	}
	// Who can write to it could have the log signed with a key of theirs. A pipe is nobody's.
	if info, err := os.Stat(keyFile); err == nil && info.Mode().IsRegular() && runtime.GOOS != "windows" && info.Mode()&0o022 != 0 {
		return opts, fmt.Errorf("key %s: others than its owner can write to it (mode %04o): take that away with chmod go-w", keyFile, info.Mode().Perm())
	}
	text, err := readInput(keyFile)
	if err != nil {
		return opts, fmt.Errorf("key: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if opts.Signer, err = note.NewSigner(secret); err != nil {
		return opts, fmt.Errorf("%s holds no private key", keyFile) // err quotes it
	}
	public, err := auditlog.VerifierKey(secret)
	if err != nil {
		return opts, fmt.Errorf("%s holds no private key", keyFile)
	}
	if opts.Verifier, err = note.NewVerifier(public); err != nil {
		return opts, err
	}
	if predecessor != "" {
		if opts.Predecessor, err = readKey(predecessor); err != nil {
			return opts, err
		}
	}
	if anchor != "" {
		opts.Anchor = filesink.FileAnchor(anchor)
	}
	return opts, nil
}

// probe looks how long events have waited, and whether the log grows.
func (a *app) probe(ctx context.Context, source string, pooled bool, backlog, grace time.Duration) error {
	sink, err := pgsink.Open(ctx, source, &pgsink.Options{Pooled: pooled, OnError: func(error) {}})
	if err != nil {
		return err
	}
	defer sink.Close()
	w, err := probeLog(ctx, sink.Waiting, backlog, grace)
	if err != nil && !errors.Is(err, errFindings) {
		return err
	}
	fmt.Fprintf(a.out, "%s in the log, the oldest that waits has waited %v\n", count(w.Size, "event"), w.Oldest.Round(time.Millisecond))
	return err
}

// probeLog returns errFindings if events have waited for longer than backlog, and the log
// does not grow within grace.
func probeLog(ctx context.Context, look func(context.Context) (pgsink.Waiting, error), backlog, grace time.Duration) (pgsink.Waiting, error) {
	first, err := look(ctx)
	if err != nil || first.Oldest <= backlog {
		return first, err
	}
	again := time.NewTicker(250 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(grace); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return first, ctx.Err()
		case <-again.C:
		}
		w, err := look(ctx)
		if err != nil || w.Size > first.Size || w.Oldest <= backlog {
			return w, err
		}
	}
	return first, errFindings
}
