package filesink_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// An honest is a log that nobody attacks: it is written on a disk that fails, by
// processes that are killed and machines that lose power, copied back from
// backups and continued by successors. Nobody may ever accuse it.
type honest struct {
	t      testing.TB
	name   string
	r      *rand.Rand
	disk   *simdisk.Memory
	key    *filesink.Key
	number int // of the successor
	keys   []note.Verifier
	todo   []jobaudit.Record
	acked  []jobaudit.Record
	kept   []auditlog.Head // durable heads, as auditors keep them
	backup map[string][]byte
	saved  int // acknowledged events in the backup
	did    []string
	stats  *histories
}

// histories counts what happened in all histories.
type histories struct{ opens, crashes, kills, failures, ends, restores, torn, checks int }

func (h *honest) fail(format string, args ...any) string {
	return fmt.Sprintf("%s: %v: ", h.name, h.did) + fmt.Sprintf(format, args...)
}

func (h *honest) open() (*filesink.Sink, error) {
	name, path := origin, "keys/key"
	if h.number > 1 {
		name, path = fmt.Sprintf("%s/s%d", origin, h.number), fmt.Sprintf("keys/key%d", h.number)
	}
	var err error
	old := h.key
	if h.key, err = filesink.LoadOrCreateKeyOn(h.disk, "log", path, name); err != nil {
		h.key = old
		return nil, err
	}
	if h.number > len(h.keys) {
		h.keys = append(h.keys, nil)
	}
	h.keys[h.number-1] = h.key.Verifier()
	opts := &filesink.Options{SegmentSize: int64(3+h.r.IntN(6)) << 10, OnError: func(error) {}, AnchorEveryCommit: h.r.IntN(3) == 0}
	if h.number > 1 {
		opts.Predecessor = h.keys[h.number-2]
	}
	h.stats.opens++
	s, err := filesink.Open(h.t.Context(), "log", h.key, filesink.On(h.disk, opts))
	if _, refused := errors.AsType[*filesink.RefusedError](err); refused {
		require.NoError(h.t, err, h.fail("refused"))
	}
	return s, err
}

// work opens the log and stores some batches, in which anything may go wrong.
func (h *honest) work() {
	s, err := h.open()
	if err != nil {
		return // the power went, or the disk failed
	}
	if s.Recovery().TornBytes > 0 {
		h.stats.torn++
	}
	got := h.readAll(s)
	// A batch that was not acknowledged may have been stored.
	for len(h.acked) < len(got) {
		h.acked, h.todo = append(h.acked, h.todo[0]), h.todo[1:]
	}
	for n := h.r.IntN(10); n > 0 && err == nil; n-- {
		size := 1 + h.r.IntN(4)
		for range 3 {
			if err = s.Append(h.t.Context(), h.todo[:size]); err == nil {
				h.acked, h.todo = append(h.acked, h.todo[:size]...), h.todo[size:]
				if h.r.IntN(3) == 0 {
					h.kept = append(h.kept, s.Checkpoint().Head())
				}
				break
			}
		}
	}
	if h.r.IntN(3) > 0 {
		_ = s.Close() // it may tell of the disk
		return
	}
	h.did = append(h.did, "killed")
	h.stats.kills++
	h.disk.Freeze()
	_ = s.Close() // what it still does reaches nothing
	h.disk.Thaw()
}

func (h *honest) readAll(r jobaudit.AuditReader) (all []jobaudit.Record) {
	for record, err := range r.Records(h.t.Context(), jobaudit.Query{}) {
		if err != nil {
			return h.acked // the disk fails, which says nothing about the log
		}
		all = append(all, record)
	}
	require.GreaterOrEqual(h.t, len(all), len(h.acked), h.fail("acknowledged events are gone"))
	for i, record := range h.acked {
		require.Equal(h.t, record.ID(), all[i].ID(), h.fail("event %d", i))
	}
	return all
}

