package webui_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"iter"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/webui"
)

func TestAFamilyHasNoJobThatItsViewerMayNotRead(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	id := run(t, rec, submission("parent", "acme"), func(ctx context.Context, _ *jobaudit.Trail) error {
		for _, s := range []jobaudit.Submission{submission("forbidden", "acme"), submission("of-others", "evil"), submission("child", "acme")} {
			if _, err := rec.Submit(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
	code, page := get(t, ui, "ada", "/jobs/"+id.String())
	require.Equal(t, 200, code)
	require.Contains(t, page, "child")
	require.NotContains(t, page, "forbidden")
	require.NotContains(t, page, "of-others")
}

func TestOfAJobThatTwoOrganizationsWroteToEachSeesItsOwnEvents(t *testing.T) {
	ours, theirs := memsink.New(nil), memsink.New(nil)
	opts := options()
	opts.Evidence = func(context.Context, evidence.Scope) ([]byte, error) { return []byte("all of it"), nil }
	s, forged := submission("capture-payment", "acme"), submission("forged", "evil")
	s.ID = uuid.New()
	forged.ID = s.ID
	submit(t, open(t, ours, nil), s)
	submit(t, open(t, theirs, nil), forged)
	for _, logs := range [][]webui.Log{{{Name: "ours", Reader: ours}, {Name: "theirs", Reader: theirs}}, {{Name: "theirs", Reader: theirs}, {Name: "ours", Reader: ours}}} {
		ui := pages(t, logs, opts)
		for who, sees := range map[string][2]string{"ada": {"capture-payment", "forged"}, "eve": {"forged", "capture-payment"}} {
			code, page := get(t, ui, who, "/jobs/"+s.ID.String())
			require.Equal(t, 200, code, who)
			require.Contains(t, page, sees[0], who)
			require.NotContains(t, page, sees[1], who)
			code, page = get(t, ui, who, "/jobs/"+s.ID.String()+"/bundle")
			require.Equal(t, http.StatusConflict, code, who)
			require.NotContains(t, page, "all of it")
		}
	}
}

func TestNoMoreThanTwoFilesOfEvidenceAreMadeAtOnce(t *testing.T) {
	sink := memsink.New(nil)
	id := submit(t, open(t, sink, nil), submission("capture-payment", "acme")).JobID().String()
	entered, leave := make(chan bool, 3), make(chan bool)
	opts := options()
	opts.Evidence = func(context.Context, evidence.Scope) ([]byte, error) {
		entered <- true
		<-leave
		return nil, errors.New("enough")
	}
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, opts)
	ask := func(ctx context.Context) {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/jobs/"+id+"/bundle", nil)
		r.Header.Set("Who", "ada")
		ui.ServeHTTP(httptest.NewRecorder(), r)
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { ask(t.Context()) })
	}
	<-entered
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	third := make(chan bool)
	go func() {
		ask(ctx)
		close(third)
	}()
	cancel()
	select {
	case <-third:
	case <-entered:
		t.Error("a third is made")
	}
	close(leave)
	all.Wait()
}

// broken is a log that cannot tell one job.
type broken struct{ *memsink.Sink }

func (b broken) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	if q.JobID == uuid.Nil {
		return b.Sink.Records(ctx, q)
	}
	return func(yield func(jobaudit.Record, error) bool) { yield(jobaudit.Record{}, errors.New("damaged")) }
}

func TestAJobThatCannotBeToldIsListedForItsOrganizationOnly(t *testing.T) {
	sink := memsink.New(nil)
	submit(t, open(t, sink, nil), submission("capture-payment", "acme"))
	ui := pages(t, []webui.Log{{Name: "web", Reader: broken{sink}}}, options())
	for who, sees := range map[string]bool{"ada": true, "eve": false, "nobody's": false} {
		_, page := get(t, ui, who, "/jobs")
		require.Equal(t, sees, strings.Contains(page, "capture-payment"), who)
	}
}

func TestTheZeroIDIsNoJobs(t *testing.T) {
	sink := memsink.New(nil)
	submit(t, open(t, sink, nil), submission("capture-payment", "acme"))
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	for _, who := range []string{"auditor", "ada", "nobody's"} {
		for _, rest := range []string{"", "/evidence", "/bundle"} {
			code, page := get(t, ui, who, "/jobs/"+uuid.Nil.String()+rest)
			require.Equal(t, http.StatusNotFound, code, who)
			require.NotContains(t, page, "capture-payment")
		}
	}
}

func TestAPageOfAnotherOriginMakesNoLookOfItsReaders(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	opts := options()
	opts.Record = rec.Act
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, opts)
	id := submit(t, rec, submission("capture-payment", "acme")).JobID().String()
	before := sink.Len()
	ask := func(site, mode, dest string) int {
		r := httptest.NewRequest(http.MethodGet, "/jobs/"+id, nil)
		r.Header.Set("Who", "ada")
		r.Header.Set("Sec-Fetch-Site", site)
		r.Header.Set("Sec-Fetch-Mode", mode)
		if dest != "" {
			r.Header.Set("Sec-Fetch-Dest", dest)
		}
		w := httptest.NewRecorder()
		ui.ServeHTTP(w, r)
		return w.Code
	}
	for _, site := range []string{"cross-site", "same-site"} {
		for _, dest := range []string{"", "image", "script", "empty", "document"} {
			require.Equal(t, http.StatusForbidden, ask(site, "no-cors", dest), dest)
		}
		for _, dest := range []string{"iframe", "frame", "embed", "object", "fencedframe"} {
			require.Equal(t, http.StatusForbidden, ask(site, "navigate", dest), dest)
		}
	}
	require.Equal(t, before, sink.Len())
	for _, dest := range []string{"", "document"} {
		require.Equal(t, http.StatusOK, ask("cross-site", "navigate", dest), "a link that somebody follows")
	}
	require.Equal(t, http.StatusOK, ask("same-origin", "cors", "empty"), "the page's own script")
}

