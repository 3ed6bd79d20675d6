package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// request is one request of a user who is logged in as session says.
func request(t *testing.T, method, address, session, reason string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(url.Values{"reason": {reason}}.Encode()))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if session != "" {
		r.AddCookie(&http.Cookie{Name: "session", Value: session})
	}
	return r
}

// answer has the server answer a request.
func answer(s *server, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.routes().ServeHTTP(w, r)
	return w
}

func open(t *testing.T, sink jobaudit.AuditSink) *jobaudit.Recorder {
	t.Helper()
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "reports", Environment: "test"}, nil)
	require.NoError(t, err)
	return recorder
}

func TestAJobRunsForTheUserWhoIsLoggedIn(t *testing.T) {
	sink := memsink.New(nil)
	s := newServer(open(t, sink), sink, sendReport)
	post := request(t, http.MethodPost, "/reports", "ada", "the board meets tomorrow")
	post.RemoteAddr = "192.0.2.7:4711"
	w := answer(s, post)
	require.Equal(t, http.StatusAccepted, w.Code)
	require.NoError(t, s.stop())

	first := sink.Trail(sink.Jobs()[0])[0]
	require.Equal(t, jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true, AuthMethod: "session"}, first.Who.Principal)
	require.Equal(t, "acme", first.Who.OrgID)
	require.Equal(t, "192.0.2.7", first.Where.SourceIP.String())

	location := w.Header().Get("Location")
	w = answer(s, request(t, http.MethodGet, location, "ada", ""))
	var status jobaudit.JobStatus
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &status))
	require.Equal(t, jobaudit.Success, status.Job.State)
	require.Equal(t, http.StatusNotFound, answer(s, request(t, http.MethodGet, location, "eve", "")).Code)
}

func TestNothingIsRecordedForARequestThatIsRefused(t *testing.T) {
	sink := memsink.New(nil)
	s := newServer(open(t, sink), sink, sendReport)
	require.Equal(t, http.StatusUnauthorized, answer(s, request(t, http.MethodPost, "/reports", "", "why")).Code)
	require.Equal(t, http.StatusBadRequest, answer(s, request(t, http.MethodPost, "/reports", "ada", "")).Code)
	require.Equal(t, http.StatusNotFound, answer(s, request(t, http.MethodGet, "/reports/none", "ada", "")).Code)
	require.NoError(t, s.stop())
	require.Empty(t, sink.Jobs())
}

func TestAJobThatCannotBeRecordedIsAnsweredWithUnavailableAndNotRun(t *testing.T) {
	memory := memsink.New(nil)
	sink := faultsink.New(memory)
	s := newServer(open(t, sink), memory, func(context.Context) error { panic("it must not run") })
	sink.Set(faultsink.Rule{Fault: faultsink.Fail})
	w := answer(s, request(t, http.MethodPost, "/reports", "ada", "the board meets tomorrow"))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "5", w.Header().Get("Retry-After"))

	sink.Set() // the store works again, and tells what became of the job
	require.NoError(t, s.stop())
	require.Equal(t, []jobaudit.JobState{jobaudit.Pending, jobaudit.Cancelled}, memory.States(memory.Jobs()[0]))
}

func TestAServerThatIsStoppedLeavesACompleteLog(t *testing.T) {
	dir, keyPath := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "key")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- run(ctx, dir, keyPath, listener) }()
	response, err := http.DefaultClient.Do(request(t, http.MethodPost, "http://"+listener.Addr().String()+"/reports", "ada", "the board meets tomorrow"))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusAccepted, response.StatusCode)
	stop()
	require.NoError(t, <-stopped)

	key, err := filesink.LoadOrCreateKey(dir, keyPath, "localhost/webserver")
	require.NoError(t, err)
	report, err := filesink.Verify(t.Context(), dir, &filesink.VerifyOptions{Keys: []note.Verifier{key.Verifier()}})
	require.NoError(t, err)
	require.Equal(t, auditlog.Signed, report.Level)
	require.Zero(t, report.Ghosts)
	reader, err := filesink.OpenReader(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, errors.Join(reader.Close())) }()
	var last jobaudit.EventType
	for r, err := range reader.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		last = r.Type()
	}
	require.Equal(t, jobaudit.AuditClosed, last)
}
