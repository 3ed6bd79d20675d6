package filesink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// The campaign: random changes of a log's files, by somebody without the key
// and by somebody with it. Each has to be found by Verify with the key alone,
// or to be of one of the classes below, each of which is a predicate; and each
// that changes what the log holds has to be found with a newer head that was
// kept outside, also after the log was opened and written to again with the
// anchor put back.

// A class says why a change is not found without a head from outside.
type class string

const (
	// found: Verify tells.
	found class = "found"
	// unchanged: the log holds the same events in the same order under the same
	// newest head. Caches were changed, commit lines that later ones cover were
	// taken out, or bytes were added of which a note tells.
	unchanged class = "unchanged"
	// cutShort: the log ends at an earlier commit line, and holds all before it.
	cutShort class = "cut short"
	// rewritten: the key's holder wrote other events and signed them.
	rewritten class = "written again with the key"
)

// classify applies the classes' predicates; "" if none holds.
func (w *world) classify(im image, withKey bool, notes []filesink.Finding) class {
	leaves := w.committed(im)
	switch {
	case slices.Equal(leaves, w.leaves) && (w.sameText(im) || len(notes) > 0):
		return unchanged
	case len(leaves) < len(w.leaves) && slices.Equal(leaves, w.leaves[:len(leaves)]):
		return cutShort
	case withKey && len(leaves) > 0:
		return rewritten
	}
	return ""
}

// committed reads the events under good commit lines, by the rules of
// docs/format.md and by no code of this package.
func (w *world) committed(im image) (leaves []string) {
	var tree auditlog.Tree
	names := im.entries()
	for i, name := range names {
		if name != fmt.Sprintf("entries/%020d.jsonl", tree.Size()) {
			return leaves
		}
		run, batch := tree, []string(nil)
		for line := range strings.Lines(string(im[name])) {
			text, whole := strings.CutSuffix(line, "\n")
			if !whole {
				break
			}
			if !auditlog.IsCommit([]byte(text)) {
				batch = append(batch, text)
				run.Append(nil, auditlog.HashLeaf([]byte(text)))
				continue
			}
			c, err := auditlog.OpenCommit([]byte(text), w.key.Verifier())
			if err != nil || c.Head().Size != run.Size() || c.Head().Root != run.Root() || len(batch) == 0 {
				continue // covered by a later one, or damage
			}
			leaves, tree, batch = append(leaves, batch...), run, nil
			if i+1 < len(names) && names[i+1] == fmt.Sprintf("entries/%020d.jsonl", tree.Size()) {
				break
			}
		}
	}
	return leaves
}

// sameText reports whether the entries are those of the log, but for commit
// lines that were taken out.
func (w *world) sameText(im image) bool {
	events := func(im image) (all string) {
		for _, name := range im.entries() {
			for line := range strings.Lines(string(im[name])) {
				if !auditlog.IsCommit([]byte(line)) {
					all += line
				}
			}
		}
		return all
	}
	return events(im) == events(w.files)
}

// An image is a directory's files by their names.
type image map[string][]byte

func load(t testing.TB, dir string) image {
	t.Helper()
	im := image{}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		im[name], err = os.ReadFile(filepath.Join(dir, name))
		return err
	}))
	return im
}

func (im image) clone() image {
	next := maps.Clone(im)
	for name, b := range next {
		next[name] = bytes.Clone(b)
	}
	return next
}

func (im image) store(t testing.TB, dir string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(dir))
	for _, folder := range []string{"entries", "index", "torn"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, folder), 0o750))
	}
	for name, b := range im {
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), b, 0o600))
	}
}

