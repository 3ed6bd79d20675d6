package pgsink

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"
)

// queryer is what a connection, a pool and a transaction have in common.
type queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// storedHashes reads the tree's stored hashes. They are a cache: auditlog
// checks them against a signed root wherever it uses them.
type storedHashes struct {
	ctx context.Context
	db  queryer
}

var errNoHash = errors.New("a stored hash is missing")

// ReadHashes implements [tlog.HashReader].
func (s storedHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	leaves := make([]int64, len(indexes))
	for i, index := range indexes {
		leaves[i] = completedBy(index)
	}
	// By the commits, and not by the greatest first up to the number: somebody who can add a row
	// could put one in between. The bound keeps what no commit holds from being an overflow.
	rows, err := s.db.Query(s.ctx, `
		SELECT (SELECT CASE WHEN i - begin < 1 << 25 THEN substring(h FROM ((i - begin) * 32 + 1)::int FOR 32) END
			FROM jobaudit.hashes WHERE first = begin ORDER BY n DESC LIMIT 1)
		FROM (SELECT a.i, a.o, 2 * c.size - length(replace(c.size::bit(64)::text, '0', '')) AS begin
			FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY a(i, leaf, o),
				LATERAL (SELECT coalesce((SELECT size FROM jobaudit.commits WHERE size BETWEEN 0 AND leaf ORDER BY size DESC LIMIT 1), 0) AS size) c) f
		ORDER BY o`, indexes, leaves)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	hashes := make([]tlog.Hash, 0, len(indexes))
	for rows.Next() {
		var h []byte
		if err := rows.Scan(&h); err != nil {
			return nil, err
		}
		if len(h) != tlog.HashSize {
			return nil, fmt.Errorf("%w: number %d", errNoHash, indexes[len(hashes)])
		}
		hashes = append(hashes, tlog.Hash(h))
	}
	return hashes, rows.Err()
}

// completedBy returns the leaf with which the hash of a number was stored: the commit that
// added the one added the other.
func completedBy(index int64) (leaf int64) {
	level, n := tlog.SplitStoredHashIndex(index)
	return (n+1)<<level - 1
}
