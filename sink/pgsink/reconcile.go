package pgsink

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit/auditlog"
)

// reconcile compares the tables with each other: what was accepted with what
// has a place, waits or was refused.
func (v *verification) reconcile() error {
	for _, check := range []func() error{v.chain, v.accepted, v.placed, v.acting, v.inbox, v.refused, v.guards} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// chain finds commits that do not follow one another: deleting one that a later
// one covers changes no root.
func (v *verification) chain() error {
	rows, err := v.db.Query(v.ctx, `
		SELECT size, prev, before FROM (
			SELECT size, prev, lag(size, 1, 0::bigint) OVER (ORDER BY size) AS before FROM jobaudit.commits WHERE size <= $1
		) c WHERE prev <> before ORDER BY size LIMIT 100`, v.size)
	if err != nil {
		return err
	}
	var size, prev, before int64
	_, err = pgx.ForEachRow(rows, []any{&size, &prev, &before}, func() error {
		v.find(Finding{Finding: auditlog.Finding{Kind: KindChain, Index: -1, First: before, End: size, Commit: -1, Offset: -1,
			Expected: fmt.Sprintf("a commit of size %d before that of size %d", prev, size), Found: fmt.Sprintf("one of size %d", before)}})
		return nil
	})
	return err
}

// ranges calls check with the bounds of each 256th of all IDs: statements that
// read a whole table in one would keep the database from cleaning up.
func (v *verification) ranges(check func(from, to pgtype.UUID) error) error {
	for i := range 256 {
		from, to := uuid.UUID{byte(i)}, uuid.Max
		if i < 255 {
			to = uuid.UUID{byte(i + 1)}
		}
		if err := check(pgtype.UUID{Bytes: from, Valid: true}, pgtype.UUID{Bytes: to, Valid: true}); err != nil {
			return err
		}
	}
	return nil
}

// accepted finds events that were accepted and are nowhere.
func (v *verification) accepted() error {
	return v.ranges(func(from, to pgtype.UUID) error {
		rows, err := v.db.Query(v.ctx, `
			SELECT id, hash FROM jobaudit.ids i WHERE id >= $1 AND id < $2
				AND NOT EXISTS (SELECT FROM jobaudit.sequence s WHERE s.id = i.id)
				AND id NOT IN (SELECT unnest(ids) FROM jobaudit.inbox)
				AND id NOT IN (SELECT id FROM jobaudit.refused) LIMIT 2000`, from, to)
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
	return v.ranges(func(from, to pgtype.UUID) error {
		rows, err := v.db.Query(v.ctx, `
			SELECT s.id, s.idx FROM jobaudit.sequence s LEFT JOIN jobaudit.events e ON e.idx = s.idx
			WHERE s.id >= $1 AND s.id < $2 AND e.id IS DISTINCT FROM s.id ORDER BY s.idx LIMIT 2000`, from, to)
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

// acting finds rows of acting that are behind the log. Those of its events were
// compared when they were read.
func (v *verification) acting() error {
	rows, err := v.db.Query(v.ctx, `
		SELECT a.idx, a.principal FROM jobaudit.acting a
		WHERE a.idx < 0 OR a.idx >= (SELECT coalesce(max(size), 0) FROM jobaudit.commits) ORDER BY 1 LIMIT 100`)
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
	err := v.db.QueryRow(v.ctx, `SELECT coalesce(sum(cardinality(ids)), 0), min(accepted) FROM jobaudit.inbox`).Scan(&v.report.Waiting, &oldest)
	if err != nil {
		return err
	}
	if oldest != nil && oldest.Before(v.at) {
		v.note(KindWaiting, "%d events wait, the oldest was accepted %v before the newest commit: withheld, or in a long transaction",
			v.report.Waiting, v.at.Sub(*oldest).Round(time.Millisecond))
	}
	rows, err := v.db.Query(v.ctx, `
		SELECT e.id, i.hash IS NULL FROM jobaudit.inbox b
		CROSS JOIN LATERAL unnest(b.ids, b.lines) e(id, line)
		LEFT JOIN jobaudit.ids i ON i.id = e.id
		WHERE i.hash IS DISTINCT FROM sha256('\x00'::bytea || e.line) LIMIT 2000`)
	if err != nil {
		return err
	}
	var eventID pgtype.UUID
	var unknown bool
	_, err = pgx.ForEachRow(rows, []any{&eventID, &unknown}, func() error {
		f := Finding{EventID: eventID.Bytes, Finding: auditlog.Finding{Kind: KindInbox, Index: -1, First: v.size, End: v.size, Commit: -1, Offset: -1,
			Expected: "the accepted event", Found: "other bytes"}}
		if unknown {
			f.Found = "an event that was never accepted"
		}
		v.find(f)
		return nil
	})
	return err
}

// refused makes a finding of each event that could have no place.
func (v *verification) refused() error {
	rows, err := v.db.Query(v.ctx, `SELECT id, writer::text, reason FROM jobaudit.refused ORDER BY n, position LIMIT 2000`)
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

// guards notes triggers that are missing or switched off, and functions that
// are not those of Migrate.
func (v *verification) guards() error {
	for _, table := range []string{"migrations", "ids", "inbox", "events", "acting", "sequence", "commits", "hashes", "refused", "lead"} {
		var enabled int
		err := v.db.QueryRow(v.ctx, `
			SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass('jobaudit.' || $1) AND tgname IN ('grows', 'keeps') AND tgenabled IN ('O', 'A')`,
			table).Scan(&enabled)
		if err != nil {
			return err
		}
		if enabled != 2 {
			v.note(KindGuard, "the triggers that keep the table %s from being changed: %d of 2", table, enabled)
		}
	}
	rows, err := v.db.Query(v.ctx, `SELECT proname::text, prosrc FROM pg_proc WHERE pronamespace = 'jobaudit'::regnamespace ORDER BY 1`)
	if err != nil {
		return err
	}
	known := migrationSQL(schemaVersion, "jobaudit")
	var name, source string
	_, err = pgx.ForEachRow(rows, []any{&name, &source}, func() error {
		if !strings.Contains(known, source) {
			v.note(KindGuard, "the function %s is not as the migration made it", name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var rest bool
	if err := v.db.QueryRow(v.ctx, `SELECT EXISTS (SELECT FROM jobaudit.events_rest)`).Scan(&rest); err != nil {
		return err
	}
	if rest {
		v.note(KindGuard, "events lie in the default partition: their own was not made in time")
	}
	return nil
}
