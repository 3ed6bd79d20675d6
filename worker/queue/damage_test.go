package queue_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// broken is a log in which an error stands behind each record.
type broken struct {
	jobaudit.AuditReader
	err error
}

func (b broken) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for r, err := range b.AuditReader.Records(ctx, q) {
			if !yield(r, err) || !yield(jobaudit.Record{}, b.err) {
				return
			}
		}
	}
}

// What a reconciler asks of the logs is answered from what can be read of them,
// and what cannot is reported; any other error is the answer.
func TestRecordsThatCannotBeReadAreReportedAndHideNoOthers(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	asked := grace
	asked.Queue = jobaudit.Ref{System: "mail", ID: "1"}
	trail, err := rec.Submit(t.Context(), asked)
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	_, err = rec.Submit(t.Context(), asked)
	require.NoError(t, err)

	questions := map[string]func(*queue.Logs) (any, error){
		"past":    func(l *queue.Logs) (any, error) { return l.Past(t.Context(), trail.JobID()) },
		"holds":   func(l *queue.Logs) (any, error) { return l.Holds(t.Context(), trail.Carrier().Recorder()) },
		"unended": func(l *queue.Logs) (any, error) { return l.Unended(t.Context(), "mail", time.Time{}) },
		"lost": func(l *queue.Logs) (any, error) {
			return l.Lost(t.Context(), trail.Carrier(), queue.Past{}, trail.JobID())
		},
		"end": func(l *queue.Logs) (any, error) {
			var report queue.Report
			complete := func(time.Time) bool { return false }
			gone := queue.Gone{Recorder: rec, Watch: new(queue.Settling).Watch(-1), Complete: complete}
			return &report, gone.End(t.Context(), l, trail.JobID(), &report)
		},
	}
	unreadable, gone := &jobaudit.UnreadableError{Place: "line 7", Err: errors.New("garbage")}, errors.New("the log is gone")
	for name, ask := range questions {
		quiet := func(_ context.Context, err error) { t.Errorf("%s: told of %v", name, err) }
		want, err := ask(queue.NewLogs([]jobaudit.AuditReader{sink}, quiet))
		require.NoError(t, err, name)

		told := 0
		count := func(_ context.Context, err error) {
			require.ErrorIs(t, err, unreadable)
			told++
		}
		got, err := ask(queue.NewLogs([]jobaudit.AuditReader{broken{sink, fmt.Errorf("read: %w", unreadable)}}, count))
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
		require.Positive(t, told, name)

		_, err = ask(queue.NewLogs([]jobaudit.AuditReader{broken{sink, gone}}, quiet))
		require.ErrorIs(t, err, gone, name)
	}
}
