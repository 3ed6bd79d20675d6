package filesink_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// BenchmarkVerify compares, in turns within one run, three things on the same
// bytes of a log of about 50 MB: a bare loop that hashes the records on all
// cores (hash-MB/s), auditlog's verification of the files (off-ratio) and
// Verify with its job checks (on-ratio). The ratios are of rates to the bare
// loop's.
func BenchmarkVerify(b *testing.B) {
	lines := slices.Concat(recorded(b, 12_000)...)
	for _, batch := range []int{100, 1000} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			l := newLog(b)
			for chunk := range slices.Chunk(lines, batch) {
				l.commit(chunk...)
			}
			l.caches()
			leaves := make([][]byte, len(lines))
			for i := range lines {
				leaves[i] = []byte(lines[i])
			}
			info, err := os.Stat(l.file)
			require.NoError(b, err)
			segments := []auditlog.Segment{{Open: func() (io.ReadCloser, error) { return os.Open(l.file) }}}
			var bare, off, on time.Duration
			b.SetBytes(info.Size())
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				hashOnAllCores(leaves)
				bare += time.Since(start)
				start = time.Now()
				_, err := auditlog.Verify(b.Context(), segments, &auditlog.Options{Keys: []note.Verifier{l.key}}, func(auditlog.Leaf) error { return nil })
				off += time.Since(start)
				require.NoError(b, err)
				start = time.Now()
				report, err := filesink.Verify(b.Context(), l.dir, l.keys())
				on += time.Since(start)
				require.NoError(b, err)
				require.Equal(b, auditlog.Signed, report.Level)
			}
			b.ReportMetric(float64(bare)/float64(off), "off-ratio")
			b.ReportMetric(float64(bare)/float64(on), "on-ratio")
			b.ReportMetric(float64(info.Size())*float64(b.N)/bare.Seconds()/1e6, "hash-MB/s")
			b.ReportMetric(float64(on-off)/float64(b.N)/float64(len(lines)), "checks-ns/record")
		})
	}
}

func hashOnAllCores(leaves [][]byte) {
	n := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var buf [1 + 4096]byte
			for _, leaf := range leaves[i*len(leaves)/n : (i+1)*len(leaves)/n] {
				sha256.Sum256(buf[:1+copy(buf[1:], leaf)])
			}
		})
	}
	wg.Wait()
}
