package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jobaudit/jobaudit"
)

const action = "print-report"

// inputs are what a client sends.
type inputs struct {
	Month    string `json:"month"`
	Pages    int    `json:"pages"`
	Password string `json:"password"` // of the printer
}

type output struct {
	Pages int `json:"pages"`
}

// policy keeps of the inputs what may be stored.
var policy = jobaudit.NewRedactor(action, "1",
	jobaudit.InputPaths[inputs](jobaudit.Keep("month"), jobaudit.Keep("pages"), jobaudit.Drop("password", "password")),
	jobaudit.OutputPaths[output](jobaudit.Keep("pages")))

// validate sees the inputs as they came.
func validate(name string, raw json.RawMessage) error {
	if name != action {
		return &jobaudit.FieldError{Field: "action", Problem: "is not one of ours"}
	}
	var in inputs
	if err := json.Unmarshal(raw, &in); err != nil {
		return &jobaudit.FieldError{Field: "inputs", Problem: "is malformed"}
	}
	if _, err := time.Parse("2006-01", in.Month); err != nil {
		return &jobaudit.FieldError{Field: "inputs.month", Problem: "is not a month"}
	}
	if in.Pages < 1 || in.Pages > 1000 {
		return &jobaudit.FieldError{Field: "inputs.pages", Problem: "is not between 1 and 1000"}
	}
	return nil
}

// printReport stands for what the service does.
func printReport(ctx context.Context, raw json.RawMessage) error {
	var in inputs
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	trail, _ := jobaudit.FromContext(ctx)
	for page := range in.Pages {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		trail.Log(ctx, fmt.Sprintf("page %d of %s", page+1, in.Month))
	}
	trail.SetOutput(output{in.Pages})
	return nil
}
