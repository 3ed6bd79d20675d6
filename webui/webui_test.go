package webui_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/webui"
)

// viewers are those who are logged in, by the header Who.
var viewers = map[string]webui.Viewer{
	"auditor":  {Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "auditor"}, AllOrgs: true},
	"ada":      {Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"}, OrgID: "acme"},
	"nobody's": {Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "nobody's"}},
	"eve":      {Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "eve"}, OrgID: "evil"},
}

func options() webui.Options {
	return webui.Options{
		Authenticate: func(r *http.Request) (webui.Viewer, error) {
			if r.Header.Get("Who") == "panic" {
				panic("the login panicked")
			}
			v, ok := viewers[r.Header.Get("Who")]
			if !ok {
				return v, errors.New("not logged in")
			}
			return v, nil
		},
		Authorize: func(_ context.Context, _ webui.Viewer, _ webui.Operation, job jobaudit.Job) error {
			switch job.Metadata.Action {
			case "forbidden":
				return fmt.Errorf("%w: no", jobaudit.ErrDenied)
			case "unsure":
				return errors.New("the rules cannot be read")
			}
			return nil
		},
		Log:     slog.New(slog.DiscardHandler),
		Timeout: 10 * time.Minute, // on a slow machine
	}
}

func open(t testing.TB, sink jobaudit.AuditSink, opts *jobaudit.Options) *jobaudit.Recorder {
	t.Helper()
	where := jobaudit.Source{System: "shop", Environment: "test", Host: "web-1", Version: "v1"}
	rec, err := jobaudit.Open(t.Context(), sink, where, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rec.Close(context.Background())) })
	return rec
}

func pages(t testing.TB, logs []webui.Log, opts webui.Options) *webui.UI {
	t.Helper()
	ui, err := webui.New(logs, opts)
	require.NoError(t, err)
	t.Cleanup(ui.Close)
	return ui
}

func submission(action, org string) jobaudit.Submission {
	return jobaudit.Submission{
		Action: action, Resource: "order/4711", Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true}, OrgID: org,
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the customer called"},
	}
}

func get(t testing.TB, h http.Handler, who, target string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("Who", who)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	require.NoError(t, err)
	return w.Code, string(body)
}

func submit(t testing.TB, rec *jobaudit.Recorder, s jobaudit.Submission) *jobaudit.Trail {
	t.Helper()
	tr, err := rec.Submit(t.Context(), s)
	require.NoError(t, err)
	return tr
}

// run runs a job, and returns its ID.
func run(t testing.TB, rec *jobaudit.Recorder, s jobaudit.Submission, do func(context.Context, *jobaudit.Trail) error) (id uuid.UUID) {
	t.Helper()
	_ = rec.Run(t.Context(), s, func(ctx context.Context) error { // what do returns
		trail, _ := jobaudit.FromContext(ctx)
		id = trail.JobID()
		return do(ctx, trail)
	})
	require.NotEqual(t, uuid.Nil, id)
	return id
}

func TestAPageAnswersWhoWhatWhenWhereAndWhy(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	s := submission("capture-payment", "acme")
	s.OnBehalfOf = []jobaudit.Principal{{Kind: jobaudit.User, ID: "grace"}}
	id := run(t, rec, s, func(ctx context.Context, tr *jobaudit.Trail) error {
		tr.Log(ctx, "card refused")
		return errors.New("no money left")
	})
	code, list := get(t, ui, "auditor", "/jobs")
	require.Equal(t, 200, code)
	for _, want := range []string{"capture-payment", "order/4711", "user ada", "user grace", "failed", "no money left", id.String()} {
		require.Contains(t, list, want)
	}
	code, job := get(t, ui, "auditor", "/jobs/"+id.String())
	require.Equal(t, 200, code)
	for _, want := range []string{"capture-payment", "user ada", "verified", "user grace", "web-1", "shop", "the customer called",
		"card refused", "no money left", "job.submitted", "job.started", "job.failed"} {
		require.Contains(t, job, want)
	}
	require.NotContains(t, job, "data-live", "it has ended")
}

