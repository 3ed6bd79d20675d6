package jobaudit_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// counted returns a source of UUIDs of version 7 that count up from 1.
func counted() func() uuid.UUID {
	id, n := uuid.MustParse("01980000-0000-7000-8000-000000000000"), uint32(0)
	return func() uuid.UUID {
		n++
		binary.BigEndian.PutUint32(id[12:], n)
		return id
	}
}

// ticking returns a clock in another zone than UTC that advances by a second
// and some nanoseconds at each look.
func ticking() func() time.Time {
	now := time.Date(2026, 1, 2, 4, 4, 5, 6789, time.FixedZone("CET", 3600))
	return func() time.Time {
		now = now.Add(time.Second + 1001)
		return now
	}
}

var goldenSource = jobaudit.Source{
	System: "deployer", Environment: "test", Host: "host-1", Instance: "deployer-1", Version: "v1.2.3",
}

// goldenSubmission has every field that a submission can have.
func goldenSubmission() jobaudit.Submission {
	return jobaudit.Submission{
		ID: uuid.MustParse("7d444840-9dc0-41d1-b245-5ffdce74fad2"), Action: "trigger-github-workflow",
		Inputs: map[string]any{"repo": "acme/site", "branch": "main", "pat": "ghp_0123456789", "depth": 1.5},
		Principal: jobaudit.Principal{
			Kind: jobaudit.User, ID: "u-1", Name: `Ann "A" O'Neill <ann>`, Verified: true,
			AuthMethod: "oidc", AuthSession: "s-9",
		},
		OrgID: "acme",
		OnBehalfOf: []jobaudit.Principal{
			{Kind: jobaudit.Service, ID: "scheduler"},
			{Kind: jobaudit.System, ID: "platform", Verified: true},
		},
		Upstream:      jobaudit.Ref{System: "crm", ID: "e-77"},
		Trigger:       jobaudit.Trigger{Kind: jobaudit.Cascade, Reason: "release\tday\n\u2028 & more", Ref: "REL-4"},
		CorrelationID: uuid.MustParse("0e1f2a3b-0000-4000-8000-000000000001"),
		RequestID:     uuid.MustParse("0e1f2a3b-0000-4000-8000-000000000002"),
		TraceParent:   "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Resource:      "repo:acme/site", Target: "api.github.example", SourceIP: netip.MustParseAddr("2001:db8::7"),
		Queue:   jobaudit.Ref{System: "river", ID: "42"},
		RetryOf: uuid.MustParse("7d444840-9dc0-41d1-b245-5ffdce74fad1"),
	}
}

func plainSubmission() jobaudit.Submission {
	return jobaudit.Submission{
		Action: "sweep", Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cron"},
		Trigger: jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every night"},
	}
}

type codedError struct{}

func (codedError) Error() string        { return "the branch is gone: </main>" }
func (codedError) JobErrorCode() string { return "BRANCH_GONE" }

// oneKey holds one key of everybody.
type oneKey struct{}

func (oneKey) Erase(string) ([]string, error) { return []string{"0123456789abcdef"}, nil }

// goldenSink is a sink in which a recorder has written every type of event
// that it can.
func goldenSink(t *testing.T) *memsink.Sink {
	jobaudit.WithoutEnvironment(t)
	ctx := t.Context()
	registry, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("trigger-github-workflow", "3",
		jobaudit.InputPaths[map[string]any](jobaudit.Keep("repo"), jobaudit.Keep("branch"), jobaudit.Keep("depth")),
		jobaudit.OutputPaths[map[string]any](jobaudit.Keep("run")),
	))
	require.NoError(t, err)
	sink := memsink.New(nil)
	r, err := jobaudit.Open(ctx, sink, goldenSource, &jobaudit.Options{
		Redactors: registry, Heartbeat: -1, Now: ticking(), NewID: counted(),
		Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{Allowed: true, By: "opa", Permission: "workflows:write", Reason: "a member"}, nil
		},
	})
	require.NoError(t, err)

	rich, err := r.Submit(ctx, goldenSubmission())
	require.NoError(t, err)
	require.NoError(t, rich.Start(ctx, jobaudit.Execution{Deadline: time.Minute}))
	rich.Log(ctx, "\x1b[1mcloning\x1b[0m \"site\" … \xff")
	rich.Heartbeat(ctx, 1, 3)
	rich.Snapshot(ctx, jobaudit.Snapshot{Resource: "env:live", Digest: "sha256:00", Summary: "v1"})
	rich.Retrying(ctx, errors.New("HTTP 502"))
	require.NoError(t, rich.Start(ctx, jobaudit.Execution{}))
	require.NoError(t, rich.Start(ctx, jobaudit.Execution{}))
	rich.SetOutput(map[string]any{"run": 12, "token": "t"})
	rich.SetImpact("1 deployment")
	require.NoError(t, rich.Succeed(ctx))
	outcome, err := sink.Wait(ctx, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}})
	require.NoError(t, err)
	require.NoError(t, rich.Correct(ctx, jobaudit.Correction{
		Of: outcome.ID(), Reason: "counted twice", Value: map[string]any{"run": 11},
	}))

	submit := func() *jobaudit.Trail {
		trail, err := r.Submit(ctx, plainSubmission())
		require.NoError(t, err)
		return trail
	}
	refusal := jobaudit.Decision{By: "opa", Permission: "sweep:run", Reason: "a freeze"}
	putOff, err := r.Resume(ctx, submit().Carrier(), nil)
	require.NoError(t, err)
	askAgain := refusal
	askAgain.AskAgain = true
	require.NoError(t, putOff.Deny(ctx, askAgain))
	require.NoError(t, submit().Deny(ctx, refusal))
	require.NoError(t, submit().Deduplicate(ctx, rich.JobID()))
	require.NoError(t, submit().Cancel(ctx, "no longer wanted"))
	failing := submit()
	require.NoError(t, failing.Start(ctx, jobaudit.Execution{}))
	require.NoError(t, failing.Fail(ctx, codedError{}))
	require.NoError(t, r.Erase(ctx, oneKey{}, "u-1", "asked for by the person"))
	require.NoError(t, r.Close(ctx))
	return sink
}

func TestEveryTypeIsWrittenAsItsGoldenFileSays(t *testing.T) {
	sink := goldenSink(t)
	for _, typ := range []jobaudit.EventType{
		jobaudit.JobSubmitted, jobaudit.JobDeduplicated, jobaudit.JobAuthorized, jobaudit.JobDenied,
		jobaudit.JobStarted, jobaudit.JobHeartbeat, jobaudit.JobLogged, jobaudit.JobSnapshot,
		jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobCorrected,
		jobaudit.AttemptStarted, jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptSuperseded,
		jobaudit.AuditOpened, jobaudit.AuditErased, jobaudit.AuditClosed, jobaudit.AuditPolicy,
	} {
		t.Run(string(typ), func(t *testing.T) {
			record, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{typ}})
			require.NoError(t, err)
			jobaudit.Golden(t, "events/"+string(typ)+".json", append(record.Bytes(), '\n'))
		})
	}
}
