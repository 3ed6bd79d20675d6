package webui_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/webui"
)

// endless is a log of one job with so many lines, which it makes as they are read.
type endless struct {
	before, after []jobaudit.Record // the lines
	line          []byte
	lines         int
	made          []jobaudit.Record // where nobody measures what is kept of them
	ended         func()            // when all have been read
	read          int
}

func newEndless(t testing.TB, lines int) (*endless, uuid.UUID) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	id := run(t, rec, submission("export", "acme"), func(ctx context.Context, tr *jobaudit.Trail) error {
		tr.Log(ctx, "row 0000000")
		return errors.New("the disk is full")
	})
	e := &endless{lines: lines, ended: func() {}}
	for r, err := range sink.Records(t.Context(), jobaudit.Query{JobID: id}) {
		require.NoError(t, err)
		switch {
		case r.Type() == jobaudit.JobLogged:
			e.line = r.Bytes()
		case e.line == nil:
			e.before = append(e.before, r)
		default:
			e.after = append(e.after, r)
		}
	}
	return e, id
}

// keep makes the records once, for what reads them often.
func (e *endless) keep() {
	for i := range len(e.before) + e.lines + len(e.after) {
		e.made = append(e.made, e.at(i))
	}
}

func (e *endless) at(i int) jobaudit.Record {
	switch {
	case i < len(e.made):
		return e.made[i]
	case i < len(e.before):
		return e.before[i]
	case i >= len(e.before)+e.lines:
		return e.after[i-len(e.before)-e.lines]
	}
	i -= len(e.before)
	line := bytes.Replace(e.line, []byte("row 0000000"), fmt.Appendf(nil, "row %07d", i), 1)
	id := uuid.MustParse("01980000-0000-7000-8000-000000000000")
	id[12], id[13], id[14], id[15] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
	at := bytes.Index(line, []byte(`"id":"`)) + len(`"id":"`)
	copy(line[at:], id.String())
	r, err := jobaudit.ParseRecord(line)
	if err != nil {
		panic(err)
	}
	return r
}

func (e *endless) Records(_ context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		n := len(e.before) + e.lines + len(e.after)
		for i := range n {
			at := i
			if q.NewestFirst {
				at = n - 1 - i
			}
			r := e.at(at)
			if q.After != uuid.Nil {
				if r.ID() == q.After {
					q.After = uuid.Nil
				}
				continue
			}
			e.read++
			if q.Match(r) && !yield(r, nil) {
				return
			}
		}
		e.ended()
	}
}

var rowNumber = regexp.MustCompile(`row (\d{7})`)

func TestAJobOfManyEventsIsShownInParts(t *testing.T) {
	lines := size.Times(5_000, 2_500)
	log, id := newEndless(t, lines)
	log.keep()
	ui := pages(t, []webui.Log{{Name: "web", Reader: log}}, options())
	rows := func(path string) (page string, all []string) {
		code, page := get(t, ui, "auditor", path)
		require.Equal(t, 200, code)
		require.Contains(t, page, "the disk is full", "how it ended, on every page")
		for _, m := range rowNumber.FindAllStringSubmatch(page, -1) {
			all = append(all, m[1])
		}
		return page, all
	}
	page, shown := rows("/jobs/" + id.String())
	require.Contains(t, page, fmt.Sprint(lines, " job.logged"))
	require.Equal(t, "0000000", shown[0])
	require.Equal(t, fmt.Sprintf("%07d", lines-1), shown[len(shown)-1])
	require.LessOrEqual(t, len(shown), 2_000)
	later := regexp.MustCompile(`href="(\?from=\d+)" rel="next"`)
	seen := map[string]bool{}
	for _, n := range shown {
		seen[n] = true
	}
	for link := later.FindStringSubmatch(page); link != nil; link = later.FindStringSubmatch(page) {
		page, shown = rows("/jobs/" + id.String() + link[1])
		for _, n := range shown {
			seen[n] = true
		}
	}
	require.Len(t, seen, lines, "every line is on a page")
	for _, from := range []string{"-1", "x", "99999999999999999999", "1.5"} {
		code, _ := get(t, ui, "auditor", "/jobs/"+id.String()+"?from="+from)
		require.Equal(t, 400, code, from)
	}
	page, shown = rows("/jobs/" + id.String() + "?from=2000000")
	require.Empty(t, shown)
	require.Contains(t, page, "Earlier events")
	code, page := get(t, ui, "auditor", "/jobs")
	require.Equal(t, 200, code)
	require.Contains(t, page, "the disk is full", "the list reads its end")
}

