package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/sink/filesink"
)

// auditLog is where the events go: a directory. The key that signs it is beside
// it, in this example; a program keeps it where those who can change the log
// cannot read it.
type auditLog struct {
	dir string
	key *filesink.Key
}

// newLog makes the log's directory and key, or finds those of an earlier run.
// Without a name the directory is a new temporary one.
func newLog(dir string) (auditLog, error) {
	if dir == "" {
		temporary, err := os.MkdirTemp("", "quickstart-log-")
		if err != nil {
			return auditLog{}, err
		}
		dir = filepath.Join(temporary, "log")
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return auditLog{}, err
	}
	key, err := filesink.LoadOrCreateKey(dir, dir+".key", "localhost/quickstart")
	return auditLog{dir, key}, err
}

// files returns what belongs to the log and changes as it is written: its
// directory, the key, and the anchor, which holds the newest signed head.
func (l auditLog) files() []string {
	return []string{l.dir, l.dir + ".key", l.dir + ".key.anchor"}
}

// open opens the log for writing.
func (l auditLog) open(ctx context.Context) (*filesink.Sink, error) {
	return filesink.Open(ctx, l.dir, l.key, nil)
}

// verify reads a whole log from disk and holds it to a public key and to
// nothing else.
func verify(ctx context.Context, out io.Writer, dir, publicKey string) error {
	verifier, err := note.NewVerifier(publicKey)
	if err != nil {
		return err
	}
	report, err := filesink.Verify(ctx, dir, &filesink.VerifyOptions{Keys: []note.Verifier{verifier}})
	if err != nil {
		return fmt.Errorf("%s does not verify: %w", dir, err)
	}
	fmt.Fprintf(out, "verified from disk with the public key alone: %s, %d events under %d signatures, of %d jobs\n",
		report.Level, report.Records, report.Commits, report.Jobs)
	fmt.Fprintf(out, "root hash %s\n", report.Head.Root)
	return nil
}
