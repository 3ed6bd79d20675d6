package story

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// longest is how many characters of a text are printed.
const longest = 240

// plain makes a text harmless: what is not a printable character or a space
// becomes an escape. What is too long is cut.
func plain[S ~string](text S) string {
	if len(text) <= longest && harmless(string(text)) {
		return string(text)
	}
	var b strings.Builder
	n := 0
	for _, r := range string(text) {
		if n++; n > longest {
			fmt.Fprintf(&b, "… (%d bytes)", len(text))
			break
		}
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// harmless reports whether all is printable ASCII, as most of what is printed is.
func harmless(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// list joins the texts that are not empty.
func list(sep string, texts ...string) string {
	var there []string
	for _, t := range texts {
		if t != "" {
			there = append(there, t)
		}
	}
	return strings.Join(there, sep)
}

// with returns format applied to the text made harmless, or "" for none.
func with[S ~string](format string, text S) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf(format, plain(text))
}

func who(e *jobaudit.Event) string {
	var behalf []string
	for _, p := range e.Who.OnBehalfOf {
		behalf = append(behalf, principal(p))
	}
	upstream := ""
	if u := e.Who.Upstream; u.System != "" {
		upstream = "set off by " + plain(u.System) + " event " + plain(u.ID)
	}
	return list(", ", principal(e.Who.Principal), with("org %s", e.Who.OrgID),
		list(" ", map[bool]string{true: "on behalf of"}[len(behalf) > 0], strings.Join(behalf, " for ")), upstream)
}

func principal(p jobaudit.Principal) string {
	assurance := "claimed"
	if p.Verified {
		assurance = "verified"
	}
	identity := list(", ", assurance, plain(p.AuthMethod), with("session %s", p.AuthSession))
	return list(" ", plain(p.Kind), plain(p.ID), with("“%s”", p.Name), with("(%s)", identity))
}

func what(e *jobaudit.Event) string {
	return list(" on ", plain(e.What.Action), plain(e.What.Resource))
}

func where(e *jobaudit.Event) string {
	w := e.Where
	ip := ""
	if w.SourceIP.IsValid() {
		ip = "asked from " + w.SourceIP.String()
	}
	return list(", ", plain(w.System)+" in "+plain(w.Environment), with("host %s", w.Host), with("version %s", w.Version),
		with("instance %s", w.Instance), with("target %s", w.Target), ip)
}

func why(e *jobaudit.Event) string {
	return plain(e.Why.Kind) + list("", with(": %s", e.Why.Reason), with(" (%s)", e.Why.Ref))
}

// lineage says which job it is and where it comes from.
func lineage(e *jobaudit.Event, numbers map[uuid.UUID]int) string {
	if e.Job.ID == uuid.Nil {
		return ""
	}
	queue := ""
	if q := e.Job.Queue; q.System != "" {
		queue = "job " + plain(q.ID) + " of " + plain(q.System)
	}
	correlation := ""
	if e.CorrelationID != e.Job.RootID {
		correlation = "correlation " + e.CorrelationID.String()
	}
	return list(", ", e.Job.ID.String(), related("child of ", e.Job.ParentID, numbers),
		related("retry of ", e.Job.RetryOf, numbers), correlation, queue)
}

// related names another job: by its number if it is one of those printed.
func related(how string, id uuid.UUID, numbers map[uuid.UUID]int) string {
	switch {
	case id == uuid.Nil:
		return ""
	case numbers[id] > 0:
		return fmt.Sprintf("%s#%d", how, numbers[id])
	default:
		return how + id.String()
	}
}

// state returns the job's state behind the event. That of a log line says
// nothing.
func state(e *jobaudit.Event) string {
	if e.Type == jobaudit.JobLogged {
		return ""
	}
	return list(", ", plain(e.Job.State), attempt(e))
}

// detail returns what the event says beyond the five Ws: nothing, or lines.
func detail(e *jobaudit.Event) []string {
	var lines []string
	add := func(text string) {
		if text != "" {
			lines = append(lines, text)
		}
	}
	d := &e.Data
	add(with("| %s", d.Line))
	if string(e.What.Inputs) != "null" {
		add(with("inputs %s", string(e.What.Inputs)))
	}
	add(with("output %s", string(d.Output)))
	add(redaction(e.What.Redaction))
	if d.Decision != nil {
		add(decision(d.Decision))
	}
	add(heartbeat(e))
	if s := d.Snapshot; s != nil {
		add(list(" ", map[bool]string{false: "before", true: "after"}[s.After], plain(s.Resource), plain(s.Digest), with("“%s”", s.Summary)))
		add(with("value %s", string(kept(s))))
	}
	add(with("impact: %s", d.Impact))
	add(failure(d.Error))
	if c := d.Correction; c != nil {
		add(map[bool]string{false: "correction", true: "reversal"}[c.Reversal] + " of event " + c.Of.String() + with(": %s", c.Reason))
		if value, is := c.Value.(json.RawMessage); is {
			add(with("value %s", string(value)))
		}
	}
	if d.Existing != uuid.Nil {
		add("duplicate of job " + d.Existing.String())
	}
	lines = append(lines, evidence(e)...)
	add(missing(e))
	add(with("recovery %s", string(d.Recovery)))
	add(with("policy %s", string(d.Policy)))
	return lines
}

func attempt(e *jobaudit.Event) string {
	switch {
	case e.Job.Attempt > 1, e.Job.Attempt == 1 && e.Type == jobaudit.JobStarted:
		return fmt.Sprint("attempt ", e.Job.Attempt)
	default:
		return ""
	}
}

// redaction says what was kept back. What was kept whole is not worth a line.
func redaction(r *jobaudit.Redaction) string {
	if r == nil {
		return ""
	}
	var removed []string
	for _, x := range r.Removed {
		removed = append(removed, plain(x.Path)+with(" (%s)", x.Class))
	}
	if r.RemovedCount > 0 {
		removed = append(removed, fmt.Sprint(r.RemovedCount, " not named"))
	}
	for _, x := range r.Hits {
		removed = append(removed, plain(x.Path)+" (found by "+plain(x.Rule)+")")
	}
	parts := list(": ", map[bool]string{true: "removed"}[len(removed) > 0], strings.Join(removed, ", "))
	outcome := ""
	switch r.Outcome {
	case "kept":
	case "no_policy":
		outcome = "withheld, no policy"
	case "passed_through":
		outcome = "passed through, no policy"
	default:
		outcome = "dropped, " + plain(r.Outcome)
	}
	parts = list("; ", outcome, parts)
	if parts == "" {
		return ""
	}
	return "redaction" + list("", with(" %s", r.Policy), with(" %s", r.Version)) + ": " + parts
}

func decision(d *jobaudit.Decision) string {
	verdict := "refused"
	if d.Allowed {
		verdict = "allowed"
	}
	by := with("by %s", d.By)
	if d.By == "none" {
		by = "as nothing decides"
	}
	return list(" ", verdict, by, with("for %s", d.Permission)) + with(": %s", d.Reason)
}

func heartbeat(e *jobaudit.Event) string {
	h := &e.Data.Heartbeat
	progress, next := "", ""
	switch p := h.Progress; {
	case p == nil:
	case p.Total > 0:
		progress = fmt.Sprintf("%d of %d done (%.0f %%)", p.Done, p.Total, float64(p.Done)/float64(p.Total)*100)
	default:
		progress = fmt.Sprint(p.Done, " done")
	}
	if !h.Deadline.IsZero() {
		next = "next sign of life by " + clock(h.Deadline)
	}
	return list(", ", progress, next)
}

func failure(d *jobaudit.ErrorDetail) string {
	if d == nil {
		return ""
	}
	return list(": ", plain(d.Code), plain(d.Message)) + with(" [%s]", list(" at ", d.Type, d.Frame))
}

// evidence says what a verdict rests on.
func evidence(e *jobaudit.Event) []string {
	v := &e.Data.Evidence
	if v.Last.ID == uuid.Nil {
		return nil
	}
	heartbeat, deadline := "", ""
	if v.Heartbeat.ID != uuid.Nil {
		heartbeat = "last heartbeat at " + clock(v.Heartbeat.Time)
	}
	if !v.Deadline.IsZero() {
		deadline = "next sign of life was due by " + clock(v.Deadline)
	}
	return []string{
		"evidence: " + list(", ", "last event "+plain(v.Last.Type)+" at "+clock(v.Last.Time), heartbeat, deadline),
		fmt.Sprintf("owner: host %s, instance %s, stream %s", plain(v.Owner.Host), plain(v.Owner.Instance), v.Owner.Stream),
	}
}

// missing says what the log lacks, as far as an event of the audit says it.
func missing(e *jobaudit.Event) string {
	if l := e.Data.Lost; l.Count > 0 {
		var types []string
		for _, t := range l.Types {
			types = append(types, plain(t))
		}
		return fmt.Sprintf("%d events were lost (%s), from %s to %s", l.Count, strings.Join(types, ", "), clock(l.From), clock(l.To))
	}
	if d := e.Data.Degraded; d.Stream != uuid.Nil {
		return fmt.Sprintf("stream %s ends before event %s, with %d behind it", d.Stream, d.Event, d.Count) + with(": %s", d.Reason)
	}
	return ""
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }
