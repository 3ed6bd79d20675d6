package jobhttp_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/jobhttp"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func TestAKeyStandsForOneJobForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, memsink.New(nil), nil)
		time.Sleep(20 * time.Hour) // near the end of a window
		key := newKey()
		first := s.post(t, "ada", order, key)
		job := first.job(http.StatusAccepted)
		require.Equal(t, uuid.Version(8), job.ID.Version())
		require.Equal(t, uuid.RFC4122, job.ID.Variant())

		for range 2 {
			again := s.post(t, "ada", order, key)
			require.Equal(t, job.ID, again.job(http.StatusAccepted).ID)
			require.NotEqual(t, first.Header().Get("X-Request-Id"), again.Header().Get("X-Request-Id"))
			require.Equal(t, job.Metadata.RequestID, again.job(http.StatusAccepted).Metadata.RequestID)
			time.Sleep(10 * time.Hour)
		}
		s.post(t, "ada", order+" ", key).fails(http.StatusConflict, "CONFLICT")
		s.post(t, "bob", order, key).job(http.StatusAccepted)
		require.Len(t, s.log.Jobs(), 1)
		require.NotEqual(t, job.ID, s.post(t, "eve", order, key).job(http.StatusAccepted).ID, "another organization's key is another")

		time.Sleep(4*time.Hour + time.Second)
		later := s.post(t, "ada", order, key).job(http.StatusAccepted)
		require.NotEqual(t, job.ID, later.ID)
		require.Equal(t, later.ID, s.post(t, "ada", order, key).job(http.StatusAccepted).ID)
	})
}

func TestARunningOrEndedJobIsNotDispatchedAgain(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	key := newKey()
	s.post(t, "ada", order, key)
	run(t, s.dispatched[0])
	require.Equal(t, jobaudit.Success, s.post(t, "ada", order, key).job(http.StatusAccepted).State)
	require.Len(t, s.dispatched, 1)
}

func TestAfterACrashBetweenRecordAndDispatchTheRetryDispatchesTheSameJob(t *testing.T) {
	log := memsink.New(nil)
	s := newService(t, log, nil)
	key := newKey()
	s.refuse = errors.New("the process ends here")
	s.post(t, "ada", order, key).fails(http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE")
	require.Equal(t, []jobaudit.JobState{jobaudit.Pending}, log.States(log.Jobs()[0]))

	next := newService(t, log, nil) // the next process
	job := next.post(t, "ada", order, key).job(http.StatusAccepted)
	require.Equal(t, log.Jobs(), []uuid.UUID{job.ID})
	require.Len(t, next.dispatched, 1)
	require.JSONEq(t, `{"month":"2026-01","token":"s3cret-of-the-caller"}`, next.inputs[0])
	run(t, next.dispatched[0])
	require.Equal(t, jobaudit.Success, next.get(t, "ada", "/api/jobs/"+job.ID.String()).job(http.StatusOK).State)
	require.Empty(t, next.get(t, "ada", "/api/jobs/"+job.ID.String()).job(http.StatusOK).Unapplied)
}

// Two replicas have recorders of their own, and one log.
func TestAKeyThatIsUsedTwiceAtOneMomentStandsForOneJob(t *testing.T) {
	for range 20 {
		log := memsink.New(nil)
		replicas := []*service{newService(t, log, nil), newService(t, log, nil)}
		key := newKey()
		ids := make([]uuid.UUID, 8)
		var all sync.WaitGroup
		begin := make(chan struct{})
		for i := range ids {
			all.Go(func() {
				<-begin
				ids[i] = replicas[i%2].post(t, "ada", order, key).job(http.StatusAccepted).ID
			})
		}
		close(begin)
		all.Wait()
		for _, id := range ids {
			require.Equal(t, ids[0], id)
		}
		require.Equal(t, []uuid.UUID{ids[0]}, log.Jobs())
		for _, s := range replicas {
			for _, trail := range s.dispatched {
				require.Equal(t, ids[0], trail.JobID())
			}
		}
	}
}

func TestOfTwoBodiesUnderOneKeyAtOneMomentOneIsAccepted(t *testing.T) {
	for range 20 {
		log := memsink.New(nil)
		key := newKey()
		var all sync.WaitGroup
		codes := make([]int, 2)
		for i, body := range []string{order, `{"action":"send-report","inputs":{"month":"2026-02"}}`} {
			s := newService(t, log, nil)
			all.Go(func() { codes[i] = s.post(t, "ada", body, key).Code })
		}
		all.Wait()
		require.ElementsMatch(t, []int{http.StatusAccepted, http.StatusConflict}, codes)
	}
}

// One replica's clock is in the next window already: it asks as the other does,
// and the job that stands first in the log is that of both.
func TestReplicasOnTwoSidesOfAWindowAgreeOnOneJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memsink.New(nil)
		gate := &gate{AuditSink: log}
		late := newServiceOver(t, log, gate, log, nil) // its submission is held up over midnight
		early := newService(t, log, nil)
		time.Sleep(24*time.Hour - time.Second)
		gate.hold = make(chan struct{})
		key := newKey()
		answers := make(chan uuid.UUID, 1)
		go func() { answers <- late.post(t, "ada", order, key).job(http.StatusAccepted).ID }()
		synctest.Wait()
		time.Sleep(2 * time.Second)
		first := early.post(t, "ada", order, key).job(http.StatusAccepted).ID
		close(gate.hold)
		require.Equal(t, first, <-answers)
		require.Len(t, log.Jobs(), 2)
		require.Equal(t, first, early.post(t, "ada", order, key).job(http.StatusAccepted).ID)
		require.Equal(t, first, late.post(t, "ada", order, key).job(http.StatusAccepted).ID)
	})
}

