package jobaudit_test

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/erasure"
)

// printStored prints what a policy would store of inputs. Pseudonyms and sealed values
// differ in every run, so that only what they are is printed.
func printStored(action string, r jobaudit.Redactor, opts *jobaudit.RegistryOptions, inputs any) {
	registry, err := jobaudit.NewRegistry(opts, r)
	if err != nil {
		fmt.Println(err)
		return
	}
	stored, err := registry.RedactInputs(action, inputs)
	if err != nil {
		fmt.Println(err)
		return
	}
	var fields map[string]any
	if json.Unmarshal(stored, &fields) != nil {
		fmt.Println(string(stored))
		return
	}
	for name, value := range fields {
		if text, ok := value.(string); ok {
			for _, prefix := range []string{"pseudonym:", "sealed:1:"} {
				if strings.HasPrefix(text, prefix) {
					fields[name] = prefix + "…"
				}
			}
		}
	}
	tidy, _ := json.Marshal(fields)
	fmt.Println(string(tidy))
}

// A payment: what was charged and to whom it can be matched, never the card.
func ExampleNewRedactor_payment() {
	type payment struct {
		Order  string `json:"order"`
		Amount int64  `json:"amount"`
		Card   string `json:"card"`
		Email  string `json:"email"`
	}
	r := jobaudit.NewRedactor("charge", "1", jobaudit.InputPaths[payment](
		jobaudit.Keep("order"), jobaudit.Keep("amount"), jobaudit.Keep("email").Pseudonym("email"), jobaudit.Drop("card", "credential")))
	printStored("charge", r, &jobaudit.RegistryOptions{PseudonymKey: make([]byte, 32)}, payment{"o-17", 4200, "4000 0000 0000 0000", "ann@example.org"})
	// Output: {"amount":4200,"email":"pseudonym:…","order":"o-17"}
}

// A deployment: which version goes where; the token is a Secret in the inputs.
func ExampleNewRedactor_deployment() {
	type deployment struct {
		Repo    string                  `json:"repo"`
		Version string                  `json:"version"`
		Env     map[string]string       `json:"env"`
		Token   jobaudit.Secret[string] `json:"token"`
	}
	type kept struct {
		Repo    string `json:"repo"`
		Version string `json:"version"`
	}
	r := jobaudit.NewRedactor("deploy", "1", jobaudit.Inputs(func(in deployment) (kept, error) { return kept{in.Repo, in.Version}, nil }))
	printStored("deploy", r, nil, deployment{"acme/site", "v1.4.2", map[string]string{"DB_PASSWORD": "x"}, jobaudit.NewSecret("a token")})
	// Output: {"repo":"acme/site","version":"v1.4.2"}
}

// A CSV import: the file and how much is in it, not the rows.
func ExampleNewRedactor_csvImport() {
	type csvImport struct {
		File    string     `json:"file" audit:"keep"`
		Columns []string   `json:"columns" audit:"keep"`
		Rows    [][]string `json:"rows"`
	}
	printStored("import", jobaudit.NewRedactor("import", "1", jobaudit.InputPaths[csvImport]()), nil,
		csvImport{"customers.csv", []string{"name", "city"}, [][]string{{"Ann Example", "Ghent"}}})
	// Output: {"columns":["name","city"],"file":"customers.csv"}
}

// An agent's tool call: which tool and which keys its arguments had. Chats have
// texts that are strings or lists of parts.
func ExampleNewRedactor_agentToolCall() {
	r := jobaudit.NewRedactor("tool-call", "1", jobaudit.InputPaths[any](
		jobaudit.Keep("tool"), jobaudit.Keep("messages[*].role"), jobaudit.Keep("messages[*].content"), jobaudit.Keep("messages[*].content[*].text"),
		jobaudit.Drop("apiKey", "credential")))
	printStored("tool-call", r, nil, json.RawMessage(`{"tool":"search","apiKey":"hunter2","messages":[
		{"role":"user","content":"find the invoice"},
		{"role":"tool","content":[{"type":"text","text":"use key hunter2"},{"type":"text","text":"found 3"}]}]}`))
	// Output: {"messages":[{"content":"find the invoice","role":"user"},{"content":[{"text":{"$jobaudit":"dropped","rule":"taint"}},{"text":"found 3"}],"role":"tool"}],"tool":"search"}
}

