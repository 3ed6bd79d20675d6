package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// companion is the log that an act is written to: a log of its own, with a key of
// its own, that names the log that the act is about.
type companion struct {
	dir, key, name string
	by, reason     string

	principal jobaudit.Principal
	of        string // origin and size of the other log, for people
	once      bool   // what is recorded is all given now
}

func (c *companion) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&c.dir, "in", "", "directory of the companion log, which is made if it is not there")
	flags.StringVar(&c.key, "key", "", "file with the companion's secret key, likewise")
	flags.StringVar(&c.name, "name", "", "the companion's origin, if it is made (default: the log's, and /acts)")
	flags.StringVar(&c.by, "by", "", "who does it, as in user:ada; also service: and system:")
	flags.StringVar(&c.reason, "reason", "", "why")
}

// check reads the flags, before anything is written.
func (c *companion) check(about log) error {
	for _, flag := range []struct{ name, value string }{{"in", c.dir}, {"key", c.key}, {"by", c.by}, {"reason", c.reason}} {
		if strings.TrimSpace(flag.value) == "" {
			return usagef("--%s is missing", flag.name)
		}
	}
	if err := c.whose(); err != nil {
		return err
	}
	if d, ok := about.(directory); ok && same(c.dir, d.path) {
		return usagef("--in: the companion of a log is another directory")
	}
	return nil
}

// whose reads who does it.
func (c *companion) whose() error {
	kind, id, _ := strings.Cut(c.by, ":")
	c.principal = jobaudit.Principal{Kind: jobaudit.PrincipalKind(kind), ID: id}
	switch c.principal.Kind {
	case jobaudit.User, jobaudit.Service, jobaudit.System:
	default:
		return usagef("--by %q names nobody: it is user:ID, service:ID or system:ID", plain(c.by))
	}
	if id == "" {
		return usagef("--by %q names nobody: it is user:ID, service:ID or system:ID", plain(c.by))
	}
	return nil
}

func same(a, b string) bool {
	one, err := os.Stat(a)
	other, otherErr := os.Stat(b)
	if err != nil || otherErr != nil {
		return filepath.Clean(a) == filepath.Clean(b)
	}
	return os.SameFile(one, other)
}

// record opens the companion and calls do with its recorder. What do returns is
// wrong with the call if it names a field.
func (c *companion) record(ctx context.Context, about log, do func(*jobaudit.Recorder) error) (err error) {
	signed, err := about.newest(ctx, true)
	if err != nil {
		return err
	}
	origin, head, err := headOf(signed)
	if err != nil {
		return fmt.Errorf("%s: %w", about, err)
	}
	c.of = fmt.Sprintf("%s at size %d", origin, head.N)
	where, err := whereOf(ctx, about)
	if err != nil {
		return err
	}
	if c.name == "" {
		c.name = origin + "/acts"
	}
	opts := &jobaudit.Options{Heartbeat: -1}
	opts.CompanionOf.Origin, opts.CompanionOf.Head = origin, head
	if c.once {
		if err := rehearse(ctx, where, opts, do); err != nil {
			return err
		}
	}
	key, err := filesink.LoadOrCreateKey(c.dir, c.key, c.name)
	if err != nil {
		return err
	}
	sink, err := filesink.Open(ctx, c.dir, key, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	rec, err := jobaudit.Open(ctx, sink, where, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rec.Close(ctx)) }()
	return wrongField(do(rec))
}

// headOf reads the head of a signed note, which it does not verify.
func headOf(signed []byte) (origin string, head tlog.Tree, err error) {
	lines := strings.SplitN(string(signed), "\n", 4)
	if len(lines) < 4 {
		return "", head, errors.New("its newest head is malformed")
	}
	if head.N, err = strconv.ParseInt(lines[1], 10, 64); err == nil {
		head.Hash, err = tlog.ParseHash(lines[2])
	}
	if err != nil {
		return "", head, errors.New("its newest head is malformed")
	}
	return lines[0], head, nil
}

// whereOf is this program, in the environment that the log's first event names.
func whereOf(ctx context.Context, about log) (jobaudit.Source, error) {
	unread := 0
	for r, err := range about.records(ctx, jobaudit.Query{}, "", &unread) {
		if err != nil {
			return jobaudit.Source{}, err
		}
		return jobaudit.Source{System: "jobaudit", Environment: r.Event().Where.Environment}, nil
	}
	return jobaudit.Source{}, fmt.Errorf("the log in %s has no event", about)
}

func (a *app) actCommand() *cobra.Command {
	var c companion
	var f filters
	var data string
	cmd := &cobra.Command{
		Use:   "act read|reviewed SOURCE --in COMPANION --key FILE --by user:ID --reason TEXT [filters]",
		Short: "Record who has read or reviewed a log, in a companion log",
		Long: `Record that somebody has read or reviewed events of a log, and why.

The log itself has another writer, so this goes into a companion log: another
directory, with a key of its own, that names the log and its newest durable
head. The filters say which events were read or reviewed; none means all.

jobaudit verify DIR --companion COMPANION checks that the log still has that
head; jobaudit list and show take the companion as one more source.`,
		Args:              wrongly(cobra.ExactArgs(2)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			act := jobaudit.Act{Type: jobaudit.EventType("audit." + args[0]), Reason: c.reason, OrgID: f.org}
			if act.Type != jobaudit.AuditRead && act.Type != jobaudit.AuditReviewed {
				return usagef("%q is no act: it is read or reviewed", plain(args[0]))
			}
			var err error
			if act.Scope, _, err = f.query(); err != nil {
				return err
			}
			if data != "" {
				if !json.Valid([]byte(data)) {
					return usagef("--data is no JSON")
				}
				act.Data = json.RawMessage(data)
			}
			about, err := a.open(cmd.Context(), args[1])
			if err == nil {
				err = c.check(about)
			}
			if err != nil {
				return err
			}
			act.Principal = c.principal
			c.once = true
			err = c.record(cmd.Context(), about, func(rec *jobaudit.Recorder) error { return rec.Act(cmd.Context(), act) })
			return a.recorded(&c, string(act.Type), err)
		},
	}
	c.add(cmd)
	f.addEvents(cmd)
	cmd.Flags().StringVar(&data, "data", "", "what came of it, as JSON")
	return cmd
}

