package webui_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/webui"
)

// A job that its queue will run again owes no sign of life; one without an end does.
func TestOnlyAnExecutionWithoutAnEndOwesASignOfLife(t *testing.T) {
	sink := memsink.New(nil)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, &jobaudit.Options{Heartbeat: -1})
	require.NoError(t, err)
	ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, options())
	ids := map[string]string{}
	for name, end := range map[string]func(*jobaudit.Trail){
		"failed":  func(tr *jobaudit.Trail) { tr.Retrying(t.Context(), errors.New("busy")) },
		"put-off": func(tr *jobaudit.Trail) { tr.Deferring(t.Context(), "later") },
		"silent":  func(*jobaudit.Trail) {},
	} {
		tr := submit(t, rec, submission(name, "acme"))
		require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{Deadline: time.Nanosecond}))
		end(tr)
		ids[name] = tr.JobID().String()
	}
	require.NoError(t, rec.Close(t.Context())) // all is stored then
	_, log := get(t, ui, "auditor", "/log")
	for name, id := range ids {
		_, job := get(t, ui, "auditor", "/jobs/"+id)
		require.Equal(t, name == "silent", strings.Contains(job, "No sign of life"), name)
		require.Equal(t, name == "silent", strings.Contains(log, id), name)
	}
}
