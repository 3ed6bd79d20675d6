// Package verifier verifies a log on disk and folds a job's events. It was
// written from docs/format.md alone and imports nothing but the standard
// library: it shows that the page is enough, and finds what the page and the
// code say differently.
package verifier

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Result is what a log was found to hold.
type Result struct {
	Level                 string // L1 or L2
	Events, Commits, Jobs int
	Root                  [32]byte
	Unacknowledged        int // bytes behind the last commit line
}

// Key is a verifier key.
type Key struct {
	name string
	hash []byte
	key  ed25519.PublicKey
}

// ParseKey reads NAME+HASH+KEY.
func ParseKey(text string) (Key, error) {
	parts := strings.SplitN(strings.TrimSpace(text), "+", 3)
	if len(parts) != 3 {
		return Key{}, errors.New("a verifier key has three parts")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(raw) != 33 || raw[0] != 1 {
		return Key{}, errors.New("not an Ed25519 key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), raw...))
	if hex.EncodeToString(sum[:4]) != parts[1] {
		return Key{}, errors.New("the key's hash is not that of its name and key")
	}
	return Key{parts[0], sum[:4], raw[1:]}, nil
}

// errUnsigned is the error of a well-formed head that the key did not sign.
var errUnsigned = errors.New("not signed by the key")

type head struct {
	size int
	root [32]byte
}

// openHead reads a checkpoint. Commit lines have three lines of text and one
// signature.
func (k Key) openHead(note string, commit bool) (head, error) {
	var h head
	i := strings.LastIndex(note, "\n\n")
	if i < 0 || !strings.HasSuffix(note, "\n") || !utf8.ValidString(note) {
		return h, errors.New("no signed note")
	}
	text, signatures := note[:i+1], strings.Split(strings.TrimSuffix(note[i+2:], "\n"), "\n")
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 || slices.Contains(lines, "") || commit && (len(lines) > 3 || len(signatures) > 1) {
		return h, errors.New("lines of the note")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != len(h.root) {
		return h, errors.New("root")
	}
	if h.size, err = strconv.Atoi(lines[1]); err != nil || strconv.Itoa(h.size) != lines[1] || h.size < 0 || int64(h.size) > 1<<53 {
		return h, errors.New("size")
	}
	copy(h.root[:], root)
	signed := false
	for _, line := range signatures {
		name, encoded, ok := strings.Cut(strings.TrimPrefix(line, "— "), " ")
		raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if !ok || err != nil || !strings.HasPrefix(line, "— ") {
			return h, errors.New("signature line")
		}
		signed = signed || lines[0] == k.name && name == k.name && len(raw) == 68 && bytes.Equal(raw[:4], k.hash) &&
			ed25519.Verify(k.key, []byte(text), raw[4:])
	}
	if !signed {
		return h, errUnsigned
	}
	return h, nil
}

// commitLine is the form of a commit line.
var commitLine = regexp.MustCompile(`^\{"checkpoint":"((?:[^"\\\x00-\x1f]|\\[n"\\])*)"\}$`)

func (k Key) openCommit(line []byte) (head, error) {
	m := commitLine.FindSubmatch(line)
	if m == nil || !utf8.Valid(line) {
		return head{}, errors.New("form of a commit line")
	}
	return k.openHead(strings.NewReplacer(`\n`, "\n", `\"`, `"`, `\\`, `\`).Replace(string(m[1])), true)
}

// tree holds the complete subtrees at the right edge, the largest first.
type tree []struct {
	leaves int
	hash   [32]byte
}

func (t *tree) add(leaf [32]byte) {
	*t = append(*t, struct {
		leaves int
		hash   [32]byte
	}{1, leaf})
	for n := len(*t); n > 1 && (*t)[n-1].leaves == (*t)[n-2].leaves; n = len(*t) {
		(*t)[n-2].hash = node((*t)[n-2].hash, (*t)[n-1].hash)
		(*t)[n-2].leaves *= 2
		*t = (*t)[:n-1]
	}
}

func (t tree) root() [32]byte {
	if len(t) == 0 {
		return sha256.Sum256(nil)
	}
	root := t[len(t)-1].hash
	for _, left := range slices.Backward(t[:len(t)-1]) {
		root = node(left.hash, root)
	}
	return root
}

func node(left, right [32]byte) [32]byte {
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

// log is what has been read.
type log struct {
	key     Key
	tree    tree
	events  int
	last    int // size of the newest good commit line
	commits int
	roots   map[int][32]byte
	records records
	bad     error // a commit line since the last good one that is none
	pending int   // bytes since the last good one
}

// Verify verifies the log in a directory with a verifier key that came from
// elsewhere, and compares it with checkpoints that were kept elsewhere.
func Verify(dir, verifierKey string, heads ...[]byte) (Result, error) {
	key, err := ParseKey(verifierKey)
	if err != nil {
		return Result{}, err
	}
	l := log{key: key, roots: map[int][32]byte{0: sha256.Sum256(nil)}, records: newRecords()}
	if err := l.readAll(filepath.Join(dir, "entries")); err != nil {
		return Result{}, err
	}
	result := Result{Level: "L1", Events: l.events, Commits: l.commits, Jobs: len(l.records.jobs), Root: l.tree.root(), Unacknowledged: l.pending}
	for _, signed := range heads {
		h, err := key.openHead(string(signed), false)
		if err != nil {
			return Result{}, fmt.Errorf("a head from outside: %w", err)
		}
		if root, ok := l.roots[h.size]; !ok || root != h.root {
			return Result{}, fmt.Errorf("the log does not agree with the head of size %d", h.size)
		}
		result.Level = "L2"
	}
	return result, l.records.finish()
}

var segmentName = regexp.MustCompile(`^[0-9]{20}\.jsonl$`)

func (l *log) readAll(entries string) error {
	files, err := os.ReadDir(entries) // sorted by name
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f os.DirEntry) bool { return !segmentName.MatchString(f.Name()) })
	for i, f := range files {
		first, err := strconv.Atoi(f.Name()[:20])
		if err != nil || first != l.last {
			return fmt.Errorf("%s should begin at %d", f.Name(), l.last)
		}
		next := -1
		if i+1 < len(files) {
			if next, err = strconv.Atoi(files[i+1].Name()[:20]); err != nil {
				return err
			}
		}
		content, err := os.ReadFile(filepath.Join(entries, f.Name()))
		if err != nil {
			return err
		}
		if err := l.read(content, next); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	if l.commits == 0 {
		return errors.New("there is no commit line")
	}
	return nil
}

// read reads a segment. next is the index at which the next one begins.
func (l *log) read(content []byte, next int) error {
	var batch [][]byte
	l.bad = nil
	l.pending = len(content)
	for len(content) > 0 {
		line, rest, whole := bytes.Cut(content, []byte("\n"))
		if !whole {
			break
		}
		content = rest
		if !bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
			batch = append(batch, line)
			continue
		}
		h, err := l.key.openCommit(line)
		if err != nil { // the remains of a crash, unless the log goes on behind it
			if errors.Is(err, errUnsigned) {
				return err
			}
			l.bad = errors.Join(l.bad, err)
			continue
		}
		if err := l.commit(h, batch); err != nil {
			return err
		}
		batch, l.pending = nil, len(content)
		if h.size == next {
			l.pending = 0
			break
		}
	}
	if l.pending > 0 && next >= 0 {
		return errors.New("the segment does not end with a commit line")
	}
	return nil
}

func (l *log) commit(h head, batch [][]byte) error {
	if l.bad != nil {
		return fmt.Errorf("a commit line before size %d: %w", h.size, l.bad)
	}
	for _, line := range batch {
		if len(line) == 0 || len(line) > 65_535 {
			return fmt.Errorf("leaf %d has %d bytes", l.events, len(line))
		}
		leaf := sha256.Sum256(append([]byte{0}, line...))
		l.tree.add(leaf)
		if err := l.records.add(l.events, line, leaf); err != nil {
			return err
		}
		l.events++
		l.roots[l.events] = l.tree.root()
	}
	if h.size <= l.last || h.size != l.events || h.root != l.tree.root() {
		return fmt.Errorf("the leaves do not give the commit line of size %d", h.size)
	}
	l.last = h.size
	l.commits++
	return nil
}

// records are the events of a log, as far as they speak of each other.
type records struct {
	ids     map[string]bool
	jobs    map[string]bool
	streams map[string]position // the newest event of each
	hashes  map[position]string
	after   []resumption
}

// resumption is what a resumed stream says, on the word of a signed Carrier.
type resumption struct {
	of   position
	hash string
}

type position struct {
	stream string
	seq    int
}

func newRecords() records {
	return records{map[string]bool{}, map[string]bool{}, map[string]position{}, map[position]string{}, nil}
}

func (r *records) add(index int, line []byte, leaf [32]byte) error {
	var e struct {
		SchemaVersion string
		ID            string
		Stream        struct {
			ID, Prev string
			Seq      int
			After    *struct {
				Stream, Hash string
				Seq          int
			}
		}
		Job struct{ ID string }
		Who struct{ Proof *struct{} }
	}
	err := json.Unmarshal(line, &e)
	if err != nil || !bytes.HasPrefix(line, []byte(`{"schemaVersion":`)) || !strings.HasPrefix(e.SchemaVersion, "1.") || len(line) > 48_000 || !utf8.Valid(line) {
		return fmt.Errorf("leaf %d is no event", index)
	}
	if r.ids[e.ID] {
		return fmt.Errorf("leaf %d has an ID that another one has", index)
	}
	r.ids[e.ID] = true
	if e.Job.ID != "" {
		r.jobs[e.Job.ID] = true
	}
	before := position{e.Stream.ID, e.Stream.Seq - 1}
	if e.Stream.Seq < 1 || e.Stream.Seq > 1 && r.streams[e.Stream.ID] != before || r.hashes[before] != e.Stream.Prev {
		return fmt.Errorf("leaf %d does not follow the event before it in its stream", index)
	}
	if _, twice := r.streams[e.Stream.ID]; twice && e.Stream.Seq == 1 {
		return fmt.Errorf("leaf %d begins its stream again", index)
	}
	here := position{e.Stream.ID, e.Stream.Seq}
	r.streams[e.Stream.ID] = here
	r.hashes[here] = base64.StdEncoding.EncodeToString(leaf[:])
	if a := e.Stream.After; a != nil && e.Who.Proof != nil {
		r.after = append(r.after, resumption{position{a.Stream, a.Seq}, a.Hash})
	}
	return nil
}

func (r *records) finish() error {
	for _, a := range r.after {
		if have, ok := r.hashes[a.of]; ok && have != a.hash {
			return fmt.Errorf("event %d of stream %s is resumed by another hash", a.of.seq, a.of.stream)
		}
	}
	return nil
}
