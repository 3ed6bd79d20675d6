package pgsink_test

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// writerURL is where a process that is this test again writes to.
const writerURL = "PGSINK_TEST_WRITER"

// writeUntilKilled is the main function of such a process: it appends, and
// prints the IDs of what was acknowledged.
func writeUntilKilled(url string) error {
	ctx := context.Background()
	signer, err := note.NewSigner(os.Getenv("PGSINK_TEST_SIGNER"))
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(os.Getenv("PGSINK_TEST_VERIFIER"))
	if err != nil {
		return err
	}
	options := pgsink.AtSteps(killAt(os.Getenv("PGSINK_TEST_STEP")), pgsink.SequencerOptions{Signer: signer, Verifier: verifier})
	sink, err := pgsink.Open(ctx, url, &pgsink.Options{Sequencer: &options})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	writers, err := strconv.Atoi(cmp.Or(os.Getenv("PGSINK_TEST_WRITERS"), "4"))
	if err != nil {
		return err
	}
	for range writers {
		wg.Go(func() {
			for {
				records := sinktest.Records(1 + rand.IntN(4))
				if sink.Append(ctx, records) != nil {
					continue
				}
				mu.Lock()
				for _, r := range records {
					fmt.Println(r.ID())
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return nil
}

// reached is what such a process prints when it is about to kill itself.
var reached = uuid.Max

// killAt kills this process when its sequencer is at the step for the third time.
func killAt(step string) func(string) error {
	var times atomic.Int64
	return func(at string) error {
		if at == step && times.Add(1) == 3 {
			self, err := os.FindProcess(os.Getpid())
			if err != nil {
				return err
			}
			fmt.Println(reached)
			_ = self.Kill()
			select {}
		}
		return nil
	}
}

// writer starts such a process. Its acknowledged IDs come through the channel,
// which is closed when it is dead.
func writer(t *testing.T, url, signer, verifier string, env ...string) (kill func(), acknowledged chan uuid.UUID) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerURL+"="+url, "PGSINK_TEST_SIGNER="+signer, "PGSINK_TEST_VERIFIER="+verifier)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	acknowledged = make(chan uuid.UUID, 1<<20)
	go func() {
		defer close(acknowledged)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if id, err := uuid.Parse(lines.Text()); err == nil {
				acknowledged <- id
			}
		}
		_ = cmd.Wait()
	}()
	kill = sync.OnceFunc(func() { _ = cmd.Process.Kill() })
	t.Cleanup(kill)
	return kill, acknowledged
}

func TestNothingAcknowledgedIsLostWhenWritersAndSequencersAreKilled(t *testing.T) {
	url, k := database(t), newKey(t)
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	var all []uuid.UUID
	for range rounds {
		var kills []func()
		var channels []chan uuid.UUID
		for range 3 {
			kill, acknowledged := writer(t, url, k.secret, k.public)
			kills, channels = append(kills, kill), append(channels, acknowledged)
		}
		for i, kill := range kills {
			for range 20 + rand.IntN(60) { // at a moment that differs from round to round
				all = append(all, <-channels[i])
			}
			kill()
		}
		for _, acknowledged := range channels {
			for id := range acknowledged {
				all = append(all, id)
			}
		}
	}
	requireStored(t, url, k.public, all, mayBeUnsigned)
	run(t, url, k.options())
	require.NoError(t, open(t, url, nil).Sequenced(t.Context()))
	requireStored(t, url, k.public, all)
	t.Logf("%d writers were killed, %d events were acknowledged, 0 are missing", 3*rounds, len(all))
}

func TestNothingIsLostWhenASequencerIsKilledAtAnyStep(t *testing.T) {
	url, k := database(t), newKey(t)
	var all []uuid.UUID
	for _, step := range []string{"locked", "read", "signed", "written", "committed"} {
		_, acknowledged := writer(t, url, k.secret, k.public, "PGSINK_TEST_STEP="+step)
		there, n := false, 0
		for id := range acknowledged { // until it kills itself
			if id == reached {
				there = true
				continue
			}
			all = append(all, id)
			n++
			require.Less(t, n, 1<<18, "the step %q is never reached", step)
		}
		require.True(t, there, "the writer ended before the step %q", step)
	}
	requireStored(t, url, k.public, all, mayBeUnsigned)
	run(t, url, k.options())
	require.NoError(t, open(t, url, nil).Sequenced(t.Context()))
	requireStored(t, url, k.public, all)
	require.Zero(t, verified(t, url, k).Waiting)
}

// Eight processes write, each with eight writers and a sequencer, and every
// second one of them is killed and another takes its place.
func TestSoakEightProcessesAreKilledOneByOne(t *testing.T) {
	random := rand.New(rand.NewPCG(size.Soak(t), 8))
	url := database(t)
	signer, verifier, err := auditlog.GenerateKey(origin)
	require.NoError(t, err)
	kills := make([]func(), 8)
	channels := make([]chan uuid.UUID, 8)
	for i := range kills {
		kills[i], channels[i] = writer(t, url, signer, verifier, "PGSINK_TEST_WRITERS=8")
	}
	var all []uuid.UUID
	const seconds = 120
	for range seconds {
		time.Sleep(time.Second)
		i := random.IntN(len(kills))
		kills[i]()
		for id := range channels[i] {
			all = append(all, id)
		}
		kills[i], channels[i] = writer(t, url, signer, verifier, "PGSINK_TEST_WRITERS=8")
	}
	for i := range kills {
		kills[i]()
		for id := range channels[i] {
			all = append(all, id)
		}
	}
	requireStored(t, url, verifier, all)
	t.Logf("%d processes were killed, %d events were acknowledged, 0 are missing", seconds+len(kills), len(all))
}

// mayBeUnsigned: all sequencers may have been killed before one event had its place.
const mayBeUnsigned = true

// requireStored verifies the log, and requires that it holds the events.
func requireStored(t *testing.T, url, verifierKey string, want []uuid.UUID, unsigned ...bool) {
	t.Helper()
	verifier, err := note.NewVerifier(verifierKey)
	require.NoError(t, err)
	sink := open(t, url, nil)
	stored := make(map[uuid.UUID]bool)
	for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		require.False(t, stored[r.ID()])
		stored[r.ID()] = true
	}
	for _, id := range want {
		require.True(t, stored[id], "%s was acknowledged and is missing", id)
	}
	_, err = pgsink.Verify(t.Context(), url, &pgsink.VerifyOptions{Keys: []note.Verifier{verifier}})
	if len(unsigned) > 0 && committed(t, url) == 0 {
		require.ErrorIs(t, err, pgsink.ErrNothingVerified)
		return
	}
	require.NoError(t, err)
}

func TestNothingAcknowledgedIsLostWhenTheServerCrashes(t *testing.T) {
	t.Parallel()
	needsServer(t)
	s, err := pgserver.Start(t.Context(), "fsync=on", "full_page_writes=on")
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Stop() })
	require.NoError(t, makeTemplate(s))
	url := s.URL("prepared")
	signer, verifier, err := auditlog.GenerateKey(origin)
	require.NoError(t, err)
	kill, acknowledged := writer(t, url, signer, verifier)
	var all []uuid.UUID
	for range 2 {
		for range 50 + rand.IntN(100) {
			all = append(all, <-acknowledged)
		}
		require.NoError(t, s.Crash(t.Context()))
	}
	for range 20 {
		all = append(all, <-acknowledged) // it has found its way back
	}
	kill()
	for id := range acknowledged {
		all = append(all, id)
	}
	requireStored(t, url, verifier, all)
	t.Logf("%d events were acknowledged, 0 are missing", len(all))
}

// A user's transaction whose process dies before its commit leaves nothing.
func TestAKilledTransactionLeavesNoTrace(t *testing.T) {
	url := database(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	require.NoError(t, pgsink.Tx(tx).Append(t.Context(), sinktest.Records(2)))
	require.NoError(t, conn.PgConn().Conn().Close(), "as when the process is killed")
	require.Error(t, tx.Commit(t.Context()))
	require.Empty(t, read(t, open(t, url, nil), jobaudit.Query{}))
}
