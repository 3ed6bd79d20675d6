package filesink_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestConformance(t *testing.T) {
	sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
		base := t.TempDir()
		dir := filepath.Join(base, "log")
		faults := simdisk.NewFaults(simdisk.OS)
		key, err := filesink.LoadOrCreateKey(dir, filepath.Join(base, "key"), origin)
		if err != nil {
			return sinktest.Medium{}, err
		}
		return sinktest.Medium{
			Open: func(ctx context.Context) (jobaudit.AuditSink, error) {
				return filesink.Open(ctx, dir, key, filesink.On(faults, &filesink.Options{SegmentSize: 16 << 10, OnError: func(error) {}}))
			},
			Bytes: func(context.Context) iter.Seq2[[]byte, error] { return files(dir) },
			Replace: func(_ context.Context, r jobaudit.Record, line []byte) error {
				return replaceLine(dir, r.Bytes(), line)
			},
			Hang: faults.Hang,
			Fail: faults.FailAfter,
			Prove: func(ctx context.Context, sink jobaudit.AuditSink, r jobaudit.Record) error {
				proof, err := sink.(*filesink.Sink).Prove(ctx, r.ID())
				if err != nil {
					return err
				}
				text, err := proof.MarshalText()
				if err != nil {
					return err
				}
				proof, err = auditlog.OpenProof(text, key.Verifier())
				if err == nil && !bytes.Equal(proof.Leaf(), r.Bytes()) {
					err = errors.New("another record is proved")
				}
				return err
			},
		}, nil
	}, sinktest.Traits{})
}

// replaceLine puts a line in the place of another one in the entries.
func replaceLine(dir string, old, line []byte) error {
	names, err := filepath.Glob(filepath.Join(dir, "entries", "*.jsonl"))
	if err != nil {
		return err
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		i := bytes.Index(b, old)
		if i < 0 {
			continue
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(line, int64(i))
		return errors.Join(err, f.Close())
	}
	return errors.New("no such line")
}

// files iterates over the contents of all files below a directory.
func files(dir string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return nil
			}
			var b []byte
			if err == nil {
				b, err = os.ReadFile(path)
			}
			if !yield(b, err) {
				return fs.SkipAll
			}
			return nil
		})
	}
}
