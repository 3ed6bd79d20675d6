package jobcheck_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// forgers write of the same job in streams of their own, each something else
// than its submission says.
func forgers(t *testing.T, job uuid.UUID) map[string]*author {
	org, action, correlation := newAuthor(t), newAuthor(t), newAuthor(t)
	org.job, action.job, correlation.job = job, job, job
	org.org, action.action, correlation.correlation = "evil", "other", uuid.NewString()
	return map[string]*author{"organization": org, "action": action, "correlation": correlation}
}

// A writer to a queue can have anything recorded of another's job. An
// untouched log does not fail for it, wherever that stands.
func TestWhatContradictsTheSubmissionIsANoteAndNoFinding(t *testing.T) {
	for _, typ := range jobcheck.Types() {
		if newAuthor(t).record(typ).JobID() == uuid.Nil {
			continue
		}
		for at := 1; at <= 3; at++ {
			mine := newAuthor(t)
			mine.execution = uuid.New()
			honest := [][]byte{mine.line(jobaudit.JobSubmitted), mine.line(jobaudit.JobStarted), mine.line(jobaudit.JobSucceeded)}
			for what, evil := range forgers(t, mine.job) {
				for _, execution := range []uuid.UUID{uuid.Nil, mine.execution, uuid.New()} {
					evil.execution, evil.seq = execution, 0
					r := check(t, jobcheck.New(0, false), slices.Insert(slices.Clone(honest), at, evil.line(typ))...)
					require.Empty(t, findings(r), "%s of another %s at %d", typ, what, at)
					require.EqualValues(t, 1, r.Foreign.Total(), "%s of another %s at %d", typ, what, at)
					require.EqualValues(t, at, r.Foreign.First()[0].Index)
					require.Equal(t, mine.job, r.Foreign.First()[0].Job)
					require.Zero(t, r.Unapplied.Total(), "and what is the job's own has its effect")
					require.Zero(t, r.Ghosts.Total())
				}
			}
		}
	}
}

// What does not contradict it is held to the states that a job may have.
func TestAnIllegalTransitionOfTheJobsOwnIsANote(t *testing.T) {
	mine := newAuthor(t)
	lines := [][]byte{mine.line(jobaudit.JobSubmitted), forgers(t, mine.job)["action"].line(jobaudit.JobStarted), mine.line(jobaudit.JobSucceeded)}
	r := check(t, jobcheck.New(0, false), lines...)
	require.Empty(t, findings(r))
	require.EqualValues(t, 1, r.Unapplied.Total())
}

// The checks and Replay are of one mind on what is foreign.
func TestWhatIsForeignHereIsForeignToReplay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	some, proven := 0, 0
	for range size.Times(1_000, 200) {
		job := uuid.New()
		authors := make([]*author, 1+rng.IntN(4))
		for i := range authors {
			authors[i] = newAuthor(t)
			authors[i].job, authors[i].org = job, []string{"o", "evil", "o\n"}[rng.IntN(3)]
		}
		var lines [][]byte
		var records []jobaudit.Record
		for range 1 + rng.IntN(10) {
			a := authors[rng.IntN(len(authors))]
			typ := []jobaudit.EventType{jobaudit.JobSubmitted, jobaudit.JobStarted, jobaudit.JobLogged}[rng.IntN(3)]
			if a.proof = uuid.Nil; rng.IntN(3) == 0 {
				a.proof = authors[rng.IntN(len(authors))].stream
				proven++
			}
			line := a.line(typ)
			r, err := jobaudit.ParseRecord(line)
			require.NoError(t, err)
			lines, records = append(lines, line), append(records, r)
		}
		want, err := jobaudit.Replay(all(records))
		require.NoError(t, err)
		foreign := make(map[uuid.UUID]bool)
		for _, u := range want.Unapplied {
			if u.Cause == jobaudit.CauseForeign {
				foreign[u.EventID] = true
			}
		}
		got := make(map[uuid.UUID]bool)
		for _, f := range check(t, jobcheck.New(0, false), lines...).Foreign.First() {
			got[records[f.Index].ID()] = true
		}
		require.Equal(t, foreign, got)
		some += len(got)
	}
	require.NotZero(t, some)
	t.Logf("2000 histories with %d proofs and %d foreign events", proven, some)
}

// Parsing costs ten times as much: what a recorder writes is scanned, whatever
// it says of who asked for it.
func TestWhatARecorderWritesIsScanned(t *testing.T) {
	log := memsink.New(nil)
	opts := &jobaudit.Options{CarrierKeys: map[string][]byte{"k1": bytes.Repeat([]byte{1}, 32)}, CarrierKey: "k1"}
	r, err := jobaudit.Open(t.Context(), log, jobaudit.Source{System: "s", Environment: "test"}, opts)
	require.NoError(t, err)
	ada := jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Name: "Ada Å", Verified: true, AuthMethod: "oidc", AuthSession: "s1"}
	sub := jobaudit.Submission{
		Action: "reindex", Resource: "index 1", Principal: ada, OrgID: "acme", OnBehalfOf: []jobaudit.Principal{ada, ada},
		Upstream: jobaudit.Ref{System: "crm", ID: "e1"}, Queue: jobaudit.Ref{System: "river", ID: "7"},
		TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		Trigger:     jobaudit.Trigger{Kind: jobaudit.Cascade, Reason: "the index is old"},
	}
	trail, err := r.Submit(t.Context(), sub)
	require.NoError(t, err)
	resumed, err := r.Resume(t.Context(), trail.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, resumed.Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
		_, err := r.Submit(ctx, jobaudit.Submission{Action: "part", Principal: ada, Trigger: sub.Trigger, Upstream: sub.Upstream})
		return err
	}))
	require.NoError(t, r.Close(t.Context()))
	proven := 0
	for record, err := range log.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		if record.Event().Who.Proof.Submission != uuid.Nil {
			proven++
		}
		scanned, same := jobcheck.Scan(record.Bytes())
		require.True(t, scanned && same, "%s", record.Bytes())
	}
	require.NotZero(t, proven)
}
