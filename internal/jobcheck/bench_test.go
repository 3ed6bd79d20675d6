package jobcheck_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
)

// BenchmarkScan reads the facts from one record in a core's cache.
func BenchmarkScan(b *testing.B) {
	a := newAuthor(b)
	a.execution = uuid.New()
	a.line(jobaudit.JobSubmitted)
	line := a.line(jobaudit.JobLogged)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		jobcheck.ScanOnly(line)
	}
}