func TestAJobThatRunsIsFollowedAndOneThatHasEndedIsNot(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	tr := submit(t, rec, submission("slow", "acme"))
	_, page := get(t, ui, "ada", "/jobs/"+tr.JobID().String())
	require.Contains(t, page, "data-live")
	require.NoError(t, tr.Cancel(t.Context(), "enough"))
	_, page = get(t, ui, "ada", "/jobs/"+tr.JobID().String())
	require.NotContains(t, page, "data-live")
	require.Contains(t, page, "cancelled")
}

func TestAnotherOrganizationsJobIsAnsweredAsOneThatDoesNotExist(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	tr := submit(t, rec, submission("capture-payment", "acme"))
	for _, rest := range []string{"", "/evidence", "/bundle"} {
		code, theirs := get(t, ui, "eve", "/jobs/"+tr.JobID().String()+rest)
		unknownCode, unknown := get(t, ui, "eve", "/jobs/"+uuid.NewString()+rest)
		require.Equal(t, http.StatusNotFound, code)
		require.Equal(t, unknownCode, code)
		require.Equal(t, unknown, theirs)
	}
	_, list := get(t, ui, "eve", "/jobs")
	require.NotContains(t, list, "capture-payment")
	code, _ := get(t, ui, "eve", "/log")
	require.Equal(t, http.StatusForbidden, code)
	_, list = get(t, ui, "ada", "/jobs")
	require.Contains(t, list, "capture-payment")
}

func TestNothingIsShownToAViewerWhoIsNotKnownOrMayNotSeeIt(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	id := submit(t, rec, submission("forbidden", "acme")).JobID().String()
	unsure := submit(t, rec, submission("unsure", "acme")).JobID().String()
	for _, path := range []string{"/jobs", "/jobs/" + id, "/jobs/" + id + "/evidence", "/jobs/" + id + "/bundle", "/log"} {
		code, page := get(t, ui, "stranger", path)
		require.Equal(t, http.StatusUnauthorized, code, path)
		require.NotContains(t, page, "forbidden")
		code, page = get(t, ui, "panic", path)
		require.Equal(t, http.StatusInternalServerError, code, path)
		require.NotContains(t, page, "the login panicked")
	}
	code, page := get(t, ui, "ada", "/jobs/"+id)
	require.Equal(t, http.StatusForbidden, code)
	require.NotContains(t, page, "the customer called")
	code, page = get(t, ui, "ada", "/jobs/"+unsure)
	require.Equal(t, http.StatusInternalServerError, code)
	require.NotContains(t, page, "the rules cannot be read")
}

func TestNothingIsChangedForAPageOfAnotherOrigin(t *testing.T) {
	verified := make(chan bool, 1)
	ui := pages(t, []webui.Log{{Name: "web", Reader: memsink.New(nil), Verify: func(context.Context, func(done, total int64)) (webui.Verification, error) {
		verified <- true
		return webui.Verification{Level: "L1", Size: 7}, nil
	}}}, options())
	post := func(origin string) int {
		r := httptest.NewRequest(http.MethodPost, "/log/verify", strings.NewReader("log=0"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Who", "auditor")
		r.Header.Set("Sec-Fetch-Site", origin)
		w := httptest.NewRecorder()
		ui.ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, http.StatusForbidden, post("cross-site"))
	require.Empty(t, verified)
	require.Equal(t, http.StatusSeeOther, post("same-origin"))
	<-verified
}

// canary is what a page must never take for HTML, in any place.
const canary = `"'><script>alert(1)</script><img src=x onerror=alert(1)>` + "\u202e"

func TestNoTextOfARecordIsTakenForHTML(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{})
	ui := pages(t, []webui.Log{{Name: canary, Reader: sink}}, options())
	short := canary[:len(canary)-3] // identifiers take no character that turns the direction
	p := jobaudit.Principal{Kind: jobaudit.User, ID: short, Name: canary, AuthMethod: short, AuthSession: short}
	id := run(t, rec, jobaudit.Submission{
		Action: short, Resource: short, Principal: p, OrgID: short, OnBehalfOf: []jobaudit.Principal{p},
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: canary, Ref: short}, SourceIP: netip.MustParseAddr("192.0.2.1"),
		Inputs: map[string]string{canary: canary},
	}, func(ctx context.Context, tr *jobaudit.Trail) error {
		tr.Log(ctx, canary)
		tr.Snapshot(ctx, jobaudit.Snapshot{Resource: short, Digest: short, Summary: canary})
		tr.Snapshot(ctx, jobaudit.Snapshot{Resource: short, After: true, Digest: short + "2", Summary: canary})
		return errors.New(canary)
	})
	require.NoError(t, rec.Act(t.Context(), jobaudit.Act{Type: jobaudit.AuditReviewed, Principal: p, Reason: canary,
		Scope: jobaudit.Query{JobID: id}, Data: map[string]string{canary: canary}}))
	for _, path := range []string{"/jobs", "/jobs/" + id.String(), "/log", "/jobs?action=" + url.QueryEscape(short), "/jobs?state=" + url.QueryEscape(canary)} {
		_, page := get(t, ui, "auditor", path)
		require.NotContains(t, page, "<script>alert", path)
		require.NotContains(t, page, "<img", path)
		require.NotContains(t, page, "\u202e", path)
		require.NotContains(t, page, "{{", path)
	}
	_, page := get(t, ui, "auditor", "/jobs/"+id.String())
	require.Contains(t, page, "&lt;script&gt;alert(1)")
}

