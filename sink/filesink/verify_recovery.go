package filesink

import (
	"fmt"
	"os"
	"strings"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/jobcheck"
)

// explain turns findings about outside heads into notes if an audit.opened
// record of the log names that head: then a crash or a restore left it behind,
// and the log said so when it went on.
func (v *verification) explain(recoveries []jobcheck.Recovery) {
	kept := v.findings[:0]
	for _, f := range v.findings {
		if r, ok := explanation(f, v.heads, recoveries); ok {
			f.Explained = fmt.Sprintf("the record at index %d names this head: %s", r.Index, cause(r))
			v.report.Notes = append(v.report.Notes, f)
			continue
		}
		kept = append(kept, f)
	}
	v.findings = kept
}

func explanation(f Finding, heads []auditlog.Head, recoveries []jobcheck.Recovery) (*jobcheck.Recovery, bool) {
	if f.Kind != auditlog.KindFork && f.Kind != auditlog.KindTruncated {
		return nil, false
	}
	for _, h := range heads {
		if h.Size != f.End || f.Kind == auditlog.KindFork && h.Root.String() != f.Expected {
			continue
		}
		for i := range recoveries {
			if recoveries[i].Names(jobcheck.Head{Size: h.Size, Root: h.Root}) {
				return &recoveries[i], true
			}
		}
	}
	return nil, false
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

// isLocked reports whether a writer has the log open. It does not try the
// lock, which would keep a writer out for a moment; it asks the system, where
// that can be asked.
func isLocked(root *os.Root) bool {
	info, err := root.Stat(lockFile)
	return err == nil && locked(info)
}
