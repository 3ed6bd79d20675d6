package jobaudit

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/jobaudit/jobaudit/internal/walk"
)

// RegistryOptions says what happens to the content of actions that have no
// [Redactor]. The zero value withholds it, and the event says so.
type RegistryOptions struct {
	// RequirePolicy refuses to submit a job whose action has no Redactor: the
	// error wraps [ErrNoPolicy] and nothing is stored.
	RequirePolicy bool
	// PassThrough stores the content of such actions whole, within the limits
	// and without any [Secret]. An action that has a Redactor is never passed
	// through, not even on a side for which it has no rule.
	PassThrough bool
}

// Registry holds the redaction policies of a program, one [Redactor] an
// action. It does not change once made and is safe for concurrent use. A nil
// Registry has no policies.
type Registry struct {
	opts    RegistryOptions
	actions map[string]*Redactor
}

// text is a free text after the door: what may be stored of it, or the rule
// that dropped it.
type text struct{ value, dropped string }

// content is a value after the door: its encoded JSON, within the limit, and
// what was done to it. Without a value there is nothing to say: json is null
// and redaction is nil.
type content struct {
	json      []byte
	redaction *Redaction
}

// door is the one way by which one job's content reaches its events. It is
// safe for concurrent use. What is remembered of a job will live here.
type door struct {
	registry *Registry // may be nil
	action   string
	redactor *Redactor // nil if the action has none
}

// policyDoc is a policy as an audit.policy event holds it.
type policyDoc struct {
	action, version string
	digest          Hash
	json            []byte
}

// door returns the way through which the content of one job of that action
// goes. g may be nil.
func (g *Registry) door(action string) *door {
	d := &door{registry: g, action: action}
	if g != nil {
		d.redactor = g.actions[action]
	}
	return d
}

// inputs returns what may be stored of a job's inputs. The error wraps
// ErrNoPolicy, under RequirePolicy, and is nil otherwise: every other failure
// keeps the event and is told by the redaction block.
func (d *door) inputs(v any) (content, error) {
	if d.redactor == nil && d.registry != nil && d.registry.opts.RequirePolicy {
		return content{}, fmt.Errorf("action %q: %w", d.action, ErrNoPolicy)
	}
	return d.content(v, sideInputs), nil
}

// output returns what may be stored of a job's output.
func (d *door) output(v any) content { return d.content(v, sideOutput) }

// text returns what may be stored of a free text.
func (d *door) text(s string) text { return text{value: s} }

var null = []byte("null")

func (d *door) content(v any, side string) content {
	switch {
	case v == nil:
		return content{json: null}
	case d.redactor != nil:
		c, _ := d.redactor.redact(v, side)
		return c
	case d.registry != nil && d.registry.opts.PassThrough:
		r, err := guarded(v, passThrough)
		return settle(&Redaction{Outcome: outcomePassed}, r, err)
	}
	return content{json: null, redaction: &Redaction{Outcome: outcomeNoPolicy}}
}

func passThrough(v any) (walk.Result, error) {
	return walk.Whole(reflect.ValueOf(v), maxContent)
}

// policies returns the policies, sorted by action.
func (g *Registry) policies() []policyDoc {
	if g == nil {
		return nil
	}
	var docs []policyDoc
	for _, action := range slices.Sorted(maps.Keys(g.actions)) {
		docs = append(docs, g.actions[action].doc)
	}
	return docs
}


// NewRegistry returns a registry of the redactors.
func NewRegistry(opts *RegistryOptions, redactors ...Redactor) (*Registry, error) {
	g := &Registry{actions: make(map[string]*Redactor, len(redactors))}
	if opts != nil {
		g.opts = *opts
	}
	for _, r := range redactors {
		g.actions[r.action] = &r
	}
	return g, nil
}
