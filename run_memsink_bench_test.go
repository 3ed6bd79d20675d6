package jobaudit_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// BenchmarkRunOnMemsink is what a wrapped function without inputs costs more
// than calling it, on the memory sink: one caller, and many.
func BenchmarkRunOnMemsink(b *testing.B) {
	work := func(context.Context) error { return nil }
	recorder := func(b *testing.B) *jobaudit.Recorder {
		r, err := jobaudit.Open(b.Context(), memsink.New(&memsink.Options{MaxBytes: -1}), source, nil)
		require.NoError(b, err)
		b.ReportAllocs()
		return r
	}
	b.Run("one", func(b *testing.B) {
		r, s := recorder(b), submission()
		for b.Loop() {
			if err := r.Run(b.Context(), s, work); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		r, s := recorder(b), submission()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := r.Run(b.Context(), s, work); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
