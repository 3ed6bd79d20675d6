package jobaudit

import (
	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/policy"
	"github.com/jobaudit/jobaudit/internal/walk"
)

// Stored is what may be stored, for tests.
type Stored struct {
	JSON      string
	Redaction *Redaction
}

func (g *Registry) StoredInputs(action string, v any) (Stored, error) {
	c, err := g.sanitizer(action).inputs(v)
	return Stored{string(c.json), c.redaction}, err
}

func (g *Registry) StoredOutput(action string, v any) Stored {
	c := g.sanitizer(action).output(v)
	return Stored{string(c.json), c.redaction}
}

// Sanitize returns a function that passes inputs through one sanitizer.
func (g *Registry) Sanitize(action string) func(v any) string {
	d := g.sanitizer(action)
	return func(v any) string {
		c, _ := d.inputs(v)
		return string(c.json)
	}
}

// Policy is a policy's document, for tests.
type Policy struct {
	Action, Version string
	Digest          Hash
	JSON            string
}

func (g *Registry) Policies() (all []Policy) {
	for _, p := range g.policies() {
		all = append(all, Policy{p.Action, p.Version, p.Digest, string(p.JSON)})
	}
	return all
}

// BenchSanitize returns a function that passes inputs through the action's policy,
// with or without the scan, and tells how many bytes of them are stored.
func (g *Registry) BenchSanitize(action string, scan bool) func(v any) int {
	d := g.sanitizer(action)
	return func(v any) int {
		call := policy.Call{Env: walk.Env{Limit: fields.MaxContent}}
		if scan {
			call.Guard = &inputGuard{sanitizer: d}
		}
		c, _ := d.content(v, sideInputs, &call)
		return len(c.json)
	}
}

// BenchJob is BenchSanitize with the sanitizer of a new job each time, which remembers
// what was removed.
func (g *Registry) BenchJob(action string) func(v any) int {
	return func(v any) int {
		c, _ := g.sanitizer(action).inputs(v)
		return len(c.json)
	}
}
