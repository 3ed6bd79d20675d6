package pgsink

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit/auditlog"
)

// reconcile compares the tables with each other: what was accepted with what
// has a place, waits or was refused.
func (v *verification) reconcile() error {
	var errs []error
	for _, check := range []func() error{v.chain, v.accepted, v.placed, v.behind, v.acting, v.inbox, v.refused, v.guards} {
		errs = append(errs, check())
	}
	return errors.Join(errs...)
}

// chain finds commits that do not follow one another: deleting one that a later
// one covers changes no root.
func (v *verification) chain() error {
	rows, err := v.db.Query(v.ctx, `
		SELECT size, coalesce(prev, -1), before FROM (
			SELECT size, prev, lag(size, 1, 0::bigint) OVER (ORDER BY size) AS before FROM jobaudit.commits WHERE size <= $1
		) c WHERE prev IS DISTINCT FROM before OR size > $2 ORDER BY size LIMIT 100`, v.size, int64(maxSize))
	if err != nil {
		return err
	}
	var size, prev, before int64
	_, err = pgx.ForEachRow(rows, []any{&size, &prev, &before}, func() error {
		if size > maxSize {
			v.find(Finding{Finding: auditlog.Finding{Kind: KindChain, Index: -1, First: before, End: size, Commit: -1, Offset: -1,
				Expected: "sizes up to 2^53", Found: fmt.Sprintf("a commit of size %d", size)}})
			return nil
		}
		v.find(Finding{Finding: auditlog.Finding{Kind: KindChain, Index: -1, First: before, End: size, Commit: -1, Offset: -1,
			Expected: fmt.Sprintf("a commit of size %d before that of size %d", prev, size), Found: fmt.Sprintf("one of size %d", before)}})
		return nil
	})
	return err
}

// rangeSize is how many IDs one statement looks at: one that read a whole table
// would keep the database from cleaning up.
const rangeSize = 1 << 16

// ranges calls check with the first and the last of so many IDs of a table, until it
// ends.
func (v *verification) ranges(table string, check func(first, last pgtype.UUID) error) error {
	first := pgtype.UUID{Valid: true}
	for {
		rows, err := v.db.Query(v.ctx, fmt.Sprintf(`SELECT id FROM jobaudit.%s WHERE id >= $1 ORDER BY id OFFSET %d LIMIT 2`, table, rangeSize-1), first)
		if err != nil {
			return err
		}
		borders, err := pgx.CollectRows(rows, pgx.RowTo[pgtype.UUID])
		if err != nil {
			return err
		}
		if len(borders) < 2 {
			return check(first, pgtype.UUID{Bytes: uuid.Max, Valid: true})
		}
		if err := check(first, borders[0]); err != nil {
			return err
		}
		first = borders[1]
	}
}

// accepted finds events that were accepted and are nowhere.
func (v *verification) accepted() error {
	return v.ranges("ids", func(first, last pgtype.UUID) error {
		rows, err := v.db.Query(v.ctx, `
			SELECT id, hash FROM jobaudit.ids i WHERE id >= $1 AND id <= $2
				AND NOT EXISTS (SELECT FROM jobaudit.sequence s WHERE s.id = i.id)
				AND NOT EXISTS (SELECT FROM (SELECT unnest(ids) AS id FROM jobaudit.inbox) w WHERE w.id = i.id)
				AND NOT EXISTS (SELECT FROM jobaudit.refused r WHERE r.id = i.id AND i.hash = sha256(decode('00', 'hex') || r.line)) LIMIT 2000`, first, last)
		if err != nil {
			return err
		}
		var eventID pgtype.UUID
		var hash []byte
		_, err = pgx.ForEachRow(rows, []any{&eventID, &hash}, func() error {
			v.find(Finding{EventID: eventID.Bytes, Finding: auditlog.Finding{Kind: KindLost, Index: -1, First: 0, End: v.size, Commit: -1, Offset: -1,
				Expected: fmt.Sprintf("the accepted event, hash %x", hash), Found: "nothing"}})
			return nil
		})
		return err
	})
}

// placed finds places that hold another event, or none. Those of events were
// compared the other way round when the events were read.
func (v *verification) placed() error {
	return v.ranges("sequence", func(first, last pgtype.UUID) error {
		rows, err := v.db.Query(v.ctx, `
			SELECT s.id, coalesce(s.idx, -1) FROM jobaudit.sequence s LEFT JOIN jobaudit.events e ON e.idx = s.idx
			WHERE s.id >= $1 AND s.id <= $2 AND e.id IS DISTINCT FROM s.id ORDER BY s.idx LIMIT 2000`, first, last)
		if err != nil {
			return err
		}
		var eventID pgtype.UUID
		var idx int64
		_, err = pgx.ForEachRow(rows, []any{&eventID, &idx}, func() error {
			v.find(Finding{EventID: eventID.Bytes, Finding: auditlog.Finding{Kind: KindSequence, Index: idx, First: idx, End: idx + 1, Commit: -1, Offset: -1,
				Expected: "the event " + uuid.UUID(eventID.Bytes).String(), Found: "another event or none"}})
			return nil
		})
		return err
	})
}