// check is what auditors do now and then.
func (h *honest) check() {
	h.stats.checks++
	copied := image(h.disk.Files("log")).disk()
	opts := &filesink.VerifyOptions{Keys: h.keys, Heads: h.kept}
	report, err := filesink.VerifyOn(h.t.Context(), copied, "log", opts)
	if len(h.acked) == 0 && (errors.Is(err, filesink.ErrNothingVerified) || errors.Is(err, fs.ErrNotExist)) {
		return
	}
	require.NoError(h.t, err, h.fail("accused with %d heads", len(h.kept)))
	if len(h.kept) > 0 {
		require.Equal(h.t, auditlog.Anchored, report.Level, h.fail(""))
	}
	if h.r.IntN(2) == 0 && report.Durable.Size > 0 {
		h.kept = append(h.kept, report.Durable)
	}
	r, err := filesink.OpenReaderOn(copied, "log")
	require.NoError(h.t, err)
	defer r.Close()
	h.readAll(r)
	if c, err := r.Checkpoint(h.t.Context(), h.key.Verifier()); err == nil && h.r.IntN(2) == 0 {
		h.kept = append(h.kept, c.Head())
	}
}

// restore puts the backup back; the log goes on as a successor.
func (h *honest) restore() {
	h.did = append(h.did, fmt.Sprint("restored ", h.saved))
	h.stats.restores++
	h.number++
	d, err := h.disk.OpenDir("log", true)
	require.NoError(h.t, err)
	for name := range h.disk.Files("log") {
		require.NoError(h.t, d.Remove(name))
	}
	for _, folder := range []string{"entries", "index", "torn"} {
		require.NoError(h.t, d.Mkdir(folder))
	}
	for name, b := range h.backup {
		f, err := d.Create(name, false)
		require.NoError(h.t, err)
		_, err = f.WriteAt(b, 0)
		require.NoError(h.t, errors.Join(err, f.Sync()))
	}
	for _, folder := range []string{"entries", "index", "torn", "."} {
		require.NoError(h.t, d.Sync(folder))
	}
	h.todo = append(slices.Clone(h.acked[h.saved:]), h.todo...)
	h.acked = h.acked[:h.saved]
	h.kept = slices.DeleteFunc(h.kept, func(head auditlog.Head) bool { return head.Size > int64(h.saved) })
	h.backup = nil
}

// fate is what a power cut leaves.
func (h *honest) fate() simdisk.Fate {
	fates := []string{"all is lost", "all is kept", "only names are kept", "only contents are kept", "writes are torn", "anything"}
	return simdisk.Fates(h.r.Uint64())[fates[h.r.IntN(len(fates))]]
}

func (h *honest) live(steps int) {
	for range steps {
		switch n := h.r.IntN(12); {
		case n < 3:
			h.did = append(h.did, "power")
			h.stats.crashes++
			h.disk.Cut(1 + h.r.IntN(110))
			h.work()
			h.disk = h.disk.Crash(h.fate())
		case n < 5:
			h.did = append(h.did, "failing")
			h.stats.failures++
			h.disk.Fail(1+h.r.IntN(40), 1+h.r.IntN(6))
			h.work()
			h.disk.Fail(0, 0)
			h.disk.Kill()
		case n >= 10:
			h.did = append(h.did, "failing, then the end")
			h.stats.failures++
			h.stats.ends++
			from, count := 1+h.r.IntN(60), 1+h.r.IntN(3)
			h.disk.Fail(from, count)
			h.disk.Cut(from + count + h.r.IntN(5))
			h.work()
			h.disk.Fail(0, 0)
			if h.disk.Kill(); h.r.IntN(2) == 0 {
				h.disk = h.disk.Crash(h.fate())
			}
		case n == 5 && h.backup != nil && h.number < 4:
			h.restore()
			h.work()
			h.disk.Kill()
		case n == 6:
			if h.check(); len(h.acked) > 0 {
				h.backup, h.saved = h.disk.Files("log"), len(h.acked)
				delete(h.backup, "lock")
			}
		default:
			h.did = append(h.did, "work")
			h.work()
			h.disk.Kill()
		}
		h.check()
	}
}

// live lets n honest logs live.
func (s *histories) live(t *testing.T, seed uint64, n int) {
	todo := sinktest.Records(400)
	for i := range n {
		h := &honest{
			t: t, name: fmt.Sprintf("seed %d, history %d", seed, i), r: rand.New(rand.NewPCG(seed, uint64(i))),
			disk: simdisk.NewMemory(), number: 1, todo: todo, stats: s,
		}
		h.live(3 + h.r.IntN(8))
	}
	t.Logf("seed %d: %d histories: %+v", seed, n, *s)
}

func TestNoHonestLogIsAccused(t *testing.T) {
	t.Parallel()
	new(histories).live(t, 20, max(5, 150/every(5)))
}

func TestSoakHonestLogs(t *testing.T) { new(histories).live(t, size.Soak(t), 2000) }
