package riveraudit_test

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

func TestAJobOfWhichItIsNotKnownWhetherItIsOnRecordHasAnEndIfItIsNotInserted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	eachUnsure(t, func(t *testing.T, sink *unsureSink) {
		rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, unsureOptions())
		require.NoError(t, err)
		w.audit = riveraudit.New(rec, &riveraudit.Options{
			Logs: []jobaudit.AuditReader{sink}, Submission: w.asking, OnError: func(context.Context, error) {},
		})
		client := w.inserter()
		later := &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)}
		results, err := client.InsertMany(t.Context(), []river.InsertManyParams{{Args: task{}, InsertOpts: later}, {Args: task{}, InsertOpts: later}})
		if err == nil { // they are River's
			for _, r := range results {
				id, err := w.audit.JobID(t.Context(), r.Job)
				require.NoError(t, err)
				sink.End(t, rec, id)
			}
		}
		sink.Ended(t)
		require.NoError(t, rec.Close(t.Context()))
	})
}
