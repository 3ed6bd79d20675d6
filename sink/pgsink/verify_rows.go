package pgsink

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
)

// row is one event's row.
type row struct {
	idx     int64
	id      uuid.UUID
	line    []byte
	columns []any
	acting  []string
}

const (
	// boundedLine is a line, or what shows that it is none: one byte more than a line has. Who
	// can write a row does not decide how much memory a reader of it needs.
	boundedLine = `substring(line FROM 1 FOR 65536)`
	// mostActing is more rows of acting than an event has room to name principals, and
	// mostActingBytes more than it has room for their names.
	mostActing      = `4096`
	mostActingBytes = `65536`
	// boundedActing reads an event's rows of acting until they are more than an event has: one
	// that is left out has others before it that show it.
	boundedActing = `(SELECT array_agg(left(principal, 65536) ORDER BY principal) FROM (
		SELECT principal, sum(octet_length(principal)) OVER (ORDER BY principal ROWS UNBOUNDED PRECEDING) - octet_length(principal) AS before
		FROM (SELECT coalesce(principal, '') COLLATE "C" AS principal FROM jobaudit.acting a WHERE a.idx = e.idx ORDER BY a.principal LIMIT ` + mostActing + `) a
	) a WHERE before <= ` + mostActingBytes + `)`
	// boundedTexts are the columns of text, of which none is longer than a line.
	boundedTexts = `left(e.principal, 65536), left(e.org, 65536), left(e.action, 65536), left(e.type, 65536), left(e.state, 65536), left(e.resource, 65536), left(e.error, 65536)`
)

// readPage reads the rows of [first, end), and checks each against its line and
// against ids and sequence.
func (v *verification) readPage(first, end int64) ([]row, error) {
	found, err := v.db.Query(v.ctx, `
		SELECT e.idx, e.id, `+boundedLine+`, e.job, e.corr, e.root, `+boundedTexts+`, e.time,
			`+boundedActing+`,
			(SELECT hash FROM jobaudit.ids i WHERE i.id = e.id),
			(SELECT idx FROM jobaudit.sequence s WHERE s.id = e.id)
		FROM jobaudit.events e WHERE e.idx >= $1 AND e.idx < $2 ORDER BY e.idx`, first, end)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var page []row
	for found.Next() {
		var r row
		var eventID, job, corr, root pgtype.UUID
		var principal, org, action, state, resource, code pgtype.Text
		var typ pgtype.Text
		var at pgtype.Timestamptz // it may be infinite
		var hash []byte
		var place *int64
		err := found.Scan(&r.idx, &eventID, &r.line, &job, &corr, &root, &principal, &org, &action, &typ, &state, &resource, &code, &at,
			&r.acting, &hash, &place)
		if err != nil {
			return nil, err
		}
		r.id = eventID.Bytes
		r.columns = []any{job, corr, root, principal, org, action, typ, state, resource, code, at}
		v.checkRow(&r, hash, place)
		page = append(page, row{idx: r.idx, line: r.line})
	}
	return page, found.Err()
}

func (v *verification) checkRow(r *row, hash []byte, place *int64) {
	v.report.Records++
	record, err := jobaudit.ParseRecord(r.line)
	at := func(kind auditlog.Kind, expected, found string) {
		v.find(Finding{EventID: r.id, JobID: record.JobID(), Finding: auditlog.Finding{
			Kind: kind, Index: r.idx, First: r.idx, End: r.idx + 1, Commit: -1, Offset: -1, Expected: expected, Found: found,
		}})
	}
	leaf := auditlog.HashLeaf(r.line)
	switch {
	case hash == nil:
		at(KindPlanted, "an accepted event", "an ID that was never accepted")
	case !bytes.Equal(hash, leaf[:]):
		at(KindPlanted, fmt.Sprintf("the accepted event, hash %x", hash), fmt.Sprintf("%x", leaf[:]))
	}
	switch {
	case place == nil:
		at(KindSequence, fmt.Sprint(r.idx), "no place in sequence")
	case *place != r.idx:
		at(KindSequence, fmt.Sprint(r.idx), fmt.Sprint(*place))
	}
	if err != nil {
		return // the job checks say so
	}
	e := record.Event()
	if record.ID() != r.id {
		at(KindColumns, "id "+record.ID().String(), r.id.String())
	}
	for i, want := range columnsOf(&e) {
		if !sameColumn(want, r.columns[i]) {
			at(KindColumns, fmt.Sprintf("%s %s", columnNames[4+i], printColumn(want)), printColumn(r.columns[i]))
		}
	}
	if want := actingFor(&e); !slices.Equal(want, r.acting) {
		at(KindColumns, "acting for "+printActing(want), printActing(r.acting))
	}
}

// printActing prints no more of the principals than a finding quotes: somebody may have added
// many, to many events.
func printActing(principals []string) string {
	const most = 16
	var short []string
	for _, p := range principals[:min(most, len(principals))] {
		short = append(short, shortened(p))
	}
	if more := len(principals) - most; more > 0 {
		return fmt.Sprintf("%q and %d more", short, more)
	}
	return fmt.Sprintf("%q", short)
}

func sameColumn(want, found any) bool {
	switch want := want.(type) {
	case time.Time:
		t := found.(pgtype.Timestamptz)
		return t.Valid && t.InfinityModifier == pgtype.Finite && want.Equal(t.Time)
	case string:
		return found == pgtype.Text{String: want, Valid: true}
	}
	return want == found
}

func printColumn(c any) string {
	switch c := c.(type) {
	case pgtype.UUID:
		if !c.Valid {
			return "NULL"
		}
		return c.String()
	case pgtype.Text:
		if !c.Valid {
			return "NULL"
		}
		return fmt.Sprintf("%q", c.String)
	case time.Time:
		return c.UTC().Format(time.RFC3339Nano)
	case pgtype.Timestamptz:
		switch {
		case !c.Valid:
			return "NULL"
		case c.InfinityModifier != pgtype.Finite:
			return c.InfinityModifier.String()
		}
		return c.Time.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprintf("%q", c)
}
