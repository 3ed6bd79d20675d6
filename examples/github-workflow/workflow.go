package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/jobaudit/jobaudit"
)

const action = "trigger-github-workflow"

// inputs are what the action works on. A Secret gives its value to who asks for
// it by name, and a mask to everything else that prints, logs or encodes it.
type inputs struct {
	Repo   string                  `json:"repo"`
	Branch string                  `json:"branch"`
	PAT    jobaudit.Secret[string] `json:"pat"`
}

// output is what GitHub says of the run. Everybody who has the address of the logs can
// read them: it is signed.
type output struct {
	ID      int64  `json:"id"`
	URL     string `json:"html_url"`
	LogsURL string `json:"logs_url"`
}

// keptInputs and keptOutput are the lists of what may be stored: a field that is
// not in them never is, and one that is added to inputs or output is not either.
type (
	keptInputs struct {
		Repo   string `json:"repo"`
		Branch string `json:"branch"`
	}
	keptOutput struct {
		ID  int64  `json:"id"`
		URL string `json:"html_url"`
	}
)

// policy stands next to what it is for. Its version changes whenever what one of
// the functions does.
var policy = jobaudit.NewRedactor(action, "1",
	jobaudit.Inputs(func(in inputs) (keptInputs, error) { return keptInputs{in.Repo, in.Branch}, nil }),
	jobaudit.Output(func(out output) (keptOutput, error) { return keptOutput{out.ID, out.URL}, nil }),
)

// trigger starts the workflow and returns the run that it has become.
func trigger(ctx context.Context, url string, in inputs) (output, error) {
	trail, _ := jobaudit.FromContext(ctx)
	repo := url + "/repos/" + in.Repo + "/actions"
	ref, err := json.Marshal(map[string]string{"ref": in.Branch})
	if err != nil {
		return output{}, err
	}
	if err := ask(ctx, http.MethodPost, repo+"/workflows/deploy.yml/dispatches", in.PAT, ref, nil); err != nil {
		return output{}, err
	}
	trail.Log(ctx, "the workflow was dispatched")
	var runs struct {
		Runs []output `json:"workflow_runs"`
	}
	if err := ask(ctx, http.MethodGet, repo+"/runs?per_page=1", in.PAT, nil, &runs); err != nil {
		return output{}, err
	}
	if len(runs.Runs) == 0 {
		return output{}, fmt.Errorf("no run of %s", in.Repo)
	}
	trail.SetImpact("one deployment of " + in.Branch)
	return runs.Runs[0], nil
}

// ask sends a request to GitHub, and decodes what comes back into answer unless
// that is nil.
func ask(ctx context.Context, method, url string, pat jobaudit.Secret[string], body []byte, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/vnd.github+json")
	request.Header.Set("Authorization", "Bearer "+pat.Reveal())
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("GitHub answers %s", response.Status)
	}
	if answer == nil {
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	return json.NewDecoder(response.Body).Decode(answer)
}
