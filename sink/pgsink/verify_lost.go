package pgsink

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
	"golang.org/x/mod/sumdb/note"
)

// explain says beside findings about outside heads that a successor's key has
// signed on from before such a head. It stays a finding: those who lost what was
// acknowledged must not excuse that alone. Only where the caller lists the head as
// lost, too, is it a note; and only where every finding could be looked at.
func (v *verification) explain() error {
	var kept []Finding
	for _, f := range v.findings {
		if f.Head == (auditlog.Head{}) || !jobcheck.Lists(v.heads, f.Head) {
			kept = append(kept, f)
			continue
		}
		name, from, err := v.successorOf(f.Head)
		if err != nil {
			return err
		}
		if name != "" {
			f.Explained = fmt.Sprintf("the log goes on as %s from event %d", name, from)
		}
		if name != "" && v.more == 0 && jobcheck.Lists(v.opts.AcceptLoss, f.Head) {
			v.report.Notes = append(v.report.Notes, f)
			continue
		}
		kept = append(kept, f)
	}
	v.findings = kept
	return nil
}

// successorOf returns the name of the given key that signed first behind the one
// of this head, if it went on from before the head, and from where.
func (v *verification) successorOf(h auditlog.Head) (name string, from int64, err error) {
	base, n := auditlog.SplitOrigin(h.Origin)
	for _, key := range v.opts.Keys {
		keyBase, keyN := auditlog.SplitOrigin(key.Name())
		if h.Origin != "" && (keyBase != base || keyN <= n) || keyN < 2 {
			continue
		}
		from, err := v.firstOf(key)
		if err == nil && from < h.Size {
			return key.Name(), from, nil
		}
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return "", 0, err
		}
	}
	return "", 0, nil
}

// firstOf returns where the first commit that a key has signed begins.
func (v *verification) firstOf(key note.Verifier) (from int64, err error) {
	var line []byte
	err = v.db.QueryRow(v.ctx, `SELECT prev, `+boundedLine+` FROM jobaudit.commits WHERE substring(line FROM 1 FOR octet_length($1::bytea)) = $1 ORDER BY size LIMIT 1`,
		[]byte(`{"checkpoint":"`+key.Name()+`\n`)).Scan(&from, &line)
	if err != nil {
		return 0, err
	}
	if _, err := auditlog.OpenCommit(line, key); err != nil {
		return 0, pgx.ErrNoRows // it has not signed
	}
	return from, nil
}

// setLevel says how far a verification came whose findings are notes.
func (v *verification) setLevel() {
	level := &v.report.Level
	switch {
	case len(v.findings) > 0:
		*level = auditlog.Unverified
	case *level != auditlog.Unverified || v.report.Head.Size == 0:
	case len(v.opts.Keys) == 0:
		*level = auditlog.Consistent
	default: // a loss was accepted: not every given head agrees
		*level = auditlog.Signed
	}
}
