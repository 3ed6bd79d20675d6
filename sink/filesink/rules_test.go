package filesink_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// findingsOf verifies with the key and heads from outside.
func (p place) findingsOf(t testing.TB, heads ...auditlog.Head) (filesink.Report, []filesink.Finding) {
	t.Helper()
	report, err := filesink.Verify(context.WithoutCancel(t.Context()), p.dir, &filesink.VerifyOptions{Keys: []note.Verifier{p.key.Verifier()}, Heads: heads})
	if err == nil {
		return report, nil
	}
	found, ok := errors.AsType[*filesink.VerifyError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, auditlog.Unverified, report.Level)
	return report, found.Findings
}

func kinds(found []filesink.Finding) (kinds []auditlog.Kind) {
	for _, f := range found {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

// headOf returns the head of a batch's commit line.
func (p place) headOf(t testing.TB, batch []byte) auditlog.Head {
	t.Helper()
	lines := bytes.Split(bytes.TrimSuffix(batch, []byte("\n")), []byte("\n"))
	c, err := auditlog.OpenCommit(lines[len(lines)-1], p.key.Verifier())
	require.NoError(t, err)
	return c.Head()
}

// commitLine returns a batch's commit line, with its line feed.
func commitLine(batch []byte) []byte {
	return batch[bytes.LastIndexByte(batch[:len(batch)-1], '\n')+1:]
}

// Somebody without the key cuts acknowledged events and leaves the newest commit
// line, or any part of what stands before it, as a tail that looks torn; the
// anchor beside the key and the checkpoint are put back too.
func TestNobodyLaundersATruncation(t *testing.T) {
	records := sinktest.Records(15)
	random := rand.New(rand.NewPCG(2, 2))
	for keep := 1; keep < 4; keep++ {
		for range size.Times(8, 2) {
			p, segment, batches := unclean(t, records)
			newest := p.headOf(t, batches[4])
			older := p.headOf(t, batches[0])
			p.anchorAt(t, batches[random.IntN(keep)])
			// Without zeros under it, the head is nothing that an interrupted write leaves.
			from := random.IntN(len(batches[4]) - len(commitLine(batches[4])))
			tail := join(make([]byte, 512), batches[4][from:])
			if random.IntN(2) == 0 {
				tail = join(make([]byte, 512), []byte("\n"), commitLine(batches[4]))
			}
			require.NoError(t, os.WriteFile(segment, join(append(batches[:keep:keep], tail)...), 0o600))

			s, err := filesink.Open(t.Context(), p.dir, p.key, nil)
			require.NoError(t, err, "one torn head may be a crash's")
			recovery := s.Recovery()
			require.Len(t, recovery.TornHeads, 1)
			require.Equal(t, newest.Size, recovery.TornHeads[0].N)
			recorder, err := jobaudit.Open(t.Context(), s, jobaudit.Source{System: "test", Environment: "test"}, nil)
			require.NoError(t, err)
			require.NoError(t, recorder.Close(t.Context()))
			require.NoError(t, s.Close())

			for _, heads := range [][]auditlog.Head{{newest}, {newest, older}, {older, newest, s.Checkpoint().Head()}} {
				_, found := p.findingsOf(t, heads...)
				require.Len(t, found, 1)
				require.Contains(t, found[0].Explained, "names this head")
			}
			report, found := p.findingsOf(t, older)
			require.Empty(t, found)
			require.Equal(t, auditlog.Anchored, report.Level)
			var text strings.Builder
			for _, n := range report.Notes {
				text.WriteString(n.Found)
			}
			require.Contains(t, text.String(), fmt.Sprintf("events %d to 14 are lost", 3*keep))
		}
	}
}

func TestATailThatWasAcknowledgedIsRefusedAndFound(t *testing.T) {
	records := sinktest.Records(15)
	hole := func(b []byte) []byte {
		b = bytes.Clone(b)
		copy(b[100:], make([]byte, 200))
		return b
	}
	for name, tail := range map[string]func(b [][]byte) []byte{
		"a bare torn head":                  func(b [][]byte) []byte { return commitLine(b[2]) },
		"a torn head behind half its batch": func(b [][]byte) []byte { return b[2][300:] },
		"a torn head, and a bit is flipped": func(b [][]byte) []byte { c := bytes.Clone(b[2]); c[300] ^= 1; return c },
		"two torn heads":                    func(b [][]byte) []byte { return join(hole(b[2]), hole(b[3])) },
		"the same twice":                    func(b [][]byte) []byte { return join(hole(b[3]), hole(b[3])) },
		"two bare torn heads":               func(b [][]byte) []byte { return join(commitLine(b[2]), commitLine(b[3])) },
		"a byte behind a torn head":         func(b [][]byte) []byte { return join(hole(b[2]), []byte("x")) },
		"half a batch behind a torn head":   func(b [][]byte) []byte { return join(hole(b[2]), b[3][:300]) },
		"a head that the log had passed":    func(b [][]byte) []byte { return commitLine(b[0]) },
		"the newest head again":             func(b [][]byte) []byte { return commitLine(b[1]) },
		"a torn head behind a bad commit":   func(b [][]byte) []byte { return join([]byte("{\"checkpoint\":\"x\"}\n"), hole(b[2])) },
		"a whole batch behind a bad commit": func(b [][]byte) []byte { return join([]byte("{\"checkpoint\":\"x\"}\n"), b[2], b[3]) },
	} {
		t.Run(name, func(t *testing.T) {
			p, segment, batches := unclean(t, records)
			p.anchorAt(t, batches[1])
			require.NoError(t, os.WriteFile(segment, join(batches[0], batches[1], tail(batches)), 0o600))
			refusal := p.refused(t, nil)
			require.ErrorIs(t, refusal, filesink.ErrDamaged)
			require.Contains(t, refusal.Error(), "Options.Predecessor")
			_, found := p.findingsOf(t)
			require.NotEmpty(t, found, "without any head from outside")
		})
	}
	t.Run("a later segment begins above a torn head", func(t *testing.T) {
		p, segment, batches := unclean(t, records)
		p.anchorAt(t, batches[1])
		require.NoError(t, os.WriteFile(segment, join(batches[0], batches[1], hole(batches[2])), 0o600))
		for _, first := range []int{9, 12, 7} {
			next := filepath.Join(filepath.Dir(segment), fmt.Sprintf("%020d.jsonl", first))
			require.NoError(t, os.WriteFile(next, batches[3][:200], 0o600))
			require.ErrorIs(t, p.refused(t, nil), filesink.ErrDamaged)
			_, found := p.findingsOf(t)
			require.NotEmpty(t, found)
			require.NoError(t, os.Remove(next))
		}
	})
	t.Run("the checkpoint is newer", func(t *testing.T) {
		p, segment, batches := unclean(t, records)
		checkpoint, err := os.ReadFile(filepath.Join(p.dir, "checkpoint"))
		require.NoError(t, err)
		p.anchorAt(t, batches[1])
		require.NoError(t, os.WriteFile(filepath.Join(p.dir, "checkpoint"), checkpoint, 0o600))
		for _, left := range [][]byte{join(batches[:3]...), join(batches[0], batches[1], batches[2], batches[3][:40])} {
			require.NoError(t, os.WriteFile(segment, left, 0o600))
			refusal := p.refused(t, nil)
			require.ErrorIs(t, refusal, filesink.ErrDamaged)
			require.EqualValues(t, 15, refusal.Outside.Size)
			require.Contains(t, refusal.Error(), "jobaudit copy")
			_, found := p.findingsOf(t)
			require.Equal(t, []auditlog.Kind{auditlog.KindTruncated}, kinds(found))
		}
		require.NoError(t, os.WriteFile(filepath.Join(p.dir, "checkpoint"), checkpoint[:20], 0o600))
		p.open(t, nil) // a checkpoint that nobody signed says nothing
	})
}

// Lines behind the end of a segment are shown by jq and by people's eyes. They
// are found, kept as evidence by the next open, and stop nobody.
func TestLinesInsertedBehindASegmentAreFoundAndKept(t *testing.T) {
	forged := sinktest.Records(2)
	for name, stray := range map[string][]byte{
		"a forged event":      append(forged[0].Bytes(), '\n'),
		"two":                 join(forged[0].Bytes(), []byte("\n"), forged[1].Bytes(), []byte("\n")),
		"an empty line":       []byte("\n"),
		"half a line":         []byte("stray"),
		"zeros":               make([]byte, 64<<10),
		"a commit line":       []byte("{\"checkpoint\":\"x\"}\n"),
		"a line without end":  bytes.Repeat([]byte("x"), 100<<10),
		"an event and a line": append(append(forged[0].Bytes(), '\n'), bytes.Repeat([]byte("x"), 70<<10)...),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			opts := &filesink.Options{SegmentSize: 8 << 10, OnError: func(error) {}}
			records := sinktest.Records(40)
			p.write(t, opts, 3, records...)
			list := segments(t, p.dir)
			require.Greater(t, len(list), 3)
			for _, i := range []int{0, 2} {
				f, err := os.OpenFile(list[i], os.O_APPEND|os.O_WRONLY, 0)
				require.NoError(t, err)
				_, err = f.Write(stray)
				require.NoError(t, errors.Join(err, f.Close()))
			}
			_, found := p.findingsOf(t)
			require.Equal(t, []auditlog.Kind{auditlog.KindStray, auditlog.KindStray}, kinds(found))
			require.Contains(t, found[0].Found, fmt.Sprint(len(stray), " bytes"))
			if bytes.HasPrefix(stray, forged[0].Bytes()) {
				require.Contains(t, found[0].Found, forged[0].JobID().String())
			}
			requireRecords(t, records, read(t, openReader(t, p.dir), jobaudit.Query{}))

			s := p.open(t, opts)
			r := s.Recovery()
			require.EqualValues(t, 2*len(stray), r.TornBytes)
			require.Len(t, r.TornFiles, 2)
			for _, name := range r.TornFiles {
				kept, err := os.ReadFile(filepath.Join(p.dir, name))
				require.NoError(t, err)
				require.Equal(t, stray, kept)
			}
			requireRecords(t, records, read(t, s, jobaudit.Query{}))
			require.NoError(t, s.Close())
			_, found = p.findingsOf(t)
			require.Empty(t, found, "the log is in order again")
		})
	}
}

