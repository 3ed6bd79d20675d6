package filesink_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/jobaudit/jobaudit/watchdog"
)

// indexed is a log of several segments with indexes.
func indexed(t *testing.T) (place, *filesink.Options, []jobaudit.Record) {
	t.Helper()
	p := newPlace(t)
	opts := &filesink.Options{SegmentSize: 32 << 10, OnError: func(error) {}}
	records := sinktest.Records(size.Times(200, 100))
	p.write(t, opts, 7, records...)
	return p, opts, records
}

func indexFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "index", "*.idx"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// hides makes an index say that its segment has no events, of three sorts.
func hides(pages []byte) {
	for at := 4096; at < len(pages); at += 24 {
		if at%4096 <= 4096-24 && binary.LittleEndian.Uint64(pages[at:]) != 0 {
			pages[at]++ // another ID
		}
	}
}

// queriesOf asks for jobs, correlations, times and events, and compares with
// all that the log holds.
func queriesOf(t *testing.T, r jobaudit.AuditReader, records []jobaudit.Record) {
	t.Helper()
	requireOpen(t, r.(watchdog.OpenJobs), records, "open jobs")
	rounds := size.Times(3, 1)
	if size.Race { // of other events in each test
		rounds = 1
	}
	name := fnv.New64a()
	_, _ = name.Write([]byte(t.Name()))
	random := rand.New(rand.NewPCG(7, name.Sum64()))
	for range rounds {
		e := records[random.IntN(len(records))].Event()
		until := records[random.IntN(len(records))].Event().Time
		for _, q := range []jobaudit.Query{
			{JobID: e.Job.ID}, {CorrelationID: e.CorrelationID}, {Since: e.Time}, {Until: e.Time}, {Since: e.Time, Until: until},
			{Since: e.Time, Until: until, NewestFirst: true}, {After: e.ID}, {JobID: e.Job.ID, NewestFirst: true},
		} {
			var want []jobaudit.Record
			after := q.After == uuid.Nil
			for _, record := range records {
				if after && q.Match(record) {
					want = append(want, record)
				}
				after = after || record.ID() == q.After
			}
			if q.NewestFirst {
				slices.Reverse(want)
			}
			requireRecords(t, want, read(t, r, q))
		}
	}
}

func TestAForgedIndexHidesNothingAndAccusesNobody(t *testing.T) {
	p, opts, records := indexed(t)
	pristine := filepath.Join(p.base, "pristine")
	copyDir(t, p.dir, pristine)
	other := newPlace(t)
	other.write(t, opts, 7, sinktest.Records(200)...)
	strangers := indexFiles(t, other.dir)
	for name, forge := range map[string]func(file string) []byte{
		"its rows are changed": func(file string) []byte { return filesink.ForgeIndex(contentOf(t, file), nil, hides) },
		"another log's key signed it": func(file string) []byte {
			return filesink.ForgeIndex(contentOf(t, file), other.key, func([]byte) {})
		},
		"it is of another log":     func(string) []byte { return contentOf(t, strangers[0]) },
		"it is of another segment": func(string) []byte { return contentOf(t, indexFiles(t, pristine)[1]) },
		"it is empty":              func(string) []byte { return nil },
	} {
		if testing.Short() && strings.HasPrefix(name, "it is ") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			copyDir(t, pristine, p.dir)
			for _, file := range indexFiles(t, p.dir) {
				require.NoError(t, os.WriteFile(file, forge(file), 0o600))
			}
			queriesOf(t, openReader(t, p.dir), records)
			with, err := filesink.OpenReader(p.dir, p.key.Verifier())
			require.NoError(t, err)
			defer with.Close()
			queriesOf(t, with, records)
			report, found := p.findingsOf(t)
			require.Empty(t, found)
			require.NotEmpty(t, report.Notes)
			require.Equal(t, filesink.KindIndex, report.Notes[0].Kind)

			s := p.open(t, opts)
			queriesOf(t, s, records)
			store(t, s, 40, records...)
			require.EqualValues(t, len(records), s.Checkpoint().Head().Size, "none is stored twice")
			require.NoError(t, s.Close())
			report, found = p.findingsOf(t, s.Checkpoint().Head())
			require.Empty(t, found)
			require.Empty(t, report.Notes, "the indexes were made again")
		})
	}
}

func contentOf(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return b
}

