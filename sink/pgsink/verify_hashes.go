package pgsink

import (
	"bytes"

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
	next  int64       // the rows of commits behind this size and later ones are not read yet
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

// read reads the rows that begin where a commit's do: others count nowhere.
func (h *hashCheck) read() error {
	found, err := h.v.db.Query(h.v.ctx, `SELECT size FROM (SELECT 0::bigint AS size UNION SELECT size FROM jobaudit.commits) c
		WHERE size >= $1 AND size < 1::bigint << 53 ORDER BY size LIMIT $2`, h.next, hashRows)
	if err != nil {
		return err
	}
	sizes, err := pgx.CollectRows(found, pgx.RowTo[int64])
	if err != nil || len(sizes) == 0 {
		h.end = true
		return err
	}
	h.next, h.end = sizes[len(sizes)-1]+1, len(sizes) < hashRows
	firsts := make([]int64, len(sizes))
	for i, size := range sizes {
		firsts[i] = tlog.StoredHashCount(size)
	}
	rows, err := h.v.db.Query(h.v.ctx, `
		SELECT a.first, coalesce((SELECT h FROM jobaudit.hashes s WHERE s.first = a.first ORDER BY n DESC LIMIT 1), '')
		FROM unnest($1::bigint[]) a(first) ORDER BY a.first`, firsts)
	if err != nil {
		return err
	}
	h.rows, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r storedRow, err error) { return r, row.Scan(&r.first, &r.h) })
	return err
}

// finish notes what was found. Of a damaged log the hashes are other ones.
func (h *hashCheck) finish(damaged bool) {
	if h.wrong && !damaged {
		h.v.note(KindHashes, "the stored hashes from number %d on are not those of the log, or are missing: proofs fail there, and a sequencer that needs them makes them again", h.first)
	}
}
