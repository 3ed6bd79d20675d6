package filesink_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// A stranded log is one whose writer was killed, restored or lost its key, with the
// verifier keys of its line, which auditors have.
type stranded struct {
	place
	public  map[string]note.Verifier
	records []jobaudit.Record
	stored  int // events that were acknowledged and are to be there afterwards
}

func strandedAt(p place) *stranded {
	return &stranded{place: p, public: map[string]note.Verifier{origin: p.key.Verifier()}, records: sinktest.Records(30)}
}

// successor makes the key of the next log in the line, in a file of its own.
func (s *stranded) successor(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join(s.base, strings.NewReplacer("/", "-").Replace(name)+".key")
	key, err := filesink.LoadOrCreateKey(s.dir, path, name)
	require.NoError(t, err, "the advice is followed")
	s.key = key
	s.public[name] = key.Verifier()
}

// follow does what refusals advise, as they say it, until the log opens.
func (s *stranded) follow(t *testing.T, opts *filesink.Options) {
	t.Helper()
	for range 4 {
		sink, err := filesink.Open(t.Context(), s.dir, s.key, opts)
		if err == nil {
			all := read(t, sink, jobaudit.Query{})
			require.GreaterOrEqual(t, len(all), s.stored)
			require.NoError(t, sink.Append(t.Context(), sinktest.Records(4)))
			require.NoError(t, sink.Close())
			again, err := filesink.Open(t.Context(), s.dir, s.key, nil)
			require.NoError(t, err, "without options, once it has signed")
			require.NoError(t, again.Close())
			return
		}
		t.Log(err)
		opts = s.advised(t, err)
	}
	require.Fail(t, "each advice led to another refusal")
}

var (
	newKey      = regexp.MustCompile(`give a (?:new )?key,? named (\S+?),? `)
	predecessor = regexp.MustCompile(`as Options.Predecessor the verifier key of ([^\s;:,]+)|the verifier key of ([^\s;:,]+) as Options.Predecessor`)
	earlier     = regexp.MustCompile(`back to ([^\s,]+),`)
)

// advised reads the advice in a refusal.
func (s *stranded) advised(t *testing.T, refusal error) *filesink.Options {
	t.Helper()
	text := refusal.Error()
	if m := newKey.FindStringSubmatch(text); m != nil {
		s.successor(t, m[1])
	}
	m := predecessor.FindStringSubmatch(text)
	require.NotNil(t, m, text)
	name := m[1] + m[2]
	require.Contains(t, s.public, name)
	opts := &filesink.Options{Predecessor: s.public[name]}
	if m := earlier.FindStringSubmatch(text); m != nil {
		_, from := auditlog.SplitOrigin(m[1])
		_, to := auditlog.SplitOrigin(name)
		for other, key := range s.public {
			if _, n := auditlog.SplitOrigin(other); n >= from && n < to {
				opts.Earlier = append(opts.Earlier, key)
			}
		}
		require.NotEmpty(t, opts.Earlier)
	}
	return opts
}

// lose takes a key file away, and asks for its key again: there is none, and the error says
// what leads on.
func (s *stranded) lose(t *testing.T) *filesink.Options {
	t.Helper()
	name := s.key.Name()
	path := filepath.Join(s.base, "lost.key")
	_, err := filesink.LoadOrCreateKey(s.dir, path, name)
	var missing *filesink.KeyError
	require.ErrorAs(t, err, &missing)
	t.Log(err)
	return s.advised(t, err)
}

