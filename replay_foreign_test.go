package jobaudit_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	logs "github.com/jobaudit/jobaudit/story"
)

// forgeries are what somebody may write who has learned a job's ID, and what of
// it contradicts the job's submission.
func forgeries(e told) map[string]told {
	org, action, root, correlation := e, e, e, e
	org.org, action.action, root.root, correlation.correlation = "evil", "other", otherJob, otherJob
	return map[string]told{"another organization": org, "another action": action, "another root": root, "another correlation": correlation}
}

func TestEventsOfAnotherJobChangeNothingAndAreSeen(t *testing.T) {
	mine := stream(t, 1, submitted(1), startedAs(2, 90), told{id: 3, typ: jobaudit.JobLogged, data: `{"line":"mine"}`}, ended(4, 90, jobaudit.JobSucceeded))
	want := replay(t, mine)
	for _, forged := range []told{
		{typ: jobaudit.JobLogged, data: `{"line":"injected"}`},
		{typ: jobaudit.JobFailed, exec: 90, data: `{"error":{"code":"X","message":"m"}}`},
		{typ: jobaudit.JobCancelled},
		{typ: jobaudit.JobSubmitted, inputs: `{"n":2}`},
		{typ: jobaudit.AttemptStarted, exec: 91, attempt: 7},
		{typ: jobaudit.AttemptLost, exec: 90},
		{typ: jobaudit.JobDenied},
	} {
		forged.id, forged.second = 9, 1
		for name, e := range forgeries(forged) {
			evil := stream(t, 5, e)
			for _, order := range [][][]jobaudit.Record{{mine[:1], evil, mine[1:]}, {mine[:2], evil, mine[2:]}, {mine, evil}} {
				job := replay(t, order...)
				require.Len(t, job.Unapplied, 1, "%s of %s", e.typ, name)
				require.Equal(t, jobaudit.CauseForeign, job.Unapplied[0].Cause)
				require.Equal(t, evil[0].ID(), job.Unapplied[0].EventID)
				job.Unapplied = nil
				require.Equal(t, want, job, "%s of %s", e.typ, name)
			}
			if e.typ == jobaudit.JobSubmitted {
				continue
			}
			job := replay(t, evil, mine)
			require.Equal(t, want.State, job.State, "also what is stored before the submission")
			require.Equal(t, want.Logs, job.Logs)
			require.Equal(t, jobaudit.CauseForeign, job.Unapplied[0].Cause)
		}
	}
}

// In one log, what is stored first counts: a forger comes later, whatever it
// calls itself.
func TestOfSubmissionsInOneLogTheFirstIsTheJobs(t *testing.T) {
	mine, evil := submitted(1), submitted(2)
	end := ended(4, 90, jobaudit.JobFailed)
	mine.claimed, evil.org, end.org = true, "evil", "evil"
	real, forged := stream(t, 1, mine, startedAs(3, 90)), stream(t, 2, evil, end)
	job := replay(t, real, forged)
	require.Equal(t, "o", job.Metadata.OrgID)
	require.Equal(t, jobaudit.Running, job.State)
	require.Equal(t, []string{"foreign job.submitted", "foreign job.failed"}, causes(job))
	require.Equal(t, "evil", replay(t, forged, real).Metadata.OrgID)
}

// Of submissions in several logs no order is known. Who was verified counts.
func TestOfSubmissionsInSeveralLogsAVerifiedOneIsTheJobs(t *testing.T) {
	for _, ids := range [][2]int{{1, 2}, {2, 1}} {
		mine, evil := submitted(ids[0]), submitted(ids[1])
		end := ended(4, 90, jobaudit.JobFailed)
		evil.claimed, evil.org, end.org = true, "evil", "evil"
		a, b := memsink.New(nil), memsink.New(nil)
		require.NoError(t, a.Append(t.Context(), stream(t, 1, mine, startedAs(3, 90))))
		require.NoError(t, b.Append(t.Context(), stream(t, 2, evil, end)))
		for _, both := range [][]*memsink.Sink{{a, b}, {b, a}} {
			job, err := jobaudit.Replay(logs.Merge(both[0].Records(t.Context(), jobaudit.Query{}), both[1].Records(t.Context(), jobaudit.Query{})))
			require.NoError(t, err)
			require.Equal(t, "o", job.Metadata.OrgID)
			require.Equal(t, jobaudit.Running, job.State)
			require.ElementsMatch(t, []string{"foreign job.submitted", "foreign job.failed"}, causes(job))
		}
	}
}

