package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// What the peers need takes a minute to compile.
func TestExtraEverythingThatIsMeasuredWorks(t *testing.T) {
	size.Extra(t)
	t.Setenv("BENCH_QUICK", "1")
	t.Setenv("TMPDIR", "/tmp") // a socket's path is to be short
	for name, open := range subjects {
		t.Run(name, func(t *testing.T) {
			rows, done, err := open(t.Context())
			require.NoError(t, err)
			defer done()
			require.NotEmpty(t, rows)
			for row, variants := range rows {
				for _, v := range variants {
					n := max(v.Least, min(v.Fixed, 40), 1)
					c, err := v.Run(n)
					require.NoError(t, err, "%s: %s", row, v.Name)
					require.NotZero(t, c, "%s: %s", row, v.Name)
				}
			}
		})
	}
}
