package jobhttp

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/jobaudit/jobaudit"
)

// Ready returns a handler for probes: 200 while a job that is submitted now may be
// expected to start, as [jobaudit.Recorder.Healthy] says, and otherwise 503. It
// tells anybody who asks, and no more than that.
func Ready(recorder *jobaudit.Recorder) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if recorder.Healthy() != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "not ready\n")
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
}

// Metrics returns a handler that gives what [jobaudit.Recorder.Stats] says in
// Prometheus' text format, version 0.0.4.
func Metrics(recorder *jobaudit.Recorder) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		s := recorder.Stats()
		healthy := 1
		if recorder.Healthy() != nil {
			healthy = 0
		}
		metric := func(name, kind, help string, value any) {
			_, _ = fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s %v\n", name, help, name, kind, name, value)
		}
		metric("jobaudit_healthy", "gauge", "1 if a job that is submitted now may be expected to start.", healthy)
		metric("jobaudit_events_stored_total", "counter", "Events that the sink has acknowledged.", s.Stored)
		metric("jobaudit_events_lost_total", "counter", "Events that were dropped or refused.", s.Lost)
		metric("jobaudit_events_buffered", "gauge", "Events that wait for the sink.", s.Buffered)
		metric("jobaudit_events_in_fallback", "gauge", "Events that the fallback took and that have not come home.", s.InFallback)
		metric("jobaudit_executions", "gauge", "Executions that were begun here and have no end.", s.Executions)
		metric("jobaudit_oldest_buffered_timestamp_seconds", "gauge", "When the oldest event that waits for the sink was recorded; 0 if none waits.", seconds(s.Oldest))
		metric("jobaudit_sink_last_failure_timestamp_seconds", "gauge", "When the sink last failed; 0 if never.", seconds(s.LastFailed))
	})
}

func seconds(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return fmt.Sprintf("%d.%03d", t.Unix(), t.Nanosecond()/1e6)
}
