package webui_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/chromium"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/webui"
)

// fileLog is a log on disk: what a test's recorder writes into it, and its reader.
type fileLog struct {
	dir  string
	key  *filesink.Key
	sink *filesink.Sink
}

func newFileLog(t testing.TB) *fileLog {
	t.Helper()
	l := &fileLog{dir: filepath.Join(t.TempDir(), "log")}
	var err error
	l.key, err = filesink.LoadOrCreateKey(l.dir, l.dir+".key", "example.com/jobs")
	require.NoError(t, err)
	l.sink, err = filesink.Open(t.Context(), l.dir, l.key, nil)
	require.NoError(t, err)
	return l
}

func (l *fileLog) reader(t testing.TB) *filesink.Reader {
	t.Helper()
	reader, err := filesink.OpenReader(l.dir, l.key.Verifier())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, reader.Close()) })
	return reader
}

func (l *fileLog) verify(ctx context.Context, progress func(done, total int64)) (webui.Verification, error) {
	report, err := filesink.Verify(ctx, l.dir, &filesink.VerifyOptions{Keys: []note.Verifier{l.key.Verifier()}, Progress: progress})
	v := webui.Verification{Level: report.Level.String(), Origin: report.Head.Origin, Size: report.Head.Size, Root: report.Head.Root.String()}
	if found, wrong := errors.AsType[*filesink.VerifyError](err); wrong {
		for _, f := range found.Findings {
			v.Findings = append(v.Findings, f.String())
		}
		return v, nil
	}
	return v, err
}

// submitMany writes so many submissions, every thousandth of them a refund.
func (l *fileLog) submitMany(t testing.TB, jobs int) {
	t.Helper()
	memory := memsink.New(nil)
	rec := open(t, memory, nil)
	submit(t, rec, submission("capture-payment", "acme"))
	var line []byte
	var old jobaudit.Event
	for r, err := range memory.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSubmitted}}) {
		require.NoError(t, err)
		line, old = r.Bytes(), r.Event()
	}
	begin := time.Now().UTC().Add(-24 * time.Hour)
	var batch []jobaudit.Record
	for i := range jobs {
		own := bytes.Clone(line)
		for _, id := range []uuid.UUID{old.ID, old.Job.ID, old.Stream.ID} {
			own = bytes.ReplaceAll(own, []byte(id.String()), []byte(uuid.Must(uuid.NewV7()).String()))
		}
		moment := begin.Add(time.Duration(i) * time.Millisecond).Format("2006-01-02T15:04:05.000000Z")
		copy(own[bytes.Index(own, []byte(`"time":"`))+len(`"time":"`):], moment)
		if i%1000 == 0 {
			own = bytes.Replace(own, []byte("capture-payment"), []byte("refund"), 1)
		}
		r, err := jobaudit.ParseRecord(own)
		require.NoError(t, err)
		if batch = append(batch, r); len(batch) == 1000 || i == jobs-1 {
			require.NoError(t, l.sink.Append(t.Context(), batch))
			batch = nil
		}
	}
}

func TestExtraABrowserFiltersAndPagesThroughAHundredThousandJobs(t *testing.T) {
	size.Extra(t)
	l := newFileLog(t)
	l.submitMany(t, 100_000)
	require.NoError(t, l.sink.Close())
	base := serve(t, pages(t, []webui.Log{{Name: "web", Reader: l.reader(t)}}, options()))
	b := chromium.Start(t)
	links := `[...document.querySelectorAll("table.jobs th a")].map(a => a.href.slice(-36)).join(" ")`
	seen := map[string]bool{}
	collect := func() (n int) {
		for id := range strings.FieldsSeq(b.Eval(links)) {
			require.False(t, seen[id], "each job once")
			seen[id] = true
			n++
		}
		return n
	}
	next := func() bool {
		if b.Eval(`String(document.querySelector("a[rel=next]") === null)`) == "true" {
			return false
		}
		b.Open(b.Eval(`document.querySelector("a[rel=next]").href`))
		return true
	}
	b.Open(base + "/jobs")
	for range 20 {
		require.Equal(t, 50, collect())
		require.True(t, next())
	}
	// The next hundred, as fast as a browser's script asks for them.
	all := b.Eval(`(async () => {
		let address = location.href, jobs = new Set();
		for (let n = 0; n < 100; n++) {
			const page = new DOMParser().parseFromString(await (await fetch(address)).text(), "text/html");
			for (const a of page.querySelectorAll("table.jobs th a")) jobs.add(a.getAttribute("href").slice(-36));
			const link = page.querySelector("a[rel=next]");
			address = new URL(link.getAttribute("href"), address).href;
		}
		return String(jobs.size);
	})()`)
	require.Equal(t, "5000", all, "each job once")

	clear(seen)
	b.Open(base + "/jobs")
	b.Open(b.Eval(`(() => {
		document.getElementById("f-action").value = "refund";
		const form = document.querySelector(".search form");
		const address = new URL(form.getAttribute("action"), location.href);
		address.search = new URLSearchParams(new FormData(form));
		return address.href;
	})()`))
	require.Equal(t, "refund", b.Eval(`document.getElementById("f-action").value`), "the filter is in the address and in the form")
	found := collect()
	for next() {
		found += collect()
	}
	require.Equal(t, 100, found)
	require.Empty(t, b.Faults)
}

