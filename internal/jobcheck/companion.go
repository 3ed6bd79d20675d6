package jobcheck

import (
	"errors"
	"fmt"
	"slices"

	signed "golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
)

// A Companion is what is known of a log of acts about another one.
type Companion struct {
	auditlog.Report
	Of []auditlog.Head // heads of logs that it names
}

// Companions are those of one log.
type Companions []Companion

var errNoCompanion = errors.New("it names no head of this log")

// Heads returns the heads that the companions name of the log that the keys have
// signed; of any log if there is none.
func (list Companions) Heads(keys []signed.Verifier) (heads []auditlog.Head, err error) {
	for _, c := range list {
		if c.Level < auditlog.Signed {
			return nil, fmt.Errorf("companion %s: no given key has signed it", c.Head.Origin)
		}
		before := len(heads)
		for _, h := range c.Of {
			if len(keys) == 0 || slices.ContainsFunc(keys, func(key signed.Verifier) bool { return key.Name() == h.Origin }) {
				heads = append(heads, h)
			}
		}
		if len(heads) == before {
			return nil, fmt.Errorf("companion %s: %w", c.Head.Origin, errNoCompanion)
		}
	}
	return heads, nil
}

// Named adds to a finding about a head which companion names that head.
func (list Companions) Named(f auditlog.Finding) auditlog.Finding {
	if f.Head == (auditlog.Head{}) {
		return f
	}
	for _, c := range list {
		if slices.Contains(c.Of, f.Head) {
			f.Expected += ", which the companion " + c.Head.Origin + " names"
			return f
		}
	}
	return f
}

// Lists reports whether a list has this head: its size, its root and its origin,
// unless either has none.
func Lists(list []auditlog.Head, h auditlog.Head) bool {
	return slices.ContainsFunc(list, func(l auditlog.Head) bool {
		return l.Size == h.Size && l.Root == h.Root && (l.Origin == "" || h.Origin == "" || l.Origin == h.Origin)
	})
}
