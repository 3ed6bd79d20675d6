package jobhttp_test

import (
	"context"
	"encoding/json"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/jobhttp"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// page is a list's answer.
type page struct {
	RequestID string
	Jobs      []jobaudit.Job
	Next      string
}

func (s *service) list(t testing.TB, who string, values url.Values) page {
	t.Helper()
	w := s.get(t, who, "/api/jobs?"+values.Encode())
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var p page
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	require.Equal(t, w.Header().Get("X-Request-Id"), p.RequestID)
	return p
}

func TestAListHasEveryJobOfTheOrganizationOnceTheNewestFirst(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	var all, pending []uuid.UUID
	for i := range 7 {
		job := s.post(t, "ada", order, "").job(http.StatusAccepted)
		all = append([]uuid.UUID{job.ID}, all...)
		if i%2 == 0 {
			run(t, s.dispatched[i], "a line")
		} else {
			pending = append([]uuid.UUID{job.ID}, pending...)
		}
		s.post(t, "eve", order, "")
		s.dispatched = s.dispatched[:i+1]
		s.post(t, "lone", order, "")
		s.dispatched = s.dispatched[:i+1]
	}
	for limit, sizes := range map[string][]int{"3": {3, 3, 1}, "7": {7}, "50": {7}, "1": {1, 1, 1, 1, 1, 1, 1}} {
		var got []uuid.UUID
		values := url.Values{"limit": {limit}}
		for _, size := range sizes {
			p := s.list(t, "bob", values)
			require.Len(t, p.Jobs, size)
			for _, job := range p.Jobs {
				got = append(got, job.ID)
			}
			values.Set("cursor", p.Next)
			s.post(t, "eve", order, "") // what comes meanwhile moves nothing
		}
		require.Equal(t, []string{""}, values["cursor"])
		require.Equal(t, all, got)
	}
	var got []uuid.UUID
	for _, job := range s.list(t, "bob", url.Values{"state": {"pending"}, "userId": {"ada"}, "action": {action}}).Jobs {
		got = append(got, job.ID)
	}
	require.Equal(t, pending, got)
	require.Empty(t, s.list(t, "bob", url.Values{"userId": {"bob"}}).Jobs)
	require.Empty(t, s.list(t, "bob", url.Values{"until": {"2020-01-01T00:00:00Z"}}).Jobs)
	require.Len(t, s.list(t, "bob", url.Values{"since": {"2020-01-01T00:00:00+02:00"}}).Jobs, 7)
	require.Len(t, s.list(t, "bob", url.Values{"correlationId": {all[0].String()}}).Jobs, 1)
	require.Len(t, s.list(t, "lone", nil).Jobs, 7, "no organization is one, too")
}

// counting is a reader that tells what was read.
type counting struct {
	*memsink.Sink
	mu      sync.Mutex
	queries []jobaudit.Query
	records int
}

func (c *counting) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		c.mu.Lock()
		q := q
		c.queries = append(c.queries, q)
		c.mu.Unlock()
		for r, err := range c.Sink.Records(ctx, q) {
			c.mu.Lock()
			c.records++
			c.mu.Unlock()
			if !yield(r, err) {
				return
			}
		}
	}
}

func (c *counting) reset() (queries []jobaudit.Query, records int) {
	queries, records = c.queries, c.records
	c.queries, c.records = nil, 0
	return queries, records
}

