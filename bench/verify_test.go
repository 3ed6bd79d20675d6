package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"golang.org/x/mod/sumdb/note"
)

// BenchmarkVerify compares the verification of a log with a bare loop that
// hashes its records on all cores and does nothing else, in turns. The ratios
// are the medians of how fast the proof of the log alone is and how fast that
// is together with the checks of what its records say, both as they are and
// with Quick. 0.6 is aimed at with 1,000 records to a commit; README.md says what is
// reached.
func BenchmarkVerify(b *testing.B) {
	all := jobs(b, 30_000) // two segments, 108 MB: what a call costs once does not count
	var c corpus
	for _, r := range all {
		c.bytes = r.AppendTo(c.bytes)
		c.ends = append(c.ends, len(c.bytes))
	}
	type written struct {
		dir string
		key *filesink.Key
	}
	logs := map[int]written{}
	for _, batch := range []int{100, 1000} {
		dir, key := writtenLog(b, all, batch)
		logs[batch] = written{dir, key}
	}
	all = nil // who verifies a log does not have it in memory
	for _, batch := range []int{100, 1000} {
		for _, quick := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch=%d/quick=%t", batch, quick), func(b *testing.B) {
				l := logs[batch]
				compareVerify(b, l.dir, &c, auditlog.Options{Keys: []note.Verifier{l.key.Verifier()}, Quick: quick})
			})
		}
	}
}

func compareVerify(b *testing.B, dir string, c *corpus, opts auditlog.Options) {
	segments := segmentsOf(b, dir)
	var bare, proof, checked []time.Duration
	for b.Loop() {
		begun := time.Now()
		c.hashOnAllCores()
		bare = append(bare, time.Since(begun))

		begun = time.Now()
		report, err := auditlog.Verify(b.Context(), segments, &opts, nil)
		if err != nil || report.Level != auditlog.Signed {
			b.Fatal(report, err)
		}
		proof = append(proof, time.Since(begun))

		begun = time.Now()
		whole, err := filesink.Verify(b.Context(), dir, &filesink.VerifyOptions{Keys: opts.Keys, Quick: opts.Quick})
		if err != nil || whole.Level != auditlog.Signed || whole.Records != int64(len(c.ends)) {
			b.Fatal(whole, err)
		}
		checked = append(checked, time.Since(begun))
	}
	loop := median(bare)
	b.ReportMetric(float64(loop)/float64(median(proof)), "proof-ratio")
	b.ReportMetric(float64(loop)/float64(median(checked)), "checked-ratio")
	b.ReportMetric(float64(len(c.bytes))/1e6/loop.Seconds(), "hash-MB/s")
	b.ReportMetric(float64(median(checked).Nanoseconds())/float64(len(c.ends)), "checked-ns/record")
	b.ReportMetric(0, "ns/op") // of all three together: it says nothing
}
