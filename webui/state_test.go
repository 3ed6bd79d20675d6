package webui_test

import (
	"context"
	"fmt"
	"html"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/webui"
)

// written are records as several writers make them, to be stored in any order.
func written(t *testing.T, id uuid.UUID, action, org string, do func(tr *jobaudit.Trail)) (list []jobaudit.Record) {
	t.Helper()
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Heartbeat: -1})
	s := submission(action, org)
	s.ID = id
	do(submit(t, rec, s))
	for r, err := range sink.Records(t.Context(), jobaudit.Query{JobID: id}) {
		require.NoError(t, err)
		list = append(list, r)
	}
	return list
}

func ends(t *testing.T, how error) func(*jobaudit.Trail) {
	return func(tr *jobaudit.Trail) {
		require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}))
		if how != nil {
			require.NoError(t, tr.Fail(t.Context(), how))
			return
		}
		require.NoError(t, tr.Succeed(t.Context()))
	}
}

func store(t *testing.T, sink *memsink.Sink, list ...jobaudit.Record) {
	t.Helper()
	require.NoError(t, sink.Append(t.Context(), list))
}

var rowState = regexp.MustCompile(`(?s)<td data-label="State"><span class="state [a-z]+">(?:<span[^>]*>[^<]*</span> )?([a-z]+).*?href="\./jobs/([0-9a-f-]{36})"`)

// listed are the states of the jobs that a viewer's list shows, over all its pages.
func listed(t *testing.T, ui *webui.UI, who, search string) map[string]string {
	t.Helper()
	states := map[string]string{}
	for path := "/jobs" + search; path != ""; {
		code, page := get(t, ui, who, path)
		require.Equal(t, 200, code)
		for _, m := range rowState.FindAllStringSubmatch(page, -1) {
			states[m[2]] = m[1]
		}
		path = ""
		if next := nextLink.FindStringSubmatch(page); next != nil {
			path = "/jobs" + html.UnescapeString(next[1])
		}
	}
	return states
}

func TestTheListShowsAJobAsItsWholeHistoryHasIt(t *testing.T) {
	for _, id := range []uuid.UUID{uuid.New(), uuid.Must(uuid.NewV7())} {
		showsTheWholeHistory(t, id, uuid.New())
	}
}

func showsTheWholeHistory(t *testing.T, a, b uuid.UUID) {
	good := written(t, a, "capture-payment", "acme", ends(t, nil))
	other := written(t, b, "capture-payment", "acme", func(*jobaudit.Trail) {})
	again := written(t, a, "capture-payment", "acme", func(*jobaudit.Trail) {})
	bad := written(t, a, "capture-payment", "acme", ends(t, fmt.Errorf("no money left")))
	forged := written(t, a, "forged", "evil", ends(t, nil))
	for name, c := range map[string]struct {
		log  []jobaudit.Record
		want string
	}{
		"submitted twice":    {slices.Concat(good[:len(good)-1], other[:1], again[:1], good[len(good)-1:]), "success"},
		"submitted late":     {slices.Concat(good[1:], other[:1], good[:1]), "success"},
		"submitted by a foe": {slices.Concat(bad, forged), "failed"},
		"ended, then late":   {slices.Concat(bad[1:], bad[:1]), "failed"},
	} {
		sink := memsink.New(nil)
		store(t, sink, c.log...)
		ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
		for _, who := range []string{"auditor", "ada"} {
			require.Equal(t, c.want, listed(t, ui, who, "")[a.String()], "%s, %s", name, who)
			require.Equal(t, c.want, listed(t, ui, who, "?state="+c.want)[a.String()], "%s, %s", name, who)
		}
		require.NotContains(t, listed(t, ui, "eve", ""), a.String(), "it is not hers")
		_, page := get(t, ui, "auditor", "/jobs")
		require.NotContains(t, page, "forged", "the list says what was asked for first")
	}
}