func TestExtraABrowserIsToldWhichJobOfALogWasChanged(t *testing.T) {
	size.Extra(t)
	l := newFileLog(t)
	rec, err := jobaudit.Open(t.Context(), l.sink, jobaudit.Source{System: "shop", Environment: "test"}, nil)
	require.NoError(t, err)
	s := submission("capture-payment", "acme")
	s.Trigger.Reason = "the customer called at noon"
	changed := run(t, rec, s, func(context.Context, *jobaudit.Trail) error { return nil })
	other := run(t, rec, submission("export", "acme"), func(context.Context, *jobaudit.Trail) error { return nil })
	require.NoError(t, rec.Close(t.Context()))
	require.NoError(t, l.sink.Close())
	base := serve(t, pages(t, []webui.Log{{Name: "web", Reader: l.reader(t), Verify: l.verify}}, options()))
	b := chromium.Start(t)
	check := func(want string) {
		beginCheck(b, base)
		until(b, `document.querySelector(".check") && document.querySelector(".check").innerText.includes("`+want+`")`)
	}
	check(": verified L1")
	b.Open(base + "/jobs/" + changed.String())
	require.Contains(t, b.Eval(`document.body.innerText`), "the log is verified")

	segments, err := filepath.Glob(filepath.Join(l.dir, "entries", "*.jsonl"))
	require.NoError(t, err)
	text, err := os.ReadFile(segments[0])
	require.NoError(t, err)
	require.Contains(t, string(text), "called at noon")
	require.NoError(t, os.WriteFile(segments[0], bytes.Replace(text, []byte("called at noon"), []byte("called at NOON"), 1), 0o600))
	check("not verified")
	require.Contains(t, b.Eval(`document.querySelector("main").innerText`), changed.String(), "the finding names the job")
	b.Open(base + "/jobs/" + changed.String())
	page := b.Eval(`document.body.innerText`)
	require.Contains(t, page, "the log does not verify")
	require.Contains(t, page, "Verification has found this job altered")
	b.Open(base + "/jobs/" + other.String())
	page = b.Eval(`document.body.innerText`)
	require.Contains(t, page, "the log does not verify")
	require.NotContains(t, page, "has found this job altered")
	require.Empty(t, b.Faults)
}

// The script asks every two seconds while all is well, and less and less often while it
// is not: up to once a minute.
func TestExtraAPageThatIsNotAnsweredAsksLessAndLessOften(t *testing.T) {
	size.Extra(t)
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	job := submit(t, rec, submission("export", "acme")).JobID().String()
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	var away atomic.Bool
	base := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		ui.ServeHTTP(w, r)
	}))
	b := chromium.Start(t)
	b.Open(base + "/jobs/" + job)
	away.Store(true)
	b.Eval(`window.waits = [], window.real = window.setTimeout, window.setTimeout = (f, ms) => { if (waits.length < 8) { waits.push(ms); real(f, 0); } else { window.last = f; } }, ""`)
	b.Eval(`new Promise(done => { const look = () => window.last ? done("") : real(look, 20); look(); })`)
	require.Equal(t, "4000 8000 16000 32000 60000 60000 60000 60000", b.Eval(`waits.join(" ")`))
	away.Store(false)
	b.Eval(`window.setTimeout = (f, ms) => { window.well = ms; }, last(), ""`)
	b.Eval(`new Promise(done => { const look = () => window.well ? done("") : real(look, 20); look(); })`)
	require.Equal(t, "true", b.Eval(`String(window.well >= 2000)`))
	require.NotEqual(t, "60000", b.Eval(`String(window.well)`), "and begins again when the server is back")
}

func TestTheFormThatBeginsAVerificationIsBounded(t *testing.T) {
	begun := make(chan bool, 10)
	verify := func(context.Context, func(done, total int64)) (webui.Verification, error) {
		begun <- true
		return webui.Verification{}, nil
	}
	ui := pages(t, []webui.Log{{Name: "web", Reader: memsink.New(nil), Verify: verify}}, options())
	for body, want := range map[string]int{
		"log=0&x=" + strings.Repeat("x", 5_000):   400,
		strings.Repeat("x=1&", 100_000) + "log=0": 400,
		"log=1": 400, "log=-1": 400, "log=": 400, "": 400, "log=0x0": 400, "log=99999999999999999999": 400,
		"log=0": 303,
	} {
		r := httptest.NewRequest(http.MethodPost, "/log/verify", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Who", "auditor")
		w := httptest.NewRecorder()
		ui.ServeHTTP(w, r)
		require.Equal(t, want, w.Code, fmt.Sprintf("%.20s", body))
	}
	<-begun
	require.Empty(t, begun, "one was begun")
}