// A GDPR erasure: a pseudonym finds the records, and what has to be readable until
// the person has it erased is sealed.
func ExampleNewRedactor_gdprErasure() {
	keys := new(erasure.MemoryKeys)
	type request struct {
		Subject, Name string
	}
	type kept struct {
		Subject string         `json:"subject" audit:"pseudonym=customer"`
		Name    erasure.Sealed `json:"name"`
	}
	r := jobaudit.NewRedactor("erase-customer", "1", jobaudit.Inputs(func(in request) (kept, error) {
		name, err := erasure.Seal(keys, in.Subject, in.Name)
		return kept{in.Subject, name}, err
	}))
	printStored("erase-customer", r, &jobaudit.RegistryOptions{PseudonymKey: make([]byte, 32)}, request{"customer-7", "Ann Example"})
	// Output: {"name":"sealed:1:…","subject":"pseudonym:…"}
}

// An SQL migration: its name and the statements, which the scan looks at; the
// address of the database is a credential.
func ExampleNewRedactor_sqlMigration() {
	type migration struct {
		Name       string   `json:"name"`
		Statements []string `json:"statements"`
		DSN        string   `json:"dsn"`
	}
	r := jobaudit.NewRedactor("migrate", "1", jobaudit.InputPaths[migration](
		jobaudit.Keep("name"), jobaudit.Keep("statements[*]"), jobaudit.Drop("dsn", "credential")))
	printStored("migrate", r, nil, migration{"0042_roles", []string{"ALTER TABLE job ADD COLUMN note text", "CREATE USER app IDENTIFIED BY 'correct-horse'"}, "app:correct-horse@tcp(db:3306)/shop"})
	// Output: {"name":"0042_roles","statements":["ALTER TABLE job ADD COLUMN note text",{"$jobaudit":"dropped","rule":"taint"}]}
}

// A webhook: which event of whom, not its headers.
func ExampleNewRedactor_webhook() {
	r := jobaudit.NewRedactor("webhook", "1", jobaudit.InputPaths[any](
		jobaudit.Keep("event"), jobaudit.Keep("delivery"), jobaudit.Drop("headers", "credential"), jobaudit.Drop("body", "personal")))
	printStored("webhook", r, nil, map[string]any{"event": "push", "delivery": 17, "headers": map[string]string{"X-Signature": "s1gn4ture"}, "body": "{}"})
	// Output: {"delivery":17,"event":"push"}
}

// An e-mail: the template and a pseudonym of the recipient, not what it says.
func ExampleNewRedactor_email() {
	type mail struct {
		Template string `json:"template" audit:"keep"`
		To       string `json:"to" audit:"pseudonym=email"`
		Body     string `json:"body" audit:"drop=personal"`
	}
	printStored("send-mail", jobaudit.NewRedactor("send-mail", "1", jobaudit.InputPaths[mail]()), &jobaudit.RegistryOptions{PseudonymKey: make([]byte, 32)},
		mail{"welcome", "ann@example.org", "Dear Ann"})
	// Output: {"template":"welcome","to":"pseudonym:…"}
}

// A copy of objects: from where to where. An address that is signed is a
// credential, and the scan knows it.
func ExampleNewRedactor_objectCopy() {
	type objectCopy struct {
		From string `json:"from" audit:"keep"`
		To   string `json:"to" audit:"keep"`
		Size int64  `json:"size" audit:"keep"`
	}
	printStored("copy-object", jobaudit.NewRedactor("copy-object", "1", jobaudit.InputPaths[objectCopy]()), nil,
		objectCopy{"s3://in/a.csv", "https://out.example.org/a.csv?X-Amz-Signature=" + strings.Repeat("0a1b2c3d", 8), 1024})
	// Output: {"from":"s3://in/a.csv","size":1024,"to":{"$jobaudit":"dropped","rule":"aws"}}
}

// A step of a workflow: what ran and its labels, whatever they are called.
func ExampleNewRedactor_workflow() {
	r := jobaudit.NewRedactor("workflow-step", "1", jobaudit.InputPaths[any](
		jobaudit.Keep("workflow"), jobaudit.Keep("step"), jobaudit.Keep("labels.*"), jobaudit.Drop("secrets", "credential")))
	printStored("workflow-step", r, nil, map[string]any{"workflow": "release", "step": 3, "labels": map[string]string{"team": "core", "note": "pw tr0ub4dor"}, "secrets": map[string]string{"PW": "tr0ub4dor"}})
	// Output: {"labels":{"note":{"$jobaudit":"dropped","rule":"taint"},"team":"core"},"step":3,"workflow":"release"}
}