// behind finds events that are outside what the newest commit covers: readers would
// see them.
func (v *verification) behind() error {
	rows, err := v.db.Query(v.ctx, `
		(SELECT idx, id FROM jobaudit.events WHERE idx < 0 ORDER BY 1 LIMIT 100) UNION ALL
		(SELECT idx, id FROM jobaudit.events WHERE idx >= (SELECT coalesce(max(size), 0) FROM jobaudit.commits) ORDER BY 1 LIMIT 100)`)
	if err != nil {
		return err
	}
	var idx int64
	var eventID pgtype.UUID
	_, err = pgx.ForEachRow(rows, []any{&idx, &eventID}, func() error {
		v.find(Finding{EventID: eventID.Bytes, Finding: auditlog.Finding{Kind: KindPlanted, Index: idx, First: idx, End: idx + 1, Commit: -1, Offset: -1,
			Expected: "nothing", Found: "an event that no commit covers"}})
		return nil
	})
	return err
}

// acting finds rows of acting that are behind the log. Those of its events were
// compared when they were read.
func (v *verification) acting() error {
	rows, err := v.db.Query(v.ctx, `
		(SELECT idx, coalesce(principal, '') FROM jobaudit.acting WHERE idx < 0 ORDER BY 1 LIMIT 100) UNION ALL
		(SELECT idx, coalesce(principal, '') FROM jobaudit.acting WHERE idx >= (SELECT coalesce(max(size), 0) FROM jobaudit.commits) ORDER BY 1 LIMIT 100)`)
	if err != nil {
		return err
	}
	var idx int64
	var principal string
	_, err = pgx.ForEachRow(rows, []any{&idx, &principal}, func() error {
		v.find(Finding{Finding: auditlog.Finding{Kind: KindColumns, Index: idx, First: idx, End: idx + 1, Commit: -1, Offset: -1,
			Expected: "nothing", Found: fmt.Sprintf("acting for %q", principal)}})
		return nil
	})
	return err
}

// inbox checks that what waits is what was accepted, and counts it.
func (v *verification) inbox() error {
	var oldest *time.Time
	err := v.db.QueryRow(v.ctx, `SELECT coalesce(sum(cardinality(ids)), 0), min(accepted) FILTER (WHERE isfinite(accepted)) FROM jobaudit.inbox`).Scan(&v.report.Waiting, &oldest)
	if err != nil {
		return err
	}
	if oldest != nil && oldest.Before(v.at) {
		v.note(KindWaiting, "%d events wait, the oldest was accepted %v before the newest commit: withheld, or in a long transaction",
			v.report.Waiting, v.at.Sub(*oldest).Round(time.Millisecond))
	}
	rows, err := v.db.Query(v.ctx, `
		SELECT e.id, i.hash IS NULL, s.id IS NOT NULL FROM jobaudit.inbox b
		CROSS JOIN LATERAL unnest(b.ids, b.lines) e(id, line)
		LEFT JOIN jobaudit.ids i ON i.id = e.id LEFT JOIN jobaudit.sequence s ON s.id = e.id
		WHERE i.hash IS DISTINCT FROM sha256(decode('00', 'hex') || e.line) OR s.id IS NOT NULL LIMIT 2000`)
	if err != nil {
		return err
	}
	var eventID pgtype.UUID
	var unknown, placed bool
	_, err = pgx.ForEachRow(rows, []any{&eventID, &unknown, &placed}, func() error {
		f := Finding{EventID: eventID.Bytes, Finding: auditlog.Finding{Kind: KindInbox, Index: -1, First: v.size, End: v.size, Commit: -1, Offset: -1,
			Expected: "the accepted event", Found: "other bytes"}}
		switch {
		case unknown:
			f.Found = "an event that was never accepted"
		case placed:
			f.Found = "an event that has a place already"
		}
		v.find(f)
		return nil
	})
	return err
}

// refused makes a finding of each event that could have no place.
func (v *verification) refused() error {
	rows, err := v.db.Query(v.ctx, `SELECT id, coalesce(writer::text, ''), coalesce(substring(reason FROM 1 FOR 1000), '') FROM jobaudit.refused ORDER BY n, position LIMIT 2000`)
	if err != nil {
		return err
	}
	var eventID pgtype.UUID
	var writer, reason string
	_, err = pgx.ForEachRow(rows, []any{&eventID, &writer, &reason}, func() error {
		v.find(Finding{EventID: eventID.Bytes, Finding: auditlog.Finding{Kind: KindRefused, Index: -1, First: 0, End: v.size, Commit: -1, Offset: -1,
			Expected: "an event", Found: fmt.Sprintf("%s, from the writer %s", reason, writer)}})
		return nil
	})
	return err
}