func TestAnotherOrganizationsJobCannotBeToldFromNone(t *testing.T) {
	log := memsink.New(nil)
	reader := &counting{Sink: log}
	s := newServiceOver(t, log, log, reader, nil)
	job := s.post(t, "ada", order, "").job(http.StatusAccepted).ID
	lines := make([]string, 200)
	run(t, s.dispatched[0], lines...)
	before := log.Len()
	for _, c := range []call{
		{method: "GET", path: "/api/jobs/ID"},
		{method: "GET", path: "/api/jobs/ID/events"},
		{method: "GET", path: "/api/jobs/ID/events?cursor=100"},
		{method: "DELETE", path: "/api/jobs/ID"},
		{method: "GET", path: "/api/jobs?cursor=ID"},
	} {
		c.who, c.header = "eve", map[string]string{"X-Request-Id": uuid.NewString()}
		reader.reset()
		answers := map[uuid.UUID]answer{}
		asked := map[uuid.UUID][]jobaudit.Query{}
		path := c.path
		for _, id := range []uuid.UUID{job, uuid.New()} {
			c.path = strings.Replace(path, "ID", id.String(), 1)
			answers[id] = s.do(t, c)
			queries, records := reader.reset()
			require.LessOrEqual(t, records, 1, "not the records of the whole job")
			for i := range queries {
				queries[i].JobID = uuid.Nil
			}
			asked[id] = queries
		}
		for id, w := range answers {
			require.Equal(t, answers[job].Code, w.Code)
			require.Equal(t, answers[job].Header(), w.Header())
			require.Equal(t, answers[job].Body.String(), w.Body.String())
			require.Equal(t, asked[job], asked[id])
		}
	}
	require.Equal(t, before, log.Len(), "nothing is recorded of it")
}

func TestWhatAnotherOrganizationWroteUnderAJobsIDIsNotTold(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	job := s.post(t, "ada", order, "").job(http.StatusAccepted)
	run(t, s.dispatched[0], "ours")
	// Who controls the queue uses the ID for a job of their own.
	forged, err := s.recorder.Submit(t.Context(), jobaudit.Submission{
		ID: job.ID, Action: "other", OrgID: "evil", Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "eve"},
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "to look like the other"},
	})
	require.NoError(t, err)
	require.NoError(t, forged.Start(t.Context(), jobaudit.Execution{}))
	forged.Log(t.Context(), "theirs: line")
	require.NoError(t, forged.Fail(t.Context(), &jobaudit.FieldError{Problem: "theirs: error"}))

	w := s.get(t, "ada", "/api/jobs/"+job.ID.String())
	require.Equal(t, []string{"ours"}, w.job(http.StatusOK).Logs)
	require.NotContains(t, w.Body.String(), "theirs")
	require.NotContains(t, s.get(t, "ada", "/api/jobs/"+job.ID.String()+"/events").Body.String(), "theirs")
	require.NotContains(t, s.get(t, "ada", "/api/jobs").Body.String(), "theirs")
	s.get(t, "eve", "/api/jobs/"+job.ID.String()).fails(http.StatusNotFound, "NOT_FOUND")
}

// acts are the reads on record.
func acts(log *memsink.Sink) []jobaudit.Event {
	var found []jobaudit.Event
	for r := range log.Records(context.Background(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditRead, jobaudit.AuditRequested}}) {
		found = append(found, r.Event())
	}
	return found
}

func TestReadingIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, memsink.New(nil), nil)
		job := s.post(t, "ada", order, "").job(http.StatusAccepted)
		path := "/api/jobs/" + job.ID.String()
		run(t, s.dispatched[0])
		s.get(t, "ada", path).job(http.StatusOK)
		s.get(t, "ada", path+"/events")
		require.Empty(t, acts(s.log), "one's own status and log are no event")

		for range 3 {
			s.get(t, "bob", path).job(http.StatusOK)
		}
		s.get(t, "bob", path+"/events")
		s.get(t, "robot", path).job(http.StatusOK) // of the same ID, and somebody else
		s.list(t, "ada", url.Values{"state": {"success"}})
		s.list(t, "ada", nil)
		got := acts(s.log)
		require.Len(t, got, 4)
		for i, want := range []struct {
			who   string
			kind  jobaudit.PrincipalKind
			scope jobaudit.Query
		}{
			{"bob", jobaudit.User, jobaudit.Query{JobID: job.ID, OrgID: "acme"}},
			{"ada", jobaudit.Service, jobaudit.Query{JobID: job.ID, OrgID: "acme"}},
			{"ada", jobaudit.User, jobaudit.Query{State: jobaudit.Success, OrgID: "acme"}},
			{"ada", jobaudit.User, jobaudit.Query{OrgID: "acme"}},
		} {
			require.Equal(t, want.who, got[i].Who.Principal.ID)
			require.Equal(t, want.kind, got[i].Who.Principal.Kind)
			require.Equal(t, "acme", got[i].Who.OrgID)
			require.Equal(t, want.scope, got[i].Data.Act.Scope)
			require.JSONEq(t, `{"count":1}`, string(got[i].Data.Act.Data))
		}

		time.Sleep(6 * time.Minute)
		synctest.Wait()
		got = acts(s.log)
		require.Len(t, got, 5, "one for those that were counted")
		require.JSONEq(t, `{"count":3,"since":"2000-01-01T00:00:00Z"}`, string(got[4].Data.Act.Data))

		s.get(t, "bob", path).job(http.StatusOK) // counted: the last event is a minute old
		require.Len(t, acts(s.log), 5)
		s.Close()
		require.Len(t, acts(s.log), 6, "what was counted is on record when the API is closed")
	})
}

func TestAReadThatCannotBeRecordedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := memsink.New(nil)
		sink := faultsink.New(memory)
		s := newServiceOver(t, memory, sink, memory, nil)
		job := s.post(t, "ada", order, "").job(http.StatusAccepted)
		path := "/api/jobs/" + job.ID.String()
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { s.get(t, "bob", path).fails(http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE") })
		}
		all.Wait()
		s.get(t, "ada", path).job(http.StatusOK)
		sink.Set()
		s.get(t, "bob", path).job(http.StatusOK)
		s.Close()
		require.NoError(t, s.recorder.Close(t.Context()))
	})
}

// Who asked for it is on record though the worker is quicker than the answer.
func TestACancellerIsOnRecordHoweverQuickTheWorkerIs(t *testing.T) {
	for state, end := range map[jobaudit.JobState]func(*jobaudit.Trail) error{
		jobaudit.Cancelled: func(tr *jobaudit.Trail) error { return tr.Cancel(t.Context(), "told to stop") },
		jobaudit.Success:   func(tr *jobaudit.Trail) error { return tr.Succeed(t.Context()) },
	} {
		s := newService(t, memsink.New(nil), nil)
		job := s.post(t, "ada", order, "").job(http.StatusAccepted)
		require.NoError(t, s.dispatched[0].Start(t.Context(), jobaudit.Execution{}))
		s.quick = func(jobaudit.Job) error { return end(s.dispatched[0]) }
		answer := s.do(t, call{method: "DELETE", path: "/api/jobs/" + job.ID.String() + "?reason=quick", who: "bob"})
		if state == jobaudit.Cancelled {
			require.Equal(t, state, answer.job(http.StatusOK).State)
		} else {
			answer.fails(http.StatusConflict, "CONFLICT")
		}
		list := acts(s.log)
		require.NotEmpty(t, list, state)
		require.Equal(t, jobaudit.AuditRequested, list[0].Type)
		require.Equal(t, "bob", list[0].Who.Principal.ID)
	}
}

func TestACancellerIsOnRecordAndIsNotTheSubmitter(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	job := s.post(t, "ada", order, "").job(http.StatusAccepted)
	cancelled := s.do(t, call{method: "DELETE", path: "/api/jobs/" + job.ID.String() + "?reason=no+longer+needed", who: "bob"}).job(http.StatusOK)
	require.Equal(t, jobaudit.Cancelled, cancelled.State)
	require.Equal(t, "ada", cancelled.Metadata.UserID)
	trail := s.log.Trail(job.ID)
	last := trail[len(trail)-1]
	require.Equal(t, jobaudit.JobCancelled, last.Type)
	require.Equal(t, "bob", last.Who.Principal.ID)
	require.Equal(t, "no longer needed", last.Why.Reason)
	require.Equal(t, []string{"no longer needed"}, s.cancelled)

	// The log has no start yet, and the queue has given it to a worker.
	starting := s.post(t, "ada", order, "").job(http.StatusAccepted)
	w := s.do(t, call{method: "DELETE", path: "/api/jobs/" + starting.ID.String() + "?reason=too+late", who: "bob"})
	require.Equal(t, jobaudit.Pending, w.job(http.StatusAccepted).State, "it may yet run")
	s.dispatched = s.dispatched[:1]

	running := s.post(t, "ada", order, "").job(http.StatusAccepted)
	require.NoError(t, s.dispatched[1].Start(t.Context(), jobaudit.Execution{}))
	w = s.do(t, call{method: "DELETE", path: "/api/jobs/" + running.ID.String(), who: "bob"})
	require.Equal(t, jobaudit.Running, w.job(http.StatusAccepted).State, "its worker records the end")
	var asked []jobaudit.Event
	for _, act := range acts(s.log) {
		if act.Type == jobaudit.AuditRequested {
			asked = append(asked, act)
		}
	}
	require.Len(t, asked, 2)
	act := asked[1]
	require.Equal(t, "bob", act.Who.Principal.ID)
	require.Equal(t, running.ID, act.Data.Act.Scope.JobID)
	require.JSONEq(t, `{"request":"cancel"}`, string(act.Data.Act.Data))
	require.NoError(t, s.dispatched[1].Cancel(t.Context(), "it was asked to stop"))
	require.Equal(t, jobaudit.Cancelled, s.get(t, "ada", "/api/jobs/"+running.ID.String()).job(http.StatusOK).State)
}

