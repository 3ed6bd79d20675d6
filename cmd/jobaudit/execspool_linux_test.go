package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// spoolRecords are events to be held in a spool.
func spoolRecords(t *testing.T, n int) (list []jobaudit.Record) {
	t.Helper()
	sink := memsink.New(nil)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "test", Environment: "test"}, nil)
	require.NoError(t, err)
	s := jobaudit.Submission{
		Action: "task", Principal: jobaudit.Principal{Kind: jobaudit.System, ID: "test"},
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a test"},
	}
	for len(list) < n {
		require.NoError(t, rec.Run(t.Context(), s, func(context.Context) error { return nil }))
		list = list[:0]
		for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
			require.NoError(t, err)
			list = append(list, r)
		}
	}
	require.NoError(t, rec.Close(t.Context()))
	return list[:n]
}

func spoolKey(t *testing.T, name string) *filesink.Key {
	t.Helper()
	dir := t.TempDir()
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), name)
	require.NoError(t, err)
	return key
}

func heldIn(t *testing.T, sink *memsink.Sink) (ids []uuid.UUID) {
	t.Helper()
	for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		ids = append(ids, r.ID())
	}
	return ids
}

func idsOf(records []jobaudit.Record) (ids []uuid.UUID) {
	for _, r := range records {
		ids = append(ids, r.ID())
	}
	return ids
}

// limitFiles lets this process write no file beyond size, as a disk that is full: what fits is written.
func limitFiles(t *testing.T, size uint64) (free func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: before.Max}))
	return func() {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
		signal.Reset(syscall.SIGXFSZ)
	}
}

// TestWhatIsHeldBeforeAndAfterAFullDiskReachesTheLog: half a line that a full disk left would
// make what is acknowledged behind it no event.
func TestWhatIsHeldBeforeAndAfterAFullDiskReachesTheLog(t *testing.T) {
	records := spoolRecords(t, 5)
	size := func(list ...jobaudit.Record) (n int) {
		for _, r := range list {
			n += len(r.AppendTo(nil)) + 1
		}
		return n
	}
	for _, fits := range []int{0, 1, size(records[1]) / 2, size(records[1]) - 1, size(records[1:3]...) - 1} {
		key := spoolKey(t, "example.com/jobs")
		spool := t.TempDir()
		held := &outcomeSpool{spool: spool, dir: spoolOf(spool, key)}
		require.NoError(t, held.Append(t.Context(), records[:1]))
		free := limitFiles(t, uint64(size(records[0])+fits))
		err := held.Append(t.Context(), records[1:3])
		free()
		require.ErrorIs(t, err, syscall.EFBIG)
		require.NoError(t, held.Append(t.Context(), records[3:]))
		require.Equal(t, 3, held.held())
		for _, f := range held.files { // exec has ended
			require.NoError(t, f.Close())
		}
		sink := memsink.New(nil)
		n, err := drainSpool(t.Context(), spool, key, sink)
		require.NoError(t, err)
		require.Equal(t, 3, n)
		require.Equal(t, []uuid.UUID{records[0].ID(), records[3].ID(), records[4].ID()}, heldIn(t, sink))
	}
}

// TestAHalfLineInTheSpoolCostsNoneOfTheOthers: wherever it stands.
func TestAHalfLineInTheSpoolCostsNoneOfTheOthers(t *testing.T) {
	records := spoolRecords(t, 4)
	for at := range 5 {
		key := spoolKey(t, "example.com/jobs")
		spool := t.TempDir()
		dir := spoolOf(spool, key)
		require.NoError(t, os.Mkdir(dir, 0o700))
		var text []byte
		const half = `{"schemaVersion":"1.0.0","id":"`
		for i, r := range records {
			if i == at {
				text = append(text, half+"\n"...)
			}
			text = append(r.AppendTo(text), '\n')
		}
		if at == len(records) {
			text = append(text, half...)
		}
		file := filepath.Join(dir, "a.jsonl")
		require.NoError(t, os.WriteFile(file, text, 0o600))
		sink := memsink.New(nil)
		n, err := drainSpool(t.Context(), spool, key, sink)
		require.Equal(t, 4, n)
		require.Equal(t, idsOf(records), heldIn(t, sink))
		if at == len(records) { // nobody was told that this is held
			require.NoError(t, err)
			require.NoFileExists(t, file)
			continue
		}
		require.ErrorContains(t, err, "1 line of "+file+" cannot be brought into the log, and stay there")
		left, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, half+"\n", string(left))
	}
}

// TestWhatIsHeldWhileTheSpoolIsReadIsNotLost: no file is taken away between its making and
// its lock.
func TestWhatIsHeldWhileTheSpoolIsReadIsNotLost(t *testing.T) {
	n := 500
	if testing.Short() {
		n = 100
	}
	records, key, spool, sink := spoolRecords(t, n), spoolKey(t, "example.com/jobs"), t.TempDir(), memsink.New(nil)
	done := make(chan struct{})
	var readers sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(done)
		readers.Wait()
	})
	defer end() // also when the test fails: they use what is then taken away
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := drainSpool(t.Context(), spool, key, sink); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, r := range records {
		held := &outcomeSpool{spool: spool, dir: spoolOf(spool, key)}
		require.NoError(t, held.Append(t.Context(), []jobaudit.Record{r}))
		require.NoError(t, held.files[0].Close())
		require.NoError(t, held.root.Close())
	}
	end()
	_, err := drainSpool(t.Context(), spool, key, sink)
	require.NoError(t, err)
	require.ElementsMatch(t, idsOf(records), heldIn(t, sink))
}