func TestStrayBytesBehindTheLiveSegmentDoNotStopTheWriter(t *testing.T) {
	p := newPlace(t)
	var told []error
	s := p.open(t, &filesink.Options{OnError: func(err error) { told = append(told, err) }})
	records := sinktest.Records(30)
	for n := 0; n < len(records); n += 3 {
		if n%9 == 6 {
			f, err := os.OpenFile(newestSegment(t, p.dir), os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = fmt.Fprintln(f, "stray")
			require.NoError(t, errors.Join(err, f.Close()))
		}
		store(t, s, 3, records[n:n+3]...)
	}
	require.Len(t, told, 3)
	requireRecords(t, records, read(t, s, jobaudit.Query{}))
	require.NoError(t, s.Close())
	_, found := p.findingsOf(t)
	require.Len(t, found, 3)
	s = p.open(t, nil)
	require.EqualValues(t, 18, s.Recovery().TornBytes)
	require.NoError(t, s.Close())
	_, found = p.findingsOf(t, s.Checkpoint().Head())
	require.Empty(t, found)
}

// The disk fails while the writer goes on in a new segment; the stranger writes
// before that, or meanwhile.
func TestStrayBytesAreEvidenceWhateverFailsMeanwhile(t *testing.T) {
	for name, stray := range map[string][]byte{"a line": []byte("stray\n"), "a few": []byte("x"), "many": bytes.Repeat([]byte("stray"), 9000)} {
		for _, meanwhile := range []bool{false, true} {
			for failing := 1; failing <= 6; failing++ {
				for count := range 4 {
					if testing.Short() && (failing+count)%4 != len(stray)%4 {
						continue
					}
					p := newPlace(t)
					faults := simdisk.NewFaults(simdisk.OS)
					records := sinktest.Records(12)
					s := p.open(t, filesink.On(faults, &filesink.Options{OnError: func(error) {}}))
					store(t, s, 3, records[:3]...)
					segment := newestSegment(t, p.dir)
					write := func() {
						f, err := os.OpenFile(segment, os.O_APPEND|os.O_WRONLY, 0)
						require.NoError(t, err)
						_, err = f.Write(stray)
						require.NoError(t, errors.Join(err, f.Close()))
					}
					if !meanwhile {
						write()
					}
					var n atomic.Int64
					faults.Before(func(op simdisk.Op) error {
						if !op.Changes() {
							return nil
						}
						if at := int(n.Add(1)); at >= failing && at < failing+count {
							return simdisk.ErrInjected
						}
						return nil
					})
					for from := 3; from < len(records); from += 3 {
						err := s.Append(t.Context(), records[from:][:3])
						if meanwhile && from == 3 {
							write()
						}
						for err != nil {
							err = s.Append(t.Context(), records[from:][:3])
						}
					}
					faults.Before(nil)
					require.NoError(t, s.Close())
					s = p.open(t, &filesink.Options{OnError: func(error) {}})
					requireRecords(t, records, read(t, s, jobaudit.Query{}))
					var kept []byte
					for _, name := range s.Recovery().TornFiles {
						kept = append(kept, contentOf(t, filepath.Join(p.dir, name))...)
					}
					require.True(t, bytes.HasSuffix(kept, stray), "%s, meanwhile %t, %d calls fail from the %d. on", name, meanwhile, count, failing)
					require.NoError(t, s.Close())
				}
			}
		}
	}
}

func TestALogBeginsAtItsFirstEvent(t *testing.T) {
	opts := &filesink.Options{SegmentSize: 8 << 10}
	records := sinktest.Records(40)
	for name, take := range map[string]func(file string) error{
		"deleted":    os.Remove,
		"moved":      func(file string) error { return os.Rename(file, file+".old") },
		"compressed": compress,
	} {
		for n := 1; n <= 3; n++ {
			t.Run(fmt.Sprintf("%d %s", n, name), func(t *testing.T) {
				p := newPlace(t)
				p.write(t, opts, 3, records...)
				all := segments(t, p.dir)
				backup := filepath.Join(p.base, "backup")
				copyDir(t, filepath.Join(p.dir, "entries"), backup)
				for _, file := range all[:n] {
					require.NoError(t, take(file))
				}
				for _, caches := range []bool{true, false} {
					if !caches {
						require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "index")))
						require.NoError(t, os.Remove(filepath.Join(p.dir, "tree")))
					}
					require.ErrorIs(t, p.refused(t, opts), filesink.ErrBeginning)
					r := openReader(t, p.dir)
					for _, q := range []jobaudit.Query{{}, {NewestFirst: true, Limit: 1}, {JobID: records[39].JobID()}} {
						read := 0
						for _, err := range r.Records(t.Context(), q) {
							require.ErrorIs(t, err, filesink.ErrBeginning)
							read++
						}
						require.Equal(t, 1, read)
					}
					_, found := p.findingsOf(t)
					require.NotEmpty(t, found)
				}
				copyDir(t, backup, filepath.Join(p.dir, "entries"))
				_, found := p.findingsOf(t)
				require.Empty(t, found, "put back, it is whole")
				s := p.open(t, opts)
				store(t, s, 3, records...)
				require.EqualValues(t, len(records), s.Checkpoint().Head().Size, "and knows all of its events")
			})
		}
	}
}

