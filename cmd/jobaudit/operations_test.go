package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// site is one of the four places of docs/operations.md.
type site struct {
	name string
	// diskGoes says that the disk goes with the process, anchorOnDisk that the
	// anchor lies on the log's disk, and replicas how many logs there are.
	diskGoes, anchorOnDisk bool
	replicas               int
}

var sites = []site{
	{"a container with a throwaway disk", true, true, 1},
	{"a StatefulSet", false, true, 1},
	{"a VM, and its snapshots", false, false, 1},
	{"eight replicas", false, true, 8},
}

// host is a node of a site: its disk, what lies off that disk, and its mirror, in
// which a second anchor lies.
type host struct {
	t     *testing.T
	site  site
	dir   string
	name  string
	key   *filesink.Key // of the log that is written
	keys  []note.Verifier
	sink  *filesink.Sink
	store *mirror.Directory
	acked [][]string // IDs of what was acknowledged: yesterday's, mirrored, not mirrored yet
}

func (h *host) disk() string   { return filepath.Join(h.dir, "disk") }
func (h *host) log() string    { return filepath.Join(h.disk(), "log") }
func (h *host) off() string    { return filepath.Join(h.dir, "off") }
func (h *host) target() string { return filepath.Join(filepath.Dir(h.dir), "mirrors", h.name) }
func (h *host) anchor() string {
	if h.site.anchorOnDisk {
		return filepath.Join(h.disk(), fmt.Sprintf("anchor-%d", len(h.keys)))
	}
	return filepath.Join(h.off(), fmt.Sprintf("anchor-%d", len(h.keys)))
}

// newKey makes the log's key, or that of its next successor.
func (h *host) newKey() {
	h.t.Helper()
	origin := "example.com/" + h.name
	if n := len(h.keys); n > 0 {
		origin = fmt.Sprintf("%s/s%d", origin, n+1)
	}
	var err error
	h.key, err = filesink.LoadOrCreateKey(h.log(), filepath.Join(h.off(), fmt.Sprintf("key-%d", len(h.keys)+1)), origin)
	require.NoError(h.t, err)
	h.keys = append(h.keys, h.key.Verifier())
	require.NoError(h.t, os.WriteFile(h.vkey(len(h.keys)), []byte(run(h.t, "key", filepath.Join(h.off(), fmt.Sprintf("key-%d", len(h.keys)))).out), 0o600))
}

func (h *host) vkey(n int) string { return filepath.Join(h.dir, fmt.Sprintf("vkey-%d", n)) }

func (h *host) keyFlags() (flags []string) {
	for n := range h.keys {
		flags = append(flags, "--key", h.vkey(n+1))
	}
	return flags
}

func (h *host) open(o filesink.Options) error {
	anchor, err := mirror.NewAnchor(h.store, []note.Verifier{h.key.Verifier()}, nil)
	require.NoError(h.t, err)
	o.AnchorPath, o.Anchor, o.AnchorEveryCommit = h.anchor(), anchor, true
	h.sink, err = filesink.Open(h.t.Context(), h.log(), h.key, &o)
	return err
}

// work lets the log grow, by acknowledged events, which are mirrored or not yet.
func (h *host) work(mirrored bool) {
	h.t.Helper()
	records := sinktest.Records(5)
	require.NoError(h.t, h.sink.Append(h.t.Context(), records))
	var ids []string
	for _, r := range records {
		ids = append(ids, r.ID().String())
	}
	h.acked = append(h.acked, ids)
	if mirrored {
		h.mirror()
	}
}

// mirror mirrors in the process, or beside it.
func (h *host) mirror() {
	h.t.Helper()
	m, err := mirror.New(h.sink, h.store, &mirror.Options{Keys: h.keys})
	require.NoError(h.t, err)
	require.NoError(h.t, m.Sync(h.t.Context()))
}

func newHost(t *testing.T, s site, base string, i int) *host {
	t.Helper()
	h := &host{t: t, site: s, name: fmt.Sprintf("web-%d", i), dir: filepath.Join(base, fmt.Sprintf("host-%d", i))}
	for _, dir := range []string{h.disk(), h.off()} {
		require.NoError(t, os.MkdirAll(dir, 0o700))
	}
	var err error
	h.store, err = mirror.OpenDirectory(h.target(), true)
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.store.Close() })
	h.newKey()
	require.NoError(t, h.open(filesink.Options{}))
	t.Cleanup(func() { _ = h.sink.Close() })
	h.work(true)
	require.NoError(t, os.CopyFS(filepath.Join(h.dir, "yesterday"), os.DirFS(h.disk())))
	h.work(true)
	h.work(false)
	return h
}

