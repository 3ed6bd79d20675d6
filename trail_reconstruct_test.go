package jobaudit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// What is read from a queue's table long after it happened says so, and says
// when it happened.
func TestWhatIsReconstructedSaysSoAndWhenItHappened(t *testing.T) {
	r, sink := passing(t)
	s := goldenSubmission()
	trail, err := r.Prepare(t.Context(), s)
	require.NoError(t, err)
	day := time.Date(2026, 1, 2, 3, 4, 5, 6_000, time.UTC)
	require.NoError(t, trail.Reconstruct(day, func() error { return trail.Submit(t.Context()) }))
	require.NoError(t, trail.Reconstruct(day.Add(time.Hour), func() error {
		require.NoError(t, trail.Authorize(t.Context(), jobaudit.Decision{Allowed: true}))
		return trail.Start(t.Context(), jobaudit.Execution{})
	}))
	require.NoError(t, trail.Reconstruct(time.Time{}, func() error {
		trail.Retrying(t.Context(), nil)
		return nil
	}))
	require.NoError(t, trail.Reconstruct(day.Add(2*time.Hour), func() error { return trail.Succeed(t.Context()) }))
	trail.Log(t.Context(), "not reconstructed")
	require.NoError(t, trail.Flush(t.Context()))

	events := sink.Trail(s.ID)
	want := []time.Time{day, day.Add(time.Hour), day.Add(time.Hour), {}, day.Add(2 * time.Hour)}
	require.Len(t, events, len(want)+1)
	require.False(t, events[len(want)].Reconstructed, "only what record recorded is")
	for i, e := range events[:len(want)] {
		require.True(t, e.Reconstructed, e.Type)
		require.Equal(t, want[i], e.QueueTime, e.Type)
		require.True(t, e.Time.After(day.AddDate(0, 0, 1)), "it is dated when it was recorded")
	}
	records := sink.Records(t.Context(), jobaudit.Query{JobID: s.ID})
	job, err := jobaudit.Replay(records)
	require.NoError(t, err)
	require.Equal(t, day, job.CreatedAt)
	require.Equal(t, day.Add(time.Hour), job.StartedAt)
	require.Equal(t, day.Add(2*time.Hour), job.CompletedAt)
	require.Equal(t, job.StartedAt, job.Executions[0].StartedAt)
	for record, err := range records {
		require.NoError(t, err)
		again, err := jobaudit.ParseRecord(record.Bytes())
		require.NoError(t, err)
		require.Equal(t, record.Event(), again.Event())
		require.Equal(t, record.Event().Reconstructed, strings.Contains(string(record.Bytes()), `Z","reconstructed":{`), "behind the time")
	}

	plain, err := r.Submit(t.Context(), jobaudit.Submission{Action: "a", Principal: s.Principal, Trigger: jobaudit.Trigger{
		Kind: jobaudit.Manual, Reason: "r",
	}})
	require.NoError(t, err)
	require.False(t, sink.Trail(plain.JobID())[0].Reconstructed)
}

// A queue's table may hold any time; what is written can be read.
func TestATimeThatNoRecordCanHoldIsLeftOut(t *testing.T) {
	r, sink := passing(t)
	for _, at := range []time.Time{
		{}, time.Unix(-1, 0), time.Date(-5000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("behind", -12*3600)), time.Unix(1<<60, 0), time.Unix(-1<<60, 0),
	} {
		trail, err := r.Prepare(t.Context(), jobaudit.Submission{
			Action: "a", Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "s"},
			Trigger: jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "r"},
		})
		require.NoError(t, err)
		require.NoError(t, trail.Reconstruct(at, func() error { return trail.Submit(t.Context()) }))
		for record, err := range sink.Records(t.Context(), jobaudit.Query{JobID: trail.JobID()}) {
			require.NoError(t, err)
			require.True(t, strings.Contains(string(record.Bytes()), `"reconstructed":{}`), "%s", at)
			parsed, err := jobaudit.ParseRecord(record.Bytes())
			require.NoError(t, err)
			require.True(t, parsed.Event().Reconstructed)
		}
	}
}

// What a reader tells of an execution begins none here.
func TestAnObservedExecutionIsNotCountedAsBegunHere(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Heartbeat: -1})
	tr := begun(t, rec)
	other, err := rec.Resume(t.Context(), tr.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, other.Observe(jobOf(t, sink, tr.JobID())))
	other.Log(t.Context(), "a line")
	require.EqualValues(t, 1, rec.Stats().Executions)
	require.NoError(t, other.Start(t.Context(), jobaudit.Execution{}))
	require.EqualValues(t, 2, rec.Stats().Executions)
	require.NoError(t, other.Succeed(t.Context()))
	require.EqualValues(t, 1, rec.Stats().Executions)
}
