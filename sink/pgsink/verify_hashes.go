package pgsink

import (
	"bytes"
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit/auditlog"
	"golang.org/x/mod/sumdb/tlog"
)

// hashCheck compares the stored hashes with those of the leaves as they are
// read. Wrong ones are a note: they are a cache, and make proofs fail.
type hashCheck struct {
	v     *verification
	tree  auditlog.Tree
	buf   []byte      // computed, and not compared yet
	first int64       // number of the first hash in buf
	rows  []storedRow // read, and not compared yet
	sizes []int64     // the size of the log behind which rows are not read yet; none before the first read
	end   bool        // there are no more
	wrong bool
}

// hashRows is how many rows of hashes are read at a time.
const hashRows = 64

// leaf takes the next leaf.
func (h *hashCheck) leaf(hash tlog.Hash) error {
	if h.wrong {
		return nil
	}
	h.buf = h.tree.Append(h.buf, hash)
	for {
		if len(h.rows) == 0 && !h.end {
			if err := h.read(); err != nil {
				return err
			}
		}
		switch {
		case len(h.rows) == 0 || h.rows[0].first != h.first || len(h.rows[0].h)%tlog.HashSize != 0:
			h.wrong = true
			return nil
		case len(h.buf) < len(h.rows[0].h):
			return nil
		}
		n := len(h.rows[0].h)
		h.wrong = n == 0 || !bytes.Equal(h.buf[:n], h.rows[0].h)
		h.buf = append(h.buf[:0], h.buf[n:]...)
		h.first += int64(n / tlog.HashSize)
		h.rows = h.rows[1:]
		if h.wrong || len(h.buf) == 0 {
			return nil
		}
	}
}

// read reads the rows that begin where a commit's do: others count nowhere. Of each it
// reads one byte more than the commit has: it can be of any length.
func (h *hashCheck) read() error {
	if h.sizes == nil {
		h.sizes = []int64{0}
	}
	found, err := h.v.db.Query(h.v.ctx, `SELECT size FROM jobaudit.commits WHERE size > $1 AND size < 1::bigint << 53 ORDER BY size LIMIT $2`,
		h.sizes[0], hashRows)
	if err != nil {
		return err
	}
	sizes, err := pgx.CollectRows(found, pgx.RowTo[int64])
	if err != nil || len(sizes) == 0 {
		h.end = true
		return err
	}
	sizes = append(h.sizes, sizes...)
	h.sizes, h.end = sizes[len(sizes)-1:], len(sizes) <= hashRows
	h.rows, err = storedRows(h.v.ctx, h.v.db, sizes)
	return err
}

// storedRows reads the rows of hashes of the commits between the sizes; one that is missing
// is empty, and one that is too long ends one byte behind where it should.
func storedRows(ctx context.Context, db queryer, sizes []int64) ([]storedRow, error) {
	firsts := make([]int64, len(sizes)-1)
	lengths := make([]int64, len(firsts))
	for i := range firsts {
		firsts[i] = tlog.StoredHashCount(sizes[i])
		lengths[i] = (tlog.StoredHashCount(sizes[i+1]) - firsts[i]) * tlog.HashSize
	}
	rows, err := db.Query(ctx, `
		SELECT a.first, coalesce((SELECT substring(h FROM 1 FOR least(a.bytes + 1, 1 << 26)::int) FROM jobaudit.hashes s WHERE s.first = a.first ORDER BY n DESC LIMIT 1), '')
		FROM unnest($1::bigint[], $2::bigint[]) a(first, bytes) ORDER BY a.first`, firsts, lengths)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r storedRow, err error) { return r, row.Scan(&r.first, &r.h) })
}

// unfollowed notes rows that no other can follow, and that no sequencer can make right.
func (v *verification) unfollowed() error {
	rows, err := v.db.Query(v.ctx, `SELECT first FROM jobaudit.hashes WHERE n = 2147483647 ORDER BY 1 LIMIT 100`)
	if err != nil {
		return err
	}
	var first int64
	_, err = pgx.ForEachRow(rows, []any{&first}, func() error {
		v.note(KindHashes, "the stored hashes from number %d on have a row that none can follow: a sequencer that needs them reads the whole log each time, until it is taken out", first)
		return nil
	})
	return err
}

// finish notes what was found. Of a damaged log the hashes are other ones.
func (h *hashCheck) finish(damaged bool) {
	if h.wrong && !damaged {
		h.v.note(KindHashes, "the stored hashes from number %d on are not those of the log, or are missing: proofs fail there, and a sequencer that needs them makes them again", h.first)
	}
}
