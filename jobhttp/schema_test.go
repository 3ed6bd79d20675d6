package jobhttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// parse has clients' schema (internal/tools/zod) parse answers, one a line. It
// returns how many of each kind there were.
func parse(t *testing.T, answers []byte) (map[string]int, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "node", "../internal/tools/zod/check.mjs")
	command.Stdin = bytes.NewReader(answers)
	var faults bytes.Buffer
	command.Stderr = &faults
	out, err := command.Output()
	if err != nil {
		return nil, errors.New(err.Error() + ": " + faults.String())
	}
	counts := map[string]int{}
	return counts, json.Unmarshal(out, &counts)
}

func TestExtraClientsCanParseEveryAnswer(t *testing.T) {
	size.Extra(t)
	for name, produce := range map[string]func(*testing.T){
		"statuses": TestEveryStatusAndErrorCode, "a job": TestAJobIsRecordedDispatchedAndRead, "request IDs": TestRequestIDsAreKept,
		"lists": TestAListHasEveryJobOfTheOrganizationOnceTheNewestFirst, "cancelled": TestACancellerIsOnRecordAndIsNotTheSubmitter,
		"foreign": TestWhatAnotherOrganizationWroteUnderAJobsIDIsNotTold, "keys": TestAKeyStandsForOneJobForADay,
		"two at once": TestAKeyThatIsUsedTwiceAtOneMomentStandsForOneJob, "ends": produceEnds,
	} {
		t.Run(name, produce)
	}
	produced.mu.Lock()
	defer produced.mu.Unlock()
	var lines bytes.Buffer
	for _, line := range produced.all {
		lines.Write(append(line, '\n'))
	}
	counts, err := parse(t, lines.Bytes())
	require.NoError(t, err)
	t.Log(counts)
	for _, kind := range []string{"status", "list", "error", "pending", "running", "success", "failed", "cancelled"} {
		require.NotZero(t, counts[kind], kind)
	}
}

// produceEnds reads jobs of every end, with all that a Job may have.
func produceEnds(t *testing.T) {
	log := memsink.New(nil)
	s := newService(t, log, nil)
	ctx := t.Context()
	submit := func(sub jobaudit.Submission) *jobaudit.Trail {
		t.Helper()
		sub.Action, sub.OrgID, sub.Principal = action, "acme", jobaudit.Principal{Kind: jobaudit.User, ID: "ada"}
		sub.Trigger = jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "to look at it"}
		trail, err := s.recorder.Submit(ctx, sub)
		require.NoError(t, err)
		return trail
	}
	panicking := submit(jobaudit.Submission{})
	require.Panics(t, func() {
		_ = panicking.Run(ctx, jobaudit.Execution{}, func(context.Context) error { panic("no paper") })
	})
	denied := submit(jobaudit.Submission{RetryOf: panicking.JobID()})
	require.NoError(t, denied.Deny(ctx, jobaudit.Decision{By: "test", Reason: "not now"}))
	child := submit(jobaudit.Submission{})
	require.NoError(t, child.Deduplicate(ctx, denied.JobID()))
	retried := submit(jobaudit.Submission{})
	require.NoError(t, retried.Start(ctx, jobaudit.Execution{}))
	retried.Retrying(ctx, errors.New("busy"))
	run(t, retried, "a line\u2028", "")
	parent := submit(jobaudit.Submission{})
	require.NoError(t, parent.Run(ctx, jobaudit.Execution{}, func(ctx context.Context) error {
		_, err := s.recorder.Submit(ctx, jobaudit.Submission{
			Action: action, OrgID: "acme", Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "worker"},
			Trigger: jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "a child"},
		})
		return err
	}))
	for _, id := range log.Jobs() {
		s.get(t, "ada", "/api/jobs/"+id.String()).job(http.StatusOK)
	}
	require.NotEmpty(t, s.list(t, "ada", nil).Jobs)
}

func TestExtraAnAnswerThatClientsCannotParseIsFound(t *testing.T) {
	size.Extra(t)
	id := uuid.NewString()
	good := `{"status":200,"body":{"requestId":"` + id + `","job":{"id":"` + id + `","state":"pending","createdAt":"2026-01-02T03:04:05Z","logs":[],` +
		`"metadata":{"requestId":"` + id + `","userId":"","orgId":"","action":"","inputs":null}}}}`
	counts, err := parse(t, []byte(good))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"status": 1, "pending": 1}, counts)
	for _, change := range [][2]string{
		{`"pending"`, `"done"`}, {`"logs":[]`, `"logs":null`}, {`,"inputs":null`, ``}, {`05Z`, `05+01:00`}, {`"logs"`, `"extra":1,"logs"`}, {`200`, `404`},
	} {
		_, err := parse(t, []byte(strings.Replace(good, change[0], change[1], 1)))
		require.Error(t, err, change)
	}
	_, err = parse(t, []byte(`{"status":400,"body":{"requestId":"`+id+`","error":{"code":"NOT_FOUND","message":""}}}`))
	require.Error(t, err)
}