// gate is a sink that holds calls up while there is a channel to wait for.
type gate struct {
	jobaudit.AuditSink
	hold chan struct{}
}

func (g *gate) Append(ctx context.Context, records []jobaudit.Record) error {
	if g.hold != nil {
		<-g.hold
	}
	return g.AuditSink.Append(ctx, records)
}

func TestASubmissionNamesItsReasonAndTrace(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w := s.do(t, call{method: "POST", path: "/api/jobs", who: "robot", header: map[string]string{"traceparent": trace},
		body: `{"action":"send-report","reason":"the board meets"}`})
	first := s.log.Trail(w.job(http.StatusAccepted).ID)[0]
	require.Equal(t, jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "the board meets"}, first.Why)
	require.Equal(t, trace, first.TraceParent)
}

func TestAnActionWithoutAPolicyIsNoAction(t *testing.T) {
	log := memsink.New(nil)
	redactors, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{RequirePolicy: true})
	require.NoError(t, err)
	recorder, err := jobaudit.Open(t.Context(), log, jobaudit.Source{System: "s", Environment: "test"}, &jobaudit.Options{Redactors: redactors})
	require.NoError(t, err)
	s := &service{recorder: recorder, log: log}
	s.API, err = jobhttp.New(recorder, log, s.options())
	require.NoError(t, err)
	_, details := s.post(t, "ada", order, "").fails(http.StatusBadRequest, "VALIDATION_ERROR")
	require.Equal(t, map[string]any{"field": "action"}, details)
}

// FuzzRequest sends bodies and headers of all kinds: none may panic, hang, echo
// what it must not, or be answered by anything but the contract.
func FuzzRequest(f *testing.F) {
	for _, body := range []string{order, `{}`, `[`, `{"action":"a","action":"b"}`, `{"action":"a","inputs":` + "\xff" + `}`, `{"action":1e999}`, ``} {
		f.Add(body, "application/json", newKey(), "req-1", "cursor=1&state=running")
	}
	f.Add(order, "text/plain; charset", "x", uuid.NewString(), "since=2026-01-01T00:00:00Z&limit=1&%zz")
	s := newService(f, memsink.New(nil), nil)
	f.Fuzz(func(t *testing.T, body, kind, key, request, query string) {
		header := map[string]string{"Content-Type": kind, "Idempotency-Key": key, "X-Request-Id": request}
		if key == "" {
			delete(header, "Idempotency-Key")
		}
		for _, c := range []call{
			{method: "POST", path: "/api/jobs", who: "ada", body: body, header: header},
			{method: "GET", path: "/api/jobs", who: "ada", header: header, query: query},
			{method: "GET", path: "/api/jobs/" + uuid.NewString() + "/events", who: "ada", header: header, query: query},
			{method: "DELETE", path: "/api/jobs/" + uuid.NewString(), who: "ada", header: header, query: query},
		} {
			w := s.do(t, c)
			switch w.Code {
			case http.StatusOK, http.StatusAccepted:
			case http.StatusBadRequest:
				require.Contains(t, w.Body.String(), `"requestId":"`)
			case http.StatusNotFound, http.StatusConflict:
			default:
				t.Fatalf("%s: %d %s", c.method, w.Code, w.Body)
			}
		}
	})
}
