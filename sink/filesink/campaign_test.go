package filesink_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
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

// classify applies the classes' predicates to what is committed; "" if none
// holds.
func (w *world) classify(im image, leaves []string, withKey bool, notes []filesink.Finding) class {
	added := func(f filesink.Finding) bool { return f.Kind == filesink.KindTail || f.Kind == filesink.KindRewritten }
	switch {
	case slices.Equal(leaves, w.leaves) && (w.sameText(im) || slices.ContainsFunc(notes, added)):
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
		for line := range bytes.Lines(im[name]) {
			text, whole := bytes.CutSuffix(line, []byte("\n"))
			if !whole {
				break
			}
			if !auditlog.IsCommit(text) {
				batch = append(batch, string(text))
				run.Append(nil, auditlog.HashLeaf(text))
				continue
			}
			c, err := auditlog.OpenCommit(text, w.verifier)
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
	events := func(im image) (all []byte) {
		for _, name := range im.entries() {
			for line := range bytes.Lines(im[name]) {
				if !auditlog.IsCommit(line) {
					all = append(all, line...)
				}
			}
		}
		return all
	}
	return bytes.Equal(events(im), events(w.files))
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

// disk returns a disk in memory that holds the files, durably.
func (im image) disk() *simdisk.Memory {
	return simdisk.Holding("log", im, "entries", "index", "torn")
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
//
// It lies in memory: a campaign has thousands of them.
type world struct {
	key     *filesink.Key
	opts    filesink.Options
	files   image
	leaves  []string
	older   []image  // copies that were made while the log was written
	anchors [][]byte // the anchor's contents then, and now
	newest  auditlog.Head
	other   image    // of another log with the same name
	strange []string // events of it
	signer  note.Signer
	next    *filesink.Key // a successor's
	records []jobaudit.Record
	// verifier is the key's. It remembers what it has verified: the mutations of
	// a log have most of their commit lines in common.
	verifier note.Verifier
}

// A remembering verifier verifies each signature once.
type remembering struct {
	note.Verifier
	mu   sync.Mutex
	seen map[[sha256.Size]byte]bool
}

func (v *remembering) Verify(msg, sig []byte) bool {
	of := sha256.Sum256(slices.Concat(msg, sig))
	v.mu.Lock()
	defer v.mu.Unlock()
	good, ok := v.seen[of]
	if !ok {
		good = v.Verifier.Verify(msg, sig)
		v.seen[of] = good
	}
	return good
}

// keyOn makes the key of a log on a disk.
func keyOn(t testing.TB, d *simdisk.Memory) *filesink.Key {
	t.Helper()
	key, err := filesink.LoadOrCreateKeyOn(d, "log", "keys/key", origin)
	require.NoError(t, err)
	return key
}

// openOn opens a log on a disk.
func openOn(t testing.TB, d *simdisk.Memory, key *filesink.Key, opts *filesink.Options) *filesink.Sink {
	t.Helper()
	s, err := filesink.Open(t.Context(), "log", key, filesink.On(d, opts))
	require.NoError(t, err)
	return s
}

func newWorld(t testing.TB, r *rand.Rand) *world {
	t.Helper()
	d := simdisk.NewMemory()
	w := &world{key: keyOn(t, d), opts: filesink.Options{SegmentSize: int64(3+r.IntN(8)) << 10, OnError: func(error) {}}}
	w.verifier = &remembering{Verifier: w.key.Verifier(), seen: map[[sha256.Size]byte]bool{}}
	w.records = recordsOf(t, 5+r.IntN(4))
	rest := w.records
	for len(rest) > 0 {
		s := openOn(t, d, w.key, &w.opts)
		for n := 1 + r.IntN(12); n > 0 && len(rest) > 0; n-- {
			size := min(1+r.IntN(5), len(rest))
			store(t, s, size, rest[:size]...)
			rest = rest[size:]
			if r.IntN(4) == 0 {
				w.older = append(w.older, d.Files("log"))
				w.anchors = append(w.anchors, s.Checkpoint().Signed())
			}
		}
		if len(rest) == 0 && r.IntN(2) == 0 { // left open: no index, no newer checkpoint
			w.files = d.Files("log")
		}
		w.newest = s.Checkpoint().Head()
		require.NoError(t, s.Close())
	}
	keys := d.Files("keys")
	w.anchors = append(w.anchors, keys["key.anchor"])
	if w.files == nil {
		w.files = d.Files("log")
	}
	delete(w.files, "lock")
	for _, record := range w.records {
		w.leaves = append(w.leaves, string(record.Bytes()))
	}
	other := simdisk.NewMemory()
	s := openOn(t, other, keyOn(t, other), &w.opts)
	for _, record := range recordsOf(t, 3) {
		w.strange = append(w.strange, string(record.Bytes()))
		store(t, s, 1, record)
	}
	require.NoError(t, s.Close())
	w.other = other.Files("log")
	var err error
	w.signer, err = note.NewSigner(strings.TrimSpace(string(keys["key"])))
	require.NoError(t, err)
	secret, public, err := auditlog.GenerateKey(auditlog.SuccessorOrigin(w.key.Name()))
	require.NoError(t, err)
	next, err := note.NewSigner(secret)
	require.NoError(t, err)
	w.next, err = filesink.NewKey(next, public)
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
	seed   uint64
	worlds []*world

	mu     sync.Mutex
	counts map[string]map[class]int
	opened int
}

// A judge is the part of a campaign that one test sees to.
type judge struct {
	*campaign
	t testing.TB
}

func (c *campaign) run(t *testing.T, mutations, worlds int) {
	c.counts = map[string]map[class]int{}
	r := rand.New(rand.NewPCG(c.seed, 1))
	for range worlds {
		c.worlds = append(c.worlds, newWorld(t, r))
	}
	parts := runtime.GOMAXPROCS(0)
	t.Run("mutations", func(t *testing.T) {
		for part := range parts {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for n := part; n < mutations; n += parts {
					r := rand.New(rand.NewPCG(c.seed, uint64(2+n)))
					w := c.worlds[n%worlds]
					m := mutators[r.IntN(len(mutators))]
					im := w.files.clone()
					m.change(r, w, im)
					judge{c, t}.judge(fmt.Sprintf("seed %d, mutation %d: %s", c.seed, n, m.name), w, im, m, n)
				}
			})
		}
	})
	c.log(t, mutations)
}

func (c *campaign) log(t *testing.T, mutations int) {
	var lines []string
	total := map[class]int{}
	for name, counts := range c.counts {
		lines = append(lines, fmt.Sprintf("%-50s %v", name, counts))
		for k, n := range counts {
			total[k] += n
		}
	}
	slices.Sort(lines)
	t.Logf("seed %d: %d mutations, %v, %d of them opened and written to\n%s", c.seed, mutations, total, c.opened, strings.Join(lines, "\n"))
}

func (c judge) judge(name string, w *world, im image, m mutator, n int) {
	t := c.t
	d := im.disk()
	leaves := w.committed(im)
	report, wrong := w.told(t, d)
	got := found
	if !wrong {
		got = w.classify(im, leaves, m.key, report.Notes)
		require.NotEmpty(t, got, "%s: nobody tells", name)
	}
	c.count(m.name, got)
	same := slices.Equal(leaves, w.leaves)
	_, with := w.told(t, d, w.newest)
	if !same {
		require.True(t, with, "%s (%s): a newer head from outside does not tell", name, got)
	} else if got == unchanged {
		require.False(t, with, "%s: accused", name)
	}
	if n%3 == 0 {
		c.reopen(name, w, d, same, got)
	}
}

func (c *campaign) count(name string, got class) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts[name] == nil {
		c.counts[name] = map[class]int{}
	}
	c.counts[name][got]++
}

// reopen is what the honest program does next, with the anchor that somebody who
// changed the log put there.
func (c judge) reopen(name string, w *world, d *simdisk.Memory, same bool, got class) {
	t := c.t
	opts := w.opts
	opts.AllowMissingAnchor = true
	opts.AnchorPath = "anchors/anchor"
	if i := len(name) % (len(w.anchors) + 1); i < len(w.anchors) {
		d.Hold("anchors", image{"anchor": w.anchors[i]})
	}
	s, err := filesink.Open(t.Context(), "log", w.key, filesink.On(d, &opts))
	if err != nil {
		require.NotErrorIs(t, err, filesink.ErrLocked)
		c.wayOut(name, w, d, err)
		return
	}
	c.mu.Lock()
	c.opened++
	c.mu.Unlock()
	if got == unchanged {
		c.queries(name, w, s)
	}
	recorder, err := jobaudit.Open(t.Context(), s, jobaudit.Source{System: "s", Environment: "test"}, nil)
	require.NoError(t, err, name)
	require.NoError(t, recorder.Close(t.Context()), name)
	require.NoError(t, s.Close(), name)
	report, wrong := w.told(t, d, w.newest)
	if !same {
		require.True(t, wrong, "%s (%s): laundered by the next open", name, got)
	} else if got == unchanged {
		require.False(t, wrong, "%s: accused after the next open", name)
		require.Equal(t, auditlog.Anchored, report.Level)
	}
}

// waysOut are the options and commands that a refusal may name.
var waysOut = regexp.MustCompile(`Options\.\w+|jobaudit [a-z]+`)

// wayOut requires that a refusal says how to go on, and that this is possible.
func (c judge) wayOut(name string, w *world, d *simdisk.Memory, refusal error) {
	t := c.t
	require.Regexp(t, waysOut, refusal.Error(), name)
	if !errors.Is(refusal, filesink.ErrDamaged) || !strings.Contains(refusal.Error(), "Options.Predecessor") {
		return // it needs another key than we have, or another file
	}
	s, err := filesink.Open(t.Context(), "log", w.next, filesink.On(d, &filesink.Options{Predecessor: w.verifier, AnchorPath: "anchors/next", OnError: func(error) {}}))
	if errors.Is(err, filesink.ErrDamaged) && strings.Contains(err.Error(), "begin a new log") {
		return // damage at its end and in it
	}
	require.NoError(t, err, "%s: refused with: %v", name, refusal)
	require.NoError(t, s.Append(t.Context(), w.records[:1]), name)
	require.NoError(t, s.Close(), name)
}

// queries asks for what the log holds: changed caches answer nothing wrong.
func (c judge) queries(name string, w *world, s *filesink.Sink) {
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
func (w *world) told(t testing.TB, d *simdisk.Memory, heads ...auditlog.Head) (filesink.Report, bool) {
	t.Helper()
	report, err := filesink.VerifyOn(t.Context(), d, "log", &filesink.VerifyOptions{Keys: []note.Verifier{w.verifier}, Heads: heads})
	if _, ok := errors.AsType[*filesink.VerifyError](err); !ok && err != nil {
		require.True(t, errors.Is(err, filesink.ErrNothingVerified) || errors.Is(err, fs.ErrNotExist), "%v", err)
	}
	return report, err != nil
}

// With the race detector one change takes eight times as long, and as few find what it
// can: make test runs this test without it as well.
func TestEveryChangeIsFoundOrOfAKnownClass(t *testing.T) {
	t.Parallel()
	mutations := 3000
	if size.Race {
		mutations = 120
	}
	if testing.Short() {
		mutations = 40
	}
	(&campaign{seed: 10}).run(t, mutations, size.Times(6, 2))
}

func TestSoakCampaign(t *testing.T) {
	seed := size.Soak(t)
	for round := range uint64(20) {
		(&campaign{seed: seed + round}).run(t, 6000, 12)
	}
}

func TestEveryByteOfALogIsCovered(t *testing.T) {
	t.Parallel()
	step := 61
	if size.Race {
		step = 401
	}
	if testing.Short() {
		step = 2003
	}
	everyByte(t, 11, step)
}

func TestSoakEveryByte(t *testing.T) { everyByte(t, size.Soak(t), 1) }

// everyByte changes each byte of the entries.
func everyByte(t *testing.T, seed uint64, step int) {
	r := rand.New(rand.NewPCG(seed, 2))
	c := judge{&campaign{seed: seed, counts: map[string]map[class]int{}}, t}
	w := newWorld(t, r)
	n := 0
	for _, name := range w.files.entries() {
		for at := n % step; at < len(w.files[name]); at += step {
			im := w.files.clone()
			im[name][at] ^= 1 << r.IntN(8)
			c.judge(fmt.Sprintf("seed %d: byte %d of %s", seed, at, name), w, im, mutator{name: "a byte is changed"}, n)
			n++
		}
	}
	t.Logf("%d bytes: %v", n, c.counts)
}
