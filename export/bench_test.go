package export_test

import (
	"io"
	"iter"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
)

// parsed are events that are each read from its line, as from a log.
func parsed(records []jobaudit.Record) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range records {
			if !yield(jobaudit.ParseRecord(r.Bytes())) {
				return
			}
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	records, bytes := golden(b), 0
	for _, r := range records {
		bytes += r.Len() + 1
	}
	for _, format := range export.Formats() {
		b.Run(string(format), func(b *testing.B) {
			b.SetBytes(int64(bytes)) // of the log, so that formats compare
			for b.Loop() {
				if _, err := export.Write(io.Discard, format, parsed(records), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
