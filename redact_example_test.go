package jobaudit_test

import (
	"fmt"
	"strings"

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

// A value that must be recognised again but not read.
func ExamplePath_Pseudonym() {
	type inputs struct {
		Email string `json:"email"`
		Plan  string `json:"plan"`
	}
	redactor := jobaudit.NewRedactor("sign-up", "1", jobaudit.InputPaths[inputs](
		jobaudit.Keep("email").Pseudonym("email"), jobaudit.Keep("plan")))
	stored, err := redactor.RedactInputs(inputs{"ann@example.org", "free"})
	fmt.Println(strings.Contains(string(stored), "ann@example.org"), strings.Contains(string(stored), `"email":"pseudonym:`), err)
	// Output: false true <nil>
}

// Struct tags: a field without one is dropped.
func ExampleInputPaths_tags() {
	type inputs struct {
		Repo  string   `json:"repo" audit:"keep"`
		Paths []string `json:"paths" audit:"keep"`
		PAT   string   `json:"pat" audit:"drop=credential"`
		Debug bool     `json:"debug"`
	}
	redactor := jobaudit.NewRedactor("deploy", "4", jobaudit.InputPaths[inputs]())
	stored, err := redactor.RedactInputs(inputs{"acme/site", []string{"main.go"}, "a token", true})
	fmt.Println(string(stored), err)
	// Output: {"repo":"acme/site","paths":["main.go"]} <nil>
}

// A program's own format of secrets, and a documented sample that is none.
func ExampleRegistryOptions_patterns() {
	registry, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{
		Patterns: map[string]string{"acme-key": `acme_[A-Za-z0-9]{32}`},
		Allow:    []string{"acme_00000000000000000000000000000000"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, text := range []string{
		"the key is acme_8Zq0bT4xW1nR7cK2vLsE5dYhM9gUfJp3",
		"the sample is acme_00000000000000000000000000000000",
		"no key at all",
	} {
		fmt.Printf("%q\n", registry.Scan(text))
	}
	// Output:
	// "acme-key"
	// ""
	// ""
}
