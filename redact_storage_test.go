package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// canaries are the secret of one job: no two are alike, and none is a word.
func canaryOf(job int) string { return fmt.Sprintf("c4n4ry-%04d/S3cr3t+x7y8", job) }

// canaryJob is a job with its canary wherever a program can put a text.
func canaryJob(ctx context.Context, rec *jobaudit.Recorder, job int) error {
	secret := canaryOf(job)
	s := submission()
	s.Inputs = map[string]any{"repo": fmt.Sprint("repo", job), "pat": secret, "environment": []string{"HOME=/root", "TOKEN=" + secret}}
	s.Principal.Name, s.Resource, s.Trigger.Reason = "Ann "+secret, "site/"+secret, "because of "+secret
	s.OnBehalfOf = []jobaudit.Principal{{Kind: jobaudit.User, ID: "bob", Name: secret}}
	failure := fmt.Errorf("deploy: %w", fmt.Errorf("login with %q: %w", secret, errors.New(secret)))
	defer func() { _ = recover() }()
	return rec.Run(ctx, s, func(ctx context.Context) error {
		t := trail(ctx)
		t.Log(ctx, "using "+secret)
		t.Snapshot(ctx, jobaudit.Snapshot{Resource: secret, Digest: "none", Summary: "before " + secret})
		t.SetImpact("changed " + secret)
		t.SetOutput(map[string]any{"status": "done", "token": secret, secret: "x", "list": []any{secret}})
		if err := t.Correct(ctx, jobaudit.Correction{Of: t.JobID(), Reason: secret, Value: map[string]any{"status": secret}}); err != nil {
			return err
		}
		child := submission()
		child.Inputs, child.ID = map[string]any{"pat": secret}, uuid.Must(uuid.NewV7())
		if job%50 == 0 {
			if _, err := rec.Submit(ctx, child); err != nil {
				return err
			}
		}
		switch job % 5 {
		case 0:
			return failure
		case 1:
			panic(failure)
		case 2:
			panic(secret)
		case 3:
			t.Retrying(ctx, failure)
			return t.Cancel(ctx, "stopped: "+secret)
		}
		return nil
	})
}

// Hundreds of jobs, each with a secret in every place that takes a text: no
// byte of the storage holds one, in any encoding.
func TestNoByteOfTheStorageHoldsASecret(t *testing.T) {
	jobs := 300
	if testing.Short() {
		jobs = 50
	}
	g := registry(t, jobaudit.NewRedactor("rebuild-index", "1",
		jobaudit.InputPaths[any](jobaudit.Keep("repo"), jobaudit.Drop("pat", "credential")),
		jobaudit.OutputPaths[any](jobaudit.Keep("*"), jobaudit.Keep("list[*]"))))
	dir := t.TempDir()
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "example.com/canary")
	require.NoError(t, err)
	files, err := filesink.Open(t.Context(), filepath.Join(dir, "log"), key, nil)
	require.NoError(t, err)
	memory := memsink.New(nil)
	for _, sink := range []jobaudit.AuditSink{memory, files} {
		rec := open(t, sink, &jobaudit.Options{Redactors: g, Heartbeat: -1})
		var wg sync.WaitGroup
		for worker := range 16 {
			wg.Go(func() {
				for job := worker; job < jobs; job += 16 {
					_ = canaryJob(context.Background(), rec, job)
				}
			})
		}
		wg.Wait()
		require.NoError(t, rec.Close(t.Context()))
	}
	require.NoError(t, files.Close())

	var stored [][]byte
	for r, err := range memory.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		stored = append(stored, r.Bytes())
	}
	require.Greater(t, len(stored), 7*jobs)
	err = filepath.WalkDir(filepath.Join(dir, "log"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			content, readErr := os.ReadFile(path)
			stored, err = append(stored, content), readErr
		}
		return err
	})
	require.NoError(t, err)
	// What all canaries have in common stands for each, whatever its number.
	for _, data := range stored {
		for _, part := range []string{"c4n4ry-0", "/S3cr3t+x7y8"} {
			requireAbsent(t, data, part)
		}
	}
}

// One registry serves many goroutines, each of which changes its
// inputs as soon as Submit has returned.
func TestJobsOfManyGoroutinesAreNotMixedUp(t *testing.T) {
	g := registry(t, jobaudit.NewRedactor("rebuild-index", "1",
		jobaudit.InputPaths[any](jobaudit.Keep("repo"), jobaudit.Keep("labels.*")), jobaudit.OutputPaths[any](jobaudit.Keep("*"))))
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Redactors: g, Heartbeat: -1})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for n := range size.Times(5, 1) {
				own, others := canaryOf(i), canaryOf((i+1)%64)
				labels := map[string]any{"a": own}
				in := map[string]any{"repo": fmt.Sprint("repo", i), "labels": labels, "pat": others}
				s := submission()
				s.Inputs, s.Resource = in, fmt.Sprint("repo", i)
				job, err := rec.Submit(t.Context(), s)
				if err != nil {
					t.Error(err)
					return
				}
				in["repo"], in["pat"], labels["a"] = "changed", "changed", others
				delete(in, "labels")
				if err := job.Start(t.Context(), jobaudit.Execution{}); err != nil {
					t.Error(err)
				}
				var lines sync.WaitGroup
				for range 4 {
					lines.Go(func() { job.Log(t.Context(), own+" is kept, "+fmt.Sprint(n)) })
					lines.Go(func() { job.Log(t.Context(), others+" is not") })
				}
				lines.Wait()
				job.SetOutput(map[string]string{"own": own, "others": others})
				if err := job.Succeed(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, rec.Close(t.Context()))
	for _, e := range events(t, sink) {
		var i int
		_, err := fmt.Sscanf(e.What.Resource, "repo%d", &i)
		switch e.Type {
		case jobaudit.JobSubmitted:
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf(`{"labels":{"a":%q},"repo":"repo%d"}`, canaryOf(i), i), string(e.What.Inputs))
		case jobaudit.JobLogged:
			require.NotContains(t, e.Data.Line, "is not")
		case jobaudit.JobSucceeded:
			require.Equal(t, fmt.Sprintf(`{"others":%s,"own":%q}`, dropped, canaryOf(i)), string(e.Data.Output))
		}
	}
}