// Anybody who knows the ID of a job without an organization can submit it once more.
func TestASecondSubmissionHidesNoJob(t *testing.T) {
	a := uuid.New()
	sink := memsink.New(nil)
	store(t, sink, written(t, a, "capture-payment", "", ends(t, nil))...)
	store(t, sink, written(t, a, "forged", "evil", func(*jobaudit.Trail) {})...)
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	require.Equal(t, map[string]string{a.String(): "success"}, listed(t, ui, "nobody's", ""))
}

func TestTheListAgreesWithReplayOverAnyHistory(t *testing.T) {
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		var all []jobaudit.Record
		var ids []uuid.UUID
		for range 20 {
			id := uuid.New()
			if seed%2 == 0 {
				id = uuid.Must(uuid.NewV7())
			}
			ids = append(ids, id)
			for range 1 + random.IntN(2) {
				var how error
				if random.IntN(2) == 0 {
					how = fmt.Errorf("no money left")
				}
				list := written(t, id, "capture-payment", []string{"acme", "evil"}[random.IntN(2)], ends(t, how))
				all = append(all, list[:1+random.IntN(len(list))]...)
			}
		}
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		sink := memsink.New(nil)
		store(t, sink, all...)
		ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
		got := listed(t, ui, "auditor", "")
		for _, id := range ids {
			job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: id}))
			want := string(job.State)
			if err != nil {
				want = "contradictory"
			}
			require.Equal(t, want, got[id.String()], "seed %d, %s", seed, id)
		}
	}
}

// What a verification did not see is not said to be verified.
func TestAJobThatHasGoneOnSinceAVerificationIsNotSaidToBeVerified(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	done := make(chan bool)
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink, Verify: func(context.Context, func(done, total int64)) (webui.Verification, error) {
		defer close(done)
		return webui.Verification{Level: "L1", Size: 7}, nil
	}}}, options())
	before := submit(t, rec, submission("capture-payment", "acme"))
	for time.Now().UnixMilli() <= madeAt(before.JobID()) { // IDs have milliseconds
		runtime.Gosched()
	}
	after := submit(t, rec, submission("capture-payment", "acme"))
	for now := time.Now().UnixMilli(); time.Now().UnixMilli() <= now+1; {
		runtime.Gosched()
	}
	r := httptest.NewRequest(http.MethodPost, "/log/verify", strings.NewReader("log=0"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Who", "auditor")
	ui.ServeHTTP(httptest.NewRecorder(), r)
	<-done
	for now := time.Now().UnixMilli(); time.Now().UnixMilli() <= now+1; {
		runtime.Gosched()
	}
	ends(t, nil)(after)
	page := ""
	for !strings.Contains(page, "up to event 7") {
		_, page = get(t, ui, "auditor", "/jobs/"+before.JobID().String())
	}
	require.Contains(t, page, "the log is verified")
	require.NotContains(t, page, "newer event")
	_, page = get(t, ui, "auditor", "/jobs/"+after.JobID().String())
	require.NotContains(t, page, "the log is verified")
	require.Contains(t, page, "This job has a newer event, which that does not cover.")
}

func madeAt(id uuid.UUID) int64 {
	sec, nsec := id.Time().UnixTime()
	return sec*1000 + nsec/1_000_000
}

func TestTheSearchThatIsShownIsMarked(t *testing.T) {
	ui := pages(t, []webui.Log{{Name: "web", Reader: memsink.New(nil)}}, options())
	for search, want := range map[string]string{"": "All", "?state=running": "Running", "?since=24h&state=failed": "Failed in the last 24 hours",
		"?state=cancelled&since=24h": "Cancelled in the last 24 hours", "?state=failed": "", "?action=x": "", "?state=failed&since=24h&who=ada": ""} {
		_, page := get(t, ui, "auditor", "/jobs"+search)
		marked := regexp.MustCompile(`(?s)<p class="views">.*?aria-current="true">([^<]*)<.*?</p>`).FindStringSubmatch(page)
		require.Equal(t, want == "", strings.Contains(page, `<details class="search" open>`), "the form is open for a search of one's own: %s", search)
		if want == "" {
			require.Nil(t, marked, search)
			continue
		}
		require.NotNil(t, marked, search)
		require.Equal(t, want, marked[1], search)
	}
}