// TestEveryRefusalsAdviceLeadsToALogThatGoesOn follows the advice of each refusal that an
// honest writer can meet.
func TestEveryRefusalsAdviceLeadsToALogThatGoesOn(t *testing.T) {
	for name, strand := range map[string]func(t *testing.T, s *stranded) *filesink.Options{
		"a successor was killed in its first segment and starts again without options": func(t *testing.T, s *stranded) *filesink.Options {
			s.killedSuccessor(t, 18)
			return nil
		},
		"a successor was killed in its first segment and its key is lost": func(t *testing.T, s *stranded) *filesink.Options {
			s.killedSuccessor(t, 18)
			return s.lose(t)
		},
		"an empty segment begins behind the log's end": func(t *testing.T, s *stranded) *filesink.Options {
			s.first(t)
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, "entries", "00000000000000000012.jsonl"), nil, 0o600))
			return nil
		},
		"segments with events alone begin behind the log's end": func(t *testing.T, s *stranded) *filesink.Options {
			s.first(t)
			for _, name := range []string{"00000000000000000012.jsonl", "00000000000000000015.jsonl"} {
				require.NoError(t, os.WriteFile(filepath.Join(s.dir, "entries", name), append(s.records[20].Bytes(), '\n'), 0o600))
			}
			return nil
		},
		"a successor has no predecessor in its options": func(t *testing.T, s *stranded) *filesink.Options {
			s.first(t)
			s.successor(t, origin+"/s2")
			return nil
		},
		"a successor was killed in its first write and its key is lost": func(t *testing.T, s *stranded) *filesink.Options {
			s.killedSuccessor(t, 9)
			segment := filepath.Join(s.dir, "entries", "00000000000000000009.jsonl")
			_, err := os.Stat(segment)
			require.ErrorIs(t, err, os.ErrNotExist)
			tornSuccessor(t, s, segment)
			return s.lose(t)
		},
		"a backup from before the successor was put back": func(t *testing.T, s *stranded) *filesink.Options {
			s.first(t)
			backup := filepath.Join(s.base, "backup")
			copyDir(t, s.dir, backup)
			s.grow(t, origin+"/s2", 9, 18)
			require.NoError(t, os.RemoveAll(s.dir))
			copyDir(t, backup, s.dir)
			return &filesink.Options{Predecessor: s.public[origin]}
		},
		"the same, and the successor's key is lost": func(t *testing.T, s *stranded) *filesink.Options {
			s.first(t)
			backup := filepath.Join(s.base, "backup")
			copyDir(t, s.dir, backup)
			s.grow(t, origin+"/s2", 9, 18)
			require.NoError(t, os.RemoveAll(s.dir))
			copyDir(t, backup, s.dir)
			s.key = nil
			path := filepath.Join(s.base, "new.key")
			var err error
			s.key, err = filesink.LoadOrCreateKey(s.dir, path, origin+"/s2") // nothing here is of the lost one
			require.NoError(t, err)
			s.public[origin+"/s2"] = s.key.Verifier()
			return nil
		},
		"a backup from before two successors was put back": func(t *testing.T, s *stranded) *filesink.Options {
			s.first(t)
			backup := filepath.Join(s.base, "backup")
			copyDir(t, s.dir, backup)
			s.grow(t, origin+"/s2", 9, 18)
			s.grow(t, origin+"/s3", 18, 21)
			require.NoError(t, os.RemoveAll(s.dir))
			copyDir(t, backup, s.dir)
			return nil
		},
		"the predecessor's key is used on": func(t *testing.T, s *stranded) *filesink.Options {
			s.first(t)
			old := s.key
			s.grow(t, origin+"/s2", 9, 18)
			s.key, s.stored = old, 18
			return nil
		},
		"the key was lost before the first commit": func(t *testing.T, s *stranded) *filesink.Options {
			require.NoError(t, os.MkdirAll(filepath.Join(s.dir, "entries"), 0o750))
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, "entries", "00000000000000000000.jsonl"), sinktest.Records(1)[0].Bytes()[:100], 0o640))
			return s.lose(t)
		},
		"the anchor is ahead": func(t *testing.T, s *stranded) *filesink.Options {
			s.first(t)
			backup := filepath.Join(s.base, "backup")
			copyDir(t, s.dir, backup)
			s.write(t, nil, 3, s.records[9:18]...)
			require.NoError(t, os.RemoveAll(s.dir))
			copyDir(t, backup, s.dir)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			s := strandedAt(p)
			s.follow(t, strand(t, s))
			var keys []note.Verifier
			for n, name := 1, origin; n < 6; n, name = n+1, auditlog.SuccessorOrigin(name) {
				if key, ok := s.public[name]; ok {
					keys = append(keys, key)
				}
			}
			_, err := filesink.Verify(t.Context(), s.dir, &filesink.VerifyOptions{Keys: keys})
			require.NoError(t, err)
			_, err = filesink.Verify(t.Context(), s.dir, nil)
			require.NoError(t, err, "without a key")
		})
	}
}

func (s *stranded) first(t *testing.T) {
	t.Helper()
	s.write(t, nil, 3, s.records[:9]...)
	s.stored = 9
}

// grow goes on as a successor, which is closed in order.
func (s *stranded) grow(t *testing.T, name string, from, to int) {
	t.Helper()
	before := s.key
	s.successor(t, name)
	s.write(t, &filesink.Options{Predecessor: before}, 3, s.records[from:to]...)
}

// killedSuccessor writes up to an event as a successor, which is killed then.
func (s *stranded) killedSuccessor(t *testing.T, to int) {
	t.Helper()
	s.first(t)
	before := s.key
	s.successor(t, origin+"/s2")
	sink := s.open(t, &filesink.Options{Predecessor: before})
	store(t, sink, 3, s.records[9:to]...)
	killed := filepath.Join(s.base, "killed")
	copyDir(t, s.dir, killed)
	require.NoError(t, sink.Close())
	s.dir, s.stored = killed, to
}

