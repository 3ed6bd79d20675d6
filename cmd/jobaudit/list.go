package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
)

func (a *app) listCommand() *cobra.Command {
	var f filters
	var asJSON bool
	var keys []string
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
			if err := a.give(keys); err != nil {
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
				if f.redacted && withheld(r.Event().What.Redaction) == "" {
					continue
				}
				if err := a.event(r, &f, asJSON); err != nil {
					return err
				}
				if n++; n == limit {
					break
				}
			}
			a.unreadable(unread)
			if n == 0 {
				return a.nothing(cmd.Context(), logs, &f, "event")
			}
			a.unverified(logs)
			return nil
		},
	}
	f.addEvents(cmd)
	keyFlag(cmd, &keys)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the events as they are stored")
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "at most this many")
	return cmd
}

// event prints an event: on a line, or on two where that is too narrow.
func (a *app) event(r jobaudit.Record, f *filters, asJSON bool) error {
	if asJSON {
		return a.printJSON(r.Bytes())
	}
	e, width := r.Event(), a.width()
	typ := fit(plain(string(e.Type)), 18)
	switch e.Type {
	case jobaudit.JobFailed, jobaudit.JobDenied, jobaudit.AttemptLost, jobaudit.AuditLost, jobaudit.AuditDegraded:
		typ = a.bad(typ)
	case jobaudit.JobSucceeded:
		typ = a.good(typ)
	}
	forNames := width
	if width >= wide {
		forNames = width - 79
	}
	layout, what := "2006-01-02 15:04:05.000", details(e, forNames)
	for i := range what {
		what[i] = plain(what[i])
	}
	switch {
	case 0 < width && width < slim:
		layout = "01-02 15:04:05"
	case width > 0:
		layout = time.DateTime
	}
	line := a.faint(e.Time.In(f.zone()).Format(layout)) + "  " + typ
	switch id := subject(e); {
	case 0 < width && width < slim:
		if e.Job.ID != uuid.Nil {
			line += "\n" + "  " + id
		}
		line += "\n" + strings.TrimSuffix(below(beside(what, "  ", width-4), width), "\n")
	case 0 < width && width < wide && e.Job.ID == uuid.Nil:
		line = strings.TrimRight(line, " ") + "  " + beside(what, "  ", width-41)
	case 0 < width && width < wide:
		line += "  " + id + "\n" + strings.TrimSuffix(below(beside(what, "  ", width-4), width), "\n")
	case width > 0:
		line += "  " + id + "  " + beside(what, "  ", width-79)
	default:
		line += "  " + id + "  " + beside(what, "  ", 0)
	}
	_, err := fmt.Fprintln(a.out, strings.TrimRight(line, " "))
	return err
}

// subject is the event's job, as wide as any.
func subject(e jobaudit.Event) string {
	if e.Job.ID == uuid.Nil {
		return strings.Repeat(" ", 36)
	}
	return e.Job.ID.String()
}

// details say in a few words what the event says.
// On a screen, which has a width, long names in front of a text are cut.
func details(e jobaudit.Event, width int) []string {
	var who strings.Builder
	if who.WriteString("by "); len(e.Who.OnBehalfOf) == 0 {
		who.WriteString(e.Who.Principal.ID)
	} else {
		who.WriteString(name(e.Who.Principal.ID, width))
	}
	for _, p := range e.Who.OnBehalfOf {
		who.WriteString(" for " + name(p.ID, width))
	}
	parts := []string{e.What.Action, who.String()}
	if e.Job.ID == uuid.Nil {
		parts = []string{who.String()}
	}
	switch d := e.Data; {
	case d.Error != nil:
		parts = append(parts, name(string(d.Error.Code), width)+": "+d.Error.Message)
	case d.Line != "":
		parts = append(parts, d.Line)
	case d.Decision != nil && !d.Decision.Allowed:
		parts = append(parts, "refused by "+name(d.Decision.By, width)+" "+d.Decision.Reason)
	case e.Type == jobaudit.AuditOpened:
		parts = append(parts, e.Where.Version, "on "+e.Where.Host)
		if d.Environment.VCS.Modified {
			parts = append(parts, "built from modified source, revision "+d.Environment.VCS.Revision)
		}
	case len(d.Policy) > 0:
		parts = append(parts, string(d.Policy))
	case d.Impact != "":
		parts = append(parts, d.Impact)
	case d.Correction != nil:
		parts = append(parts, "of event "+d.Correction.Of.String()+": "+d.Correction.Reason)
	case e.Type == jobaudit.JobSubmitted, e.Type == jobaudit.AuditRead, e.Type == jobaudit.AuditReviewed, e.Type == jobaudit.AuditRequested:
		parts = append(parts, "because "+e.Why.Reason)
	}
	if text := withheld(e.What.Redaction); text != "" {
		parts = append(parts, text)
	}
	return parts
}