func TestEveryAnswerForbidsWhatThePagesDoNotNeed(t *testing.T) {
	ui := pages(t, []webui.Log{{Name: "web", Reader: memsink.New(nil)}}, options())
	for _, path := range []string{"/", "/jobs", "/log", "/jobs/x", "/nothing", "/assets/page.js", "/assets/style.css", "/assets/none"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Who", "auditor")
		w := httptest.NewRecorder()
		ui.ServeHTTP(w, r)
		policy := w.Header().Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'", path)
		require.NotContains(t, policy, "unsafe", path)
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), path)
		require.NotContains(t, w.Body.String(), " style=", path)
		require.NotRegexp(t, `<script[^>]*>[^<]`, w.Body.String(), path)
		require.NotRegexp(t, ` on[a-z]+=`, w.Body.String(), path)
		require.NotRegexp(t, `(src|href)="(https?:)?//`, w.Body.String(), path)
	}
}

// A page asks again every two seconds: its “24h” is one search, whenever it began.
func TestALivePageOfTheLastHoursIsOneLook(t *testing.T) {
	var acts []jobaudit.Act
	opts := options()
	opts.Record = func(_ context.Context, act jobaudit.Act) error { acts = append(acts, act); return nil }
	ui, err := webui.New([]webui.Log{{Name: "web", Reader: memsink.New(nil)}}, opts)
	require.NoError(t, err)
	searches := []string{"?since=24h", "?since=24h&state=failed", "?since=1h", "?since=48h&until=24h", "?until=24h", "?since=2026-02-03", ""}
	for i, search := range searches {
		for range 10 {
			code, _ := get(t, ui, "auditor", "/jobs"+search)
			require.Equal(t, 200, code)
		}
		require.Len(t, acts, i+1, search)
	}
	require.WithinDuration(t, time.Now().Add(-24*time.Hour), acts[0].Scope.Since, 12*time.Hour, "the scope has the time")
	ui.Close()
	require.Len(t, acts, 2*len(searches))
}

func TestLookingIsOnRecordBeforeAnythingIsShown(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	opts := options()
	opts.Record = rec.Act
	ui, err := webui.New([]webui.Log{{Name: "web", Reader: sink}}, opts)
	require.NoError(t, err)
	id := submit(t, rec, submission("capture-payment", "acme")).JobID()
	acts := func() (list []jobaudit.Event) {
		for r, err := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditRead}}) {
			require.NoError(t, err)
			list = append(list, r.Event())
		}
		return list
	}
	for range 3 {
		code, page := get(t, ui, "ada", "/jobs/"+id.String())
		require.Equal(t, 200, code)
		require.Contains(t, page, "That you look at jobs is recorded.")
	}
	require.Len(t, acts(), 1)
	require.Equal(t, id, acts()[0].Data.Act.Scope.JobID)
	require.Equal(t, "ada", acts()[0].Who.Principal.ID)
	get(t, ui, "auditor", "/jobs?action=capture-payment")
	require.Len(t, acts(), 2)
	ui.Close()
	require.Len(t, acts(), 3, "what was counted is recorded at the end")
	require.Contains(t, string(acts()[2].Data.Act.Data), `{"count":2,"since":"`)

	opts.Record = func(context.Context, jobaudit.Act) error { return errors.New("the log is full") }
	ui = pages(t, []webui.Log{{Name: "web", Reader: sink}}, opts)
	for _, path := range []string{"/jobs", "/jobs/" + id.String(), "/log"} {
		code, page := get(t, ui, "auditor", path)
		require.Equal(t, http.StatusInternalServerError, code, path)
		require.NotContains(t, page, "capture-payment", path)
	}
}

