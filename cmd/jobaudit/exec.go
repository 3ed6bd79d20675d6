package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
)

// carrierVariable is the environment variable that takes a job's Carrier to the
// programs that it starts.
const carrierVariable = "JOBAUDIT_CARRIER"

// The exit codes of exec, beside the program's own: those of env, timeout and
// shells.
const (
	exitNotAudited = 125
	exitNotRunable = 126
	exitNotFound   = 127
)

// exitStatus ends the program with this code and says nothing.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// execution is a call of exec.
type execution struct {
	dir, key, name                   string
	action, reason, ref, trigger     string
	principal, resource, org, policy string
	system, environment, correlation string
	spool, carrierKeys               string

	wait, outcomeWait, heartbeat time.Duration
	lines                        int
	program                      []string

	sink func(*sharedLog) jobaudit.AuditSink // for tests: what stands between the recorder and the log
}

func (a *app) execCommand() *cobra.Command {
	var x execution
	cmd := &cobra.Command{
		Use:   "exec --action NAME --reason TEXT [--dir DIR] -- PROGRAM [ARGUMENT...]",
		Short: "Run a program as an audited job",
		Long: `Run any program as an audited job, from a crontab, a systemd timer, a Kubernetes
CronJob, or another program:

  0 2 * * * jobaudit exec --action backup --reason nightly -- /usr/local/bin/backup.sh

It does not start before its submission and its start are stored. From then on it runs as
without jobaudit: its output and errors go where they went, signals reach it, and
its exit status is that of exec; a program that a signal killed ends exec in the same
way. If the job cannot be recorded it does not run, and exec exits with 125. 126 and 127 say,
as in a shell, that the program cannot be run, or is not there.

Recorded are: who (the user that it runs as, on behalf of SUDO_USER; or --principal), its
exit code or signal, the first and last lines that it prints, as far as the scan
passes them, and signs of life. Nothing is kept of its arguments and its environment unless a
policy file says so:

  {"version": "1", "keep": ["program", "arguments.1", "environment.LEVEL"],
   "drop": {"environment.TOKEN": "credential"}}

What is dropped there is kept out of the lines, too.

The log is a directory with its key beside it, DIR.key; both are made when they are missing. Many
exec may share it: each holds it only while it writes. An outcome that it does not take within --wait goes
to a file in DIR.spool, which the next exec, or jobaudit repair, brings into the log.

A program that uses JOBAUDIT_CARRIER, as another exec does, makes its jobs children of this one. With
--carrier-keys that is proven, and one that is not signed is refused:
  (printf k1: ; head -c 32 /dev/urandom | base64) > FILE`,
		Args: wrongly(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			x.program = args
			submission, err := x.submission()
			if err != nil {
				return err
			}
			return a.exec(&x, submission)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.StringVar(&x.action, "action", "", "what the job does, as in backup")
	flags.StringVar(&x.reason, "reason", "", "why it runs")
	flags.StringVar(&x.ref, "ref", "", "what that refers to: a ticket, the name of a schedule")
	flags.StringVar(&x.trigger, "trigger", "", "schedule, manual or event (default: manual at a terminal, else schedule)")
	flags.StringVar(&x.principal, "principal", "", "who asks for it, as in user:ada, service:deployer or system:cron (default: the user that it runs as)")
	flags.StringVar(&x.resource, "resource", "", "what it acts on")
	flags.StringVar(&x.org, "org", "", "the organization that it is for")
	flags.StringVar(&x.correlation, "correlation", "", "a UUID that ties it to other jobs")
	flags.StringVar(&x.dir, "dir", "", "directory of the log (default: $JOBAUDIT_DIR, or /var/lib/jobaudit for root, or $XDG_STATE_HOME/jobaudit, or ~/.local/state/jobaudit)")
	flags.StringVar(&x.key, "key", "", "file with the log's secret key (default: DIR.key)")
	flags.StringVar(&x.name, "name", "", "the log's origin, if it is made (default: HOST/jobs)")
	flags.StringVar(&x.policy, "policy", "", "file that says which arguments and environment variables are kept")
	flags.StringVar(&x.system, "system", "jobaudit-exec", "which system the job belongs to")
	flags.StringVar(&x.environment, "environment", "", "which environment, as in production (default: $JOBAUDIT_ENVIRONMENT, or unspecified)")
	flags.DurationVar(&x.wait, "wait", time.Minute, "how long to wait for the log, before the start and at the end")
	flags.DurationVar(&x.outcomeWait, "outcome-wait", 0, "how long to wait for it at the end (default: as --wait)")
	flags.StringVar(&x.spool, "spool", "", "directory for outcomes that the log does not take; best on another disk (default: DIR.spool)")
	flags.StringVar(&x.carrierKeys, "carrier-keys", "", "file with secrets that sign JOBAUDIT_CARRIER, one a line, as ID:BASE64 of 32 random bytes or more; the first one signs, and each proves")
	flags.DurationVar(&x.heartbeat, "heartbeat", 30*time.Second, "time between the signs of life")
	flags.IntVar(&x.lines, "lines", 1000, "how many lines of output are recorded, half of them the last ones; 0: none, and the program has exec's own output, as a terminal")
	return cmd
}

// submission checks the flags, and is what asks for the job but for its inputs.
func (x *execution) submission() (s jobaudit.Submission, err error) {
	for _, flag := range []struct{ name, value string }{{"action", x.action}, {"reason", x.reason}} {
		if strings.TrimSpace(flag.value) == "" {
			return s, usagef("--%s is missing", flag.name)
		}
	}
	if x.lines < 0 || x.wait <= 0 || x.heartbeat <= 0 || x.outcomeWait < 0 {
		return s, usagef("--lines, --wait, --outcome-wait and --heartbeat are not negative, and the times not 0")
	}
	kinds := []jobaudit.TriggerKind{jobaudit.Scheduled, jobaudit.Manual, jobaudit.OnEvent}
	kind, err := known("--trigger", x.trigger, kinds)
	if err != nil {
		return s, err
	}
	if kind == "" {
		kind = jobaudit.Scheduled
		if isTerminal(os.Stdin) {
			kind = jobaudit.Manual
		}
	}
	s = jobaudit.Submission{
		Action: x.action, Resource: x.resource, OrgID: x.org, Trigger: jobaudit.Trigger{Kind: kind, Reason: x.reason, Ref: x.ref},
	}
	if x.correlation != "" {
		if s.CorrelationID, err = readID("--correlation", x.correlation); err != nil {
			return s, err
		}
	}
	s.Principal, s.OnBehalfOf, err = x.who()
	if err != nil {
		return s, err
	}
	return s, x.defaults()
}

// who is the principal: the user that the program runs as, whom the system
// has authenticated, on behalf of the one who called sudo.
func (x *execution) who() (p jobaudit.Principal, behalf []jobaudit.Principal, err error) {
	if x.principal != "" {
		p, err = principalOf("--principal", x.principal)
		return p, nil, err
	}
	id := strconv.Itoa(os.Getuid())
	p = jobaudit.Principal{Kind: jobaudit.User, ID: id, Verified: true, AuthMethod: "uid"}
	if u, err := user.LookupId(id); err == nil {
		p.ID = u.Username
		if u.Name != u.Username {
			p.Name = strings.Trim(u.Name, ", ")
		}
	}
	switch uid := os.Getuid(); {
	case uid == 0:
		p.Kind = jobaudit.System
	case uid < 1000:
		p.Kind = jobaudit.Service
	}
	if name := os.Getenv("SUDO_USER"); name != "" && name != p.ID {
		behalf = append(behalf, jobaudit.Principal{Kind: jobaudit.User, ID: name, AuthMethod: "sudo"})
	}
	return p, behalf, nil
}

// principalOf reads a principal, as in user:ada.
func principalOf(flag, text string) (jobaudit.Principal, error) {
	kind, id, found := strings.Cut(text, ":")
	kinds := []jobaudit.PrincipalKind{jobaudit.User, jobaudit.Service, jobaudit.System}
	if !found || id == "" {
		return jobaudit.Principal{}, usagef("%s %q names nobody: it is user:ID, service:ID or system:ID", flag, plain(text))
	}
	k, err := known(flag, kind, kinds)
	return jobaudit.Principal{Kind: k, ID: id}, err
}

// defaults fills what the flags leave out about the log.
func (x *execution) defaults() error {
	x.environment = cmp.Or(x.environment, os.Getenv("JOBAUDIT_ENVIRONMENT"), "unspecified")
	x.dir = cmp.Or(x.dir, os.Getenv("JOBAUDIT_DIR"))
	if x.dir == "" && os.Getuid() == 0 {
		x.dir = "/var/lib/jobaudit"
	}
	if state := os.Getenv("XDG_STATE_HOME"); x.dir == "" && filepath.IsAbs(state) {
		x.dir = filepath.Join(state, "jobaudit")
	}
	if x.dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return usagef("--dir is missing, and there is no home directory: %w", err)
		}
		x.dir = filepath.Join(home, ".local", "state", "jobaudit")
	}
	dir, err := filepath.Abs(x.dir)
	if err != nil {
		return err
	}
	x.dir, x.key, x.spool = dir, cmp.Or(x.key, dir+".key"), cmp.Or(x.spool, dir+".spool")
	x.outcomeWait = cmp.Or(x.outcomeWait, x.wait)
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	x.name = cmp.Or(x.name, host+"/jobs")
	if key, err := readKey(x.key); err == nil {
		x.name = key.Name()
	}
	return nil
}

