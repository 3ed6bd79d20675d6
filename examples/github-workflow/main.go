// Command github-workflow runs the action trigger-github-workflow, whose inputs
// hold a token, against a server that behaves as GitHub does:
//
//	go run ./examples/github-workflow [-events FILE]
//
// The server proves that the token was used. The program then proves that no
// stored byte holds it, and prints what is stored instead. The action and its
// policy are in workflow.go; the proof is in leak.go.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
)

func main() {
	events := flag.String("events", "", "write the recorded events to `FILE`, one a line")
	flag.Parse()
	token := "ghp_" + rand.Text() + rand.Text()[:10] // as GitHub's tokens look
	if err := run(context.Background(), os.Stdout, memsink.New(nil), token, *events); err != nil {
		fmt.Fprintln(os.Stderr, "github-workflow:", err)
		os.Exit(1)
	}
}

// run runs the action and prints what it has left in the sink.
func run(ctx context.Context, out io.Writer, sink *memsink.Sink, token, events string) error {
	server := newServer(token)
	defer server.Close()
	if err := record(ctx, sink, server.URL, token); err != nil {
		return err
	}
	fmt.Fprintf(out, "GitHub was asked %d times, %d times with the right token: %s\n", server.requests, server.authorized, server.dispatched)
	if events != "" {
		if err := export(ctx, events, sink); err != nil {
			return err
		}
	}
	return report(ctx, out, sink, token)
}

// record runs the action as a job, with inputs as a request brings them.
func record(ctx context.Context, sink jobaudit.AuditSink, url, token string) (err error) {
	redactors, err := jobaudit.NewRegistry(nil, policy)
	if err != nil {
		return err
	}
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "deployer", Environment: "example"},
		&jobaudit.Options{Redactors: redactors})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, recorder.Close(ctx)) }()

	body, err := json.Marshal(map[string]string{"repo": "acme/site", "branch": "main", "pat": token})
	if err != nil {
		return err
	}
	var in inputs
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	_, err = jobaudit.Call(ctx, recorder, jobaudit.Submission{
		Action:    action,
		Inputs:    in,
		Resource:  in.Repo,
		Target:    "github",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "u-1", Name: "Ada Lovelace", Verified: true, AuthMethod: "oidc"},
		OrgID:     "acme",
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the new landing page is approved", Ref: "WEB-7"},
	}, func(ctx context.Context) (output, error) { return trigger(ctx, url, in) })
	return err
}

// report prints what is stored of the job, and that the token is not.
func report(ctx context.Context, out io.Writer, sink *memsink.Sink, token string) error {
	forms, leaks := 0, 0
	for r, err := range sink.Records(ctx, jobaudit.Query{}) {
		if err != nil {
			return err
		}
		searched, found := search(r.Bytes(), token)
		forms, leaks = searched, leaks+found
	}
	if leaks > 0 {
		return fmt.Errorf("the token is stored %d times", leaks)
	}
	fmt.Fprintf(out, "The token is in none of %d stored events, in none of %d forms.\n", sink.Len(), forms)

	job, err := jobaudit.Replay(sink.Records(ctx, jobaudit.Query{Action: action}))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Stored inputs: %s\nStored output: %s\n\n", job.Metadata.Inputs, job.Output)
	if err := story.Timeline(out, sink.Records(ctx, jobaudit.Query{JobID: job.ID})); err != nil {
		return err
	}
	status, err := json.MarshalIndent(jobaudit.JobStatus{RequestID: uuid.New(), Job: job}, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\n%s\n", status)
	return err
}

// export writes the events to a file, one a line.
func export(ctx context.Context, path string, from jobaudit.AuditReader) error {
	var lines []byte
	for r, err := range from.Records(ctx, jobaudit.Query{}) {
		if err != nil {
			return err
		}
		lines = append(r.AppendTo(lines), '\n')
	}
	return os.WriteFile(path, lines, 0o600)
}