func compress(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	f, err := os.Create(file + ".gz")
	if err != nil {
		return err
	}
	w := gzip.NewWriter(f)
	_, err = w.Write(b)
	return errors.Join(err, w.Close(), f.Close(), os.Remove(file))
}

func TestNothingCheckedIsNotVerified(t *testing.T) {
	for name, empty := range map[string]func(t *testing.T, p place){
		"emptied": func(t *testing.T, p place) {
			for _, file := range segments(t, p.dir) {
				require.NoError(t, os.Truncate(file, 0))
			}
		},
		"cut before its first commit line": func(t *testing.T, p place) {
			for _, file := range segments(t, p.dir) {
				require.NoError(t, os.Truncate(file, 100))
			}
		},
		"without files": func(t *testing.T, p place) {
			for _, file := range segments(t, p.dir) {
				require.NoError(t, os.Remove(file))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.write(t, nil, 3, sinktest.Records(6)...)
			empty(t, p)
			_, found := p.findingsOf(t)
			require.Equal(t, []auditlog.Kind{auditlog.KindTruncated}, kinds(found), "the checkpoint remembers")
			require.NoError(t, os.Remove(filepath.Join(p.dir, "checkpoint")))
			for _, keys := range [][]note.Verifier{nil, {p.key.Verifier()}} {
				report, err := filesink.Verify(t.Context(), p.dir, &filesink.VerifyOptions{Keys: keys})
				require.ErrorIs(t, err, filesink.ErrNothingVerified)
				require.Equal(t, auditlog.Unverified, report.Level)
			}
		})
	}
}

