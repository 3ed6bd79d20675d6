package jobhttp_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/jobhttp"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func TestProbesAndMetricsSayWhatTheRecorderDoes(t *testing.T) {
	memory := memsink.New(nil)
	sink := faultsink.New(memory)
	s := newServiceOver(t, memory, sink, memory, nil)
	get := func(h http.Handler) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w
	}
	require.Equal(t, http.StatusOK, get(jobhttp.Ready(s.recorder)).Code)
	s.post(t, "ada", order, "")
	metrics := get(jobhttp.Metrics(s.recorder))
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", metrics.Header().Get("Content-Type"))
	require.Contains(t, metrics.Body.String(), "\njobaudit_healthy 1\n")
	require.Contains(t, metrics.Body.String(), "\njobaudit_events_stored_total 3\n")
	sample := regexp.MustCompile(`^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+ [0-9.]+)$`)
	for line := range strings.Lines(metrics.Body.String()) {
		require.Regexp(t, sample, strings.TrimSuffix(line, "\n"))
	}

	sink.Set(faultsink.Rule{Fault: faultsink.Fail})
	s.post(t, "ada", order, newKey())
	failed := get(jobhttp.Ready(s.recorder))
	require.Equal(t, http.StatusServiceUnavailable, failed.Code)
	require.Equal(t, "not ready\n", failed.Body.String(), "the store's error is not for everybody")
	require.Contains(t, get(jobhttp.Metrics(s.recorder)).Body.String(), "\njobaudit_healthy 0\n")
	sink.Set()
}