// tornSuccessor leaves the first batch of a successor as a power cut can: its commit line
// reached the disk, and a sector before it did not.
func tornSuccessor(t *testing.T, s *stranded, segment string) {
	t.Helper()
	other := filepath.Join(s.base, "other")
	copyDir(t, s.dir, other)
	sink, err := filesink.Open(t.Context(), other, s.key, &filesink.Options{Predecessor: s.public[origin], AnchorPath: filepath.Join(s.base, "other.anchor")})
	require.NoError(t, err)
	require.NoError(t, sink.Append(t.Context(), s.records[9:12]))
	require.NoError(t, sink.Close())
	batch, err := os.ReadFile(filepath.Join(other, "entries", filepath.Base(segment)))
	require.NoError(t, err)
	require.Greater(t, len(batch), 2048)
	clear(batch[512:1024])
	require.NoError(t, os.WriteFile(segment, batch, 0o640))
}

// TestAnEntryBeforeASuccessorsThatWasChangedIsNotTaken: the tree that nobody's key signed
// proves nothing, and nothing is signed over it.
func TestAnEntryBeforeASuccessorsThatWasChangedIsNotTaken(t *testing.T) {
	p := newPlace(t)
	s := strandedAt(p)
	s.killedSuccessor(t, 18)
	path := filepath.Join(s.dir, "entries", "00000000000000000000.jsonl")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	text[100] ^= 1
	require.NoError(t, os.WriteFile(path, text, 0o640))
	_, err = filesink.Open(t.Context(), s.dir, s.key, nil)
	require.ErrorIs(t, err, filesink.ErrDamaged)
	s.successor(t, origin+"/s3")
	_, err = filesink.Open(t.Context(), s.dir, s.key, &filesink.Options{Predecessor: s.public[origin+"/s2"]})
	require.ErrorIs(t, err, filesink.ErrDamaged)
}

// TestALogIsCopiedWhereverItsSuccessorWasKilled: also right behind its first commit, which is
// not known to be durable.
func TestALogIsCopiedWhereverItsSuccessorWasKilled(t *testing.T) {
	for _, to := range []int{9, 12, 18} {
		p := newPlace(t)
		s := strandedAt(p)
		s.killedSuccessor(t, to)
		keys := []note.Verifier{s.public[origin], s.public[origin+"/s2"]}
		for _, checkpoint := range []bool{true, false} {
			if !checkpoint {
				if err := os.Remove(filepath.Join(s.dir, "checkpoint")); !errors.Is(err, os.ErrNotExist) {
					require.NoError(t, err)
				}
			}
			head, err := filesink.Copy(t.Context(), s.dir, filepath.Join(t.TempDir(), "copy"), keys)
			require.NoError(t, err, to)
			require.GreaterOrEqual(t, head.Head().Size, int64(max(6, to-3)))
		}
		r, err := filesink.OpenReader(s.dir, keys...)
		require.NoError(t, err)
		_, err = r.Prove(t.Context(), s.records[0].ID(), keys[min(1, (to-9)/6)])
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
}

func TestASegmentBehindTheEndIsNamedAndSoIsTheEnd(t *testing.T) {
	p := newPlace(t)
	p.write(t, &filesink.Options{SegmentSize: 1}, 3, sinktest.Records(9)...)
	names := segments(t, p.dir)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "entries", "00000000000000000012.jsonl"), []byte("{"), 0o600))
	refusal := p.refused(t, nil)
	require.ErrorIs(t, refusal, filesink.ErrDamaged)
	require.EqualValues(t, 9, refusal.Log.Size)
	require.Contains(t, refusal.Error(), "00000000000000000012.jsonl")
	require.Contains(t, refusal.Error(), "ends at 9")

	require.NoError(t, os.Remove(filepath.Join(p.dir, "entries", "00000000000000000012.jsonl")))
	require.NoError(t, os.Remove(names[1])) // what is behind was signed: a successor does not go on without it
	refusal = p.refused(t, &filesink.Options{})
	require.ErrorIs(t, refusal, filesink.ErrDamaged)
	require.EqualValues(t, 9, refusal.Log.Size)
	require.Contains(t, refusal.Error(), filepath.Base(names[0]))

	require.NoError(t, os.Remove(names[0]))
	refusal = p.refused(t, nil)
	require.ErrorIs(t, refusal, filesink.ErrBeginning)
	require.Contains(t, refusal.Error(), "Without one, keep this directory as evidence")
}
