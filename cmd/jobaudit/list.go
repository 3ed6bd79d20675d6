package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
)

// filters are the flags that select events.
type filters struct {
	job, correlation, root, principal, org, action, state, since, until string

	types []string
}

func (f *filters) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.job, "job", "", "of this job")
	flags.StringVar(&f.correlation, "correlation", "", "of this correlation")
	flags.StringVar(&f.root, "root", "", "of the family of this root job")
	flags.StringVar(&f.principal, "principal", "", "by the principal with this ID")
	flags.StringVar(&f.org, "org", "", "of this organization")
	flags.StringVar(&f.action, "action", "", "of jobs with this action")
	flags.StringSliceVar(&f.types, "type", nil, "of these types, as in job.failed,attempt.failed")
	flags.StringVar(&f.state, "state", "", "whose job was pending, running, success, failed or cancelled then")
	flags.StringVar(&f.since, "since", "", "at or after this time: 2026-02-03, 2026-02-03T15:04:05Z, or 90m for 90 minutes ago")
	flags.StringVar(&f.until, "until", "", "before this time")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"pending", "running", "success", "failed", "cancelled"}, cobra.ShellCompDirectiveNoFileComp))
}

// query returns the query, and a text that all that match contain.
func (f *filters) query() (q jobaudit.Query, contains string, err error) {
	for _, id := range []struct {
		name, text string
		to         *uuid.UUID
	}{{"--correlation", f.correlation, &q.CorrelationID}, {"--root", f.root, &q.RootID}, {"--job", f.job, &q.JobID}} {
		if id.text == "" {
			continue
		}
		if *id.to, err = readID(id.name, id.text); err != nil {
			return q, "", err
		}
		contains = id.to.String()
	}
	q.PrincipalID, q.OrgID, q.Action = f.principal, f.org, f.action
	for _, t := range f.types {
		q.Types = append(q.Types, jobaudit.EventType(t))
	}
	switch q.State = jobaudit.JobState(f.state); q.State {
	case "", jobaudit.Pending, jobaudit.Running, jobaudit.Success, jobaudit.Failed, jobaudit.Cancelled:
	default:
		return q, "", usagef("--state %q is no state", plain(f.state))
	}
	if q.Since, err = moment("--since", f.since); err != nil {
		return q, "", err
	}
	q.Until, err = moment("--until", f.until)
	return q, contains, err
}

// moment reads a time, or how long ago it was.
func moment(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-d), nil
	}
	return time.Time{}, usagef("%s %q is no time", name, plain(text))
}

func (a *app) listCommand() *cobra.Command {
	var f filters
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list SOURCE...",
		Short: "List the events, one a line",
		Long: `List the events in the order of the log, one a line. Several logs are listed as
one, causes before what they caused.

With --json each line is the event as it is stored, byte for byte:
  jobaudit list DIR --json --type job.failed | jq -r .data.error.code | sort | uniq -c

It verifies nothing: see jobaudit verify.`,
		Args:              wrongly(cobra.MinimumNArgs(1)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, contains, err := f.query()
			if err != nil {
				return err
			}
			logs, err := a.openAll(cmd.Context(), args)
			if err != nil {
				return err
			}
			unread, n := 0, 0
			for r, err := range logs.records(cmd.Context(), q, contains, &unread) {
				if err != nil {
					return err
				}
				if err := a.event(r, asJSON); err != nil {
					return err
				}
				if n++; n == limit {
					break
				}
			}
			a.unreadable(unread)
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the events as they are stored")
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "at most this many")
	return cmd
}

// event prints an event on a line.
func (a *app) event(r jobaudit.Record, asJSON bool) error {
	if asJSON {
		return a.printJSON(r.Bytes())
	}
	e := r.Event()
	typ := fmt.Sprintf("%-18s", plain(string(e.Type)))
	switch e.Type {
	case jobaudit.JobFailed, jobaudit.JobDenied, jobaudit.AttemptLost, jobaudit.AuditLost, jobaudit.AuditDegraded:
		typ = a.bad(typ)
	case jobaudit.JobSucceeded:
		typ = a.good(typ)
	}
	_, err := fmt.Fprintf(a.out, "%s  %s  %s  %s\n", a.faint(e.Time.UTC().Format("2006-01-02 15:04:05.000")), typ, subject(e), plain(detail(e)))
	return err
}

// subject is the event's job, as wide as any.
func subject(e jobaudit.Event) string {
	if e.Job.ID == uuid.Nil {
		return strings.Repeat(" ", 36)
	}
	return e.Job.ID.String()
}

// detail says in a few words what the event says.
func detail(e jobaudit.Event) string {
	parts := []string{e.What.Action, "by " + e.Who.Principal.ID}
	switch d := e.Data; {
	case d.Error != nil:
		parts = append(parts, string(d.Error.Code)+": "+d.Error.Message)
	case d.Line != "":
		parts = append(parts, d.Line)
	case d.Decision != nil && !d.Decision.Allowed:
		parts = append(parts, "refused by "+d.Decision.By+" "+d.Decision.Reason)
	case d.Impact != "":
		parts = append(parts, d.Impact)
	case e.Type == jobaudit.JobSubmitted:
		parts = append(parts, "because "+e.Why.Reason)
	}
	return strings.Join(parts, "  ")
}
