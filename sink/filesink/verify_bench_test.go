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

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// BenchmarkVerify compares, in turns within one run, on the same bytes of a log
// of about 60 MB: a bare loop that hashes the records on all cores and does
// nothing else, auditlog's verification of the files (off), Verify with its job
// checks (on), and that with its options quick and parse-all. The ratios are of
// their rates to the bare loop's.
func BenchmarkVerify(b *testing.B) {
	lines := slices.Concat(recorded(b, 12_000)...)
	for _, batch := range []int{10, 100, 1000} {
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
			b.SetBytes(info.Size())
			b.ReportAllocs()
			took := map[string]time.Duration{}
			measure := func(name string, do func()) {
				start := time.Now()
				do()
				took[name] += time.Since(start)
			}
			verify := func(change func(*filesink.VerifyOptions)) func() {
				return func() {
					opts := l.keys()
					change(opts)
					report, err := filesink.Verify(b.Context(), l.dir, opts)
					require.NoError(b, err)
					require.Equal(b, auditlog.Signed, report.Level)
				}
			}
			for b.Loop() {
				measure("hash", func() { hashOnAllCores(leaves) })
				measure("off", func() {
					_, err := auditlog.Verify(b.Context(), segments, &auditlog.Options{Keys: l.keys().Keys}, func(auditlog.Leaf) error { return nil })
					require.NoError(b, err)
				})
				measure("on", verify(func(*filesink.VerifyOptions) {}))
				measure("quick", verify(func(o *filesink.VerifyOptions) { o.Quick = true }))
				measure("parse-all", verify(func(o *filesink.VerifyOptions) { o.ParseAll = true }))
			}
			for _, name := range []string{"off", "on", "quick", "parse-all"} {
				b.ReportMetric(float64(took["hash"])/float64(took[name]), name+"-ratio")
			}
			b.ReportMetric(float64(info.Size())*float64(b.N)/took["hash"].Seconds()/1e6, "hash-MB/s")
			b.ReportMetric(float64(info.Size())*float64(b.N)/took["on"].Seconds()/1e6, "on-MB/s")
			b.ReportMetric(0, "ns/op") // of all together: it says nothing
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
