package riveraudit_test

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

// A web process inserts, a worker process works, and one of them reconciles: it
// reads the logs of both.
func Example_severalProcesses() {
	web := func(recorder *jobaudit.Recorder, config *river.Config) {
		audit := riveraudit.New(recorder, &riveraudit.Options{Submission: whoAsks})
		config.Middleware = append([]rivertype.Middleware{audit}, config.Middleware...)
	}
	worker := func(ctx context.Context, recorder *jobaudit.Recorder, own, webs jobaudit.AuditReader,
		start func(*riveraudit.Audit) (*river.Client[pgx.Tx], error),
	) error {
		audit := riveraudit.New(recorder, &riveraudit.Options{Logs: []jobaudit.AuditReader{own, webs}})
		client, err := start(audit) // with audit as middleware, and audit.ErrorHandler
		if err != nil {
			return err
		}
		follower := audit.Follow(ctx, client, nil)
		_, err = audit.Reconcile(ctx, client, nil) // every hour
		return errors.Join(err, client.Stop(ctx), follower.Stop(ctx))
	}
	_, _ = web, worker
}

// An operator's acts are on record: who, on which job, and why.
func ExampleAdmin() {
	stop := func(ctx context.Context, audit *riveraudit.Audit, client *river.Client[pgx.Tx], id int64) error {
		_, err := audit.NewAdmin(client).JobCancel(ctx, jobaudit.Submission{
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "grace", Verified: true},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the customer changed her mind", Ref: "TICKET-7"},
		}, id)
		return err
	}
	_ = stop
}