func TestAWrongIndexThatTheKeySignedIsAFinding(t *testing.T) {
	p, opts, _ := indexed(t)
	file := indexFiles(t, p.dir)[0]
	good := contentOf(t, file)
	for name, change := range map[string]func([]byte){
		"rows":   hides,
		"policy": func(pages []byte) { pages[16+8*3+32+16] ^= 1 },
	} {
		require.NoError(t, os.WriteFile(file, filesink.ForgeIndex(good, p.key, change), 0o600))
		_, found := p.findingsOf(t)
		require.Equal(t, []auditlog.Kind{filesink.KindIndex}, kinds(found), name)
	}
	require.NoError(t, os.WriteFile(file, good, 0o600))
	_, found := p.findingsOf(t)
	require.Empty(t, found)
	_ = opts
}

// Somebody changes an event in an old segment and removes its index, for the
// program to sign another one, or a head over what he wrote.
func TestNothingIsSignedOfEntriesThatWereChanged(t *testing.T) {
	p, opts, records := indexed(t)
	pristine := filepath.Join(p.base, "pristine")
	copyDir(t, p.dir, pristine)
	random := rand.New(rand.NewPCG(5, 5))
	for n := range len(segments(t, p.dir)) - 1 { // a last one without an index is refused
		t.Run(fmt.Sprint("segment ", n), func(t *testing.T) {
			copyDir(t, pristine, p.dir)
			require.NoError(t, os.WriteFile(p.anchorPath(), p.newestCommit(t).Signed(), 0o600))
			var told []error
			opts.OnError = func(err error) { told = append(told, err) }
			segment, index := segments(t, p.dir)[n], indexFiles(t, p.dir)[n]
			good := contentOf(t, segment)
			change := bytes.Clone(good)
			change[random.IntN(bytes.IndexByte(change, '\n'))] ^= 1
			require.NoError(t, os.WriteFile(segment, change, 0o600))
			require.NoError(t, os.Remove(index))
			for range 2 {
				s := p.open(t, opts)
				require.NoError(t, s.Append(t.Context(), sinktest.Records(1)), "an old event does not stop the log")
				require.NoError(t, s.Close())
				requireUnsigned(t, index)
				require.Len(t, told, 1)
				require.Contains(t, told[0].Error(), filepath.Base(segment))
				told = nil
			}
			require.NoError(t, os.WriteFile(segment, good, 0o600))
			_, found := p.findingsOf(t)
			require.Empty(t, found, "all that was signed is of the log as it was")
			s := p.open(t, opts)
			requireRecords(t, records, read(t, s, jobaudit.Query{Limit: len(records)}))
			require.NoError(t, s.Close())
		})
	}
}

// requireUnsigned requires of an index file that nobody takes it for signed.
func requireUnsigned(t *testing.T, index string) {
	t.Helper()
	file := contentOf(t, index)
	require.Equal(t, make([]byte, 4), []byte(file[len(file)-4:]), "the note has no bytes")
}

// The same, in the last segment: its index is left, and the program goes on in it.
func TestALastSegmentWhoseEntriesWereChangedIsNotContinued(t *testing.T) {
	p := newPlace(t)
	records := sinktest.Records(12)
	opts := &filesink.Options{}
	p.write(t, opts, 3, records...)
	pristine := filepath.Join(p.base, "pristine")
	copyDir(t, p.dir, pristine)
	segment := newestSegment(t, p.dir)
	good := contentOf(t, segment)
	random := rand.New(rand.NewPCG(6, 6))
	var places []int // bytes of events, of all of which an index says something
	for _, field := range []string{`"id":"`, `"job":{"id":"`, `"correlationId":"`, `"time":"2`, `"type":"`} {
		at := bytes.Index(good[len(good)/2:], []byte(field)) + len(good)/2 + len(field)
		places = append(places, at, at+3)
	}
	if testing.Short() {
		places = places[:5]
	}
	for range size.Times(10, 2) {
		at := random.IntN(len(good) - 1)
		if line := good[bytes.LastIndexByte(good[:at], '\n')+1:]; !auditlog.IsCommit(line) && good[at] != '\n' {
			places = append(places, at)
		}
	}
	first := p.newestCommit(t)
	for _, at := range places {
		t.Run(fmt.Sprint("byte ", at), func(t *testing.T) {
			copyDir(t, pristine, p.dir)
			require.NoError(t, os.WriteFile(p.anchorPath(), first.Signed(), 0o600))
			var told []error
			opts.OnError = func(err error) { told = append(told, err) }
			changed := bytes.Clone(good)
			changed[at] ^= 1
			require.NoError(t, os.WriteFile(segment, changed, 0o600))
			more := sinktest.Records(6)
			for n := range 2 {
				s := p.open(t, opts)
				require.NoError(t, s.Append(t.Context(), more[3*n:][:3]), "an old event does not stop the log")
				require.NoError(t, s.Close())
			}
			require.Len(t, told, 1)
			require.ErrorContains(t, told[0], filepath.Base(segment))
			require.Equal(t, changed, contentOf(t, segment), "another segment was begun")
			require.NoError(t, os.WriteFile(segment, good, 0o600))
			_, found := p.findingsOf(t)
			require.Empty(t, found, "all that was signed is of the log as it was")
			s := p.open(t, opts)
			all := append(slices.Clone(records), more...)
			queriesOf(t, s, all)
			store(t, s, 3, all...)
			require.EqualValues(t, len(all), s.Checkpoint().Head().Size, "none is stored twice")
			require.NoError(t, s.Close())
		})
	}
}

