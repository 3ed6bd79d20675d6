package publish_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/examples/unittest/publish"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

const token = "a-token-that-must-not-be-stored"

// newWorker returns a worker whose server gives one answer to everybody who
// knows the token, and counts the uploads.
func newWorker(t *testing.T, sink jobaudit.AuditSink, answer int) (*publish.Worker, *int) {
	t.Helper()
	uploads := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uploads++
		if r.Header.Get("Authorization") != "Bearer "+token {
			answer = http.StatusForbidden
		}
		w.WriteHeader(answer)
	}))
	t.Cleanup(server.Close)
	redactors, err := publish.Redactors()
	require.NoError(t, err)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "publisher", Environment: "test"},
		&jobaudit.Options{Redactors: redactors})
	require.NoError(t, err)
	t.Cleanup(func() { _ = recorder.Close(context.Background()) })
	return &publish.Worker{Recorder: recorder, URL: server.URL}, &uploads
}

func newOrder(t *testing.T) publish.Order {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.txt")
	require.NoError(t, os.WriteFile(file, []byte("a report"), 0o600))
	return publish.Order{Upload: publish.Upload{File: file, Token: token}, By: "ada", Why: "the quarter is over"}
}

func TestAPublishedFileIsOnRecord(t *testing.T) {
	sink := memsink.New(nil)
	worker, _ := newWorker(t, sink, http.StatusCreated)
	_, err := worker.Publish(t.Context(), newOrder(t))
	require.NoError(t, err)

	job := sink.Jobs()[0]
	sink.ExpectStates(t, job, jobaudit.Pending, jobaudit.Running, jobaudit.Success)
	trail := sink.Trail(job)
	require.Equal(t, "ada", trail[0].Who.Principal.ID)
	require.Equal(t, "the quarter is over", trail[0].Why.Reason)
	require.Contains(t, string(trail[0].What.Inputs), "report.txt")
	require.Contains(t, string(trail[len(trail)-1].Data.Output), `"bytes":8`)
}

func TestTheTokenIsUsedAndNowhereOnRecord(t *testing.T) {
	sink := memsink.New(nil)
	worker, uploads := newWorker(t, sink, http.StatusCreated)
	_, err := worker.Publish(t.Context(), newOrder(t))
	require.NoError(t, err)
	require.Equal(t, 1, *uploads)
	sink.ExpectAbsent(t, token)
}

func TestAFailureIsOnRecordWithItsCode(t *testing.T) {
	sink := memsink.New(nil)
	worker, _ := newWorker(t, sink, http.StatusServiceUnavailable)
	_, err := worker.Publish(t.Context(), newOrder(t))
	require.ErrorIs(t, err, publish.StatusError(503), "the worker's own error, unchanged")

	job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: sink.Jobs()[0]}))
	require.NoError(t, err)
	require.Equal(t, jobaudit.Failed, job.State)
	require.EqualValues(t, "HTTP_503", job.Error.Code)
}

func TestAWorkerInTheBackgroundIsWaitedForByItsRecord(t *testing.T) {
	sink := memsink.New(nil)
	worker, _ := newWorker(t, sink, http.StatusCreated)
	orders := make(chan publish.Order)
	defer close(orders)
	go worker.Serve(t.Context(), orders)
	orders <- newOrder(t)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e := sink.ExpectEvent(ctx, t, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}})
	require.Equal(t, "publish-file", e.What.Action)
}

func TestNothingIsPublishedThatCannotBeRecorded(t *testing.T) {
	sink := faultsink.New(memsink.New(nil))
	worker, uploads := newWorker(t, sink, http.StatusCreated)
	sink.Set(faultsink.Rule{Fault: faultsink.Fail})
	_, err := worker.Publish(t.Context(), newOrder(t))
	require.ErrorIs(t, err, faultsink.ErrInjected)
	require.Zero(t, *uploads)
	sink.Set()
}
