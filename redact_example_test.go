package jobaudit_test

import (
	"fmt"

	"github.com/jobaudit/jobaudit"
)

// A typed rule: the function's result is the list of what is stored.
func ExampleInputs() {
	type inputs struct{ Repo, Branch, PAT string }
	type kept struct {
		Repo   string `json:"repo"`
		Branch string `json:"branch"`
	}
	redactor := jobaudit.NewRedactor("trigger-github-workflow", "1",
		jobaudit.Inputs(func(in inputs) (kept, error) { return kept{in.Repo, in.Branch}, nil }))

	stored, err := redactor.RedactInputs(inputs{"acme/site", "main", "a token"})
	fmt.Println(string(stored), err)
	// Output: {"repo":"acme/site","branch":"main"} <nil>
}

// Rules of paths: for inputs that are declared elsewhere, or are only JSON.
func ExampleInputPaths() {
	redactor := jobaudit.NewRedactor("deploy", "3",
		jobaudit.InputPaths[any](
			jobaudit.Keep("repo.name"),
			jobaudit.Keep("files[*].path"),
			jobaudit.Keep("labels.*"),
			jobaudit.Drop("repo.token", "credential"),
		))

	stored, err := redactor.RedactInputs(map[string]any{
		"repo":   map[string]any{"name": "acme/site", "token": "a token"},
		"files":  []map[string]string{{"path": "main.go", "body": "package main"}},
		"labels": map[string]string{"env": "production"},
		"debug":  true,
	})
	fmt.Println(string(stored), err)
	// Output: {"files":[{"path":"main.go"}],"labels":{"env":"production"},"repo":{"name":"acme/site"}} <nil>
}

func ExampleNewRegistry() {
	type inputs struct {
		Repo string `json:"repo"`
		PAT  string `json:"pat"`
	}
	_, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{RequirePolicy: true},
		jobaudit.NewRedactor("deploy", "1", jobaudit.InputPaths[inputs](jobaudit.Keep("repository"))))
	fmt.Println(err)
	// Output: deploy.inputs repository: unknown
}
