package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/evidence"
)

// maxReview is how many bytes the findings of a review may have: an event keeps
// 16,000 of content, and a decision that is cut off is none.
const maxReview = 15_500

// review is one call of the command.
type review struct {
	companion companion
	filters   filters
	logKeys   []string
	decisions []string
	file      string
	asJSON    bool
}

// A reviewFinding is what a reviewer has to look at.
type reviewFinding struct {
	event jobaudit.Event
	kind  string
	what  string
}

func (a *app) reviewCommand() *cobra.Command {
	var r review
	cmd := &cobra.Command{
		Use:   "review SOURCE --since TIME [--until TIME] [--decide EVENT-ID=TEXT… --in COMPANION --key FILE --by user:ID --reason TEXT]",
		Short: "Review a period: what there is to find, and what was decided on each finding",
		Long: `List what a reviewer has to look at in a period, proven against the log's newest
durable head: failed and refused jobs, jobs stopped by somebody else, lost attempts
and events, starts without an end, corrections, recorders that report something,
programs that were built from modified source.

With --in the review is recorded in a companion log (see jobaudit act -h): who, which
period, what was found, and what was decided on each finding. It is recorded only if
each has a decision: by the event's ID, or by the kind that stands before it, which
decides all of that kind:
  jobaudit review log --since yesterday --in acts --key acts.key --by user:eve \
    --reason 'the daily review' --decide job.denied='a scanner, known' --decide 0195…=OPS-77`,
		Args:              wrongly(cobra.ExactArgs(1)),
		ValidArgsFunction: onDir,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.review(cmd.Context(), &r, args[0]) },
	}
	r.companion.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&r.filters.since, "since", "", "the period's begin: yesterday, 7d, 2026-02-03; see list -h")
	flags.StringVar(&r.filters.until, "until", "", "its end, written in the same way (default: the log's head)")
	flags.BoolVar(&r.filters.local, "local", false, "times in the zone of this machine; default: UTC")
	flags.StringArrayVar(&r.logKeys, "log-key", nil, "the log's verifier key, as text or in a file (default: that of a key file beside it)")
	flags.StringArrayVar(&r.decisions, "decide", nil, "EVENT-ID=TEXT or KIND=TEXT: what was decided on a finding, or on all of a kind; may be repeated")
	flags.StringVar(&r.file, "decisions", "", "a file with such decisions, one a line")
	flags.BoolVar(&r.asJSON, "json", false, "print the findings as lines of JSON")
	return cmd
}

func (a *app) review(ctx context.Context, r *review, name string) error {
	since, until, err := r.filters.period()
	if err != nil {
		return err
	}
	if since.IsZero() {
		return usagef("--since is missing: where the period begins")
	}
	decided, err := r.decided()
	if err != nil {
		return err
	}
	about, err := a.open(ctx, name)
	if err == nil && r.companion.dir != "" {
		err = r.companion.check(about)
	}
	if err != nil {
		return err
	}
	if r.companion.dir == "" && len(decided) > 0 {
		return usagef("--in is missing: the companion log that the decisions go to")
	}
	findings, head, err := a.findings(ctx, r, name, since, until)
	if err != nil {
		return err
	}
	if r.companion.dir == "" {
		return a.printFindings(r, findings, head)
	}
	data, err := r.data(findings, decided, head)
	if err != nil {
		return err
	}
	act := jobaudit.Act{Type: jobaudit.AuditReviewed, Principal: r.companion.principal, Reason: r.companion.reason,
		Scope: jobaudit.Query{Since: since, Until: until}, Data: data}
	r.companion.once = true
	err = r.companion.record(ctx, about, func(rec *jobaudit.Recorder) error { return rec.Act(ctx, act) })
	return a.recorded(&r.companion, fmt.Sprintf("%s of %s", act.Type, count(len(findings), "finding")), err)
}

// decided reads the decisions.
func (r *review) decided() (map[string]string, error) {
	lines := slices.Clone(r.decisions)
	if r.file != "" {
		text, err := readFile(r.file, 1<<20)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
	}
	decided := map[string]string{}
	for _, line := range lines {
		what, text, ok := strings.Cut(line, "=")
		what, text = strings.TrimSpace(what), strings.TrimSpace(text)
		if !ok || what == "" || text == "" {
			return nil, usagef("%q is no decision: it is EVENT-ID=TEXT or KIND=TEXT", plain(line))
		}
		if len(text) > 1024 {
			return nil, usagef("the decision on %s has more than 1,024 bytes", plain(what))
		}
		if _, twice := decided[what]; twice {
			return nil, usagef("there are two decisions on %s", plain(what))
		}
		decided[what] = text
	}
	return decided, nil
}

// findings reads and proves the log up to its newest durable head.
func (a *app) findings(ctx context.Context, r *review, name string, since, until time.Time) ([]reviewFinding, auditlog.Head, error) {
	source, err := a.evidenceSource(ctx, name, r.logKeys)
	if err != nil {
		return nil, auditlog.Head{}, err
	}
	head := source.Head.Head()
	f := finder{period: jobaudit.Query{Since: since, Until: until}}
	unread := 0
	_, err = auditlog.Verify(ctx, source.Segments, &auditlog.Options{Keys: source.Keys, Heads: []auditlog.Head{head}, Quick: true}, func(leaf auditlog.Leaf) error {
		if leaf.Index >= head.Size {
			return nil
		}
		record, err := jobaudit.ParseRecord(bytes.Clone(leaf.Bytes))
		if err != nil {
			unread++
			return nil
		}
		f.add(record)
		return nil
	})
	if err != nil {
		return nil, head, a.unproven(name, err)
	}
	a.unreadable(unread)
	return f.done(), head, nil
}

