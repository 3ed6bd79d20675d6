package filesink

import (
	"fmt"
	"strings"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
)

// explain says beside findings about outside heads what an audit.opened record
// of the log says of that head. It stays a finding, whatever the log says.
// Otherwise an attacker who can cause a crash could excuse by it the loss of what
// was acknowledged. Only where the caller lists the head as lost is it a note; and
// only where every finding could be looked at.
func (v *verification) explain(recoveries []jobcheck.Recovery) {
	kept := v.findings[:0]
	for _, f := range v.findings {
		if r := v.explanation(f, recoveries); r != nil {
			f.Explained = fmt.Sprintf("the record at index %d names this head: %s", r.Index, cause(r, f.Head))
			if v.more == 0 && jobcheck.Lists(v.opts.AcceptLoss, f.Head) {
				v.report.Notes = append(v.report.Notes, f)
				continue
			}
		}
		kept = append(kept, f)
	}
	v.findings = kept
}

// explanation returns the recovery that names the outside head of a finding.
func (v *verification) explanation(f Finding, recoveries []jobcheck.Recovery) *jobcheck.Recovery {
	if f.Head == (auditlog.Head{}) || !jobcheck.Lists(v.heads, f.Head) {
		return nil
	}
	for i := range recoveries {
		if recoveries[i].Names(jobcheck.Head{Size: f.Head.Size, Root: f.Head.Root}) {
			return &recoveries[i]
		}
	}
	return nil
}

func cause(r *jobcheck.Recovery, h auditlog.Head) string {
	named := jobcheck.Head{Size: h.Size, Root: h.Root}
	switch {
	case r.Several():
		return "this log, or one that was opened together with it, had it in a tail that was set aside, or continues the log that had it"
	case r.Predecessor != "" && r.Anchor != nil && *r.Anchor == named:
		return "the log continues " + r.Predecessor + " after a restore"
	}
	return "it was in a tail that was set aside"
}

// recoveryNote says what an audit.opened record reports.
func recoveryNote(r jobcheck.Recovery) Finding {
	var said []string
	if r.Torn != nil {
		said = append(said, tornNote(&r)...)
	}
	if r.Predecessor != "" {
		said = append(said, "continues "+r.Predecessor)
	}
	if len(r.Overrides) > 0 {
		said = append(said, "safeguards switched off: "+strings.Join(r.Overrides, ", "))
	}
	of := ""
	if r.Several() {
		of = "of this log, or of those that were opened together with it: "
	}
	return Finding{EventID: r.Event, Finding: auditlog.Finding{
		Kind: KindRecovery, Index: r.Index, First: r.Index, End: r.Index + 1, Commit: -1, Offset: -1,
		Found: of + strings.Join(said, "; "),
	}}
}

// tornNote says what a report tells of what was set aside.
func tornNote(r *jobcheck.Recovery) (said []string) {
	t := r.Torn
	if t.Bytes > 0 {
		said = append(said, fmt.Sprintf("unacknowledged or damaged tail set aside: %d bytes, SHA-256 %s, %d signed heads in it", t.Bytes, t.SHA256, len(t.Heads)))
	}
	if len(t.Files) > 0 {
		said = append(said, "kept in "+strings.Join(t.Files, ", "))
	}
	from := int64(0)
	if r.Head != nil {
		from = r.Head.Size
	}
	for _, h := range t.Heads {
		switch {
		case r.Several():
			said = append(said, fmt.Sprintf("if the signed head of size %d was acknowledged, its log has lost what it lacks of the events up to %d", h.Size, h.Size-1))
		case h.Size > from:
			said = append(said, fmt.Sprintf("if the signed head of size %d was acknowledged, events %d to %d are lost", h.Size, from, h.Size-1))
		}
	}
	return said
}