// Of a job of any length the pages keep what they show.
func holdsLittle(t *testing.T, lines int) {
	log, id := newEndless(t, lines)
	ui := pages(t, []webui.Log{{Name: "web", Reader: log}}, options())
	var before, most uint64
	log.ended = func() { most = max(most, inUse()) }
	before = inUse()
	for _, path := range []string{"/jobs/" + id.String(), "/jobs/" + id.String() + "?from=5000", "/jobs/" + id.String() + "/bundle", "/jobs", "/jobs?state=success", "/log"} {
		get(t, ui, "auditor", path)
	}
	require.NotZero(t, most)
	t.Logf("%d events: %d kB more at the end of each pass", lines, (int64(most)-int64(before))/1000)
	require.Less(t, most, before+24<<20)
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestOfALongJobPagesKeepWhatTheyShow(t *testing.T) {
	if testing.Short() {
		t.Skip("it reads thousands of events for each of six pages")
	}
	events := 10_000
	if size.Race {
		events = 4_000
	}
	holdsLittle(t, events)
}

func TestSoakOfALongJobPagesKeepWhatTheyShow(t *testing.T) {
	size.Soak(t)
	holdsLittle(t, 250_000)
}

// A search for what is nowhere goes through a part of the log and offers to go on; so
// does whatever has no index.
func TestASearchForWhatIsRareGoesThroughTheLogInParts(t *testing.T) {
	most := size.Times(4_000, 500)
	log, id := newEndless(t, most+200)
	log.keep()
	ui := pages(t, []webui.Log{{Name: "web", Reader: log}}, options())
	ui.PassAtMost(most)
	code, page := get(t, ui, "auditor", "/jobs?action=export")
	require.Equal(t, 200, code)
	require.LessOrEqual(t, log.read, most+10)
	require.Contains(t, page, "is one of these. There are earlier ones.")
	next := nextLink.FindStringSubmatch(page)
	require.NotNil(t, next)
	code, page = get(t, ui, "auditor", "/jobs"+strings.ReplaceAll(next[1], "&amp;", "&"))
	require.Equal(t, 200, code)
	require.Contains(t, page, id.String())
	require.Nil(t, nextLink.FindStringSubmatch(page))
	log.read = 0
	code, page = get(t, ui, "auditor", "/log")
	require.Equal(t, 200, code)
	require.Contains(t, page, "The newest events were gone through.")
	require.LessOrEqual(t, log.read, 2*most+200)
}

// What is kept for viewers does not grow with what they look at, but for the count of
// their reads.
func TestTheMemoryOfAHundredViewersIsFlat(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	var paths []string
	for range 100 {
		paths = append(paths, "/jobs/"+run(t, rec, submission("export", "acme"), func(ctx context.Context, tr *jobaudit.Trail) error {
			tr.Log(ctx, "a line")
			return nil
		}).String())
	}
	paths = append(paths, "/jobs", "/jobs?state=failed", "/jobs?who=ada", "/log", "/assets/page.js")
	opts := options()
	opts.Record = func(context.Context, jobaudit.Act) error { return nil }
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, opts)
	look := func() (kept uint64) {
		var all sync.WaitGroup
		for viewer := range size.Times(100, 25) {
			all.Go(func() {
				for i := range 2 {
					r := httptest.NewRequestWithContext(t.Context(), "GET", paths[(viewer*7+i)%len(paths)], nil)
					r.Header.Set("Who", "auditor")
					w := httptest.NewRecorder()
					ui.ServeHTTP(w, r)
					if w.Code != 200 {
						t.Error(r.URL, w.Code)
					}
				}
			})
		}
		all.Wait()
		return inUse()
	}
	look()
	first := look()
	look()
	last := look()
	t.Logf("after 400 pages %d kB, after 800 %d kB", first/1000, last/1000)
	require.Less(t, last, first+1<<20)
}

// heavy is a log of records that are as long as they may be. It makes them as they are
// read.
type heavy struct {
	n        int
	at       func(i int) jobaudit.Record
	measured bool
	most     uint64 // in use while the log is read
}

func (h *heavy) Records(_ context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		if h.measured {
			defer func() { h.most = max(h.most, inUse()) }()
		}
		for i := range h.n {
			if q.NewestFirst {
				i = h.n - 1 - i
			}
			if r := h.at(i); q.Match(r) && !yield(r, nil) {
				return
			}
		}
	}
}

// like makes records that are as one of a log is, but for IDs that are their own.
func like(t testing.TB, sink *memsink.Sink, typ jobaudit.EventType, own func(e jobaudit.Event) []uuid.UUID) func(i int) jobaudit.Record {
	for r, err := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{typ}}) {
		require.NoError(t, err)
		ids := append(own(r.Event()), r.ID())
		line := r.Bytes()
		line = fmt.Appendf(line[:len(line)-1:len(line)-1], `,"later":"%s"}`, strings.Repeat("x", 47_900-len(line)))
		return func(i int) jobaudit.Record {
			text := line
			for k, id := range ids {
				other := id
				other[15], other[14], other[13], other[12] = byte(i), byte(i>>8), byte(i>>16), byte(k)
				text = bytes.ReplaceAll(text, []byte(id.String()), []byte(other.String()))
			}
			r, err := jobaudit.ParseRecord(text)
			require.NoError(t, err)
			return r
		}
	}
	t.Fatal("there is none")
	return nil
}

// A record may have 48,000 bytes, of which a page shows little: so what it keeps is
// bounded by bytes too, in whichever way the records come to it.
func TestOfLongRecordsPagesKeepWhatTheyShow(t *testing.T) {
	if testing.Short() {
		t.Skip("it reads 40 MB for each of several pages")
	}
	longRecords(t, false)
}

