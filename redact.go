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
// output may be stored. What it does not keep is dropped. Make one with
// [NewRedactor], next to the action's handler, and give it to a [Registry].
// The zero Redactor is not valid. A Redactor may be copied and is safe for
// concurrent use if the functions given to it are.
type Redactor struct {
	action, version string
	inputs, output  *rule
	problems        []error
	doc             policyDoc
}

// Rule is what a [Redactor] does to one side, the inputs or the output. It is
// made by [Inputs], [InputPaths], [Output] and [OutputPaths].
type Rule struct {
	side string
	rule *rule
}

// Path names leaves of a value, for [InputPaths] and [OutputPaths]. It is made
// by [Keep] and [Drop].
type Path struct{ path walk.Path }

// rule is a compiled rule. It does not change once it is in a Redactor.
type rule struct {
	form  string // "typed" or "paths"
	check func() []error
	apply func(v any) (walk.Result, error)
	plan  *walk.Plan        // of a rule of paths
	keeps map[string]string // path to the kind of leaf
	typ   reflect.Type      // of the value before
}

// errType means that a value is not of the type that its rule is for.
var errType = errors.New("the value is not of the rule's type")

const (
	sideInputs = "inputs"
	sideOutput = "output"
)

// redact applies the rule of one side. The error is for users' unit tests: it
// may quote the redactor's own.
func (r *Redactor) redact(v any, side string) (content, error) {
	block := &Redaction{Policy: r.action, Version: r.version, Digest: r.doc.digest, Outcome: outcomeKept}
	rule := r.inputs
	if side == sideOutput {
		rule = r.output
	}
	if rule == nil {
		block.Outcome = outcomeNoPolicy
		return content{json: null, redaction: block}, ErrNoPolicy
	}
	result, err := guarded(v, rule.apply)
	return settle(block, result, err), err
}

// settle completes a redaction block with what came of a walk.
func settle(block *Redaction, r walk.Result, err error) content {
	if err != nil {
		block.Outcome = outcomeOf(err)
		return content{json: null, redaction: block}
	}
	for i, removal := range r.Removed {
		if i == maxList {
			r.Count += len(r.Removed) - maxList
			break
		}
		block.Removed = append(block.Removed, struct{ Path, Class string }(removal))
	}
	block.RemovedCount = r.Count
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
func guarded(v any, apply func(any) (walk.Result, error)) (r walk.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = walk.Result{}, &panicError{describePanic(p)}
		}
	}()
	return apply(v)
}

// describePanic names the type of a panic's value. The value itself may be
// content; the runtime's own errors hold none.
func describePanic(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", p)
}

// RedactInputs returns the bytes that would be stored of a job's inputs. It is
// for unit tests of a policy: the error says why they would be withheld, and
// wraps the redactor's own error where there is one. Nothing else tells it.
func (r Redactor) RedactInputs(inputs any) (json.RawMessage, error) {
	return r.try(inputs, sideInputs)
}

// RedactOutput is [Redactor.RedactInputs] for a job's output.
func (r Redactor) RedactOutput(output any) (json.RawMessage, error) {
	return r.try(output, sideOutput)
}

func (r Redactor) try(v any, side string) (json.RawMessage, error) {
	if len(r.problems) > 0 {
		return nil, errors.Join(r.problems...)
	}
	if v == nil {
		return json.RawMessage("null"), nil
	}
	c, err := r.redact(v, side)
	if err != nil {
		return nil, fmt.Errorf("%s of %q are withheld (%s): %w", side, r.action, c.redaction.Outcome, err)
	}
	return c.json, nil
}
