package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// mirrorCall is one call of jobaudit mirror.
type mirrorCall struct {
	keys             []string
	once, asJSON     bool
	create, accept   bool
	interval, maxAge time.Duration
	maxLag           int64
	acceptBy, why    string
}

func (a *app) mirrorCommand() *cobra.Command {
	c := &mirrorCall{}
	cmd := &cobra.Command{
		Use:   "mirror SOURCE TARGET --key VKEY",
		Short: "Keep a proven copy of a log where its host cannot change it",
		Long: `Copy a log, as it grows, to a place where its host cannot change it, until it is
interrupted; with --once up to what is there now. TARGET is a directory on another
disk or host, which is made with --create, once; or s3://BUCKET/PREFIX, a bucket under
Object Lock, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and
AWS_ENDPOINT_URL_S3 from the environment.

Only what is durable is copied, and only what the keys have signed. A log that shrank
or has another history than its mirror is refused with both heads, and the mirror
keeps what it has. Where a log goes on as a successor on purpose, after a restore,
--accept --by WHO --reason WHY begins a branch beside the first, once.

A TARGET is read like a log: jobaudit verify, list, show TARGET; TARGET#1 is its
first branch. It exits with 1 if the log is refused, or if with --once it is behind
by more than --max-age or --max-lag.`,
		Args:              wrongly(cobra.ExactArgs(2)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.mirror(cmd.Context(), c, args[0], args[1])
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&c.keys, "key", nil, "verifier key, as text or in a file; once for each log of a line of successors, oldest first")
	flags.BoolVar(&c.once, "once", false, "one pass, as from cron")
	flags.BoolVar(&c.create, "create", false, "make TARGET if it is not there")
	flags.DurationVar(&c.interval, "interval", time.Second, "how long to wait when there was nothing more")
	flags.DurationVar(&c.maxAge, "max-age", 0, "with --once: how long an event may wait to be mirrored")
	flags.Int64Var(&c.maxLag, "max-lag", -1, "with --once: how many events may wait to be mirrored")
	flags.BoolVar(&c.accept, "accept", false, "accept that the log goes on as a successor from an earlier state than the mirror's, and begin a branch")
	flags.StringVar(&c.acceptBy, "by", "", "with --accept: who accepts")
	flags.StringVar(&c.why, "reason", "", "with --accept: why")
	flags.BoolVar(&c.asJSON, "json", false, "with --once: print one JSON object")
	return cmd
}

func (a *app) mirror(ctx context.Context, c *mirrorCall, source, target string) error {
	keys, err := readKeys(c.keys)
	if err != nil {
		return err
	}
	opened, err := a.open(ctx, source)
	if err != nil {
		return err
	}
	from, err := a.mirrorSource(ctx, opened, keys)
	if err != nil {
		return err
	}
	if c.create { // before anything is made
		if err := signedByOne(ctx, opened, keys); err != nil {
			return err
		}
	}
	store, err := a.openStore(ctx, target, c.create)
	if err != nil {
		return err
	}
	o := &mirror.Options{Keys: keys, Interval: c.interval, OnError: func(err error) {
		fmt.Fprintf(a.err, "jobaudit: %s\n", plain(err.Error()))
	}}
	switch {
	case c.accept:
		return a.acceptBranch(ctx, c, from, store, o)
	case c.once:
		return a.mirrorOnce(ctx, c, from, store, o)
	}
	m, err := mirror.Start(ctx, from, store, o)
	if err != nil {
		return err
	}
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return a.mirrorResult(c, m, m.Close(last))
}

// signedByOne refuses keys of which none signed the newest head. A log without a head is
// not refused.
func signedByOne(ctx context.Context, source log, keys []note.Verifier) error {
	signed, err := source.newest(ctx, false)
	if err != nil {
		return nil //nolint:nilerr // the mirror says what is wrong with the log
	}
	for _, key := range keys {
		if _, err := auditlog.OpenCheckpoint(signed, key); err == nil {
			return nil
		}
	}
	return fmt.Errorf("nothing was made: the newest head of %s is signed by %s, and by none of the given keys: give that log's own, and look whether it is the log that you mean", plain(source.String()), signatureName(signed))
}

// mirrorSource opens what is to be mirrored.
func (a *app) mirrorSource(ctx context.Context, opened log, keys []note.Verifier) (mirror.Source, error) {
	switch l := opened.(type) {
	case directory:
		r, err := filesink.OpenReader(l.path, keys...)
		if err != nil {
			return nil, err
		}
		a.closers = append(a.closers, r.Close)
		return r, nil
	case *database:
		return l.sink, nil
	case *mirrored:
		return l.reader(ctx, keys)
	}
	return nil, usagef("%s cannot be mirrored", plain(opened.String()))
}

func (a *app) mirrorOnce(ctx context.Context, c *mirrorCall, from mirror.Source, store mirror.Store, o *mirror.Options) error {
	m, err := mirror.New(from, store, o)
	if err != nil {
		return err
	}
	return a.mirrorResult(c, m, m.Sync(ctx))
}

// mirrorResult prints how far the mirror has come.
func (a *app) mirrorResult(c *mirrorCall, m *mirror.Mirror, err error) error {
	s := m.Status()
	age := s.Age(time.Now())
	refused, isRefused := errors.AsType[*mirror.RefusedError](err)
	late := c.maxAge > 0 && age > c.maxAge || c.maxLag >= 0 && s.Lag() > c.maxLag
	if c.asJSON {
		if printErr := a.mirrorJSON(s, age, err); printErr != nil {
			return printErr
		}
	} else {
		fmt.Fprintf(a.out, "mirrored up to size %d, root %s, branch %d\n", s.Head.Size, s.Head.Root, s.Branch)
		if s.Lag() > 0 {
			fmt.Fprintf(a.out, "%s durable and not mirrored, the oldest for %s\n", count(s.Lag(), "event"), age.Round(time.Second))
		}
		if isRefused {
			fmt.Fprintf(a.out, "%s %s\n", a.bad("refused"), plain(refused.Error()))
		}
	}
	switch {
	case isRefused:
		return errFindings
	case late && err != nil:
		fmt.Fprintf(a.err, "jobaudit: %s\n", plain(err.Error()))
		return errFindings
	case late:
		return errFindings
	}
	return err
}

func (a *app) mirrorJSON(s mirror.Status, age time.Duration, err error) error {
	type object = map[string]any
	o := object{"mirrored": object{"origin": s.Head.Origin, "size": s.Head.Size, "root": s.Head.Root}, "branch": s.Branch,
		"durable": s.Durable, "lag": s.Lag(), "ageSeconds": int64(age.Seconds())}
	if err != nil {
		o["error"] = err.Error()
	}
	if r, ok := errors.AsType[*mirror.RefusedError](err); ok {
		o["refused"] = object{"mirrored": string(r.MirroredSigned), "log": string(r.LogSigned), "logSize": r.Log.Size}
	}
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return a.printJSON(line)
}

func (a *app) acceptBranch(ctx context.Context, c *mirrorCall, from mirror.Source, store mirror.Store, o *mirror.Options) error {
	if c.acceptBy == "" || c.why == "" {
		return usagef("--accept needs --by and --reason: they are recorded in the mirror")
	}
	m, err := mirror.New(from, store, o)
	if err != nil {
		return err
	}
	b, err := m.Accept(ctx, mirror.Acceptance{By: c.acceptBy, Reason: c.why})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "branch %d begins at size %d of branch %d\n", b.Number, b.Size, b.Base)
	return a.mirrorResult(c, m, m.Sync(ctx))
}
