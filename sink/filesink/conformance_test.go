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
			Hang:  faults.Hang,
			Fail:  faults.FailAfter,
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
	}, sinktest.Traits{NoTail: true, Irreplaceable: true})
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