// held is a log whose readers wait.
type held struct {
	*memsink.Sink
	entered, leave chan bool
}

func (h held) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	h.entered <- true
	<-h.leave
	return h.Sink.Records(ctx, q)
}

func TestNoMoreThanFourPagesAreMadeAtOnce(t *testing.T) {
	log := held{memsink.New(nil), make(chan bool, 100), make(chan bool)}
	ui := pages(t, []webui.Log{{Name: "web", Reader: log}}, options())
	ask := func(ctx context.Context, path string) {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		r.Header.Set("Who", "auditor")
		ui.ServeHTTP(httptest.NewRecorder(), r)
	}
	var all sync.WaitGroup
	for _, path := range []string{"/jobs", "/jobs/" + uuid.NewString(), "/log", "/jobs/" + uuid.NewString() + "/bundle"} {
		all.Go(func() { ask(t.Context(), path) })
		<-log.entered
	}
	ctx, cancel := context.WithCancel(t.Context())
	fifth := make(chan bool)
	go func() {
		ask(ctx, "/jobs")
		close(fifth)
	}()
	cancel()
	select {
	case <-fifth:
	case <-log.entered:
		t.Error("a fifth is made")
	}
	close(log.leave)
	all.Wait()
}

func TestTheEvidenceForAnOrganizationHoldsNoActsOfOthers(t *testing.T) {
	dir := t.TempDir()
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "example.com/jobs")
	require.NoError(t, err)
	sink, err := filesink.Open(t.Context(), filepath.Join(dir, "log"), key, nil)
	require.NoError(t, err)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, nil)
	require.NoError(t, err)
	id := run(t, rec, submission("capture-payment", "acme"), func(context.Context, *jobaudit.Trail) error { return nil })
	for _, org := range []string{"acme", "", "evil"} {
		require.NoError(t, rec.Act(t.Context(), jobaudit.Act{Type: jobaudit.AuditReviewed, Reason: "suspicion of fraud", OrgID: org,
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "reviewer-of-" + org}, Scope: jobaudit.Query{JobID: id}}))
	}
	require.NoError(t, rec.Close(t.Context()))
	require.NoError(t, sink.Close())
	reader, err := filesink.OpenReader(filepath.Join(dir, "log"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, reader.Close()) })
	opts := options()
	opts.Evidence = func(ctx context.Context, scope evidence.Scope) ([]byte, error) { return collect(ctx, dir, key, scope) }
	ui := pages(t, []webui.Log{{Name: "web", Reader: reader}}, opts)
	for who, want := range map[string]string{"ada": "[reviewer-of-acme]", "auditor": "[reviewer-of-acme reviewer-of- reviewer-of-evil]"} {
		code, bundle := get(t, ui, who, "/jobs/"+id.String()+"/bundle")
		require.Equal(t, 200, code, bundle)
		b, err := evidence.Open([]byte(bundle), []note.Verifier{key.Verifier()})
		require.NoError(t, err)
		var found []string
		for r := range b.Records() {
			if r.Type() == jobaudit.AuditReviewed {
				found = append(found, r.Event().Who.Principal.ID)
			}
		}
		require.Equal(t, want, fmt.Sprint(found), who)
	}
}

var anyID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// foreignIDs are those in a text that are not in known, written out or packed in what
// looks like base64.
func foreignIDs(text string, known, all map[uuid.UUID]bool) (list []uuid.UUID) {
	for _, id := range anyID.FindAllString(text, -1) {
		if id := uuid.MustParse(id); !known[id] {
			list = append(list, id)
		}
	}
	for _, word := range regexp.MustCompile(`[A-Za-z0-9_-]{22,}`).FindAllString(text, -1) {
		packed, _ := base64.RawURLEncoding.DecodeString(word)
		for at := range max(len(packed)-15, 0) {
			if id := uuid.UUID(packed[at : at+16]); all[id] && !known[id] {
				list = append(list, id)
			}
		}
	}
	return list
}

