package pgsink

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit"
)

// Tx returns a sink that stores records in the caller's transaction, for
// [jobaudit.Recorder.SubmitTx]: the record of a submission lives or dies with
// the business change that caused it. Rolled back, there is no trace of it; a
// nil error of Append means nothing before the commit.
//
// An error dooms the transaction, as PostgreSQL's errors do. A serialization
// failure or a deadlock is retried as a whole, by the caller, with the same
// Submission.ID. Two transactions that submit the same two jobs in opposite
// order may deadlock.
//
// Everything that follows a submission goes through a [Sink], with connections
// of its own: an outcome must outlive the job's transaction.
func Tx(tx pgx.Tx) jobaudit.AuditSink { return pgxTx{tx} }

// SQLTx is [Tx] for database/sql, whatever its driver for PostgreSQL is.
func SQLTx(tx *sql.Tx) jobaudit.AuditSink { return sqlTx{tx} }

type pgxTx struct{ tx pgx.Tx }

func (t pgxTx) Append(ctx context.Context, records []jobaudit.Record) error {
	return inParts(records, func(part []jobaudit.Record) error {
		_, err := t.tx.Exec(ctx, appendSQL, arguments(part)...)
		return err
	})
}

// partBytes leaves room below maxBytes for what arrays and messages add.
const partBytes = 60 << 20

// inParts calls add with as many records at a time as append_v1 takes: all are stored in
// the caller's transaction or none is.
func inParts(records []jobaudit.Record, add func([]jobaudit.Record) error) error {
	for len(records) > 0 {
		n, size := 0, 0
		for n < min(len(records), maxRecords) && (n == 0 || size+records[n].Len() <= partBytes) {
			size += records[n].Len()
			n++
		}
		part, _, err := check(records[:n])
		if err != nil {
			return err
		}
		if err := add(part); err != nil {
			return appendError(err)
		}
		records = records[n:]
	}
	return nil
}

type sqlTx struct{ tx *sql.Tx }

func (t sqlTx) Append(ctx context.Context, records []jobaudit.Record) error {
	return inParts(records, func(part []jobaudit.Record) error {
		// Text, which every driver can send.
		args := arguments(part)
		for i := range args {
			args[i] = arrayText(args[i])
		}
		_, err := t.tx.ExecContext(ctx, `SELECT jobaudit.append_v1($1::pg_catalog.text::pg_catalog.uuid[], $2::pg_catalog.text::pg_catalog.bytea[],
			$3::pg_catalog.text::pg_catalog.int4[], $4::pg_catalog.text::pg_catalog.uuid[])`, args...)
		return err
	})
}

// arrayText writes one of append_v1's arguments as PostgreSQL reads arrays.
func arrayText(array any) string {
	var elements []string
	switch a := array.(type) {
	case []pgtype.UUID:
		for _, id := range a {
			elements = append(elements, id.String())
		}
	case [][]byte:
		return linesText(a)
	case []int32:
		for _, n := range a {
			elements = append(elements, strconv.Itoa(int(n)))
		}
	default:
		panic(fmt.Sprintf("no argument of append_v1: %T", array))
	}
	return "{" + strings.Join(elements, ",") + "}"
}

// linesText is arrayText of lines, which may be many: it makes nothing of each that is copied.
func linesText(lines [][]byte) string {
	const quotes = `"\\x"` + `,`
	size := len("{}")
	for _, line := range lines {
		size += len(quotes) + hex.EncodedLen(len(line))
	}
	var text strings.Builder
	text.Grow(size)
	text.WriteByte('{')
	for i, line := range lines {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(`"\\x`)
		_, _ = hex.NewEncoder(&text).Write(line) // a Builder takes all
		text.WriteByte('"')
	}
	text.WriteByte('}')
	return text.String()
}