func TestNamesThatAreNoSegmentsHurtNobody(t *testing.T) {
	p := newPlace(t)
	records := sinktest.Records(9)
	p.write(t, nil, 3, records...)
	entries := filepath.Join(p.dir, "entries")
	for _, name := range []string{
		"-0000000000000000001.jsonl", "+0000000000000000001.jsonl", "99999999999999999999.jsonl", "09007199254740993000.jsonl",
		"00000000000009223372.036854775807.jsonl", "0000000000000000009.jsonl", "000000000000000000009.jsonl", "0000000000000000000x.jsonl", ".jsonl", "events.jsonl",
	} {
		file := filepath.Join(entries, name)
		require.NoError(t, os.WriteFile(file, append(records[0].Bytes(), '\n'), 0o600))
		_, found := p.findingsOf(t)
		require.Equal(t, []auditlog.Kind{filesink.KindForeignFile}, kinds(found), name)
		require.Equal(t, name, found[0].Segment)
		requireRecords(t, records, read(t, openReader(t, p.dir), jobaudit.Query{}))
		s := p.open(t, nil)
		requireRecords(t, records, read(t, s, jobaudit.Query{}))
		require.NoError(t, s.Close())
		require.NoError(t, os.Remove(file))
	}
	for _, name := range []string{"README", "00000000000000000000.jsonl.tmp", ".nfs0001", "00000000000000000000.jsonl~"} {
		require.NoError(t, os.WriteFile(filepath.Join(entries, name), []byte("x"), 0o600))
		_, found := p.findingsOf(t)
		require.Empty(t, found, "nobody takes it for the log's: %s", name)
	}
}