// Over all pages of the list a viewer of one organization sees each of its jobs once, and
// nowhere the ID of an event or of a job of another one: not in a link to the next
// page either.
func TestNoPageOfTheListGivesAnIDOfAnotherOrganization(t *testing.T) {
	orgs := map[string]string{"ada": "acme", "eve": "evil", "nobody's": ""}
	for seed := range uint64(4) {
		if testing.Short() && seed != 1 || size.Race && seed > 1 {
			continue
		}
		random := rand.New(rand.NewPCG(seed, 2))
		own := map[string]map[uuid.UUID]bool{"acme": {}, "evil": {}, "": {}}
		jobs := map[string]map[string]bool{"acme": {}, "evil": {}, "": {}}
		all := map[uuid.UUID]bool{}
		var logs []webui.Log
		for n := range 1 + seed%3 {
			sink := memsink.New(nil)
			rec := open(t, sink, &jobaudit.Options{Heartbeat: -1})
			for range size.Times(150, 70) + random.IntN(100) {
				org := []string{"acme", "evil", "", "evil", "evil"}[random.IntN(5)]
				tr := submit(t, rec, submission([]string{"capture-payment", "refund"}[random.IntN(2)], org))
				jobs[org][tr.JobID().String()] = true
				if random.IntN(3) == 0 {
					ends(t, nil)(tr)
				}
			}
			for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
				require.NoError(t, err)
				e := r.Event()
				all[e.ID], all[e.Job.ID] = true, true
				if own[e.Who.OrgID] != nil && e.Job.ID != uuid.Nil {
					own[e.Who.OrgID][e.ID], own[e.Who.OrgID][e.Job.ID] = true, true
				}
			}
			logs = append(logs, webui.Log{Name: fmt.Sprint("log ", n), Reader: sink})
		}
		ui := pages(t, logs, options())
		for who, org := range orgs {
			known := maps.Clone(own[org])
			known[uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")] = true // the example beside the field
			for _, search := range []string{"", "?state=pending", "?action=refund", "?since=24h", "?who=ada"} {
				got := map[string]int{}
				n := 0
				for path := "/jobs" + search; path != ""; n++ {
					code, page := get(t, ui, who, path)
					require.Equal(t, 200, code)
					require.Empty(t, foreignIDs(page, known, all), "seed %d, %s, %s", seed, who, path)
					for _, m := range jobLink.FindAllStringSubmatch(page, -1) {
						got[m[1]]++
					}
					path = ""
					if next := nextLink.FindStringSubmatch(page); next != nil {
						path = "/jobs" + html.UnescapeString(next[1])
					}
					require.Less(t, n, 50, "the list ends")
				}
				for id, times := range got {
					require.Equal(t, 1, times, id)
					require.True(t, jobs[org][id])
				}
				if search == "" {
					require.Len(t, got, len(jobs[org]), "seed %d, %s", seed, who)
				}
			}
		}
	}
}

func TestACursorIsOfItsOrganizationAndOfItsSecret(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	var theirs []uuid.UUID
	for range 60 {
		submit(t, rec, submission("capture-payment", "acme"))
		submit(t, rec, submission("capture-payment", "evil"))
	}
	for r, err := range sink.Records(t.Context(), jobaudit.Query{OrgID: "acme"}) {
		require.NoError(t, err)
		theirs = append(theirs, r.ID())
	}
	secret := options()
	secret.Secret = []byte("0123456789abcdef0123456789abcdef")
	one, same, other := pages(t, []webui.Log{{Name: "web", Reader: sink}}, secret), pages(t, []webui.Log{{Name: "web", Reader: sink}}, secret),
		pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	_, page := get(t, one, "ada", "/jobs")
	next := nextLink.FindStringSubmatch(page)
	require.NotNil(t, next)
	path := "/jobs" + html.UnescapeString(next[1])
	code := func(ui *webui.UI, who, path string) int {
		code, _ := get(t, ui, who, path)
		return code
	}
	_, again := get(t, one, "ada", "/jobs")
	require.Equal(t, next[1], nextLink.FindStringSubmatch(again)[1], "a page that is asked for again is the same")
	require.Equal(t, 200, code(one, "ada", path))
	require.Equal(t, 200, code(same, "ada", path), "another replica")
	require.Equal(t, 400, code(other, "ada", path), "another secret")
	for _, who := range []string{"eve", "nobody's", "auditor"} {
		require.Equal(t, 400, code(one, who, path), who)
	}
	for i := len("/jobs?after="); i < len(path); i++ {
		changed := []byte(path)
		changed[i] = map[bool]byte{true: 'A', false: 'B'}[changed[i] != 'A']
		require.Equal(t, 400, code(one, "ada", string(changed)), i)
	}
	for _, id := range append(theirs[:3], uuid.New()) {
		require.Equal(t, 400, code(one, "eve", "/jobs?after="+id.String()), "whether an event exists is not told")
	}
	short := options()
	short.Secret = []byte("short")
	_, err := webui.New([]webui.Log{{Name: "web", Reader: sink}}, short)
	require.ErrorContains(t, err, "Options.Secret")
}

