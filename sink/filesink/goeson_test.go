package filesink_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestALogWithADamagedOldEntryGoesOnThroughRestartsAndHoldsNoMoreInMemory(t *testing.T) {
	p := newPlace(t)
	opts := &filesink.Options{SegmentSize: 8 << 10, OnError: func(error) {}}
	p.write(t, opts, 3, sinktest.Records(60)...)
	oldest := segments(t, p.dir)[0]
	b := contentOf(t, oldest)
	b[bytes.Index(b, []byte(`"reason":"`))+11] ^= 1
	require.NoError(t, os.WriteFile(oldest, b, 0o600))
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "index")))
	for range 2 {
		s := p.open(t, opts)
		stored := sinktest.Records(80)
		store(t, s, 4, stored...)
		held, _ := filesink.Held(s)
		require.Zero(t, held)
		store(t, s, 40, stored...) // none is stored twice
		killed := load(t, p.dir)
		require.NoError(t, s.Close())
		closed := load(t, p.dir)
		killed.store(t, p.dir)
		require.NoError(t, p.open(t, opts).Close(), "after a kill")
		closed.store(t, p.dir)
	}
	require.NoError(t, p.open(t, opts).Close(), "after a clean end")
}