// What the recorder's own events say goes from each index into the next.
func TestNoIndexIsSignedOfWhatChangedEntriesBeforeItSay(t *testing.T) {
	for name, killed := range map[string]bool{"closed": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			opts := &filesink.Options{SegmentSize: 8 << 10}
			s := p.open(t, opts)
			registry, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("repo.import", "1", jobaudit.InputPaths[any](jobaudit.Keep("repo"))))
			require.NoError(t, err)
			recorder, err := jobaudit.Open(t.Context(), s, jobaudit.Source{System: "test", Environment: "test"}, &jobaudit.Options{Redactors: registry})
			require.NoError(t, err)
			records := sinktest.Records(40)
			store(t, s, 3, records...)
			require.NoError(t, recorder.Close(t.Context()))
			require.NoError(t, s.Close())

			segment, indexes := segments(t, p.dir)[0], indexFiles(t, p.dir)
			good := contentOf(t, segment)
			require.Contains(t, string(good), `"audit.opened"`)
			for _, field := range []string{`"stream":{"id":"`, `"action":"repo.`} { // of audit.opened, of audit.policy
				at := bytes.Index(good, []byte(field))
				require.Positive(t, at)
				changed := bytes.Clone(good)
				changed[at+len(field)] ^= 1
				require.NoError(t, os.WriteFile(segment, changed, 0o600))
				for i, index := range indexes {
					if killed || i < len(indexes)-1 {
						require.NoError(t, os.Remove(index))
					}
				}
				opts.OnError = func(error) {}
				s = p.open(t, opts)
				store(t, s, 3, sinktest.Records(12)...)
				require.NoError(t, s.Close())
				require.NoError(t, os.WriteFile(segment, good, 0o600))
				_, found := p.findingsOf(t)
				require.Empty(t, found, "all that was signed is of the log as it was")
				opts.OnError = func(err error) { t.Error(err) }
				s = p.open(t, opts)
				require.NoError(t, s.Close())
				report, found := p.findingsOf(t)
				require.Empty(t, found)
				require.Empty(t, report.Notes)
				require.Len(t, indexFiles(t, p.dir), len(segments(t, p.dir)), "once the entries are back, all have an index")
				indexes = indexFiles(t, p.dir)
			}
		})
	}
}

