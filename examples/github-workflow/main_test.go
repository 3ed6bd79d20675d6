package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// token is made of two parts so that no scanner takes it for a real one.
const token = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"

func start(t *testing.T) (printed string, sink *memsink.Sink) {
	t.Helper()
	var out bytes.Buffer
	sink = memsink.New(nil)
	require.NoError(t, run(t.Context(), &out, sink, token, ""))
	printed = out.String()
	for _, r := range [][2]string{
		{`\w+day, \d+ \w+ \d+, UTC`, "DAY"},
		{`\d\d:\d\d:\d\d\.\d{3}`, "TIME"},
		{` *\+\d+\.\d{6}s`, ""},
		{`[0-9a-f]{8}-[0-9a-f-]{27}`, "ID"},
		{`host .*, instance`, "host HOST, version VERSION, instance"},
	} {
		printed = regexp.MustCompile(r[0]).ReplaceAllString(printed, r[1])
	}
	return printed, sink
}

func TestTheExampleTellsWhatIsStoredInsteadOfTheToken(t *testing.T) {
	printed, _ := start(t)
	told, _, _ := strings.Cut(printed, "\n{\n")
	require.Equal(t, `GitHub was asked 2 times, 2 times with the right token: deploy.yml of acme/site on main
The token is in none of 8 stored events, in none of 9 forms.
Stored inputs: {"repo":"acme/site","branch":"main"}
Stored output: {"id":1001,"html_url":"https://github.com/acme/site/actions/runs/1001"}

DAY
TIME  job.submitted   pending  inputs {"repo":"acme/site","branch":"main"}
                             redaction trigger-github-workflow 1: removed: 1 not named
                             who    user u-1 “Ada Lovelace” (verified, oidc), org acme
                             what   trigger-github-workflow on acme/site
                             where  deployer in example, host HOST, version VERSION, instance ID, target github
                             why    manual: the new landing page is approved (WEB-7)
                             job    ID
TIME  job.authorized  pending  allowed as nothing decides
TIME  job.started     running, attempt 1  next sign of life by TIME
TIME  job.logged      | the workflow was dispatched
TIME  job.succeeded   success  output {"id":1001,"html_url":"https://github.com/acme/site/actions/runs/1001"}
                             redaction trigger-github-workflow 1: removed: 1 not named
                             impact: one deployment of main
`, told)
}

func TestNoStoredByteHoldsTheTokenOrTheSignedAddress(t *testing.T) {
	_, sink := start(t)
	sink.ExpectAbsent(t, token)
	sink.ExpectAbsent(t, "not-for-everybody")
	sink.ExpectStates(t, sink.Jobs()[0], jobaudit.Pending, jobaudit.Running, jobaudit.Success)
}

func TestThePolicyKeepsRepoAndBranch(t *testing.T) {
	stored, err := policy.RedactInputs(inputs{Repo: "acme/site", Branch: "main", PAT: jobaudit.NewSecret(token)})
	require.NoError(t, err)
	require.Equal(t, `{"repo":"acme/site","branch":"main"}`, string(stored))
}

func TestTheServerRefusesAnotherToken(t *testing.T) {
	server := newServer(token)
	defer server.Close()
	_, err := trigger(t.Context(), server.URL, inputs{Repo: "acme/site", Branch: "main", PAT: jobaudit.NewSecret("another")})
	require.EqualError(t, err, "GitHub answers 401 Unauthorized")
	require.Zero(t, server.authorized)
}

func TestTheSearchFindsTheTokenInEveryForm(t *testing.T) {
	stored := map[string]string{
		"as it is": "x" + token + "y",
		"hex":      hex.EncodeToString([]byte("x" + token + "y")),
		"HEX":      strings.ToUpper(hex.EncodeToString([]byte(token))),
	}
	for _, before := range []string{"", "x", "xx", "xxx"} {
		for _, after := range []string{"", "y", "yy"} {
			stored["base64 "+before+after] = base64.StdEncoding.EncodeToString([]byte(before + token + after))
			stored["base64url "+before+after] = base64.URLEncoding.EncodeToString([]byte(before + token + after))
		}
	}
	for form, text := range stored {
		_, found := search([]byte(text), token)
		require.NotZero(t, found, form)
	}
	_, found := search([]byte("something else altogether"), token)
	require.Zero(t, found)
}

func TestTheEventsAndTheStatusCanBeReadBack(t *testing.T) {
	var out bytes.Buffer
	file := filepath.Join(t.TempDir(), "events.jsonl")
	require.NoError(t, run(t.Context(), &out, memsink.New(nil), token, file))
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range bytes.Lines(content) {
		_, err := jobaudit.ParseRecord(bytes.TrimSuffix(line, []byte("\n")))
		require.NoError(t, err)
	}
	var status jobaudit.JobStatus
	require.NoError(t, json.Unmarshal(out.Bytes()[bytes.Index(out.Bytes(), []byte("\n{\n")):], &status))
	require.Equal(t, jobaudit.Success, status.Job.State)
}