// A finder finds what a reviewer has to look at.
type finder struct {
	period   jobaudit.Query
	findings []reviewFinding
	unended  evidence.Unended
}

func (f *finder) add(r jobaudit.Record) {
	e := r.Event()
	f.unended.Add(e)
	if (e.Type == jobaudit.JobStarted || e.Type == jobaudit.AttemptStarted) && f.period.Match(r) {
		f.findings = append(f.findings, reviewFinding{e, noEnd, e.What.Action + " by " + e.Who.Principal.ID + ": it was started and has no end"})
	}
	if !f.period.Match(r) {
		return
	}
	for kind, what := range worth(e) {
		f.findings = append(f.findings, reviewFinding{e, kind, what})
	}
}

// noEnd is the kind of a start without an end.
const noEnd = "no-end"

// done returns the findings, without the starts that have an end.
func (f *finder) done() []reviewFinding {
	open := f.unended.Starts()
	return slices.DeleteFunc(f.findings, func(x reviewFinding) bool { return x.kind == noEnd && !open[x.event.ID] })
}

// worth yields for what an event is one to look at: the kind, and what it says. An opening can
// be worth that twice.
func worth(e jobaudit.Event) iter.Seq2[string, string] {
	return func(yield func(kind, what string) bool) {
		switch e.Type {
		case jobaudit.JobFailed, jobaudit.JobDenied, jobaudit.JobCancelled, jobaudit.AttemptLost, jobaudit.JobCorrected, jobaudit.AuditErased:
			yield(string(e.Type), strings.Join(details(e, 0), "  "))
		case jobaudit.AuditLost:
			yield(string(e.Type), fmt.Sprintf("%s were lost", count(e.Data.Lost.Count, "event")))
		case jobaudit.AuditDegraded:
			yield(string(e.Type), e.Data.Degraded.Reason)
		case jobaudit.AuditOpened:
			var found struct {
				Torn      json.RawMessage
				Overrides []string
				Successor string `json:"predecessor"`
			}
			if len(e.Data.Recovery) > 0 && json.Unmarshal(e.Data.Recovery, &found) == nil && (found.Torn != nil || len(found.Overrides) > 0 || found.Successor != "") {
				if !yield("recovery", "the log was opened after a crash, by an override, or as a successor: "+string(e.Data.Recovery)) {
					return
				}
			}
			if e.Data.Environment.VCS.Modified {
				yield("modified", "a program was built from modified source: "+e.Where.System+" "+e.Where.Version)
			}
		}
	}
}

func (a *app) printFindings(r *review, findings []reviewFinding, head auditlog.Head) error {
	for _, f := range findings {
		if r.asJSON {
			line, err := json.Marshal(map[string]any{"event": f.event.ID, "kind": f.kind, "time": f.event.Time, "job": f.event.Job.ID, "what": f.what})
			if err == nil {
				err = a.printJSON(line)
			}
			if err != nil {
				return err
			}
			continue
		}
		what := "    " + plain(f.what) + "\n"
		if width := a.width(); width > 0 {
			what = below(plain(f.what), width)
		}
		_, err := fmt.Fprintf(a.out, "%s  %s  %s\n%s", f.event.ID, a.faint(f.event.Time.In(r.filters.zone()).Format(time.DateTime)), a.bad(f.kind), what)
		if err != nil {
			return err
		}
	}
	if r.asJSON {
		return nil
	}
	_, err := fmt.Fprintf(a.out, "%s in the period, of %s at size %d\n", count(len(findings), "finding"), plain(head.Origin), head.Size)
	return err
}

// decision is one of a review's decisions, with the events that it is about.
type decision struct {
	Kind     string      `json:"kind"`
	Decision string      `json:"decision"`
	Events   []uuid.UUID `json:"events"`
}

// data is what a review records. It fails while a finding has no decision.
func (r *review) data(findings []reviewFinding, decided map[string]string, head auditlog.Head) (json.RawMessage, error) {
	list := []*decision{}
	used := map[string]bool{}
	var without []string
	for _, f := range findings {
		by := f.event.ID.String()
		text, ok := decided[by]
		if !ok {
			by = f.kind
			text, ok = decided[by]
		}
		if !ok {
			without = append(without, f.event.ID.String())
			continue
		}
		used[by] = true
		i := slices.IndexFunc(list, func(d *decision) bool { return d.Kind == f.kind && d.Decision == text })
		if i < 0 {
			i, list = len(list), append(list, &decision{Kind: f.kind, Decision: text})
		}
		list[i].Events = append(list[i].Events, f.event.ID)
	}
	if n := len(without); n > 0 {
		return nil, usagef("%s no decision, the first %s: nothing is recorded. Without --in the findings are listed", map[bool]string{true: "1 finding has", false: count(n, "finding") + " have"}[n == 1], without[0])
	}
	for what := range decided {
		if !used[what] {
			return nil, usagef("the decision on %s is about nothing that was found", plain(what))
		}
	}
	data, err := json.Marshal(map[string]any{"size": head.Size, "found": len(findings), "decisions": list})
	if err == nil && len(data) > maxReview {
		err = errors.New("the findings of this review do not fit into one event: review a shorter period")
	}
	return data, err
}