// options are those of the recorder.
func (x *execution) options(redactors *jobaudit.Registry, report func(error)) (*jobaudit.Options, error) {
	opts := &jobaudit.Options{
		Redactors: redactors, Heartbeat: x.heartbeat, Timeout: x.wait, OutcomeTimeout: x.outcomeWait,
		OnError: func(_ context.Context, err *jobaudit.AuditError) { report(err) },
	}
	var err error
	if x.carrierKeys != "" {
		opts.RequireCarrierProof = true
		opts.CarrierKeys, opts.CarrierKey, err = readCarrierKeys(x.carrierKeys)
	}
	return opts, err
}

// readCarrierKeys reads a file of secrets, and which of them signs: the first.
func readCarrierKeys(file string) (keys map[string][]byte, first string, err error) {
	text, err := readFile(file, 64<<10)
	if err != nil {
		return nil, "", fmt.Errorf("--carrier-keys: %w", err)
	}
	keys = map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		id, secret, found := strings.Cut(line, ":")
		key, err := base64.StdEncoding.DecodeString(secret)
		if !found || err != nil || keys[id] != nil {
			return nil, "", fmt.Errorf("--carrier-keys %s: key %d is not written as ID:BASE64, with an ID of its own", file, len(keys)+1)
		}
		keys[id], first = key, cmp.Or(first, id)
	}
	if first == "" {
		return nil, "", fmt.Errorf("--carrier-keys %s holds no key", file)
	}
	return keys, first, nil
}