// proofs are what signed Carriers may say of the streams 1, of the job, and 2,
// of the forger, and whether they decide which submission is the job's.
var proofs = map[string]struct {
	real, forged int // the stream that an event of each names
	decide       bool
}{
	"none":                          {0, 0, false},
	"of the job":                    {1, 0, true},
	"of a stream that is not there": {7, 0, false},
	"of both":                       {1, 2, false},
	"of the forger, of another's":   {1, 1, true}, // what it says is not what that submission says
}

// Who holds no key cannot make a worker say that its submission is the job's,
// wherever and whenever it is stored and whatever it calls itself.
func TestOfSubmissionsTheOneThatASignedCarrierNamesIsTheJobs(t *testing.T) {
	for name, proof := range proofs {
		for what, forged := range forgeries(told{id: 1, typ: jobaudit.JobSubmitted, inputs: `{"n":2}`}) {
			mine, start := submitted(2), startedAs(3, 90)
			mine.claimed, start.proof = true, proof.real
			end := forged
			end.id, end.typ, end.exec, end.inputs, end.proof = 4, jobaudit.JobFailed, 90, "", proof.forged
			honest, evil := stream(t, 1, mine, start, ended(5, 90, jobaudit.JobSucceeded)), stream(t, 2, forged, end)
			for _, order := range [][][]jobaudit.Record{
				{evil, honest}, {evil[:1], honest, evil[1:]}, {honest[:1], evil, honest[1:]}, {honest, evil},
			} {
				job := replay(t, order...)
				if proof.decide || order[0][0].ID() == honest[0].ID() {
					requireHonest(t, job, name+", "+what)
				} else {
					require.JSONEq(t, `{"n":2}`, string(job.Metadata.Inputs), "%s, %s: the first", name, what)
				}
			}
			for _, both := range [][2][]jobaudit.Record{{honest, evil}, {evil, honest}} {
				job, err := jobaudit.Replay(logs.Merge(all(both[0]), all(both[1])))
				require.NoError(t, err)
				if proof.decide {
					requireHonest(t, job, name+", "+what)
				} else {
					require.JSONEq(t, `{"n":2}`, string(job.Metadata.Inputs), "%s, %s: the verified one", name, what)
				}
			}
		}
	}
}

func requireHonest(t *testing.T, job jobaudit.Job, name string) {
	t.Helper()
	require.Equal(t, jobaudit.Success, job.State, name)
	require.Equal(t, "o", job.Metadata.OrgID, name)
	require.JSONEq(t, `{"n":1}`, string(job.Metadata.Inputs), name)
	require.ElementsMatch(t, []string{"foreign job.submitted", "foreign job.failed"}, causes(job), name)
}

// A forger may repeat what the job says of itself, and only say by whom it is.
func TestAForgedSubmissionThatAgreesGivesAProvenJobNothing(t *testing.T) {
	forged, start := submitted(1), startedAs(3, 90)
	forged.inputs, start.proof = `{"n":2}`, 1
	honest, evil := stream(t, 1, submitted(2), start), stream(t, 2, forged)
	for _, order := range [][][]jobaudit.Record{{evil, honest}, {honest, evil}} {
		job := replay(t, order...)
		require.JSONEq(t, `{"n":1}`, string(job.Metadata.Inputs))
		require.Equal(t, jobaudit.Running, job.State)
		require.False(t, job.Incomplete)
		require.Len(t, job.Unapplied, 1)
		require.Equal(t, jobaudit.CauseDuplicate, job.Unapplied[0].Cause)
		require.JSONEq(t, `{"n":2}`, string(job.Unapplied[0].Inputs))
	}
	log := memsink.New(nil)
	require.NoError(t, log.Append(t.Context(), slices.Concat(evil, honest)))
	require.Equal(t, []string{"7"}, listed(t, log, jobaudit.Query{}), "the job is listed once")
}

func TestAForgedSubmissionListsNoJobAndHidesNone(t *testing.T) {
	log, evil := memsink.New(nil), submitted(2)
	evil.org = "evil"
	require.NoError(t, log.Append(t.Context(), slices.Concat(stream(t, 1, submitted(1)), stream(t, 2, evil))))
	require.Empty(t, listed(t, log, jobaudit.Query{OrgID: "evil"}))
	require.Equal(t, []string{"7"}, listed(t, log, jobaudit.Query{OrgID: "o"}))
}
