package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// viewers are those who look at a long log with serve.
type viewers struct {
	t     *testing.T
	login *login
	total int64 // bytes of the log
}

// openPages serves the log as jobaudit serve does.
func openPages(t *testing.T, dir string, total int64) *viewers {
	t.Helper()
	a := &app{out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	s := &serve{companion: companion{principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"}}, timeout: time.Hour} // on a slow machine
	logs, err := a.openAll(t.Context(), []string{dir})
	require.NoError(t, err)
	ui, d, err := a.pages(t.Context(), s, []string{dir}, logs, nil)
	require.NoError(t, err)
	d.next = ui
	t.Cleanup(func() {
		ui.Close()
		for _, closer := range a.closers {
			require.NoError(t, closer())
		}
	})
	return &viewers{t, d, total}
}

// look returns a page.
func (v *viewers) look(path string) string {
	r := httptest.NewRequestWithContext(v.t.Context(), http.MethodGet, v.login.place+path, nil)
	r.AddCookie(&http.Cookie{Name: cookieName, Value: v.login.cookie})
	w := httptest.NewRecorder()
	v.login.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		v.t.Errorf("%s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// reads returns a page that may read so much of the log.
func (v *viewers) reads(what, path string, percent float64) string {
	v.t.Helper()
	before, began := bytesRead(v.t), time.Now()
	page := v.look(path)
	read := bytesRead(v.t) - before
	v.t.Logf("%-22s %9d bytes, %5.2f %% of the log, %v", what, read, 100*float64(read)/float64(v.total), time.Since(began).Round(time.Millisecond))
	require.LessOrEqual(v.t, float64(read), float64(v.total)*percent/100, what)
	return page
}

var pageNext = regexp.MustCompile(`href="(\?[^"]*)" rel="next"`)

// servesQuickly looks at a log of so many jobs. Pages that cannot go by an index read no
// more than 100,000 events, whatever the log's length: rare is their share of this one.
func servesQuickly(t *testing.T, jobs, viewers int, first, rare float64) {
	dir, total, job := longLog(t, 4*jobs)
	t.Logf("%d jobs, %d bytes of entries", jobs, total)
	v := openPages(t, dir, total)
	page := v.reads("the first page", "/jobs", first)
	require.Equal(t, 50, strings.Count(page, `data-label="State"`))
	next := pageNext.FindStringSubmatch(page)
	require.NotNil(t, next)
	v.reads("the first page again", "/jobs", first)
	v.reads("the second page", "/jobs"+strings.ReplaceAll(next[1], "&amp;", "&"), first)
	v.reads("by action", "/jobs?action=action-3", 2*first)
	v.reads("by who", "/jobs?who=ada", first)
	v.reads("one job", "/jobs/"+job.String(), rare)
	v.reads("no such job's family", "/jobs?correlation="+uuid.NewString(), first)
	v.reads("failed: none", "/jobs?state=failed", rare)
	v.reads("before a day: none", "/jobs?until=2020-01-01", first)
	page = v.reads("what is nowhere", "/jobs?action=nowhere", rare)
	require.Equal(t, 4*jobs > 100_000, strings.Contains(page, "There are earlier ones."))
	v.reads("the log", "/log", 2*rare)
	v.flat([]string{"/jobs", "/jobs?correlation=" + uuid.NewString(), "/jobs/" + job.String(), "/jobs?who=ada"}, viewers)
}

// flat has so many viewers look at pages at once, and holds the memory that is kept to
// what it was after the first time.
func (v *viewers) flat(paths []string, viewers int) {
	round := func() (kept uint64) {
		var all sync.WaitGroup
		for i := range viewers {
			all.Go(func() { v.look(paths[i%len(paths)]) })
		}
		all.Wait()
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	first := round()
	last := round()
	v.t.Logf("%d viewers: %d kB are kept after one round, %d after two", viewers, first/1000, last/1000)
	require.Less(v.t, last, first+2<<20)
}

func TestThePagesOfALongLogReadLittleOfIt(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes thousands of jobs")
	}
	if size.Race {
		servesQuickly(t, 2_500, 8, 16, 300)
		return
	}
	servesQuickly(t, 10_000, 32, 4, 300)
}

func TestSoakThePagesOfAHundredThousandJobsReadLittle(t *testing.T) {
	size.Soak(t)
	servesQuickly(t, 100_000, 100, 1, 60)
}

func TestSoakThePagesOfAMillionJobsReadLittle(t *testing.T) {
	size.Soak(t)
	servesQuickly(t, 1_000_000, 100, 1, 6)
}
