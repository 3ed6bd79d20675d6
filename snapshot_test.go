package jobaudit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// snapshotting opens a recorder whose action "sweep" requires snapshots, and
// returns what OnError is told.
func snapshotting(t *testing.T) (*jobaudit.Recorder, *memsink.Sink, chan error) {
	registry, err := jobaudit.NewRegistry(
		&jobaudit.RegistryOptions{PseudonymKey: secret(3), RequireSnapshots: []string{"sweep"}},
		jobaudit.NewRedactor("sweep", "1", jobaudit.OutputPaths[any](jobaudit.Keep("replicas"))))
	require.NoError(t, err)
	told := make(chan error, 100)
	sink := memsink.New(nil)
	r, err := jobaudit.Open(t.Context(), sink, goldenSource, &jobaudit.Options{
		Redactors: registry, Heartbeat: -1, OnError: func(_ context.Context, err *jobaudit.AuditError) { told <- err },
	})
	require.NoError(t, err)
	return r, sink, told
}

func runningJob(t *testing.T, r *jobaudit.Recorder) *jobaudit.Trail {
	trail, err := r.Submit(t.Context(), plainSubmission())
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	return trail
}

func snapshotsOf(sink *memsink.Sink, trail *jobaudit.Trail) (list []*jobaudit.Snapshot) {
	for _, e := range sink.Trail(trail.JobID()) {
		if e.Type == jobaudit.JobSnapshot {
			list = append(list, e.Data.Snapshot)
		}
	}
	return list
}

func TestASnapshotDigestsAValueAndKeepsWhatThePolicyKeeps(t *testing.T) {
	r, sink, _ := snapshotting(t)
	trail := runningJob(t, r)
	digest := func(resource string, value any) string {
		trail.Snapshot(t.Context(), jobaudit.Snapshot{Resource: resource, Value: value})
		require.NoError(t, trail.Flush(t.Context()))
		list := snapshotsOf(sink, trail)
		return list[len(list)-1].Digest
	}
	a := digest("env:live", map[string]any{"replicas": 2, "token": "t0psecret-x7y8"})
	require.True(t, strings.HasPrefix(a, "hmac-sha256:"), a)
	require.Equal(t, a, digest("env:live", json.RawMessage(`{ "token":"t0psecret-x7y8", "replicas":2 }`)), "the same state")
	require.Equal(t, a, digest("env:live", struct {
		Token    string `json:"token"`
		Replicas int    `json:"replicas"`
	}{"t0psecret-x7y8", 2}))
	require.NotEqual(t, a, digest("env:live", map[string]any{"replicas": 3, "token": "t0psecret-x7y8"}))
	require.NotEqual(t, a, digest("env:live", map[string]any{"replicas": 2, "token": "other"}), "what is not kept counts")
	require.NotEqual(t, a, digest("env:test", map[string]any{"replicas": 2, "token": "t0psecret-x7y8"}), "of another resource")
	require.Equal(t, digest("file:x", strings.NewReader("content")), digest("file:x", []byte("content")), "a reader is its bytes")
	require.NotEqual(t, digest("n", int64(1<<53)), digest("n", int64(1<<53+1)), "digits are not lost")

	first := snapshotsOf(sink, trail)[0]
	require.JSONEq(t, `{"replicas":2}`, string(first.Value.(json.RawMessage)))
	sink.ExpectAbsent(t, "t0psecret-x7y8")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("with s3cr3t-x7y8z9") }

func TestASnapshotThatCannotBeMadeIsTold(t *testing.T) {
	r, sink, told := snapshotting(t)
	trail := runningJob(t, r)
	for name, value := range map[string]any{
		"a channel": make(chan int), "a reader that fails": brokenReader{}, "a method that panics": panicky{},
	} {
		trail.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "r", Value: value})
		err := <-told
		require.ErrorContains(t, err, "could not be read", name)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
	require.Empty(t, snapshotsOf(sink, trail))

	plain, _ := passing(t)
	other := runningJob(t, plain)
	other.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "r", Value: 1})
	require.NoError(t, other.Succeed(t.Context()))
}

