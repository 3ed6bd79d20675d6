package asynqaudit_test

import (
	"context"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
)

// begin holds the lines that the README and docs/adapters.md show.
func begin(recorder *jobaudit.Recorder, sink *memsink.Sink, redis asynq.RedisConnOpt, config asynq.Config) (
	*asynqaudit.Client, *asynqaudit.Server, *asynqaudit.Inspector,
) {
	audit := asynqaudit.New(recorder, &asynqaudit.Options{Logs: []jobaudit.AuditReader{sink}})
	client := audit.NewClient(redis)         // for asynq.NewClient
	server := audit.NewServer(redis, config) // for asynq.NewServer
	inspector := audit.NewInspector(redis)   // for asynq.NewInspector
	return client, server, inspector
}

func welcome(ctx context.Context, client *asynqaudit.Client, payload []byte) error {
	_, err := client.Enqueue(ctx, asynqaudit.NewTask(jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a new customer"},
	}, "email:welcome", payload))
	return err
}

func reconcile(ctx context.Context, inspector *asynqaudit.Inspector) (added int, err error) {
	report, err := inspector.Reconcile(ctx, nil) // every few minutes, in one place
	return report.Added(), err
}

func TestTheLinesInTheReadmePutATaskOnRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client, server, inspector := begin(r.rec, r.sink, r.redis.opt(), quick())
	mux := asynq.NewServeMux()
	mux.HandleFunc("email:welcome", func(context.Context, *asynq.Task) error { return nil })
	require.NoError(t, server.Start(mux))
	require.NoError(t, welcome(r.ctx, client, nil))
	record, err := r.sink.Wait(r.ctx, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}})
	require.NoError(t, err)
	server.Shutdown()
	added, err := reconcile(r.ctx, inspector)
	require.NoError(t, err)
	require.Zero(t, added)
	require.Equal(t, jobaudit.User, record.Event().Who.Principal.Kind)
	require.NoError(t, client.Close())
	require.NoError(t, inspector.Close())
}
