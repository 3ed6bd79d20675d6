package jobaudit_test

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// openedWith returns the audit.opened event of a recorder with these options.
func openedWith(t *testing.T, opts *jobaudit.Options) jobaudit.Record {
	sink := memsink.New(nil)
	r, err := jobaudit.Open(t.Context(), sink, goldenSource, opts)
	require.NoError(t, err)
	require.NoError(t, r.Close(t.Context()))
	record, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditOpened}})
	require.NoError(t, err)
	return record
}

func fullEnvironment(t *testing.T) *jobaudit.Options {
	registry, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("audit.opened", "1",
		jobaudit.InputPaths[map[string]any](jobaudit.Keep("region"), jobaudit.Drop("dsn", "credential"))))
	require.NoError(t, err)
	opts := &jobaudit.Options{Redactors: registry, Now: ticking(), NewID: counted()}
	opts.Environment.Image = "registry.example/deployer@sha256:00"
	opts.Environment.Orchestrator = map[string]string{"pod": "deployer-1", "namespace": "prod"}
	opts.Environment.Facts = map[string]any{"region": "eu-1", "dsn": "postgres://u:p@db", "more": 1}
	opts.CompanionOf.Origin = "example.com/jobs"
	opts.CompanionOf.Head = tlog.Tree{N: 7, Hash: tlog.Hash{9}}
	return opts
}

func TestAnOpeningSaysWhatTheProcessRunsIn(t *testing.T) {
	jobaudit.WithFixedEnvironment(t)
	record := openedWith(t, fullEnvironment(t))
	jobaudit.Golden(t, "acts/audit.opened.json", append(record.Bytes(), '\n'))
	e := record.Event()
	env := e.Data.Environment
	require.Equal(t, "linux", env.OS)
	require.True(t, env.VCS.Modified, "a modified tree does not look clean")
	require.Equal(t, map[string]string{"pod": "deployer-1", "namespace": "prod"}, env.Orchestrator)
	require.True(t, env.Clock.Known && env.Clock.Synchronized)
	require.EqualValues(t, 1_234, env.Clock.ErrorMicros)
	require.JSONEq(t, `{"region":"eu-1"}`, string(env.Facts))
	require.Equal(t, jobaudit.RedactionKept, e.What.Redaction.Outcome)
	require.Equal(t, "example.com/jobs", e.Data.CompanionOf.Origin)
	require.Equal(t, tlog.Tree{N: 7, Hash: tlog.Hash{9}}, e.Data.CompanionOf.Head)
}

func TestTheProcessSaysTheTruthOfItself(t *testing.T) {
	env := openedWith(t, nil).Event().Data.Environment
	require.Equal(t, runtime.Version(), env.Go)
	require.Equal(t, runtime.GOOS+runtime.GOARCH, env.OS+env.Arch)
	require.NotZero(t, env.Dependencies)
	require.Empty(t, env.Facts)
	if runtime.GOOS == "linux" && env.Clock.Known {
		require.NotEmpty(t, env.Clock.Source)
	}
}

// A start refers to its process by the instance.
func TestAStartRefersToTheEnvironmentByItsInstance(t *testing.T) {
	sink := memsink.New(nil)
	r, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "s", Environment: "test"}, nil)
	require.NoError(t, err)
	s := plainSubmission()
	require.NoError(t, r.Run(t.Context(), s, func(context.Context) error { return nil }))
	require.NoError(t, r.Close(t.Context()))
	opened, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditOpened}})
	require.NoError(t, err)
	started, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobStarted}})
	require.NoError(t, err)
	require.Equal(t, opened.Event().Where.Instance, started.Event().Where.Instance)
	require.Equal(t, opened.Event().Stream.ID.String(), started.Event().Where.Instance)
}

func TestFactsAndNamesThatCannotBeStoredAreRefusedOrWithheld(t *testing.T) {
	open := func(change func(*jobaudit.Options)) error {
		opts := &jobaudit.Options{}
		change(opts)
		_, err := jobaudit.Open(t.Context(), memsink.New(nil), goldenSource, opts)
		return err
	}
	many := map[string]string{}
	for i := range 17 {
		many[strings.Repeat("n", i+1)] = "x"
	}
	for field, change := range map[string]func(*jobaudit.Options){
		"data.environment.image":              func(o *jobaudit.Options) { o.Environment.Image = strings.Repeat("i", 257) },
		"data.environment.orchestrator":       func(o *jobaudit.Options) { o.Environment.Orchestrator = many },
		"data.environment.orchestrator.name":  func(o *jobaudit.Options) { o.Environment.Orchestrator = map[string]string{"": "x"} },
		"data.environment.orchestrator.value": func(o *jobaudit.Options) { o.Environment.Orchestrator = map[string]string{"pod": "\n"} },
		"data.companionOf.origin":             func(o *jobaudit.Options) { o.CompanionOf.Head.N = 1 },
		"data.companionOf.size":               func(o *jobaudit.Options) { o.CompanionOf.Head.N = -1 },
	} {
		requireField(t, open(change), field)
	}
	opts := &jobaudit.Options{}
	opts.Environment.Facts = map[string]any{"dsn": "postgres://u:p@db"}
	e := openedWith(t, opts).Event()
	require.Equal(t, "null", string(e.Data.Environment.Facts), "without a policy nothing is kept")
	require.Equal(t, jobaudit.RedactionNoPolicy, e.What.Redaction.Outcome)
}
