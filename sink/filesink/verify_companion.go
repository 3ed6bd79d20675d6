package filesink

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
)

// companionHeads returns the heads of this log that its companions name.
func (v *verification) companionHeads() (heads []auditlog.Head, err error) {
	for _, companion := range v.opts.Companions {
		if companion.Level < auditlog.Signed {
			return nil, fmt.Errorf("companion %s: no given key has signed it", companion.Head.Origin)
		}
		before := len(heads)
		for _, h := range companion.CompanionOf {
			if v.speaksOfThis(h) {
				heads = append(heads, h)
			}
		}
		if len(heads) == before {
			return nil, fmt.Errorf("companion %s: %w", companion.Head.Origin, errNoCompanion)
		}
	}
	return heads, nil
}

var errNoCompanion = errors.New("it names no head of this log")

// speaksOfThis reports whether a head is of this log, as its keys tell.
func (v *verification) speaksOfThis(h auditlog.Head) bool {
	return len(v.opts.Keys) == 0 || slices.ContainsFunc(v.opts.Keys, func(key note.Verifier) bool { return key.Name() == h.Origin })
}

// namedBy adds to a finding about a companion's head which companion that is.
func namedBy(f auditlog.Finding, heads []auditlog.Head, companions []Report) auditlog.Finding {
	if f.Kind != auditlog.KindTruncated && f.Kind != auditlog.KindFork && f.Kind != auditlog.KindOrigin {
		return f
	}
	for _, h := range heads {
		if h.Size != f.End && h.Origin != f.Expected {
			continue
		}
		for _, c := range companions {
			if slices.Contains(c.CompanionOf, h) {
				f.Expected += ", which the companion " + c.Head.Origin + " names"
				return f
			}
		}
	}
	return f
}