func TestTheFirstHeadOfEverySegmentIsAnchoredAtOnce(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, &filesink.Options{SegmentSize: 6 << 10})
	before := 0
	for range 20 {
		store(t, s, 3, sinktest.Records(3)...)
		n := len(segments(t, p.dir))
		if n == before {
			continue
		}
		before = n
		signed, err := os.ReadFile(p.anchorPath())
		require.NoError(t, err)
		require.Equal(t, string(s.Checkpoint().Signed()), string(signed))
	}
	require.Greater(t, before, 3)
}

// A predecessor that stays in the options excuses nothing once the successor
// has signed anything.
func TestAPredecessorInTheOptionsExcusesNothingOfTheSuccessors(t *testing.T) {
	p := newPlace(t)
	records := sinktest.Records(24)
	p.write(t, nil, 3, records[:6]...)
	next := p
	var err error
	next.key, err = filesink.LoadOrCreateKey(p.dir, filepath.Join(p.base, "key2"), origin+"/s2")
	require.NoError(t, err)
	opts := &filesink.Options{Predecessor: p.key.Verifier()}
	next.write(t, opts, 3, records[6:]...)
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "index")))
	require.NoError(t, os.Remove(filepath.Join(p.dir, "checkpoint")))
	require.NoError(t, os.Remove(filepath.Join(p.base, "key2.anchor")))
	segment := newestSegment(t, p.dir)
	b, err := os.ReadFile(segment)
	require.NoError(t, err)
	batches := batchesOf(b)
	opts.AllowMissingAnchor = true
	for i, harm := range [][]byte{
		bytes.Replace(b, []byte("acme"), []byte("acne"), 1),
		join(slices.Concat(batches[:1], [][]byte{bytes.Replace(batches[1], []byte("acme"), []byte("acne"), 1)}, batches[2:])...),
		join(batches[0], batches[2], batches[1]),
	} {
		require.NoError(t, os.WriteFile(segment, harm, 0o600))
		refusal := next.refused(t, opts)
		require.ErrorIs(t, refusal, filesink.ErrDamaged, "%d", i)
	}
}
