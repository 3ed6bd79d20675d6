package jobaudit

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"

	"github.com/jobaudit/jobaudit/internal/walk"
)

// What the redaction block says was done (format F4).
const (
	outcomeKept     = "kept"
	outcomeNoPolicy = "no_policy"
	outcomePassed   = "passed_through"
	outcomeError    = "error"
	outcomePanic    = "panic"
	outcomeType     = "type"
	outcomeLimit    = "limit"
	outcomeCycle    = "cycle"
)

// Redactor is the policy of one action: which parts of its inputs and of its
// output may be stored. What it does not keep is dropped; a side without a
// rule is withheld. Declare it with [NewRedactor] next to the action's handler
// and give it to [NewRegistry]. The zero Redactor is not valid. A Redactor may
// be copied and is safe for concurrent use if the functions given to it are.
type Redactor struct {
	action, version string
	inputs, output  *rule
	doc             policyDoc
	err             error
}

// NewRedactor returns the policy of an action. The version is yours to change
// whenever a rule's function does: a function's body cannot be seen, so the
// digest that events carry covers the version, the paths, and the kept types'
// fields. Action and version are required, at most 256 bytes each, and so is
// at least one rule; at most one for each side. What is wrong is told by
// [NewRegistry] and by the Redactor's own methods.
func NewRedactor(action, version string, rules ...Rule) Redactor {
	r := Redactor{action: action, version: version}
	var errs []error
	fail := func(field, problem string) { errs = append(errs, &FieldError{field, problem}) }
	name := action
	if problem := identifierProblem(action); problem != "" {
		name = "redactor"
		fail("redactor.action", problem)
	}
	if problem := identifierProblem(version); problem != "" {
		fail(name+".version", problem)
	}
	if len(rules) == 0 {
		fail(name, "no rules")
	}
	for _, rule := range rules {
		field := name + "." + rule.side
		side := &r.inputs
		if rule.side == sideOutput {
			side = &r.output
		}
		switch {
		case rule.rule == nil:
			fail(name, "the zero Rule")
			continue
		case *side != nil:
			fail(field, "two rules")
			continue
		}
		*side = rule.rule
		for _, e := range pathErrors(rule.rule.err) {
			fail(field+" "+e.Path, e.Problem)
		}
	}
	if len(errs) == 0 {
		r.doc = newPolicyDoc(&r, nil)
		if len(r.doc.json) > maxPolicy {
			fail(name, "the policy is too large to be recorded")
		}
	}
	r.err = errors.Join(errs...)
	return r
}

func identifierProblem(s string) string {
	switch {
	case s == "":
		return "missing"
	case len(s) > 256:
		return "longer than 256 bytes"
	}
	return ""
}

// pathErrors returns what err joins.
func pathErrors(err error) (all []*walk.PathError) {
	switch err := err.(type) {
	case *walk.PathError:
		return []*walk.PathError{err}
	case interface{ Unwrap() []error }:
		for _, e := range err.Unwrap() {
			all = append(all, pathErrors(e)...)
		}
	}
	return all
}

// RedactInputs returns the bytes that would be stored of a job's inputs. It is
// for unit tests of a policy: the error says why they would be withheld and
// wraps the redactor's own error, which nothing else tells. It is
// [ErrNoPolicy] if there is no rule for the inputs. Pseudonyms are made with a
// key that ends with the process.
func (r Redactor) RedactInputs(inputs any) (json.RawMessage, error) {
	return r.try(inputs, sideInputs)
}

// RedactOutput is [Redactor.RedactInputs] for a job's output.
func (r Redactor) RedactOutput(output any) (json.RawMessage, error) {
	return r.try(output, sideOutput)
}

func (r Redactor) try(v any, side string) (json.RawMessage, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.action == "" {
		return nil, &FieldError{"redactor.action", "missing"}
	}
	c, err := r.redact(v, side, walk.Env{Limit: maxContent, Guard: trial{}})
	if err != nil {
		return nil, fmt.Errorf("%s of %q are withheld (%s): %w", side, r.action, c.redaction.Outcome, err)
	}
	return c.json, nil
}

// redact applies the rule of one side. The error is the cause of an outcome
// other than kept.
func (r *Redactor) redact(v any, side string, env walk.Env) (content, error) {
	if absent(v) {
		return content{json: null}, nil
	}
	rule := r.inputs
	if side == sideOutput {
		rule = r.output
	}
	if rule == nil {
		return content{json: null, redaction: r.block(outcomeNoPolicy)}, ErrNoPolicy
	}
	result, err := guarded(v, env, rule.apply)
	if err == nil && len(result.Removed)+len(result.Hits) == 0 {
		return content{json: result.JSON, redaction: rule.plainly(r, result.Count)}, nil
	}
	return settle(r.block(outcomeKept), result, err), err
}

func (r *Redactor) block(outcome string) *Redaction {
	return &Redaction{Policy: r.action, Version: r.version, Digest: r.doc.digest, Outcome: outcome}
}

// plainly returns the block of a value of which count members were left out
// and none of them is named. Jobs of one action mostly share one; nobody
// changes a block once it is made.
func (r *rule) plainly(of *Redactor, count int) *Redaction {
	if last := r.last.Load(); last != nil && last.RemovedCount == count && last.Digest == of.doc.digest {
		return last
	}
	block := of.block(outcomeKept)
	block.RemovedCount = count
	r.last.Store(block)
	return block
}

// absent reports whether no value was given.
func absent(v any) bool {
	if v == nil {
		return true
	}
	rv := reflect.ValueOf(v)
	return rv.Kind() == reflect.Pointer && rv.IsNil()
}

// settle completes a redaction block with what came of a walk.
func settle(block *Redaction, r walk.Result, err error) content {
	if err != nil {
		block.Outcome = outcomeOf(err)
		return content{json: null, redaction: block}
	}
	for _, removal := range r.Removed {
		block.Removed = append(block.Removed, struct{ Path, Class string }(removal))
	}
	block.RemovedCount = r.Count
	for _, hit := range r.Hits {
		block.Hits = append(block.Hits, struct{ Path, Rule string }(hit))
	}
	return content{json: r.JSON, redaction: block}
}

// outcomeOf looks at the error itself, not at what it wraps: that is a user's,
// and its methods are not to be called here.
func outcomeOf(err error) string {
	switch err {
	case errType:
		return outcomeType
	case walk.ErrLimit:
		return outcomeLimit
	case walk.ErrCycle:
		return outcomeCycle
	}
	if _, ok := err.(*panicError); ok {
		return outcomePanic
	}
	return outcomeError
}

// panicError is a panic in a redactor, or in a method of a value that is kept.
type panicError struct{ what string }

func (e *panicError) Error() string { return "panic: " + e.what }

// guarded calls apply and turns a panic into an error.
func guarded(v any, env walk.Env, apply func(any, walk.Env) (walk.Result, error)) (r walk.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = walk.Result{}, &panicError{describePanic(p)}
		}
	}()
	return apply(v, env)
}

// describePanic names the type of a panic's value. The value itself may be
// content; the runtime's own errors hold none.
func describePanic(p any) string {
	t := reflect.TypeOf(p)
	if err, ok := p.(runtime.Error); ok {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.PkgPath() == "runtime" {
			return err.Error()
		}
	}
	return fmt.Sprintf("%T", p)
}