// Memory does not grow with a log whose caches cannot be written.
func TestWhatCannotBeCachedIsNotKeptInMemoryForEver(t *testing.T) {
	records := sinktest.Records(150)
	for name, failing := range map[string]func(name string) bool{
		"the tree":         func(name string) bool { return name == "tree" },
		"the tree is lost": func(string) bool { return false },
		"the indexes":      func(name string) bool { return strings.HasPrefix(name, "index") },
		"one index":        func(name string) bool { return strings.HasPrefix(name, "index/00000000000000000006.") },
		"all caches":       func(name string) bool { return name == "tree" || strings.HasPrefix(name, "index") },
	} {
		if testing.Short() && name != "one index" && name != "all caches" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			faults := simdisk.NewFaults(simdisk.OS)
			opts := filesink.On(faults, &filesink.Options{SegmentSize: 8 << 10, OnError: func(error) {}})
			s := p.open(t, opts)
			faults.Before(func(op simdisk.Op) error {
				if op.Changes() && failing(op.Name) {
					return simdisk.ErrInjected
				}
				return nil
			})
			if name == "the tree is lost" {
				filesink.LoseTree(s)
			}
			store(t, s, 3, records[:120]...)
			require.Greater(t, len(segments(t, p.dir)), 10)
			held, mapped := filesink.Held(s)
			require.Zero(t, mapped, "lookups can do without")
			switch name {
			case "the tree", "the tree is lost":
				require.Zero(t, held)
			case "one index":
				require.LessOrEqual(t, held, 1)
			}
			store(t, s, 40, records[:120]...) // none is stored twice
			faults.Before(nil)
			store(t, s, 3, records[120:]...)
			held, _ = filesink.Held(s)
			require.Zero(t, held, "the disk works again")
			queriesOf(t, s, records)
			require.NoError(t, s.Close())
			require.Len(t, indexFiles(t, p.dir), len(segments(t, p.dir)))
			report, found := p.findingsOf(t, s.Checkpoint().Head())
			require.Empty(t, found)
			require.Empty(t, report.Notes)
			s = p.open(t, opts)
			queriesOf(t, s, records)
			require.NoError(t, s.Close())
		})
	}
}

// requireLittleRead asks and counts what the disk gives.
func requireLittleRead(t *testing.T, p place, opts *filesink.Options, share float64, size int64, ask func(s *filesink.Sink)) {
	t.Helper()
	faults := simdisk.NewFaults(simdisk.OS)
	s := p.open(t, filesink.On(faults, opts))
	var read int64
	faults.Before(func(op simdisk.Op) error {
		if op.Kind == "read" {
			read += int64(op.Size)
		}
		return nil
	})
	ask(s)
	faults.Before(nil)
	require.NoError(t, s.Close())
	t.Logf("%d of %d bytes were read, %.3f %%", read, size, 100*float64(read)/float64(size))
	require.Less(t, float64(read), share*float64(size))
}

// timed returns n records of jobs of five events each, a millisecond apart.
func timed(t *testing.T, n, from int) []jobaudit.Record {
	t.Helper()
	line := sinktest.Records(1)[0].Bytes()
	at := func(name string) int { return bytes.Index(line, []byte(name)) + len(name) }
	id, job, correlation, when := at(`"id":"`), at(`"job":{"id":"`), at(`"correlationId":"`), at(`"time":"`)
	records := make([]jobaudit.Record, n)
	for i := range records {
		copy(line[id:], uuid.Must(uuid.NewV7()).String())
		if i%5 == 0 {
			copy(line[job:], uuid.NewString())
			copy(line[correlation:], uuid.NewString())
		}
		moment := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(from+i) * time.Millisecond)
		copy(line[when:], moment.Format("2006-01-02T15:04:05.000000Z"))
		var err error
		records[i], err = jobaudit.ParseRecord(line)
		require.NoError(t, err)
	}
	return records
}

func TestLookingForLittleReadsLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 20,000 events")
	}
	events, share := 100_000, .01
	if size.Race {
		events, share = 20_000, .03 // what is read of each segment weighs more
	}
	p := newPlace(t)
	opts := &filesink.Options{SegmentSize: int64(events) * 100} // some twelve segments at a million events of 64 MiB
	s := p.open(t, opts)
	var some []jobaudit.Record
	all := int64(0)
	for n := 0; n < events; n += 1000 {
		batch := timed(t, 1000, n)
		require.NoError(t, s.Append(t.Context(), batch))
		if n == events/2 {
			some = batch
		}
	}
	require.NoError(t, s.Close())
	for _, file := range segments(t, p.dir) {
		info, err := os.Stat(file)
		require.NoError(t, err)
		all += info.Size()
	}
	e := some[500].Event()
	want := map[string]int{"a time": events / 1000, "a job": 5, "a correlation": 5, "an event": 1}
	for name, q := range map[string]jobaudit.Query{
		"a time": {Since: some[500].Time(), Until: some[500+events/1000].Time()},
		"a job":  {JobID: e.Job.ID}, "a correlation": {CorrelationID: e.CorrelationID}, "an event": {After: e.ID, Limit: 1},
	} {
		t.Run(fmt.Sprint(name, " of ", events), func(t *testing.T) {
			requireLittleRead(t, p, opts, share, all, func(s *filesink.Sink) { require.Len(t, read(t, s, q), want[name]) })
		})
	}
}
