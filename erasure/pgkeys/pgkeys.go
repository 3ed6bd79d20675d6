// Package pgkeys keeps the keys of package erasure in PostgreSQL, for many
// processes.
//
//	err := pgkeys.Migrate(ctx, conn) // once; makes the schema jobaudit_keys
//	keys, err := pgkeys.Open(ctx, url)
//	name, err := erasure.Seal(keys, user.ID, user.Name)
//
// Use another database than the log's, with other backups: who has both reads
// everything. PostgreSQL erases a deleted row's bytes when VACUUM has cleaned
// its page and the page was written again, and from its WAL when that is
// recycled; a copy in a backup or an archive stays until that is deleted. So
// keep the archive of the keys short, or encrypt the disk it lies on.
//
// It uses github.com/jackc/pgx/v5, as pgsink does, for the same reasons.
package pgkeys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/jobaudit/jobaudit/erasure"
)

// timeout bounds a call: those of a KeyStore have no context.
const timeout = 10 * time.Second

const schema = `
CREATE SCHEMA IF NOT EXISTS jobaudit_keys;
CREATE TABLE IF NOT EXISTS jobaudit_keys.keys (
	id      text COLLATE "C" PRIMARY KEY,
	subject bytea NOT NULL UNIQUE, -- as text it could hold no NUL
	secret  bytea NOT NULL CHECK (octet_length(secret) = 32),
	made    timestamptz NOT NULL DEFAULT now()
);
`

// MigrationSQL returns what [Migrate] does, for an administrator who reads
// first. Grant USAGE on the schema to those who seal, and SELECT, INSERT and
// DELETE on its table; who only reads needs no more than SELECT.
func MigrationSQL() string { return schema }

// Migrate makes the schema jobaudit_keys, if it is not there. It may be called
// by many processes at once.
func Migrate(ctx context.Context, conn *pgx.Conn) error {
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// One at a time: IF NOT EXISTS alone does not make it so.
		_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(1785684577, 2)`)
		if err == nil {
			_, err = tx.Exec(ctx, schema)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("migrate the keys' table: %w", err)
	}
	return nil
}

// Keys is an [erasure.KeyStore]. Make one with [Open], and close it after the
// last use.
type Keys struct {
	pool *pgxpool.Pool
}

var _ erasure.KeyStore = (*Keys)(nil)

// Open opens the keys in a database that [Migrate] has prepared. Behind a pooler
// in transaction mode put default_query_exec_mode=exec into the URL.
func Open(ctx context.Context, connString string) (*Keys, error) {
	pool, err := pgxpool.New(ctx, connString)
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	var n int
	if err := pool.QueryRow(ctx, `SELECT count(*) FROM jobaudit_keys.keys WHERE false`).Scan(&n); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return &Keys{pool}, nil
}

// Close closes the connections.
func (k *Keys) Close() error {
	k.pool.Close()
	return nil
}

// SubjectKey is as [erasure.KeyStore] says. All processes get the same key.
func (k *Keys) SubjectKey(subject string) (erasure.Key, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for {
		key, err := k.one(ctx, `SELECT id, secret FROM jobaudit_keys.keys WHERE subject = $1`, []byte(subject))
		if !errors.Is(err, erasure.ErrErased) {
			return key, err
		}
		// Somebody else's may come first; then that one is read.
		if err := k.insert(ctx, subject, erasure.NewKey()); err != nil {
			return erasure.Key{}, fmt.Errorf("write a key: %w", err)
		}
	}
}

// insert stores a key, unless the subject has one. It is durable then, whatever
// the session says: what it seals is readable with nothing else.
func (k *Keys) insert(ctx context.Context, subject string, key erasure.Key) error {
	return pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			WITH durable AS (SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply'))
			INSERT INTO jobaudit_keys.keys (id, subject, secret)
			SELECT $1, $2, $3 WHERE (SELECT count(*) FROM durable) >= 0 ON CONFLICT (subject) DO NOTHING`,
			key.ID, []byte(subject), key.Secret[:])
		return err
	})
}

// KeyByID is as [erasure.KeyStore] says.
func (k *Keys) KeyByID(id string) (erasure.Key, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return k.one(ctx, `SELECT id, secret FROM jobaudit_keys.keys WHERE id = $1`, id)
}

func (k *Keys) one(ctx context.Context, sql string, arg any) (key erasure.Key, err error) {
	var secret []byte
	err = k.pool.QueryRow(ctx, sql, arg).Scan(&key.ID, &secret)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return erasure.Key{}, erasure.ErrErased
	case err != nil:
		return erasure.Key{}, fmt.Errorf("read a key: %w", err)
	case copy(key.Secret[:], secret) != len(key.Secret):
		return erasure.Key{}, errors.New("read a key: it is damaged")
	}
	return key, nil
}

// Erase is as [erasure.KeyStore] says.
func (k *Keys) Erase(subject string) (ids []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err = pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `DELETE FROM jobaudit_keys.keys WHERE subject = $1 RETURNING id`, []byte(subject))
		if err != nil {
			return err
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("erase a key: %w", err)
	}
	return ids, nil
}