// withheld says what of an event was not stored, and by which policy.
func withheld(r *jobaudit.Redaction) string {
	if r == nil {
		return ""
	}
	var gone []string
	for _, x := range r.Removed {
		gone = append(gone, x.Path)
	}
	if n := r.RemovedCount; n > 0 {
		gone = append(gone, fmt.Sprintf("%d unnamed", n))
	}
	for _, x := range r.Hits {
		gone = append(gone, x.Path+" ("+x.Rule+")")
	}
	if n := r.More; n > 0 {
		gone = append(gone, fmt.Sprintf("%d more", n))
	}
	policy := "by the scan"
	switch {
	case r.Policy != "":
		policy = "by policy " + r.Policy + " " + r.Version
	case r.Outcome == jobaudit.RedactionNoPolicy:
		policy = "as there is no policy"
	}
	switch {
	case r.Outcome != jobaudit.RedactionKept && r.Outcome != jobaudit.RedactionPassedThrough:
		return "[withheld " + policy + map[bool]string{true: ": " + string(r.Outcome)}[r.Outcome != jobaudit.RedactionNoPolicy] + "]"
	case len(gone) > 0:
		return "[removed " + policy + ": " + strings.Join(gone, ", ") + "]"
	}
	return ""
}

// nothing says that nothing matched, and which values of the log are near those
// that were asked for: a misspelt action must not look like a quiet month.
func (a *app) nothing(ctx context.Context, logs sources, f *filters, noun string) error {
	fmt.Fprintf(a.err, "jobaudit: no %s matches\n", noun)
	asked := []struct{ flag, text string }{{"--action", f.action}, {"--resource", f.resource}, {"--org", f.org}, {"--principal", f.principal}, {"--acting", f.acting}, {"--error-code", f.errorCode}}
	if !slices.ContainsFunc(asked, func(x struct{ flag, text string }) bool { return x.text != "" }) {
		return nil
	}
	const most = 10_000 // values of a kind that are remembered
	have := make([]map[string]bool, len(asked))
	for i := range have {
		have[i] = map[string]bool{}
	}
	unread := 0
	for r, err := range logs.each(ctx, jobaudit.Query{}, &unread) {
		if err != nil {
			return err
		}
		e := r.Event()
		note := func(i int, v string) {
			if asked[i].text != "" && v != "" && len(have[i]) < most {
				have[i][v] = true
			}
		}
		for i, v := range []string{e.What.Action, e.What.Resource, e.Who.OrgID, e.Who.Principal.ID, e.Who.Principal.ID} {
			note(i, v)
		}
		for _, p := range e.Who.OnBehalfOf {
			note(3, p.ID) // --principal finds these, too
		}
		if e.Data.Error != nil {
			note(5, string(e.Data.Error.Code))
		}
	}
	for i, x := range asked {
		if x.text == "" || have[i][x.text] {
			continue
		}
		text := ""
		if x.flag == "--error-code" {
			for _, code := range errorCodes {
				have[i][string(code)] = true
			}
		}
		if near := nearest(x.text, slices.Sorted(maps.Keys(have[i]))); len(near) > 0 {
			text = ": did you mean " + alternatives(near) + "?"
		}
		fmt.Fprintf(a.err, "jobaudit: nothing in the log has %s %s%s\n", x.flag, clipped(x.text), text)
	}
	return nil
}
