package riveraudit_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

// As long as it is not known whether River has the rows, jobs that may be on record are
// not ended: a worker may run them.
func TestAJobThatMayBeOnRecordIsEndedOnlyIfItsRowIsNotThere(t *testing.T) {
	for name, insert := range map[string]struct {
		err   error
		state jobaudit.JobState
	}{
		"the connection broke":   {io.ErrUnexpectedEOF, jobaudit.Pending},
		"the database refused":   {&pgconn.PgError{Code: "23514"}, jobaudit.Cancelled},
		"the adapter refuses it": {nil, jobaudit.Cancelled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := &unsureSink{Sink: memsink.New(nil), bad: 2}
				rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, unsureOptions())
				require.NoError(t, err)
				audit := riveraudit.New(rec, &riveraudit.Options{
					Submission: func(context.Context, *rivertype.JobInsertParams) jobaudit.Submission {
						return jobaudit.Submission{
							Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
							Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the test asks"},
						}
					},
					OnError: func(context.Context, error) {},
				})
				params := []*rivertype.JobInsertParams{
					{Kind: "task", EncodedArgs: []byte("{}")}, {Kind: "task", EncodedArgs: []byte("{}")},
				}
				_, err = audit.InsertMany(t.Context(), params, func(context.Context) ([]*rivertype.JobInsertResult, error) {
					time.Sleep(10 * unsureTimeout) // it is known later that the submission is unsure
					synctest.Wait()
					for _, id := range sink.Jobs() {
						sink.ExpectStates(t, id, jobaudit.Pending)
					}
					return nil, insert.err
				})
				require.Error(t, err)
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Len(t, sink.Jobs(), 2)
				for _, id := range sink.Jobs() {
					job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: id}))
					require.NoError(t, err)
					require.Equal(t, insert.state, job.State)
				}
				require.NoError(t, rec.Close(context.WithoutCancel(t.Context())))
			})
		})
	}
}