// TestASpoolHoldsTheOutcomesOfEachLogApart: also of two that have the same origin.
func TestASpoolHoldsTheOutcomesOfEachLogApart(t *testing.T) {
	spool, records := filepath.Join(t.TempDir(), "spool"), spoolRecords(t, 4)
	keys := []*filesink.Key{spoolKey(t, "host/jobs"), spoolKey(t, "host/jobs"), spoolKey(t, "../../escape"), spoolKey(t, "a"+string(bytes.Repeat([]byte("/b"), 120)))}
	for i, key := range keys {
		held := &outcomeSpool{spool: spool, dir: spoolOf(spool, key)}
		require.NoError(t, held.Append(t.Context(), records[i:i+1]))
		require.Equal(t, spool, filepath.Dir(held.dir))
		require.NoError(t, held.files[0].Close())
	}
	for i, key := range keys {
		sink := memsink.New(nil)
		n, err := drainSpool(t.Context(), spool, key, sink)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, []uuid.UUID{records[i].ID()}, heldIn(t, sink))
	}
}

// TestNothingIsBroughtIntoALogThatOthersCouldHaveWritten: into the directories, or into the file.
func TestNothingIsBroughtIntoALogThatOthersCouldHaveWritten(t *testing.T) {
	records := spoolRecords(t, 1)
	line := append(records[0].AppendTo(nil), '\n')
	type place struct{ spool, dir, file string }
	ways := map[string]struct {
		refused string
		do      func(p place) error
	}{
		"nothing wrong":           {"", func(place) error { return nil }},
		"a spool for all":         {"others can write to", func(p place) error { return os.Chmod(p.spool, 0o777|os.ModeSticky) }},
		"a spool for the group":   {"others can write to", func(p place) error { return os.Chmod(p.spool, 0o770) }},
		"a directory for all":     {"others can write to", func(p place) error { return os.Chmod(p.dir, 0o703) }},
		"a file for all":          {"others can write to", func(p place) error { return os.Chmod(p.file, 0o602) }},
		"a file for the group":    {"others can write to", func(p place) error { return os.Chmod(p.file, 0o660) }},
		"others may read":         {"", func(p place) error { return os.Chmod(p.spool, 0o755) }},
		"a pipe":                  {"no regular file", func(p place) error { return remade(p.file, func() error { return syscall.Mkfifo(p.file, 0o600) }) }},
		"a directory for a file":  {"a.jsonl", func(p place) error { return remade(p.file, func() error { return os.Mkdir(p.file, 0o700) }) }},
		"a link out of the spool": {"a.jsonl", func(p place) error { return linked(p.file, p.spool+".away") }},
		"a linked directory":      {"escapes", func(p place) error { return linked(p.dir, p.spool+".away") }},
		"a file without an end":   {"larger than any", func(p place) error { return os.Truncate(p.file, spoolReadSize+1) }},
	}
	if os.Geteuid() == 0 {
		for name, of := range map[string]func(place) string{
			"another's spool": func(p place) string { return p.spool }, "another's directory": func(p place) string { return p.dir }, "another's file": func(p place) string { return p.file },
		} {
			way := ways[name]
			way.refused, way.do = "does not belong to", func(p place) error { return os.Chown(of(p), 12345, -1) }
			ways[name] = way
		}
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			key := spoolKey(t, "example.com/jobs")
			p := place{spool: filepath.Join(t.TempDir(), "spool")}
			p.dir = spoolOf(p.spool, key)
			p.file = filepath.Join(p.dir, "a.jsonl")
			require.NoError(t, os.MkdirAll(p.dir, 0o700))
			require.NoError(t, os.WriteFile(p.file, line, 0o600))
			require.NoError(t, way.do(p))
			sink := memsink.New(nil)
			n, err := drainSpool(t.Context(), p.spool, key, sink)
			if way.refused == "" {
				require.NoError(t, err)
				require.Equal(t, 1, n)
				return
			}
			require.ErrorContains(t, err, way.refused)
			require.Zero(t, n)
			require.Empty(t, heldIn(t, sink))
			if _, err := os.Stat(p.file); err == nil && filepath.Dir(p.file) == p.dir && (name == "a spool for all" || name == "a directory for all") {
				held := &outcomeSpool{spool: p.spool, dir: p.dir}
				require.ErrorContains(t, held.Append(t.Context(), records), way.refused, "and nothing is held there")
			}
		})
	}
}

func remade(path string, do func() error) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return do()
}

func linked(path, away string) error {
	if err := os.Rename(path, away); err != nil {
		return err
	}
	return os.Symlink(away, path)
}