// parent returns the Carrier of the job that started this program, if one did.
func parent() (jobaudit.Carrier, error) {
	c, err := jobaudit.ParseCarrier(os.Getenv(carrierVariable))
	if err != nil && os.Getenv(carrierVariable) != "" {
		return c, fmt.Errorf("%s: %w", carrierVariable, err)
	}
	return c, nil
}

// outcome is how a program ended.
type outcome struct {
	code   int    // exit code, if no signal ended it
	signal string // as in SIGKILL
	number int    // of the signal
	cause  string // the signal that exec passed on and by which it ended
	before string // one that it was passed on long before, and when, for the record
	failed error  // it could not be started
	status int    // exit code of exec then
}

// sent is a signal that exec passed on and that asks a program to end.
type sent struct {
	name   string
	number int
	at     time.Time
}

// How long after a signal a program that fails is taken to have ended by it. It may take
// its time to end; but many use SIGHUP to read their configuration again, and fail of
// something else later.
const (
	soon       = 10 * time.Second
	soonHangUp = 2 * time.Second
)

// blame finds the signal by which a program ended that did not succeed: its own signal, or
// the exit code that stands for it; or any that it was sent just before.
func (o *outcome) blame(list []sent, now time.Time) {
	if o.code == 0 && o.signal == "" || len(list) == 0 {
		return
	}
	last := list[len(list)-1]
	for _, s := range list {
		if o.number == s.number || o.code == 128+s.number {
			last, o.cause = s, s.name
		}
	}
	if ago := now.Sub(last.at); o.cause == "" && (ago <= soonHangUp || ago <= soon && last.name != "SIGHUP") {
		o.cause = last.name
	} else if o.cause == "" {
		o.before = fmt.Sprintf(" (%s was sent to it %v before)", last.name, ago.Round(time.Second))
	}
}

// err is what the job's record says, nil if it succeeded.
func (o outcome) err() error {
	switch {
	case o.failed != nil:
		return &exitError{"NOT_STARTED", o.failed.Error()}
	case o.signal != "":
		return &exitError{o.signal, "ended by " + o.signal + o.before}
	case o.code != 0:
		return &exitError{fmt.Sprintf("EXIT_%d", o.code), fmt.Sprintf("exit status %d%s", o.code, o.before)}
	}
	return nil
}

// exitError is how a program failed, for the record.
type exitError struct{ code, text string }

func (e *exitError) Error() string        { return e.text }
func (e *exitError) JobErrorCode() string { return e.code }
