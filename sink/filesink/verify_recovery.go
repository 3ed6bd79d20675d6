package filesink

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
)

// explain says beside findings about outside heads what an audit.opened record
// of the log says of that head. It stays a finding, whatever the log says.
// Otherwise an attacker who can cause a crash could excuse by it the loss of what
// was acknowledged. Only where the caller lists the head as lost is it a note.
func (v *verification) explain(recoveries []jobcheck.Recovery) {
	kept := v.findings[:0]
	for _, f := range v.findings {
		if h, r := explanation(f, v.heads, recoveries); r != nil {
			f.Explained = fmt.Sprintf("the record at index %d names this head: %s", r.Index, cause(r))
			if slices.ContainsFunc(v.opts.AcceptLoss, func(lost auditlog.Head) bool {
				return lost.Size == h.Size && lost.Root == h.Root && (lost.Origin == "" || h.Origin == "" || lost.Origin == h.Origin)
			}) {
				v.report.Notes = append(v.report.Notes, f)
				continue
			}
		}
		kept = append(kept, f)
	}
	v.findings = kept
}

func explanation(f Finding, heads []auditlog.Head, recoveries []jobcheck.Recovery) (auditlog.Head, *jobcheck.Recovery) {
	if f.Kind != auditlog.KindFork && f.Kind != auditlog.KindTruncated {
		return auditlog.Head{}, nil
	}
	for _, h := range heads {
		if h.Size != f.End || f.Kind == auditlog.KindFork && h.Root.String() != f.Expected {
			continue
		}
		for i := range recoveries {
			if recoveries[i].Names(jobcheck.Head{Size: h.Size, Root: h.Root}) {
				return h, &recoveries[i]
			}
		}
	}
	return auditlog.Head{}, nil
}

func cause(r *jobcheck.Recovery) string {
	if r.Predecessor != "" {
		return "the log continues " + r.Predecessor + " after a restore"
	}
	return "it was in a tail that was set aside"
}

// recoveryNote says what an audit.opened record reports.
func recoveryNote(r jobcheck.Recovery) Finding {
	var said []string
	if t := r.Torn; t != nil {
		said = append(said, fmt.Sprintf("unacknowledged or damaged tail set aside: %d bytes, SHA-256 %s, %d signed heads in it", t.Bytes, t.SHA256, len(t.Heads)))
		if len(t.Files) > 0 {
			said = append(said, "kept in "+strings.Join(t.Files, ", "))
		}
		for _, h := range t.Heads {
			from := int64(0)
			if r.Head != nil {
				from = r.Head.Size
			}
			if h.Size > from {
				said = append(said, fmt.Sprintf("if the signed head of size %d was acknowledged, events %d to %d are lost", h.Size, from, h.Size-1))
			}
		}
	}
	if r.Predecessor != "" {
		said = append(said, "continues "+r.Predecessor)
	}
	if len(r.Overrides) > 0 {
		said = append(said, "safeguards switched off: "+strings.Join(r.Overrides, ", "))
	}
	return Finding{EventID: r.Event, Finding: auditlog.Finding{
		Kind: KindRecovery, Index: r.Index, First: r.Index, End: r.Index + 1, Commit: -1, Offset: -1,
		Found: strings.Join(said, "; "),
	}}
}