// stop ends the process as a kill does: what lies on the disk at this moment is what
// there is then.
func (h *host) stop() {
	h.t.Helper()
	left := filepath.Join(h.dir, "left")
	require.NoError(h.t, os.CopyFS(left, os.DirFS(h.disk())))
	require.NoError(h.t, h.sink.Close())
	h.replaceDisk(left)
	if h.site.diskGoes {
		h.loseDisk()
	}
}

func (h *host) replaceDisk(with string) {
	h.t.Helper()
	require.NoError(h.t, os.RemoveAll(h.disk()))
	require.NoError(h.t, os.Rename(with, h.disk()))
}

func (h *host) loseDisk() {
	h.t.Helper()
	require.NoError(h.t, os.RemoveAll(h.disk()))
	require.NoError(h.t, os.Mkdir(h.disk(), 0o700))
}

// cli runs a command about this host's mirror, with its keys.
func (h *host) cli(args ...string) call { return run(h.t, append(args, h.keyFlags()...)...) }

// restore rebuilds the log from its mirror. The anchor in the store tells of what is
// missing, so the log goes on as a successor.
func (h *host) restore() {
	h.t.Helper()
	require.NoError(h.t, os.RemoveAll(h.log()))
	anchor, err := mirror.NewAnchor(h.store, h.keys, nil)
	require.NoError(h.t, err)
	signed, err := anchor.Latest(h.t.Context())
	require.NoError(h.t, err)
	head := filepath.Join(h.dir, "head")
	require.NoError(h.t, os.WriteFile(head, signed, 0o600))
	c := h.cli("restore", h.target(), h.log(), "--anchor", head)
	require.Equal(h.t, 1, c.code, c.out+c.err)
	require.Contains(h.t, c.out, "does not hold all that the anchors tell of")
	h.succeed()
	h.mirror() // it goes on from what is mirrored: nobody has to accept that
}

// succeed lets the log go on as a successor.
func (h *host) succeed() {
	h.t.Helper()
	old := h.keys[len(h.keys)-1]
	h.newKey()
	require.NoError(h.t, h.open(filesink.Options{Predecessor: old}))
	h.t.Cleanup(func() { _ = h.sink.Close() })
	h.work(false)
}

// has checks which of the batches that were acknowledged a source still shows.
func (h *host) has(source string, batches ...int) {
	h.t.Helper()
	c := run(h.t, "list", source, "--json")
	require.Zero(h.t, c.code, c.err)
	for i, ids := range h.acked[:3] {
		for _, id := range ids {
			require.Equal(h.t, slices.Contains(batches, i), strings.Contains(c.out, id), "%s: batch %d", source, i)
		}
	}
	c = h.cli("verify", source)
	require.Zero(h.t, c.code, c.out+c.err)
}

// refused checks that the log is not opened, for a reason that is given.
func (h *host) refused() {
	h.t.Helper()
	err := h.open(filesink.Options{})
	require.Error(h.t, err)
	var refused *filesink.RefusedError
	require.ErrorAs(h.t, err, &refused)
}

