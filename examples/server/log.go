package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/pgsink"
)

// config says where things are kept.
type config struct {
	dir, keys, postgres string
}

// auditLog is where the service records, and what it reads.
type auditLog interface {
	jobaudit.AuditSink
	jobaudit.AuditReader
	Close() error
}

const origin = "localhost/server"

func openLog(ctx context.Context, c config) (auditLog, error) {
	if err := os.MkdirAll(c.keys, 0o700); err != nil {
		return nil, err
	}
	if c.postgres != "" {
		return openPostgres(ctx, c)
	}
	key, err := filesink.LoadOrCreateKey(c.dir, filepath.Join(c.keys, "log.key"), origin)
	if err != nil {
		return nil, err
	}
	return filesink.Open(ctx, c.dir, key, nil)
}

// openPostgres makes the tables if there are none. A service in earnest leaves
// that to an administrator, and keeps an anchor.
func openPostgres(ctx context.Context, c config) (auditLog, error) {
	conn, err := pgx.Connect(ctx, c.postgres)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(pgsink.Migrate(ctx, conn, nil), conn.Close(ctx)); err != nil {
		return nil, err
	}
	key, err := keep(filepath.Join(c.keys, "postgres.key"), func() ([]byte, error) {
		secret, public, err := auditlog.GenerateKey(origin)
		return []byte(secret + "\n" + public), err
	})
	if err != nil {
		return nil, err
	}
	signer, verifier, err := parseKey(string(key))
	if err != nil {
		return nil, err
	}
	return pgsink.Open(ctx, c.postgres, &pgsink.Options{Sequencer: &pgsink.SequencerOptions{Signer: signer, Verifier: verifier}})
}

func parseKey(lines string) (note.Signer, note.Verifier, error) {
	secret, public, _ := strings.Cut(lines, "\n")
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, nil, err
	}
	verifier, err := note.NewVerifier(public)
	return signer, verifier, err
}

// loadSecret is the key that idempotency keys become jobs' IDs under.
func loadSecret(dir string) ([]byte, error) {
	return keep(filepath.Join(dir, "api.secret"), func() ([]byte, error) {
		secret := make([]byte, 32)
		_, err := rand.Read(secret)
		return secret, err
	})
}

// keep returns what a file holds, which is made if there is none.
func keep(path string, generate func() ([]byte, error)) ([]byte, error) {
	content, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return content, err
	}
	if content, err = generate(); err != nil {
		return nil, err
	}
	return content, os.WriteFile(path, content, 0o600)
}
