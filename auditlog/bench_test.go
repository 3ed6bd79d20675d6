package auditlog_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/stretchr/testify/require"
)

// benchLog writes a log of about 48 MB with lines of 700 to 1,000 bytes.
func benchLog(b *testing.B, batch int) (l *testLog, text []byte, leaves [][]byte) {
	l = newLog(b, newKey(b, origin))
	var buf bytes.Buffer
	filler := strings.Repeat("0123456789abcdef", 64)
	for i := range 48_000 {
		line := fmt.Appendf(nil, `{"schemaVersion":"1.0.0","n":%d,"x":"%s"}`, i, filler[:660+i%300])
		leaves = append(leaves, line)
		l.stored = l.tree.Append(l.stored, auditlog.HashLeaf(line))
		buf.Write(line)
		buf.WriteByte('\n')
		if (i+1)%batch == 0 || i == 47_999 {
			c, err := l.tree.Sign(l.key.Signer)
			require.NoError(b, err)
			buf.Write(auditlog.AppendCommit(nil, c))
			buf.WriteByte('\n')
		}
	}
	return l, buf.Bytes(), leaves
}

// BenchmarkVerify compares, in turns within one run, a full verification with
// a bare loop that hashes the same leaves on all cores and does nothing else:
// no tree, no signatures, no lines to be found. The ratio is of their rates.
func BenchmarkVerify(b *testing.B) {
	for _, tc := range []struct {
		batch int
		quick bool
	}{{10, false}, {100, false}, {250, false}, {1000, false}, {1, true}, {10, true}, {100, true}} {
		b.Run(fmt.Sprintf("batch=%d/quick=%t", tc.batch, tc.quick), func(b *testing.B) {
			l, text, leaves := benchLog(b, tc.batch)
			opts := l.keys()
			opts.Quick = tc.quick
			segments := []auditlog.Segment{{Open: func() (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(text)), nil
			}}}
			var bare, full time.Duration
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				hashOnAllCores(leaves)
				middle := time.Now()
				report, err := auditlog.Verify(b.Context(), segments, opts, func(auditlog.Leaf) error { return nil })
				if err != nil || report.Level != auditlog.Signed {
					b.Fatal(report, err)
				}
				bare += middle.Sub(start)
				full += time.Since(middle)
			}
			b.ReportMetric(float64(bare)/float64(full), "ratio")
			b.ReportMetric(float64(len(text))*float64(b.N)/full.Seconds()/1e6, "verify-MB/s")
			b.ReportMetric(float64(len(text))*float64(b.N)/bare.Seconds()/1e6, "hash-MB/s")
		})
	}
}

func hashOnAllCores(leaves [][]byte) {
	n := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var buf [1 + 2048]byte
			for _, leaf := range leaves[i*len(leaves)/n : (i+1)*len(leaves)/n] {
				sha256.Sum256(buf[:1+copy(buf[1:], leaf)])
			}
		})
	}
	wg.Wait()
}

// BenchmarkAppend is what a writer pays per leaf, its hash included.
func BenchmarkAppend(b *testing.B) {
	leaf := bytes.Repeat([]byte("x"), 900)
	var tree auditlog.Tree
	stored := make([]byte, 0, 64*32)
	b.SetBytes(int64(len(leaf)))
	b.ReportAllocs()
	for b.Loop() {
		stored = tree.Append(stored[:0], auditlog.HashLeaf(leaf))
	}
}

// BenchmarkCommit is what a writer pays per batch: root, signature, line.
func BenchmarkCommit(b *testing.B) {
	key := newKey(b, origin)
	var tree auditlog.Tree
	var line []byte
	b.ReportAllocs()
	for b.Loop() {
		tree.Append(nil, auditlog.HashLeaf([]byte("leaf")))
		c, err := tree.Sign(key.Signer)
		require.NoError(b, err)
		line = auditlog.AppendCommit(line[:0], c)
	}
}
