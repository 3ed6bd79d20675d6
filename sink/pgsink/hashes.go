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
	rows, err := s.db.Query(s.ctx, `
		SELECT (SELECT substring(h FROM ((i - first) * 32 + 1)::int FOR 32)
			FROM jobaudit.hashes WHERE first <= i ORDER BY first DESC, n DESC LIMIT 1)
		FROM unnest($1::bigint[]) WITH ORDINALITY a(i, o) ORDER BY o`, indexes)
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