var jobLink = regexp.MustCompile(`href="\./jobs/([0-9a-f-]{36})"`)
var nextLink = regexp.MustCompile(`href="(\?[^"]*)" rel="next"`)

func TestPagesHaveEachJobOnceWhateverClocksSay(t *testing.T) {
	var logs []webui.Log
	want := map[string]bool{}
	for i := range 3 {
		sink := memsink.New(nil)
		at, n := time.Date(2026, 2, 3, 12, 0, 0, 0, time.UTC), 0
		rec := open(t, sink, &jobaudit.Options{Heartbeat: -1, Now: func() time.Time {
			n++
			return at.Add(time.Duration((n*7919+i*31)%977-488) * time.Second) // it jumps, and two may be the same
		}})
		for range 60 {
			want[submit(t, rec, submission("capture-payment", "acme")).JobID().String()] = true
		}
		logs = append(logs, webui.Log{Name: fmt.Sprint("log ", i), Reader: sink})
	}
	for _, n := range []int{1, 3} {
		ui := pages(t, logs[:n], options())
		got := map[string]bool{}
		path := "/jobs?action=capture-payment"
		for range 10 {
			code, page := get(t, ui, "auditor", path)
			require.Equal(t, 200, code)
			for _, m := range jobLink.FindAllStringSubmatch(page, -1) {
				require.False(t, got[m[1]], "%s comes twice", m[1])
				require.True(t, want[m[1]])
				got[m[1]] = true
			}
			next := nextLink.FindStringSubmatch(page)
			if next == nil {
				break
			}
			path = "/jobs" + strings.ReplaceAll(next[1], "&amp;", "&")
		}
		require.Len(t, got, 60*n)
	}
}

func TestAVerificationThatPanicsIsSaidToHaveFailed(t *testing.T) {
	for want, verify := range map[string]func(){"panicked": func() { panic("by the application") }, "ended its goroutine": runtime.Goexit} {
		ui := pages(t, []webui.Log{{Name: "web", Reader: memsink.New(nil), Verify: func(context.Context, func(done, total int64)) (webui.Verification, error) {
			verify()
			return webui.Verification{}, nil
		}}}, options())
		r := httptest.NewRequest(http.MethodPost, "/log/verify", strings.NewReader("log=0"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Who", "auditor")
		ui.ServeHTTP(httptest.NewRecorder(), r)
		page := "is being verified"
		for strings.Contains(page, "is being verified") {
			_, page = get(t, ui, "auditor", "/log")
		}
		require.Contains(t, page, "could not be verified")
		require.Contains(t, page, want)
	}
}

func TestClocksThatAreCenturiesApartAreShown(t *testing.T) {
	at := time.Date(2026, 2, 3, 12, 0, 0, 0, time.UTC)
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Heartbeat: -1, Now: func() time.Time { return at }})
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	at = at.AddDate(400, 0, 0)
	id := run(t, rec, submission("capture-payment", "acme"), func(context.Context, *jobaudit.Trail) error {
		at = at.AddDate(-400, 0, 0)
		return nil
	})
	for _, path := range []string{"/jobs", "/jobs/" + id.String(), "/log"} {
		code, page := get(t, ui, "auditor", path)
		require.Equal(t, 200, code, path)
		require.Contains(t, page, "</html>", path)
	}
}