// Whatever a DELETE finds and does, the job comes back in full only to who may read it,
// and that read is on record.
func TestWhoCancelsAJobOfAnothersReadsItOnlyByTheRules(t *testing.T) {
	type situation struct {
		name    string
		prepare func(*testing.T, *service, *jobaudit.Trail)
		reason  string
		status  int
		state   jobaudit.JobState
	}
	cancelled := func(t *testing.T, _ *service, trail *jobaudit.Trail) {
		require.NoError(t, trail.Cancel(t.Context(), "not needed"))
	}
	stopped := func(t *testing.T, _ *service, trail *jobaudit.Trail) {
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
		trail.Log(t.Context(), "a line of theirs")
		require.NoError(t, trail.Cancel(t.Context(), "it was asked to stop"))
	}
	running := func(t *testing.T, _ *service, trail *jobaudit.Trail) {
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
		trail.Log(t.Context(), "a line of theirs")
	}
	pending := func(*testing.T, *service, *jobaudit.Trail) {}
	for _, is := range []situation{
		{"cancelled before it ran", cancelled, "", 200, jobaudit.Cancelled},
		{"cancelled while it ran", stopped, "", 200, jobaudit.Cancelled},
		{"pending", pending, "", 200, jobaudit.Cancelled},
		{"pending, and with a worker", pending, "too late", 202, jobaudit.Pending},
		{"running", running, "", 202, jobaudit.Running},
		{"cancelled while the queue is asked", pending, "meanwhile", 200, jobaudit.Cancelled},
	} {
		for who, want := range map[string]struct{ sees, reads bool }{
			"ada": {true, false}, "bob": {true, true}, "robot": {true, true}, "stopper": {false, false},
		} {
			t.Run(is.name+"/"+who, func(t *testing.T) {
				var trail *jobaudit.Trail
				s := newService(t, memsink.New(nil), func(o *jobhttp.Options) {
					authenticate, remove := o.Authenticate, o.Cancel
					o.Authenticate = func(r *http.Request) (jobhttp.Caller, error) {
						if r.Header.Get("Who") == "stopper" {
							return jobhttp.Caller{Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "stopper"}, OrgID: "acme"}, nil
						}
						return authenticate(r)
					}
					o.Authorize = func(_ context.Context, c jobhttp.Caller, op jobhttp.Operation, _ jobaudit.Job) error {
						if c.ID == "stopper" && op == jobhttp.Read {
							return jobaudit.ErrDenied
						}
						return nil
					}
					o.Cancel = func(ctx context.Context, job jobaudit.Job, reason string) (bool, error) {
						if reason == "meanwhile" {
							return true, trail.Cancel(ctx, "its worker was faster")
						}
						return remove(ctx, job, reason)
					}
				})
				submitted := s.post(t, "ada", order, "").job(http.StatusAccepted)
				trail = s.dispatched[0]
				is.prepare(t, s, trail)
				before := len(acts(s.log))
				w := s.do(t, call{method: "DELETE", path: "/api/jobs/" + submitted.ID.String() + "?" + url.Values{"reason": {is.reason}}.Encode(), who: who})
				job := w.job(is.status)
				require.Equal(t, is.state, job.State)
				require.Equal(t, submitted.ID, job.ID)
				var reads []string
				for _, act := range acts(s.log)[before:] {
					if act.Type == jobaudit.AuditRead {
						reads = append(reads, string(act.Who.Principal.Kind)+" "+act.Who.Principal.ID)
						require.Equal(t, jobaudit.Query{JobID: job.ID, OrgID: "acme"}, act.Data.Act.Scope)
					}
				}
				if want.reads {
					require.Equal(t, []string{string(callers[who].Kind) + " " + callers[who].ID}, reads)
				} else {
					require.Empty(t, reads)
				}
				if want.sees {
					require.Equal(t, "ada", job.Metadata.UserID)
					require.JSONEq(t, `{"month":"2026-01"}`, string(job.Metadata.Inputs))
					return
				}
				for _, told := range []string{`"ada"`, "2026-01", action, "a line of theirs", "asked to stop", "faster"} {
					require.NotContains(t, w.Body.String(), told)
				}
			})
		}
	}
}