func TestWhereBothAreRequiredASnapshotBeforeWithoutOneAfterIsTold(t *testing.T) {
	r, sink, told := snapshotting(t)
	outcome := func(trail *jobaudit.Trail) jobaudit.Event {
		list := sink.Trail(trail.JobID())
		return list[len(list)-1]
	}
	both := runningJob(t, r)
	both.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "a", Value: 1})
	both.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "a", Value: 2, After: true})
	require.NoError(t, both.Succeed(t.Context()))
	require.Empty(t, told)
	require.Empty(t, outcome(both).Data.Missing)

	half := runningJob(t, r)
	half.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "a", Value: 1})
	half.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "b", Digest: "x", After: true})
	half.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "b", Digest: "x"})
	require.NoError(t, half.Fail(t.Context(), errors.New("no")), "the outcome is stored all the same")
	require.ErrorContains(t, <-told, "2 resources")

	late := runningJob(t, r)
	late.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "a", Value: 1})
	late.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "b", Value: 1, After: true})
	require.NoError(t, late.Succeed(t.Context()))
	require.ErrorContains(t, <-told, "1 resources")
	require.Equal(t, []string{"after"}, outcome(late).Data.Missing)

	none := runningJob(t, r)
	require.NoError(t, none.Succeed(t.Context()))
	require.ErrorContains(t, <-told, "requires snapshots")
	require.Equal(t, []string{"before", "after"}, outcome(none).Data.Missing)
}

func TestWhatWasAffectedCanBeAddedUp(t *testing.T) {
	r, sink, told := snapshotting(t)
	trail := runningJob(t, r)
	trail.SetAffected(t.Context(), -1, "records")
	trail.SetAffected(t.Context(), 1<<53+1, "records")
	trail.SetAffected(t.Context(), 1, " ")
	for range 3 {
		require.ErrorContains(t, <-told, "data.affected.")
	}
	trail.SetAffected(t.Context(), 1_000, "records")
	trail.SetImpact("1,000 records updated")
	require.NoError(t, trail.Fail(t.Context(), errors.New("no more")))
	list := sink.Trail(trail.JobID())
	e := list[len(list)-1]
	require.EqualValues(t, 1_000, e.Data.Affected.Count)
	require.Equal(t, "records", e.Data.Affected.Unit)
	require.Equal(t, "1,000 records updated", e.Data.Impact)
}

func TestSnapshotsOfValuesAreWrittenAsTheirGoldenFilesSay(t *testing.T) {
	jobaudit.WithoutEnvironment(t)
	registry, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PseudonymKey: secret(3), RequireSnapshots: []string{"sweep"}},
		jobaudit.NewRedactor("sweep", "1", jobaudit.OutputPaths[any](jobaudit.Keep("replicas"))))
	require.NoError(t, err)
	sink := memsink.New(nil)
	r, err := jobaudit.Open(t.Context(), sink, goldenSource, &jobaudit.Options{
		Redactors: registry, Heartbeat: -1, Now: ticking(), NewID: counted(), OnError: func(context.Context, *jobaudit.AuditError) {},
	})
	require.NoError(t, err)
	trail := runningJob(t, r)
	trail.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "env:live", Value: map[string]any{"replicas": 2, "pw": "x"}, Summary: "v1"})
	trail.SetAffected(t.Context(), 3, "pods")
	require.NoError(t, trail.Succeed(t.Context()))
	for _, typ := range []jobaudit.EventType{jobaudit.JobSnapshot, jobaudit.JobSucceeded} {
		record, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{typ}})
		require.NoError(t, err)
		jobaudit.Golden(t, "acts/"+string(typ)+".json", append(record.Bytes(), '\n'))
	}
}

// More resources than a Trail remembers are counted.
func TestASnapshotThatIsMissingAmongManyIsReported(t *testing.T) {
	for _, missing := range []int{0, 1, 3} {
		r, _, told := snapshotting(t)
		s := plainSubmission()
		s.Action = "sweep"
		trail, err := r.Submit(t.Context(), s)
		require.NoError(t, err)
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
		for i := range 1_003 {
			trail.Snapshot(t.Context(), jobaudit.Snapshot{Resource: fmt.Sprint("env:", i), Digest: "sha256:x"})
		}
		for i := range 1_003 - missing {
			trail.Snapshot(t.Context(), jobaudit.Snapshot{Resource: fmt.Sprint("env:", i), After: true, Digest: "sha256:y"})
		}
		require.NoError(t, trail.Succeed(t.Context()))
		require.NoError(t, r.Close(t.Context()))
		require.Equal(t, missing > 0, len(told) > 0, "%d are missing", missing)
	}
}
