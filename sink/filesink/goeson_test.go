package filesink_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
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

func TestAVerdictIsLookedForInNoSegmentThatIsKnownNotToHoldIt(t *testing.T) {
	p := newPlace(t)
	faults := simdisk.NewFaults(simdisk.OS)
	s := p.open(t, filesink.On(faults, &filesink.Options{SegmentSize: 1}))
	verdicts := make([]jobaudit.Record, 12)
	for i, r := range plain(t, len(verdicts)) {
		line := bytes.Clone(r.Bytes())
		id := uuid.UUID(r.ID())
		id[6] = 0x80 | id[6]&0xf // version 8
		copy(line[bytes.Index(line, []byte(`"id":"`))+len(`"id":"`):], id.String())
		var err error
		verdicts[i], err = jobaudit.ParseRecord(line)
		require.NoError(t, err)
	}
	var stored []jobaudit.Record
	for i := range 5 { // each segment's IDs lie around the rest
		stored = append(stored, verdicts[i], verdicts[11-i])
	}
	store(t, s, 2, stored...)
	filesink.Held(s) // waits for the indexes
	var opened atomic.Int64
	faults.Before(func(op simdisk.Op) error {
		if op.Kind == "open" && strings.HasPrefix(op.Name, "index/") {
			opened.Add(1)
		}
		return nil
	})
	store(t, s, 1, verdicts[5])
	require.LessOrEqual(t, opened.Load(), int64(1), "of the segment that is closed now")
	store(t, s, 12, verdicts...) // none is stored twice
	requireRecords(t, append(stored, verdicts[5], verdicts[6]), read(t, s, jobaudit.Query{}))
	require.NoError(t, s.Close())
}