func TestAQueryThatCannotBeReadIsAnswered(t *testing.T) {
	ui := pages(t, []webui.Log{{Name: "web", Reader: memsink.New(nil)}}, options())
	for _, query := range []string{"state=done", "correlation=x", "since=yesterday", "until=9", "since=99999-01-01", "job=x", "after=x", "after=x.y.z",
		"after=" + uuid.NewString() + "." + uuid.NewString(), "action=" + strings.Repeat("x", 300), "since=-5h", "state=%00", "state=%ff"} {
		code, page := get(t, ui, "auditor", "/jobs?"+query)
		require.Equal(t, 400, code, query)
		require.Contains(t, page, "</html>", query)
	}
	for _, path := range []string{"/jobs/x", "/jobs/%00", "/jobs/" + uuid.NewString(), "/nothing", "/jobs//", "/assets/", "/assets/../webui.go"} {
		code, _ := get(t, ui, "auditor", path)
		require.Contains(t, []int{301, 307, 404}, code, path)
	}
}

func TestThePagesWorkWhereverTheyAreMounted(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	id := submit(t, rec, submission("capture-payment", "acme")).JobID().String()
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	mux := http.NewServeMux()
	mux.Handle("/admin/audit/", http.StripPrefix("/admin/audit", ui))
	links := regexp.MustCompile(`(?:href|src|action)="([^"#?]+)"`)
	for _, path := range []string{"/admin/audit/jobs", "/admin/audit/jobs/" + id, "/admin/audit/log", "/admin/audit/jobs/unknown"} {
		_, page := get(t, mux, "auditor", path)
		at, err := url.Parse(path)
		require.NoError(t, err)
		found := links.FindAllStringSubmatch(page, -1)
		require.NotEmpty(t, found)
		for _, m := range found {
			to, err := at.Parse(m[1])
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(to.Path, "/admin/audit/"), "%s on %s", to.Path, path)
			if !strings.HasSuffix(to.Path, "/verify") && !strings.HasSuffix(to.Path, "/evidence") && !strings.HasSuffix(to.Path, "/bundle") {
				code, _ := get(t, mux, "auditor", to.Path)
				require.Equal(t, 200, code, "%s on %s", to.Path, path)
			}
		}
	}
}

func TestTheEvidenceOfAJobIsHandedOut(t *testing.T) {
	dir := t.TempDir()
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "example.com/jobs")
	require.NoError(t, err)
	sink, err := filesink.Open(t.Context(), filepath.Join(dir, "log"), key, nil)
	require.NoError(t, err)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, nil)
	require.NoError(t, err)
	id := run(t, rec, submission("capture-payment", "acme"), func(context.Context, *jobaudit.Trail) error { return nil })
	require.NoError(t, rec.Close(t.Context()))
	require.NoError(t, sink.Close())
	reader, err := filesink.OpenReader(filepath.Join(dir, "log"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, reader.Close()) })
	opts := options()
	opts.Evidence = func(ctx context.Context, scope evidence.Scope) ([]byte, error) { return collect(ctx, dir, key, scope) }
	ui := pages(t, []webui.Log{{Name: "web", Reader: reader}}, opts)
	_, page := get(t, ui, "ada", "/jobs/"+id.String())
	require.Contains(t, page, "check-proof")
	code, bundle := get(t, ui, "ada", "/jobs/"+id.String()+"/bundle")
	require.Equal(t, 200, code, bundle)
	b, err := evidence.Open([]byte(bundle), []note.Verifier{key.Verifier()})
	require.NoError(t, err)
	require.Equal(t, id, b.Statement.Scope.JobID)
	code, page = get(t, ui, "ada", "/jobs/"+id.String()+"/evidence")
	require.Equal(t, 200, code)
	_, err = evidence.OpenPage([]byte(page), []note.Verifier{key.Verifier()})
	require.NoError(t, err)
}