// siteFaults are the six of the page. Each plays what befalls a host, what is done
// then, and returns which batches the log has then: 0 is yesterday's, 1 was mirrored
// since, 2 was acknowledged and not mirrored yet.
var siteFaults = []struct {
	name string
	play func(h *host) []int
}{
	{"process killed", func(h *host) []int {
		h.stop()
		if h.site.diskGoes {
			h.restore()
			return []int{0, 1}
		}
		require.NoError(h.t, h.open(filesink.Options{}))
		h.t.Cleanup(func() { _ = h.sink.Close() })
		h.mirror()
		return []int{0, 1, 2}
	}},
	{"disk lost", func(h *host) []int {
		h.stop()
		h.loseDisk()
		h.restore()
		return []int{0, 1}
	}},
	{"node taken over", func(h *host) []int {
		h.stop()
		// Who has the key writes the log again, as long as it was, and the anchor.
		require.NoError(h.t, os.RemoveAll(h.log()))
		s, err := filesink.Open(h.t.Context(), h.log(), h.key, &filesink.Options{AnchorPath: filepath.Join(h.dir, "false-anchor"), AllowMissingAnchor: true})
		require.NoError(h.t, err)
		for range 6 {
			require.NoError(h.t, s.Append(h.t.Context(), sinktest.Records(5)))
		}
		require.NoError(h.t, s.Close())
		c := h.cli("mirror", h.log(), h.target(), "--once")
		require.Equal(h.t, 1, c.code, c.out+c.err)
		require.Contains(h.t, c.out, "the log has another history than its mirror")
		require.NoError(h.t, os.RemoveAll(h.disk()))
		require.NoError(h.t, os.Mkdir(h.disk(), 0o700))
		h.restore()
		return []int{0, 1}
	}},
	{"key lost", func(h *host) []int {
		require.NoError(h.t, h.sink.Close()) // the process runs on until it is stopped in order
		require.NoError(h.t, os.Remove(filepath.Join(h.off(), "key-1")))
		h.succeed()
		h.mirror()
		return []int{0, 1, 2}
	}},
	{"anchor lost", func(h *host) []int {
		require.NoError(h.t, h.sink.Close())
		require.NoError(h.t, os.Remove(h.anchor()))
		require.ErrorIs(h.t, h.open(filesink.Options{}), filesink.ErrMissingAnchor)
		// The second anchor, in the store, still shows a rollback.
		kept := filepath.Join(h.dir, "kept")
		require.NoError(h.t, os.CopyFS(kept, os.DirFS(h.disk())))
		yesterday := filepath.Join(h.dir, "once-more")
		require.NoError(h.t, os.CopyFS(yesterday, os.DirFS(filepath.Join(h.dir, "yesterday"))))
		h.replaceDisk(yesterday)
		_ = os.Remove(h.anchor())
		var refused *filesink.RefusedError
		require.ErrorAs(h.t, h.open(filesink.Options{AllowMissingAnchor: true}), &refused)
		h.replaceDisk(kept)
		require.NoError(h.t, h.open(filesink.Options{AllowMissingAnchor: true}))
		h.t.Cleanup(func() { _ = h.sink.Close() })
		h.mirror()
		return []int{0, 1, 2}
	}},
	{"restored from yesterday", func(h *host) []int {
		require.NoError(h.t, h.sink.Close())
		h.replaceDisk(filepath.Join(h.dir, "yesterday"))
		h.refused()
		if h.site.replicas == 1 { // the rest is put back
			h.restore()
			return []int{0, 1}
		}
		// Or the node goes on from yesterday, which an operator accepts.
		h.succeed()
		require.NoError(h.t, h.sink.Close())
		c := h.cli("mirror", h.log(), h.target(), "--once")
		require.Equal(h.t, 1, c.code, c.out+c.err)
		c = h.cli("mirror", h.log(), h.target(), "--accept", "--by", "ada", "--reason", "restored from yesterday")
		require.Zero(h.t, c.code, c.out+c.err)
		h.has(h.target()+"#1", 0, 1)
		return []int{0}
	}},
}

// TestEachFaultInEachPlaceLosesWhatThePageSays plays the 4 × 6 scenarios of
// docs/operations.md, with logs, anchors, mirrors and the commands of the page.
func TestEachFaultInEachPlaceLosesWhatThePageSays(t *testing.T) {
	if testing.Short() {
		t.Skip("plays 24 scenarios")
	}
	page, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	words := map[string][]int{"nothing": {0, 1, 2}, "the window": {0, 1}, "the branch": {0}}
	for _, f := range siteFaults {
		_, row, found := strings.Cut(string(page), "\n| "+f.name+" | ")
		require.True(t, found, "the page has no row %q", f.name)
		row, _, _ = strings.Cut(row, "\n")
		cells := strings.Split(strings.TrimSuffix(row, " |"), " | ")
		for i, s := range sites {
			t.Run(s.name+"/"+f.name, func(t *testing.T) {
				t.Parallel() // it waits most of the time, for disks and commands
				base := t.TempDir()
				var hosts []*host
				for n := range s.replicas {
					hosts = append(hosts, newHost(t, s, base, n))
				}
				h := hosts[len(hosts)/2]
				left := f.play(h)
				require.Equal(t, words[cells[i]], left, "the page says %q", cells[i])
				require.NoError(t, h.sink.Close())
				h.has(h.log(), left...)
				h.has(h.target(), left...)
				checkHosts(t, base, hosts, h)
			})
		}
	}
}

// checkHosts asks jobaudit check, which finds nothing once all is as it should be, and
// names the host if its mirror is put aside.
func checkHosts(t *testing.T, base string, hosts []*host, befallen *host) {
	t.Helper()
	var logs []string
	for _, h := range hosts {
		var keys []string
		for n := range h.keys {
			key, err := os.ReadFile(h.vkey(n + 1))
			require.NoError(t, err)
			keys = append(keys, fmt.Sprintf("%q", strings.TrimSpace(string(key))))
		}
		logs = append(logs, fmt.Sprintf(`{"name": %q, "source": %q, "keys": [%s], "alive": "1000000h"}`, h.name, h.target(), strings.Join(keys, ",")))
	}
	file := filepath.Join(base, "registry.json")
	text := fmt.Sprintf(`{"format": "jobaudit.registry/v1", "targets": [%q], "logs": [%s]}`, filepath.Join(base, "mirrors"), strings.Join(logs, ","))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	c := run(t, "check", file)
	require.Zero(t, c.code, c.out+c.err)
	require.NoError(t, os.Rename(befallen.target(), filepath.Join(base, "aside")))
	c = run(t, "check", file)
	require.Equal(t, 1, c.code)
	require.Contains(t, c.out, "missing      "+befallen.name+":")
	require.Contains(t, c.out, "1 finding")
}
