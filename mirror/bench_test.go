package mirror_test

import (
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// longLog writes a log of so many events in batches of ten.
func longLog(b testing.TB, events int) (r *filesink.Reader, key *filesink.Key) {
	b.Helper()
	dir := b.TempDir()
	key, err := filesink.LoadOrCreateKey(dir+"/log", dir+"/key", origin)
	require.NoError(b, err)
	s, err := filesink.Open(b.Context(), dir+"/log", key, nil)
	require.NoError(b, err)
	for written := 0; written < events; written += 10 {
		require.NoError(b, s.Append(b.Context(), sinktest.Records(10)))
	}
	require.NoError(b, s.Close())
	r, err = filesink.OpenReader(dir+"/log", key.Verifier())
	require.NoError(b, err)
	b.Cleanup(func() { _ = r.Close() })
	return r, key
}

const benchEvents = 50_000

// BenchmarkMirror mirrors a log; BenchmarkLoop does the least that does the same.
func BenchmarkMirror(b *testing.B) {
	source, key := longLog(b, benchEvents)
	for b.Loop() {
		d, err := mirror.OpenDirectory(b.TempDir(), true)
		require.NoError(b, err)
		m, err := mirror.New(source, d, &mirror.Options{Keys: []note.Verifier{key.Verifier()}})
		require.NoError(b, err)
		require.NoError(b, m.Sync(b.Context()))
		require.EqualValues(b, benchEvents, m.Status().Head.Size)
		require.NoError(b, d.Close())
	}
	b.ReportMetric(float64(benchEvents)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkLoop(b *testing.B) {
	source, key := longLog(b, benchEvents)
	for b.Loop() {
		d, err := mirror.OpenDirectory(b.TempDir(), true)
		require.NoError(b, err)
		require.NoError(b, loop(b.Context(), source, d, key.Verifier()))
		require.NoError(b, d.Close())
	}
	b.ReportMetric(float64(benchEvents)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// loop reads, folds, checks each signature and puts the same chunks.
func loop(ctx context.Context, source mirror.Source, store mirror.Store, key note.Verifier) error {
	var tree auditlog.Tree
	var chunk []byte
	first := int64(0)
	put := func() error {
		err := store.Put(ctx, fmt.Sprintf("001/chunks/%020d", first), chunk)
		chunk, first = chunk[:0], tree.Size()
		return err
	}
	var room [64 * 32]byte
	for line, err := range source.Lines(ctx, 0) {
		if err != nil {
			return err
		}
		chunk = append(append(chunk, line...), '\n')
		if !auditlog.IsCommit(line) {
			tree.Append(room[:0], auditlog.HashLeaf(line))
			continue
		}
		c, err := auditlog.OpenCommit(line, key)
		if err != nil {
			return err
		}
		if c.Head().Size != tree.Size() || c.Head().Root != tree.Root() {
			return errStore
		}
		if len(chunk) >= 4<<20 {
			if err := put(); err != nil {
				return err
			}
		}
	}
	return put()
}

// madeLog makes its lines as they are read, so that only the mirror's memory grows.
type madeLog struct {
	size int64
	key  key
}

func (l madeLog) Size(context.Context) (int64, error) { return l.size, nil }

func (l madeLog) Lines(_ context.Context, from int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var tree auditlog.Tree
		var room [64 * 32]byte
		pad := strings.Repeat("x", 800)
		for i := range l.size {
			line := []byte(pad + strconv.FormatInt(i, 10))
			tree.Append(room[:0], auditlog.HashLeaf(line))
			if i >= from && !yield(line, nil) {
				return
			}
			if tree.Size()%1000 == 0 && tree.Size() > from {
				c, err := tree.Sign(l.key.signer)
				if err != nil || !yield(auditlog.AppendCommit(nil, c), nil) {
					return
				}
			}
		}
	}
}

// nothing is a Store that keeps no bytes.
type nothing struct{ *memStore }

func (n nothing) Put(ctx context.Context, name string, data []byte) error {
	return n.memStore.Put(ctx, name, data[:min(len(data), 200)])
}

// BenchmarkMemory reports the greatest resident size of the process, which is the
// benchmark's if it runs alone: -bench 'Memory/100000$'.
func BenchmarkMemory(b *testing.B) {
	for _, size := range []int64{100_000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				k := newKey(b, origin)
				m, err := mirror.New(madeLog{size, k}, nothing{newStore()}, &mirror.Options{Keys: []note.Verifier{k.verifier}, ChunkSize: 64 << 20})
				require.NoError(b, err)
				require.NoError(b, m.Sync(b.Context()))
			}
			text, err := os.ReadFile("/proc/self/status")
			if err != nil {
				b.Skip("the system does not tell")
			}
			for line := range strings.Lines(string(text)) {
				if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
					n, err := strconv.ParseFloat(strings.Fields(kib)[0], 64)
					require.NoError(b, err)
					b.ReportMetric(n/1024, "MiB")
				}
			}
		})
	}
}

// BenchmarkAppend appends at half of the rate that it finds to be the greatest, with
// and without a mirror, and reports how long that takes.
func BenchmarkAppend(b *testing.B) {
	for _, mirrored := range []bool{false, true, false, true} {
		b.Run(fmt.Sprintf("mirrored=%v", mirrored), func(b *testing.B) {
			dir := b.TempDir()
			key, err := filesink.LoadOrCreateKey(dir+"/log", dir+"/key", origin)
			require.NoError(b, err)
			s, err := filesink.Open(b.Context(), dir+"/log", key, nil)
			require.NoError(b, err)
			if mirrored {
				d, err := mirror.OpenDirectory(dir+"/mirror", true)
				require.NoError(b, err)
				m, err := mirror.Start(b.Context(), s, d, &mirror.Options{Keys: []note.Verifier{key.Verifier()}})
				require.NoError(b, err)
				defer func() { require.NoError(b, m.Close(context.WithoutCancel(b.Context()))) }()
			}
			begin := time.Now()
			for range 500 {
				require.NoError(b, s.Append(b.Context(), sinktest.Records(1)))
			}
			pause := time.Since(begin) / 500
			var took []time.Duration
			for b.Loop() {
				records := sinktest.Records(1)
				at := time.Now()
				require.NoError(b, s.Append(b.Context(), records))
				took = append(took, time.Since(at))
				time.Sleep(pause)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