func TestSoakOfLongRecordsOfEveryKindPagesKeepWhatTheyShow(t *testing.T) {
	size.Soak(t)
	longRecords(t, true)
}

func longRecords(t *testing.T, everyKind bool) {
	const n = 800
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	long := strings.Repeat("x", 15_900)
	s := submission("export", "acme")
	s.Inputs = map[string]string{"text": long}
	id := run(t, rec, s, func(ctx context.Context, tr *jobaudit.Trail) error {
		tr.Log(ctx, "a line")
		submit(t, rec, submission("export", "acme"))
		return errors.New("the disk is full")
	})
	require.NoError(t, rec.Act(t.Context(), jobaudit.Act{Type: jobaudit.AuditReviewed, Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		OrgID: "acme", Reason: "a review", Scope: jobaudit.Query{JobID: id}, Data: map[string]string{"text": long}}))
	var all []jobaudit.Record
	for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		all = append(all, r)
	}
	nothing := func(jobaudit.Event) []uuid.UUID { return nil }
	job := func(e jobaudit.Event) []uuid.UUID { return []uuid.UUID{e.Job.ID} }
	for name, c := range map[string]struct {
		typ         jobaudit.EventType
		own         func(jobaudit.Event) []uuid.UUID
		says        string // on one of the pages
		ofJob, rare bool
	}{
		"lines":                {jobaudit.JobLogged, nothing, "are not on this page", true, false},
		"starts":               {jobaudit.JobStarted, nothing, "more events than a page goes through", true, true},
		"submissions of it":    {jobaudit.JobSubmitted, nothing, "more events than a page goes through", true, true},
		"jobs":                 {jobaudit.JobSubmitted, job, "Earlier jobs", false, false},
		"ends of unknown jobs": {jobaudit.JobFailed, job, "", false, true},
		"acts":                 {jobaudit.AuditReviewed, nothing, "there may be earlier ones", true, false},
	} {
		if (c.rare || size.Race && name != "lines") && !everyKind {
			continue
		}
		make := like(t, sink, c.typ, c.own)
		log := &heavy{n: len(all) + n, measured: true, at: func(i int) jobaudit.Record {
			if i < len(all)-1 { // the last is the act
				return all[i]
			}
			if i == len(all)+n-1 {
				return all[len(all)-1]
			}
			return make(i)
		}}
		ui := pages(t, []webui.Log{{Name: "web", Reader: log}}, options())
		before, said := inUse(), false
		paths := map[string]string{"/jobs": "auditor", "/jobs?state=cancelled": "ada", "/log": "auditor"}
		if c.ofJob {
			paths = map[string]string{"/jobs/" + id.String(): "ada", "/jobs/" + id.String() + "?from=5": "auditor", "/jobs": "auditor"}
		}
		for path, who := range paths {
			code, page := get(t, ui, who, path)
			require.Equal(t, 200, code, path)
			require.Less(t, len(page), 2<<20, path)
			said = said || strings.Contains(page, c.says)
		}
		t.Logf("%s: %d kB more", name, (int64(log.most)-int64(before))/1000)
		require.Less(t, log.most, before+22<<20, name)
		require.True(t, said, "%s: what is left out is told", name)
	}
}

// The pages of a timeline of long records have each of them, however many fit on one.
func TestATimelineOfLongRecordsIsShownInParts(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	id := run(t, rec, submission("export", "acme"), func(ctx context.Context, tr *jobaudit.Trail) error {
		tr.Log(ctx, "a line")
		return errors.New("the disk is full")
	})
	var all []jobaudit.Record
	for r, err := range sink.Records(t.Context(), jobaudit.Query{JobID: id}) {
		require.NoError(t, err)
		all = append(all, r)
	}
	make := like(t, sink, jobaudit.JobLogged, func(jobaudit.Event) []uuid.UUID { return nil })
	for _, n := range []int{1, 173, 174, 300} {
		if testing.Short() && n != 174 || size.Race && n == 300 {
			continue
		}
		log := &heavy{n: len(all) + n, at: func(i int) jobaudit.Record {
			switch {
			case i < 2:
				return all[i]
			case i < 2+n:
				return make(i)
			}
			return all[i-n]
		}}
		ui := pages(t, []webui.Log{{Name: "web", Reader: log}}, options())
		seen, shown := map[string]bool{}, 0
		for path := "/jobs/" + id.String(); path != ""; {
			code, page := get(t, ui, "ada", path)
			require.Equal(t, 200, code)
			require.Contains(t, page, "the disk is full", "how it ended, on every page")
			for _, m := range regexp.MustCompile(`id="e-([0-9a-f-]{36})"`).FindAllStringSubmatch(page, -1) {
				seen[m[1]] = true
			}
			shown++
			require.LessOrEqual(t, shown, 2+(len(all)+n)/80, "pages are full")
			path = ""
			if next := nextLink.FindStringSubmatch(page); next != nil {
				path = "/jobs/" + id.String() + next[1]
			}
		}
		require.Len(t, seen, len(all)+n)
	}
}
