package filesink_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// writerEnv makes the test binary a writer of the log in the directory that it
// names, until it is killed.
const writerEnv = "FILESINK_TEST_WRITER"

func TestMain(m *testing.M) {
	if base := os.Getenv(writerEnv); base != "" {
		fmt.Println("error", writeForEver(base))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForEver prints what it is about to do and the IDs that were
// acknowledged.
func writeForEver(base string) error {
	dir := filepath.Join(base, "log")
	fmt.Println("start")
	key, err := filesink.LoadOrCreateKey(dir, filepath.Join(base, "key"), origin)
	if err != nil {
		return err
	}
	s, err := filesink.Open(context.Background(), dir, key, &filesink.Options{SegmentSize: 32 << 10})
	if err != nil {
		return err
	}
	fmt.Println("open")
	var wg sync.WaitGroup
	var failure error
	var mu sync.Mutex
	for n := range 4 {
		wg.Go(func() {
			for {
				batch := sinktest.Records(1 + n)
				err := s.Append(context.Background(), batch)
				mu.Lock()
				if err != nil {
					failure = err
					mu.Unlock()
					return
				}
				for _, r := range batch {
					fmt.Println("ack", r.ID())
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(failure, s.Close())
}

func TestKilledWritersLoseNothingThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	runs := size.Times(100, 8)
	if size.Race { // a program with the race detector takes long to start
		runs = size.Times(20, 8)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	requireKilledWritersLoseNothing(t, seed, runs)
}

func TestSoakKilledWritersLoseNothingThatWasAcknowledged(t *testing.T) {
	requireKilledWritersLoseNothing(t, size.Soak(t), 5000)
}

func requireKilledWritersLoseNothing(t *testing.T, seed uint64, runs int) {
	t.Helper()
	p := newPlace(t)
	random := rand.New(rand.NewPCG(seed, 0))
	acked := map[uuid.UUID]bool{}
	var heads []auditlog.Head
	for n := range runs {
		for _, id := range writeAndKill(t, p, random.IntN(40)) {
			require.False(t, acked[id])
			acked[id] = true
		}
		if r, err := filesink.OpenReader(p.dir); err == nil {
			if c, err := r.Checkpoint(t.Context(), p.key.Verifier()); err == nil {
				heads = append(heads, c.Head()) // a reader may see it
			}
			require.NoError(t, r.Close())
		}
		if n%50 == 49 {
			requireStored(t, p, acked, heads)
		}
	}
	requireStored(t, p, acked, heads)
	s := p.open(t, nil)
	requireStored(t, p, acked, append(heads, s.Checkpoint().Head()))
	t.Logf("%d events were acknowledged in %d runs", len(acked), runs)
}

// writeAndKill runs a writer until it has printed so many lines, kills it, and
// returns what it was told to be stored.
func writeAndKill(t *testing.T, p place, lines int) (acked []uuid.UUID) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), writerEnv+"="+p.base)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		if n == lines {
			require.NoError(t, cmd.Process.Kill())
		}
		text := scanner.Text()
		require.False(t, strings.HasPrefix(text, "error"), text)
		if id, ok := strings.CutPrefix(text, "ack "); ok && len(id) == 36 { // else the kill cut it
			acked = append(acked, uuid.MustParse(id))
		}
	}
	_ = cmd.Wait() // it was killed
	return acked
}

// requireStored checks that each acknowledged event is stored once, and that
// the log verifies and agrees with all heads that were seen.
func requireStored(t *testing.T, p place, acked map[uuid.UUID]bool, heads []auditlog.Head) {
	t.Helper()
	r := openReader(t, p.dir)
	stored := map[uuid.UUID]bool{}
	for record, err := range r.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		require.False(t, stored[record.ID()], "stored twice: %v", record)
		stored[record.ID()] = true
	}
	for id := range acked {
		require.True(t, stored[id], "acknowledged, but not stored: %s", id)
	}
	report := p.verify(t, heads...)
	require.Equal(t, auditlog.Anchored, report.Level)
	require.EqualValues(t, len(stored), report.Head.Size)
}