// The scope of a look is what was looked at: of all organizations if the viewer may know
// of all, whatever organization is theirs.
func TestTheRecordOfALookNamesTheOrganizationsThatItShowed(t *testing.T) {
	sink := memsink.New(nil)
	id := submit(t, open(t, sink, nil), submission("capture-payment", "acme")).JobID()
	for _, v := range []webui.Viewer{
		{Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "all"}, AllOrgs: true},
		{Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "all, of acme"}, OrgID: "acme", AllOrgs: true},
		{Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "all, of another"}, OrgID: "evil", AllOrgs: true},
		{Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "of acme"}, OrgID: "acme"},
	} {
		for _, path := range []string{"/jobs", "/jobs/" + id.String(), "/jobs/" + id.String() + "/bundle", "/jobs/" + id.String() + "/evidence"} {
			var acts []jobaudit.Act
			opts := options()
			opts.Authenticate = func(*http.Request) (webui.Viewer, error) { return v, nil }
			opts.Record = func(_ context.Context, act jobaudit.Act) error {
				acts = append(acts, act)
				return nil
			}
			opts.Evidence = func(context.Context, evidence.Scope) ([]byte, error) { return nil, errors.New("none") }
			get(t, pages(t, []webui.Log{{Name: "web", Reader: sink}}, opts), "", path)
			require.Len(t, acts, 1, path)
			require.Equal(t, v.OrgID, acts[0].OrgID)
			want := v.OrgID
			if v.AllOrgs {
				want = ""
			}
			require.Equal(t, want, acts[0].Scope.OrgID, "%s looks at %s", v.ID, path)
		}
	}
}

// A job may have its organization by signed carriers, though another one's submission
// stands before: nothing of that is shown.
func TestTheListShowsTheSubmissionOfTheViewersOrganization(t *testing.T) {
	one, two := memsink.New(nil), memsink.New(nil)
	forged := submission("forged", "evil")
	forged.ID, forged.Resource, forged.Principal.ID = uuid.Must(uuid.NewV7()), "of evil", "mallory"
	submit(t, open(t, one, nil), forged)
	mine := submission("capture-payment", "acme")
	mine.ID = forged.ID
	rec := open(t, one, &jobaudit.Options{CarrierKeys: map[string][]byte{"1": bytes.Repeat([]byte{1}, 32)}})
	resumed, err := rec.Resume(t.Context(), submit(t, rec, mine).Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, resumed.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { return nil }))
	for _, logs := range [][]webui.Log{
		{{Name: "one", Reader: one}}, {{Name: "one", Reader: one}, {Name: "two", Reader: two}}, {{Name: "two", Reader: two}, {Name: "one", Reader: one}},
	} {
		_, page := get(t, pages(t, logs, options()), "ada", "/jobs")
		require.Contains(t, page, "capture-payment")
		for _, told := range []string{"mallory", "forged", "of evil"} {
			require.NotContains(t, page, told)
		}
	}
}

// Of a job that is too long to look through, what is behind may be another organization's.
func TestEvidenceOfAJobThatWasNotLookedThroughIsForThoseWhoMayKnowOfAll(t *testing.T) {
	e, id := newEndless(t, 1_000)
	sink := memsink.New(nil)
	other := submission("forged", "evil")
	other.ID = id
	submit(t, open(t, sink, nil), other)
	for r, err := range sink.Records(t.Context(), jobaudit.Query{JobID: id}) {
		require.NoError(t, err)
		e.after = append(e.after, r)
	}
	opts := options()
	made := 0
	opts.Evidence = func(context.Context, evidence.Scope) ([]byte, error) {
		made++
		return []byte("all of it"), nil
	}
	ui := pages(t, []webui.Log{{Name: "web", Reader: e}}, opts)
	ui.ReadAtMost(1_000)
	code, page := get(t, ui, "ada", "/jobs/"+id.String()+"/bundle")
	require.Equal(t, http.StatusConflict, code, page)
	require.Contains(t, page, "more events than are looked through")
	require.Zero(t, made)
	code, page = get(t, ui, "auditor", "/jobs/"+id.String()+"/bundle")
	require.Equal(t, http.StatusOK, code, page)
	require.Contains(t, page, "all of it")
}