var anyID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// Over all pages of a list a caller gets each job of the own organization once, and
// nowhere the ID of another one's job, or of an event of it. That somebody else wrote to a
// job of the own is told.
func TestNoPageOfTheListGivesAnIDOfAnotherOrganization(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 1))
		log := memsink.New(nil)
		s := newService(t, log, nil)
		orgs := map[string]string{"ada": "acme", "eve": "evil", "lone": ""}
		jobs := map[string]map[string]bool{"ada": {}, "eve": {}, "lone": {}}
		var ids []uuid.UUID
		for range 120 {
			who := []string{"ada", "eve", "lone"}[random.IntN(3)]
			c := callers[who]
			tr, err := s.recorder.Submit(t.Context(), jobaudit.Submission{Action: action, Principal: c.Principal, OrgID: c.OrgID,
				Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "asked for"}})
			require.NoError(t, err)
			jobs[who][tr.JobID().String()] = true
			ids = append(ids, tr.JobID())
			if random.IntN(3) == 0 {
				run(t, tr, "a line")
			}
		}
		for range 10 { // who knows a job's ID can submit it once more
			c := callers[[]string{"ada", "eve", "lone"}[random.IntN(3)]]
			_, _ = s.recorder.Submit(t.Context(), jobaudit.Submission{ID: ids[random.IntN(len(ids))], Action: action, Principal: c.Principal, OrgID: c.OrgID,
				Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a second time"}})
		}
		others := map[string]map[string]bool{"ada": {}, "eve": {}, "lone": {}}
		for r, err := range log.Records(t.Context(), jobaudit.Query{}) {
			require.NoError(t, err)
			for who, org := range orgs {
				if r.Event().Who.OrgID != org && !jobs[who][r.JobID().String()] {
					others[who][r.ID().String()], others[who][r.JobID().String()] = true, true
				}
			}
		}
		for who := range orgs {
			got := map[string]int{}
			for path := "/api/jobs?limit=7"; path != ""; {
				a := s.get(t, who, path)
				require.Equal(t, 200, a.Code, "seed %d, %s, %s: %s", seed, who, path, a.Body)
				for _, id := range anyID.FindAllString(a.Body.String(), -1) {
					require.False(t, others[who][id], "seed %d, %s, %s: %s", seed, who, path, id)
				}
				var page struct {
					Jobs []jobaudit.Job
					Next string
				}
				require.NoError(t, json.Unmarshal(a.Body.Bytes(), &page))
				for _, job := range page.Jobs {
					got[job.ID.String()]++
				}
				path = ""
				if page.Next != "" {
					path = "/api/jobs?limit=7&cursor=" + page.Next
				}
			}
			for id, times := range got {
				require.Equal(t, 1, times, id)
				require.True(t, jobs[who][id])
			}
			require.Len(t, got, len(jobs[who]), "seed %d, %s", seed, who)
		}
	}
}
