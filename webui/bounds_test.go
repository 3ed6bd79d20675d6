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
	ended         func() // when all have been read
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

func (e *endless) at(i int) jobaudit.Record {
	switch {
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
	log, id := newEndless(t, 5_000)
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
	require.Contains(t, page, "5000 job.logged")
	require.Equal(t, "0000000", shown[0])
	require.Equal(t, "0004999", shown[len(shown)-1])
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
	require.Len(t, seen, 5_000, "every line is on a page")
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

func TestOfALongJobPagesKeepWhatTheyShow(t *testing.T) { holdsLittle(t, 20_000) }

func TestSoakOfALongJobPagesKeepWhatTheyShow(t *testing.T) {
	size.Soak(t)
	holdsLittle(t, 250_000)
}

// A search for what is nowhere goes through a part of the log and offers to go on; so
// does whatever has no index.
func TestASearchForWhatIsRareGoesThroughTheLogInParts(t *testing.T) {
	log, id := newEndless(t, 101_000)
	ui := pages(t, []webui.Log{{Name: "web", Reader: log}}, options())
	code, page := get(t, ui, "auditor", "/jobs?action=export")
	require.Equal(t, 200, code)
	require.LessOrEqual(t, log.read, 100_010)
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
	require.LessOrEqual(t, log.read, 201_000)
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
		for viewer := range 100 {
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