// TestARecordThatTheLogRefusesCostsNoneOfTheOthersInTheSpool: and stays.
func TestARecordThatTheLogRefusesCostsNoneOfTheOthersInTheSpool(t *testing.T) {
	records := spoolRecords(t, 4)
	for at := range records {
		key, spool, sink := spoolKey(t, "example.com/jobs"), t.TempDir(), memsink.New(nil)
		dir := spoolOf(spool, key)
		require.NoError(t, os.Mkdir(dir, 0o700))
		var text []byte
		for _, r := range records {
			text = append(r.AppendTo(text), '\n')
		}
		other := bytes.Replace(records[at].AppendTo(nil), []byte(`"system":"test"`), []byte(`"system":"rest"`), 1)
		in, err := jobaudit.ParseRecord(other)
		require.NoError(t, err)
		require.NoError(t, sink.Append(t.Context(), []jobaudit.Record{in}))
		file := filepath.Join(dir, "a.jsonl")
		require.NoError(t, os.WriteFile(file, text, 0o600))
		for _, want := range []int{3, 0} {
			n, err := drainSpool(t.Context(), spool, key, sink)
			require.ErrorContains(t, err, fmt.Sprintf("record %s refused", records[at].ID()))
			require.Equal(t, want, n)
			left, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(records[at].AppendTo(nil))+"\n", string(left))
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, entries, 1)
		}
		require.ElementsMatch(t, idsOf(records), heldIn(t, sink))
	}
}

// TestTheDirectoriesOfASpoolAreDurable: the file would be gone with one of them.
func TestTheDirectoriesOfASpoolAreDurable(t *testing.T) {
	var synced []string
	really := syncDir
	syncDir = func(dir string) error {
		synced = append(synced, dir)
		return really(dir)
	}
	defer func() { syncDir = really }()
	base, key := t.TempDir(), spoolKey(t, "example.com/jobs")
	spool := filepath.Join(base, "a", "b", "spool")
	held := &outcomeSpool{spool: spool, dir: spoolOf(spool, key)}
	require.NoError(t, held.Append(t.Context(), spoolRecords(t, 1)))
	for dir := held.dir; dir != filepath.Dir(base); dir = filepath.Dir(dir) {
		require.True(t, slices.Contains(synced, dir), dir)
	}
}

// TestWhatIsAcknowledgedInTheSpoolHasADurableName: a file whose name may be gone after a power
// cut takes nothing, however often it is tried.
func TestWhatIsAcknowledgedInTheSpoolHasADurableName(t *testing.T) {
	really := syncDir
	defer func() { syncDir = really }()
	records := spoolRecords(t, 3)
	for failures := range 4 {
		for step := 0; ; step++ {
			synced, calls, failed := map[string]bool{}, 0, 0
			syncDir = func(dir string) error {
				if calls++; calls > step && failed < failures {
					failed++
					return syscall.EIO
				}
				if err := really(dir); err != nil {
					return err
				}
				entries, err := os.ReadDir(dir)
				for _, e := range entries {
					synced[filepath.Join(dir, e.Name())] = true
				}
				return err
			}
			key, spool := spoolKey(t, "example.com/jobs"), filepath.Join(t.TempDir(), "spool")
			held := &outcomeSpool{spool: spool, dir: spoolOf(spool, key)}
			var acknowledged []uuid.UUID
			for i := range records {
				for range failures + 1 {
					if held.Append(t.Context(), records[i:i+1]) == nil {
						acknowledged = append(acknowledged, records[i].ID())
						break
					}
				}
			}
			for _, path := range []string{held.dir, held.spool} {
				require.True(t, synced[path], "%s, %d failures behind %d", path, failures, step)
			}
			entries, err := os.ReadDir(held.dir)
			require.NoError(t, err)
			for _, e := range entries {
				require.True(t, synced[filepath.Join(held.dir, e.Name())], "%s, %d failures behind %d", e.Name(), failures, step)
			}
			require.Len(t, acknowledged, 3)
			held.close()
			sink := memsink.New(nil)
			n, err := drainSpool(t.Context(), spool, key, sink)
			require.NoError(t, err)
			require.Equal(t, 3, n)
			if failed < failures {
				break
			}
			if failures == 0 {
				break
			}
		}
	}
}

// TestALargeSpoolIsReadInWhole: no file becomes larger than what is read.
func TestALargeSpoolIsReadInWhole(t *testing.T) {
	records, key, spool, sink := spoolRecords(t, 3), spoolKey(t, "example.com/jobs"), t.TempDir(), memsink.New(nil)
	held := &outcomeSpool{spool: spool, dir: spoolOf(spool, key)}
	for i := range records {
		require.NoError(t, held.Append(t.Context(), records[i:i+1]))
		held.files[i].size = spoolFileSize
	}
	require.Len(t, held.files, 3)
	for _, f := range held.files[:2] {
		require.NoError(t, f.Close())
	}
	n, err := drainSpool(t.Context(), spool, key, sink)
	require.NoError(t, err)
	require.Equal(t, 2, n, "the last one is locked")
	held.files = held.files[2:]
	require.NoError(t, held.Forget(t.Context(), idsOf(records)))
	left, err := os.ReadDir(held.dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
