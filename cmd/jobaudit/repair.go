package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// repairing is a log that is refused, and what leads on.
type repairing struct {
	dir, key, old, successor, reason, spool string
	yes                                     bool

	brought int   // events that exec had left in its spool
	left    error // why some of them are still there
}

func (a *app) repairCommand() *cobra.Command {
	var r repairing
	cmd := &cobra.Command{
		Use:   "repair DIR --key FILE",
		Short: "Find out why a log cannot be written to, and lead on",
		Long: `Open a log as its writer does, and say why that is refused, what it means, and what
leads on. That is done only when it is agreed to, or with --yes, and it is recorded in the log
itself, in an audit.opened event: a repair must not look as if nothing had happened.

Nothing that was acknowledged is deleted or changed. What is missing stays missing: a log goes
on as a successor then, under a new key, and auditors need both.`,
		Args:              wrongly(cobra.ExactArgs(1)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.key == "" {
				return usagef("--key is missing: the file with the log's secret key")
			}
			dir, err := filepath.Abs(args[0]) // what lies beside it is named after it
			if err != nil {
				return err
			}
			r.dir = dir
			if _, err := os.Stat(r.dir); err != nil {
				return err
			}
			quiet()
			return a.repair(cmd.Context(), &r)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&r.key, "key", "", "file with the log's secret key")
	flags.StringVar(&r.old, "old", "", "the verifier key of the log, as text or in a file, if its secret key is lost")
	flags.StringVar(&r.successor, "successor-key", "", "where a successor's new key goes (default: the key file's name and .successor)")
	flags.StringVar(&r.spool, "spool", "", "where jobaudit exec keeps outcomes that the log did not take; they are brought into it (default: DIR.spool)")
	flags.BoolVar(&r.yes, "yes", false, "do it without asking")
	return cmd
}

// repair opens the log, and leads on where that is refused.
func (a *app) repair(ctx context.Context, r *repairing) error {
	signed, err := directory{path: r.dir}.newest(ctx, false)
	if err != nil {
		return err
	}
	origin, _, err := headOf(signed)
	if err != nil {
		return fmt.Errorf("%s: %w", r.dir, err)
	}
	key, err := filesink.LoadOrCreateKey(r.dir, r.key, origin)
	if err == nil {
		err = a.openLog(ctx, r, key, &filesink.Options{})
	}
	if err == nil {
		fmt.Fprintf(a.out, "%s the log in %s opens for writing\n", a.good("nothing to repair:"), plain(r.dir))
		return a.drained(r)
	}
	fmt.Fprintf(a.out, "%s %s\n", a.bad("refused:"), plain(err.Error()))
	if refused, ok := errors.AsType[*filesink.RefusedError](err); ok {
		fmt.Fprint(a.out, row("log", "size %d, root %s", refused.Log.Size, refused.Log.Root))
		if refused.Outside.Size > 0 {
			fmt.Fprint(a.out, row("anchor", "size %d, root %s (%s)", refused.Outside.Size, refused.Outside.Root, refused.Anchor))
		}
	}
	_, wrongHead := errors.AsType[*auditlog.HeadError](err)
	_, wrongKey := errors.AsType[*filesink.KeyError](err)
	switch {
	case errors.Is(err, filesink.ErrMissingAnchor):
		return a.leadOn(r, "The anchor, the newest head that was kept outside the log, is gone. Put it back if you can.\n"+
			"Without it nothing tells whether the log was rolled back until now.", "go on without it, and begin a new anchor",
			func() error { return a.openLog(ctx, r, key, &filesink.Options{AllowMissingAnchor: true}) })
	case wrongKey && errors.Is(err, fs.ErrNotExist):
		return a.succeed(ctx, r, origin, nil, "The secret key is gone. Put it back if you can: only it continues the log under its name.")
	case errors.Is(err, filesink.ErrDamaged), wrongHead:
		return a.succeed(ctx, r, origin, key, "Events that were acknowledged are missing or damaged, or the log was rolled back. Put the missing files\n"+
			"back if you can; jobaudit verify says what is missing. What is lost stays recorded as lost.")
	case errors.Is(err, filesink.ErrCopy):
		return a.succeed(ctx, r, origin, key, "This is a copy. While the original is written, the two would be a fork; use it only if the original is gone.")
	}
	fmt.Fprintln(a.out, remedy(err))
	return errFindings
}

// remedy says what to do where nothing can be done here.
func remedy(err error) string {
	switch {
	case errors.Is(err, filesink.ErrLocked):
		return "Another program writes to the log. End it, or leave the log to it: there is nothing to repair."
	case errors.Is(err, filesink.ErrBeginning):
		return "Put the files back that were moved, compressed or deleted: a log is read and written only as a whole."
	case errors.Is(err, filesink.ErrNewer):
		return "Use the newer version that wrote the log."
	case errors.Is(err, filesink.ErrNotRegular):
		return "Take away what stands in the place of the file, and put the file back."
	}
	return "There is nothing that this program could do about it: the message says what leads on."
}

// succeed goes on as a successor of the log.
func (a *app) succeed(ctx context.Context, r *repairing, origin string, old *filesink.Key, what string) error {
	var predecessor note.Verifier
	if old != nil {
		predecessor = old
	} else {
		if r.old == "" {
			return usagef("%s --old is missing: the log's verifier key, which auditors have", strings.ReplaceAll(what, "\n", " "))
		}
		v, err := readKey(r.old)
		if err != nil {
			return err
		}
		predecessor = v
	}
	path := cmp.Or(r.successor, r.key+".successor")
	return a.leadOn(r, what, "go on as a successor, "+auditlog.SuccessorOrigin(origin)+", with a new key in "+path, func() error {
		key, err := filesink.LoadOrCreateKey(r.dir, path, auditlog.SuccessorOrigin(origin))
		if err != nil {
			return err
		}
		if err := a.openLog(ctx, r, key, &filesink.Options{Predecessor: predecessor}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "give auditors this key, beside the old one and not by way of the log:\n%s\n", key)
		return err
	})
}

// leadOn explains, asks, and does it.
func (a *app) leadOn(r *repairing, what, way string, do func() error) error {
	fmt.Fprintf(a.out, "%s\n", what)
	if !r.yes {
		fmt.Fprintf(a.out, "To %s: y, or anything else to leave the log as it is: ", plain(way))
		answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		if strings.TrimSpace(answer) != "y" {
			fmt.Fprintln(a.out, "\nnothing was changed; --yes does it without asking")
			return errFindings
		}
	}
	r.reason = way
	if err := do(); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s %s; the log's newest audit.opened event says so\n", a.good("done:"), plain(way))
	return a.drained(r)
}

// drained says what came into the log that jobaudit exec could not bring there.
func (a *app) drained(r *repairing) error {
	if r.brought > 0 {
		fmt.Fprintf(a.out, "%s that jobaudit exec had kept in its spool are in the log now\n", count(r.brought, "event"))
	}
	if r.left != nil {
		return errFindings
	}
	return nil
}

// openLog opens the log with these options. What was switched off or found is
// recorded; an open that finds nothing leaves no trace.
func (a *app) openLog(ctx context.Context, r *repairing, key *filesink.Key, opts *filesink.Options) (err error) {
	where, err := whereOf(ctx, directory{path: r.dir})
	if err != nil {
		return err
	}
	opts.OnError = func(error) {}
	s, err := filesink.Open(ctx, r.dir, key, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if r.drain(ctx, s, key, opts.Predecessor); r.left != nil {
		fmt.Fprintf(a.err, "jobaudit: %s\n", plain(r.left.Error()))
	}
	if r.reason == "" && s.Recovery().TornBytes == 0 {
		return nil
	}
	recorder, err := jobaudit.Open(ctx, s, where, nil)
	if err != nil {
		return err
	}
	return recorder.Close(ctx)
}

// drain brings into the log what exec kept for it, and for the one whose successor it is.
func (r *repairing) drain(ctx context.Context, s *filesink.Sink, keys ...note.Verifier) {
	if old, err := readKey(r.old); err == nil {
		keys = append(keys, old)
	}
	keys = slices.DeleteFunc(keys, func(k note.Verifier) bool { return k == nil })
	spool := cmp.Or(r.spool, filepath.Clean(r.dir)+".spool")
	for _, key := range keys {
		n, err := drainSpool(ctx, spool, key, s)
		r.brought, r.left = r.brought+n, errors.Join(r.left, err)
	}
	r.left = errors.Join(r.left, leftBefore(spool, keys[0], keys...))
}