func (a *app) correctCommand() *cobra.Command {
	var c companion
	var reversal bool
	cmd := &cobra.Command{
		Use:   "correct SOURCE EVENT-ID --in COMPANION --key FILE --by user:ID --reason TEXT",
		Short: "Record what turned out later about an event, in a companion log",
		Long: `Record that an event of a job was wrong, or that what the job did was undone.
Nothing is changed: the correction is an event of its own, in a companion log (see
jobaudit act -h), and jobaudit show DIR COMPANION JOB-ID shows it with the job.`,
		Args:              wrongly(cobra.ExactArgs(2)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := readID("event", args[1])
			if err != nil {
				return err
			}
			about, err := a.open(cmd.Context(), args[0])
			if err == nil {
				err = c.check(about)
			}
			if err != nil {
				return err
			}
			of, job, err := findEvent(cmd.Context(), about, id.String())
			if err != nil {
				return err
			}
			c.once = true
			err = c.record(cmd.Context(), about, func(rec *jobaudit.Recorder) error {
				trail, err := rec.Resume(cmd.Context(), of.Carrier(), nil)
				if err == nil {
					err = trail.Observe(job)
				}
				if err != nil {
					return err
				}
				return trail.Correct(cmd.Context(), jobaudit.Correction{Of: id, By: c.principal, Reversal: reversal, Reason: c.reason})
			})
			return a.recorded(&c, string(jobaudit.JobCorrected), err)
		},
	}
	c.add(cmd)
	cmd.Flags().BoolVar(&reversal, "reversal", false, "what the job did was undone; otherwise the record was wrong")
	return cmd
}

// wrongField makes an error that names a field one about the call.
func wrongField(err error) error {
	if _, wrong := errors.AsType[*jobaudit.FieldError](err); wrong {
		return usageError{err}
	}
	return err
}

// rehearse records in memory what is to be recorded, and refuses what the log would not hold as
// it is given: what looks like a secret, or is too long, is replaced by a marker, and a decision
// that says nothing would be recorded for ever.
func rehearse(ctx context.Context, where jobaudit.Source, opts *jobaudit.Options, do func(*jobaudit.Recorder) error) error {
	memory := memsink.New(nil)
	rec, err := jobaudit.Open(ctx, memory, where, opts)
	if err != nil {
		return err
	}
	if err := errors.Join(do(rec), rec.Close(ctx)); err != nil {
		return wrongField(err)
	}
	for r, err := range memory.Records(ctx, jobaudit.Query{}) {
		if err != nil {
			return err
		}
		if r.Type() != jobaudit.AuditOpened && bytes.Contains(r.Bytes(), []byte(`"$jobaudit":`)) {
			return usagef("nothing is recorded: something in the text looks like a secret, or is too long, and would not be kept: say it in other words")
		}
	}
	return nil
}

// findEvent finds an event of a job, and the job as it is.
func findEvent(ctx context.Context, about log, id string) (of jobaudit.Record, job jobaudit.Job, err error) {
	unread := 0
	for r, err := range about.records(ctx, jobaudit.Query{}, id, &unread) {
		if err != nil {
			return of, job, err
		}
		if r.ID().String() == id {
			of = r
			break
		}
	}
	switch {
	case of.Len() == 0:
		return of, job, fmt.Errorf("the log in %s has no event %s", about, id)
	case of.Carrier().String() == "":
		return of, job, fmt.Errorf("event %s is of no job", id)
	}
	job, err = jobaudit.Replay(about.records(ctx, jobaudit.Query{JobID: of.JobID()}, of.JobID().String(), &unread))
	return of, job, err
}

// recorded says where an act went.
func (a *app) recorded(c *companion, what string, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s %s in %s, about %s\n", a.good("recorded"), what, plain(c.dir), plain(c.of))
	return err
}

// companions verifies companion logs, and reports on them.
func (a *app) companions(ctx context.Context, dirs, keys []string) (reports []filesink.Report, err error) {
	if len(dirs) != len(keys) {
		return nil, usagef("--companion and --companion-key come in pairs")
	}
	for i, dir := range dirs {
		source, err := a.open(ctx, dir)
		if err != nil {
			return nil, err
		}
		opts := &filesink.VerifyOptions{}
		if opts.Keys, err = readKeys(keys[i : i+1]); err != nil {
			return nil, err
		}
		report, err := source.verify(ctx, opts)
		if found, ok := errors.AsType[*filesink.VerifyError](err); ok {
			for _, f := range found.Findings {
				fmt.Fprintf(a.out, "%s", a.finding(a.bad("finding in the companion "+plain(dir)), f))
			}
			return nil, errFindings
		}
		if err != nil {
			return nil, fmt.Errorf("companion: %w", err)
		}
		reports = append(reports, report.Report)
	}
	return reports, nil
}