// entries are the segments' names in order.
func (im image) entries() (names []string) {
	for name := range im {
		if strings.HasPrefix(name, "entries/") && len(name) == len("entries/.jsonl")+20 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// A world is a log with what somebody who attacks it may have at hand.
type world struct {
	place
	opts    filesink.Options
	files   image
	leaves  []string
	older   []image  // copies that were made while the log was written
	anchors [][]byte // the anchor's contents then, and now
	newest  auditlog.Head
	other   image // of another log with the same name
	signer  note.Signer
	records []jobaudit.Record
}

func newWorld(t testing.TB, r *rand.Rand) *world {
	t.Helper()
	w := &world{place: newPlace(t), opts: filesink.Options{SegmentSize: int64(3+r.IntN(8)) << 10, OnError: func(error) {}}}
	w.records = recordsOf(t, 8+r.IntN(6))
	rest := w.records
	for len(rest) > 0 {
		s := w.open(t, &w.opts)
		for n := 1 + r.IntN(12); n > 0 && len(rest) > 0; n-- {
			size := min(1+r.IntN(5), len(rest))
			store(t, s, size, rest[:size]...)
			rest = rest[size:]
			if r.IntN(4) == 0 {
				w.older = append(w.older, load(t, w.dir))
				w.anchors = append(w.anchors, s.Checkpoint().Signed())
			}
		}
		if len(rest) == 0 && r.IntN(2) == 0 { // left open: no index, no newer checkpoint
			w.files = load(t, w.dir)
		}
		w.newest = s.Checkpoint().Head()
		require.NoError(t, s.Close())
	}
	anchor, err := os.ReadFile(w.anchorPath())
	require.NoError(t, err)
	w.anchors = append(w.anchors, anchor)
	if w.files == nil {
		w.files = load(t, w.dir)
	}
	delete(w.files, "lock")
	for _, record := range w.records {
		w.leaves = append(w.leaves, string(record.Bytes()))
	}
	other := newPlace(t)
	other.write(t, &w.opts, 3, recordsOf(t, 3)...)
	w.other = load(t, other.dir)
	secret, err := os.ReadFile(w.keyPath())
	require.NoError(t, err)
	w.signer, err = note.NewSigner(strings.TrimSpace(string(secret)))
	require.NoError(t, err)
	return w
}

// recordsOf returns what a recorder writes of some jobs.
func recordsOf(t testing.TB, jobs int) (records []jobaudit.Record) {
	t.Helper()
	for _, batch := range recorded(t, jobs) {
		for _, line := range batch {
			r, err := jobaudit.ParseRecord([]byte(line))
			require.NoError(t, err)
			records = append(records, r)
		}
	}
	return records
}

// A campaign runs mutations and counts what became of them.
type campaign struct {
	t      testing.TB
	seed   uint64
	worlds []*world
	counts map[string]map[class]int
	opened int
}

func (c *campaign) run(mutations, worlds int) {
	c.counts = map[string]map[class]int{}
	r := rand.New(rand.NewPCG(c.seed, 1))
	for range worlds {
		c.worlds = append(c.worlds, newWorld(c.t, r))
	}
	dir := filepath.Join(c.t.TempDir(), "mutated")
	for n := range mutations {
		w := c.worlds[n%worlds]
		m := mutators[r.IntN(len(mutators))]
		im := w.files.clone()
		m.change(r, w, im)
		c.judge(fmt.Sprintf("seed %d, mutation %d: %s", c.seed, n, m.name), w, im, m, dir, n)
	}
	var lines []string
	total := map[class]int{}
	for name, counts := range c.counts {
		lines = append(lines, fmt.Sprintf("%-50s %v", name, counts))
		for k, n := range counts {
			total[k] += n
		}
	}
	slices.Sort(lines)
	c.t.Logf("seed %d: %d mutations, %v, %d of them opened and written to\n%s", c.seed, mutations, total, c.opened, strings.Join(lines, "\n"))
}

func (c *campaign) judge(name string, w *world, im image, m mutator, dir string, n int) {
	t := c.t
	im.store(t, dir)
	p := place{base: filepath.Dir(dir), dir: dir, key: w.key}
	report, wrong := p.told(t)
	got := found
	if !wrong {
		got = w.classify(im, m.key, report.Notes)
		require.NotEmpty(t, got, "%s: nobody tells", name)
	}
	if c.counts[m.name] == nil {
		c.counts[m.name] = map[class]int{}
	}
	c.counts[m.name][got]++
	same := slices.Equal(w.committed(im), w.leaves)
	_, with := p.told(t, w.newest)
	if !same {
		require.True(t, with, "%s (%s): a newer head from outside does not tell", name, got)
	} else if got == unchanged {
		require.False(t, with, "%s: accused", name)
	}
	if n%3 == 0 {
		c.reopen(name, w, im, p, same, got)
	}
}

// reopen is what the honest program does next, with the anchor that whoever
// changed the log put there.
func (c *campaign) reopen(name string, w *world, im image, p place, same bool, got class) {
	t := c.t
	opts := w.opts
	opts.AllowMissingAnchor = true
	opts.AnchorPath = filepath.Join(p.base, "anchor")
	_ = os.Remove(opts.AnchorPath)
	if i := len(name) % (len(w.anchors) + 1); i < len(w.anchors) {
		require.NoError(t, os.WriteFile(opts.AnchorPath, w.anchors[i], 0o600))
	}
	s, err := filesink.Open(t.Context(), p.dir, w.key, &opts)
	if err != nil {
		require.NotErrorIs(t, err, filesink.ErrLocked)
		return
	}
	c.opened++
	if got == unchanged {
		c.queries(name, w, s)
	}
	recorder, err := jobaudit.Open(t.Context(), s, jobaudit.Source{System: "s", Environment: "test"}, nil)
	require.NoError(t, err, name)
	require.NoError(t, recorder.Close(t.Context()), name)
	require.NoError(t, s.Close(), name)
	report, wrong := p.told(t, w.newest)
	if !same {
		require.True(t, wrong, "%s (%s): laundered by the next open", name, got)
	} else if got == unchanged {
		require.False(t, wrong, "%s: accused after the next open", name)
		require.Equal(t, auditlog.Anchored, report.Level)
	}
}

// queries asks for what the log holds: changed caches answer nothing wrong.
func (c *campaign) queries(name string, w *world, s *filesink.Sink) {
	t := c.t
	all := read(t, s, jobaudit.Query{})
	require.Len(t, all, len(w.records), name)
	for _, i := range []int{0, len(w.records) / 2, len(w.records) - 1} {
		job := w.records[i].JobID()
		var want []jobaudit.Record
		for _, r := range w.records {
			if r.JobID() == job {
				want = append(want, r)
			}
		}
		if job != (jobaudit.Record{}).JobID() {
			requireRecords(t, want, read(t, s, jobaudit.Query{JobID: job}))
		}
		require.NoError(t, s.Append(t.Context(), w.records[i:i+1]), name)
	}
	require.EqualValues(t, len(w.records), s.Checkpoint().Head().Size, "%s: stored twice", name)
}

// told verifies, and reports whether anything is told to be wrong.
func (p place) told(t testing.TB, heads ...auditlog.Head) (filesink.Report, bool) {
	t.Helper()
	report, err := filesink.Verify(context.WithoutCancel(t.Context()), p.dir, &filesink.VerifyOptions{Keys: []note.Verifier{p.key.Verifier()}, Heads: heads})
	if _, ok := errors.AsType[*filesink.VerifyError](err); !ok && err != nil {
		require.True(t, errors.Is(err, filesink.ErrNothingVerified) || errors.Is(err, fs.ErrNotExist), "%v", err)
	}
	return report, err != nil
}

func TestEveryChangeIsFoundOrOfAKnownClass(t *testing.T) {
	t.Parallel()
	mutations := 3000
	switch {
	case testing.Short():
		mutations = 300
	case size.Race: // ten times as slow
		mutations = 600
	}
	(&campaign{t: t, seed: 10}).run(mutations, 6)
}

func TestSoakCampaign(t *testing.T) {
	seed := size.Soak(t)
	for round := range uint64(20) {
		(&campaign{t: t, seed: seed + round}).run(6000, 12)
	}
}

func TestEveryByteOfALogIsCovered(t *testing.T) {
	t.Parallel()
	step := 61
	if testing.Short() || size.Race {
		step = 401
	}
	everyByte(t, 11, step)
}

func TestSoakEveryByte(t *testing.T) { everyByte(t, size.Soak(t), 1) }

// everyByte changes each byte of the entries.
func everyByte(t *testing.T, seed uint64, step int) {
	r := rand.New(rand.NewPCG(seed, 2))
	c := &campaign{t: t, seed: seed, counts: map[string]map[class]int{}}
	w := newWorld(t, r)
	dir := filepath.Join(t.TempDir(), "mutated")
	n := 0
	for _, name := range w.files.entries() {
		for at := n % step; at < len(w.files[name]); at += step {
			im := w.files.clone()
			im[name][at] ^= 1 << r.IntN(8)
			c.judge(fmt.Sprintf("seed %d: byte %d of %s", seed, at, name), w, im, mutator{name: "a byte is changed"}, dir, n)
			n++
		}
	}
	t.Logf("%d bytes: %v", n, c.counts)
}