// collect makes evidence of the log in dir.
func collect(ctx context.Context, dir string, key *filesink.Key, scope evidence.Scope) ([]byte, error) {
	reader, err := filesink.OpenReader(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	source := evidence.Source{Keys: []note.Verifier{key.Verifier()}, VerifierKey: key.String()}
	source.Head, err = reader.Checkpoint(ctx, key)
	if err == nil {
		source.Segments, err = reader.Segments()
	}
	if err != nil {
		return nil, err
	}
	return evidence.Collect(ctx, []evidence.Source{source}, scope, nil)
}

// checkedPage asks for the page of the log until nothing is verified any more.
func checkedPage(t *testing.T, ui *webui.UI, begin bool) string {
	t.Helper()
	if begin {
		r := httptest.NewRequest(http.MethodPost, "/log/verify", strings.NewReader("log=0"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Who", "auditor")
		ui.ServeHTTP(httptest.NewRecorder(), r)
	}
	for {
		if _, page := get(t, ui, "auditor", "/log"); !strings.Contains(page, "is being verified") {
			return page
		}
	}
}

func TestAJobsPageSaysHowFarItsLogIsVerified(t *testing.T) {
	sink := memsink.New(nil)
	id := submit(t, open(t, sink, nil), submission("capture-payment", "acme")).JobID().String()
	for _, level := range []string{"L0: the hashes agree", "L1: every record is signed by the given key"} {
		ui := pages(t, []webui.Log{{Name: "web", Reader: sink, Verify: func(context.Context, func(done, total int64)) (webui.Verification, error) {
			return webui.Verification{Level: level, Size: 1}, nil
		}}}, options())
		checkedPage(t, ui, true)
		for _, who := range []string{"ada", "auditor"} {
			_, page := get(t, ui, who, "/jobs/"+id)
			require.Contains(t, page, "the log is verified "+level)
		}
	}
}

func TestAVerificationThatIsCancelledChangesNothingThatIsKnown(t *testing.T) {
	sink := memsink.New(nil)
	id := submit(t, open(t, sink, nil), submission("capture-payment", "acme")).JobID().String()
	for what, before := range map[string]*webui.Verification{
		"has not been verified since": nil,
		"verified L1":                 {Level: "L1", Size: 1},
		"not verified: 1 finding":     {Level: "L1", Findings: []string{"changed"}},
	} {
		waits := make(chan bool)
		begun := make(chan bool, 1)
		first := before != nil
		ui := pages(t, []webui.Log{{Name: "web", Reader: sink, Verify: func(ctx context.Context, _ func(done, total int64)) (webui.Verification, error) {
			if first {
				first = false
				return *before, nil
			}
			begun <- true
			select {
			case <-waits:
			case <-ctx.Done():
			}
			return webui.Verification{Level: "L0"}, fmt.Errorf("reading: %w", ctx.Err())
		}}}, options())
		if before != nil {
			checkedPage(t, ui, true)
		}
		_, known := get(t, ui, "ada", "/jobs/"+id)
		r := httptest.NewRequest(http.MethodPost, "/log/verify", strings.NewReader("log=0"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Who", "auditor")
		ui.ServeHTTP(httptest.NewRecorder(), r)
		<-begun
		ui.Close() // which cancels it
		require.Contains(t, checkedPage(t, ui, false), what)
		_, page := get(t, ui, "ada", "/jobs/"+id)
		require.Equal(t, known, page)
	}
}

// What an application's error quotes of records goes to the log that the application has
// named, and not to the one that everything goes to.
func TestTheDefaultLogIsToldTheKindsOfErrorsAlone(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	sink := memsink.New(nil)
	id := submit(t, open(t, sink, nil), submission("capture-payment", "acme")).JobID().String()
	for _, named := range []bool{false, true} {
		var said bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&said, nil))
		slog.SetDefault(logger)
		opts := options()
		if opts.Log = nil; named {
			opts.Log = logger
		}
		opts.Authorize = func(_ context.Context, _ webui.Viewer, op webui.Operation, _ jobaudit.Job) error {
			if op == webui.ListJobs {
				return errors.New("of hunter2 nobody knows")
			}
			return nil
		}
		opts.Evidence = func(context.Context, evidence.Scope) ([]byte, error) {
			return nil, fmt.Errorf("hunter2: %w", errors.Join(syscall.ENOSPC, &jobaudit.UnreadableError{Place: "line 7", Err: syscall.EIO}))
		}
		ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, opts)
		code, _ := get(t, ui, "ada", "/jobs")
		require.Equal(t, 500, code)
		code, _ = get(t, ui, "ada", "/jobs/"+id+"/bundle")
		require.Equal(t, 409, code)
		require.Equal(t, named, strings.Contains(said.String(), "hunter2"), said.String())
		require.Contains(t, said.String(), "no space left on device")
		require.Contains(t, said.String(), "unreadable record at line 7")
		require.Equal(t, 2, strings.Count(said.String(), "webui"), said.String())
		get(t, ui, "panic", "/jobs")
		require.Contains(t, said.String(), "panicked with a string")
	}
}
