package jobaudit

import (
	"encoding/json"
	"errors"
	"reflect"
	"sync/atomic"

	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/policy"
	"github.com/jobaudit/jobaudit/internal/walk"
)

// Redactor is the policy of one action: which parts of its inputs and of its
// output may be stored. What it does not keep is dropped; a side without a
// rule is withheld. Declare it with [NewRedactor] next to the action's handler
// and give it to [NewRegistry]. The zero Redactor is not valid. A Redactor may
// be copied and is safe for concurrent use if the functions given to it are.
type Redactor struct {
	action, version string
	inputs, output  *rule
	doc             policy.Document
	err             error
}

// NewRedactor returns the policy of an action. The version is yours to change
// whenever a rule's function does: a function's body cannot be seen, so the
// digest that events carry covers the version, the paths, and the kept types'
// fields. Action and version are required, at most 256 bytes each, and so is
// at least one rule; at most one for each side. What is wrong is reported by
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
		for _, e := range rule.rule.Problems() {
			fail(field+" "+e.Path, e.Problem)
		}
	}
	if len(errs) == 0 {
		r.doc = r.document(nil)
		if len(r.doc.JSON) > maxPolicy {
			fail(name, "the policy is too large to be recorded")
		}
	}
	r.err = errors.Join(errs...)
	return r
}

var identifierField = &fields.Field{Kind: fields.String, Max: fields.MaxIdentifier, Identifier: true}

func identifierProblem(s string) string {
	switch {
	case s == "":
		return "missing"
	case len(s) > fields.MaxIdentifier:
		return "longer than 256 bytes"
	}
	return identifierField.CheckString(s)
}

// document describes the policy. scan describes the scan if it is not the
// default.
func (r *Redactor) document(scan []byte) policy.Document {
	var inputs, output *policy.Rule
	if r.inputs != nil {
		inputs = r.inputs.Rule
	}
	if r.output != nil {
		output = r.output.Rule
	}
	return policy.NewDocument(r.action, r.version, inputs, output, scan)
}

// RedactInputs returns the bytes that a registry without options would store of a
// job's inputs. It is for unit tests of a policy alone: [Registry.RedactInputs]
// tells what is stored with a registry's patterns, allowed texts, personal data
// and pseudonyms, and drops what holds a credential that was removed beside it.
// Here, pseudonyms are made with a key that ends with the process.
//
// The error says why the inputs would be withheld and wraps the redactor's own
// error, which is not reported otherwise. It is [ErrNoPolicy] if there is no
// rule for the inputs.
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
	c, err := r.redact(v, side, &policy.Call{Env: walk.Env{Limit: fields.MaxContent, Guard: trial{}}})
	return c.trial(r.action, side, err)
}

// redact applies the rule of one side. The error is the cause of an outcome
// other than kept.
func (r *Redactor) redact(v any, side string, call *policy.Call) (content, error) {
	if absent(v) {
		return content{json: null}, nil
	}
	rule := r.inputs
	if side == sideOutput {
		rule = r.output
	}
	if rule == nil {
		return content{json: null, redaction: r.block(RedactionNoPolicy)}, ErrNoPolicy
	}
	result, err := rule.Apply(v, call)
	if err == nil && len(result.Removed)+len(result.Hits) == 0 {
		return content{json: result.JSON, redaction: rule.plainly(r, result.Count)}, nil
	}
	return complete(r.block(RedactionKept), result, err), err
}

func (r *Redactor) block(outcome RedactionOutcome) *Redaction {
	return &Redaction{Policy: r.action, Version: r.version, Digest: r.doc.Digest, Outcome: outcome}
}

// plainly returns the block of a value of which count members were left out
// and none of them is named. Jobs of one action mostly share one; a block is
// not changed once it is made.
func (r *rule) plainly(of *Redactor, count int) *Redaction {
	if last := r.last.Load(); last != nil && last.RemovedCount == int64(count) && last.Digest == of.doc.Digest {
		return last
	}
	block := of.block(RedactionKept)
	block.RemovedCount = int64(count)
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

// outcomeOf looks at the error itself, not at what it wraps: that is a user's,
// and its methods are not to be called here.
func outcomeOf(err error) RedactionOutcome {
	switch err {
	case policy.ErrType:
		return RedactionType
	case walk.ErrLimit:
		return RedactionLimit
	case walk.ErrCycle:
		return RedactionCycle
	}
	if policy.Panicked(err) {
		return RedactionPanic
	}
	return RedactionError
}

// trial is the guard of [Redactor.RedactInputs] and [Redactor.RedactOutput].
type trial struct{}

func (trial) Check(text string) (rule string) { return (*Registry)(nil).Scan(text) }

func (trial) Pseudonym(class, text string) string {
	return policy.TrialPseudonyms().Of("", class, text)
}

func (trial) Least() (bytes, digits int) { return defaultScanner().Least() }

// Rule is what a [Redactor] does to one side of its action, the inputs or the
// output. It is made by [Inputs], [InputPaths], [Output] and [OutputPaths].
//
// A rule accepts a value of its type In, a pointer to one, and JSON for one:
// a [json.RawMessage], or a []byte unless In is an interface. JSON must be
// strict: valid UTF-8, no name twice in an object, and no name that differs
// from a field's by case only. Anything else is withheld, with the outcome
// "type".
//
// Whatever the rule, encoded inputs or output of more than 16,000 bytes become
// the marker of a truncated value. Content nested deeper than 32, of more than
// 10,000 values or of more than 1 MiB is withheld.
type Rule struct {
	side string
	rule *rule
}

const (
	sideInputs = "inputs"
	sideOutput = "output"
)

// rule is what a Rule holds. It does not change once made; last is the newest
// redaction block, to be shared.
type rule struct {
	*policy.Rule
	last atomic.Pointer[Redaction]
}

func newRule(side string, r *policy.Rule) Rule { return Rule{side, &rule{Rule: r}} }

// Inputs is the rule that stores of a job's inputs what f returns, and nothing
// else: the type Kept is the list of what may be stored. Its fields have the
// names, and are omitted under the conditions, of encoding/json. It may not
// hold interfaces or json.RawMessage, which could hold anything, nor be or
// contain In. A field tagged audit:"pseudonym=class" is stored as
// [Path.Pseudonym] says.
//
// f runs on the goroutine that submits the job, before Submit returns. Its
// error, or its panic, withholds the inputs and is not stored. The redaction
// block counts as removed the top-level fields that In has and Kept has not,
// by their JSON names and whether they are set or not.
func Inputs[In, Kept any](f func(In) (Kept, error)) Rule {
	return newRule(sideInputs, policy.Typed(f))
}

// Output is [Inputs] for a job's output.
func Output[Out, Kept any](f func(Out) (Kept, error)) Rule {
	return newRule(sideOutput, policy.Typed(f))
}

// InputPaths is the rule that stores of a job's inputs the leaves that the
// paths name, in the shape that they have in the inputs. In is a struct, map
// or slice, whose types the paths are checked against by their JSON names; in
// an interface or JSON (any, json.RawMessage) paths cannot be checked.
//
// Every path ends at a leaf: a boolean, number or string, or a type that
// encodes itself as one of these, such as time.Time and uuid.UUID. Methods of
// other values are not called. An object or a list that is found where a leaf
// is named is left out, as are bytes that an interface holds. Of a url.URL
// only scheme, host and path are stored.
//
// Without paths, the tags of In's fields decide: audit:"keep" keeps a leaf, or
// all elements of a list or map of leaves; audit:"drop=class" and
// audit:"pseudonym=class" are [Drop] and [Path.Pseudonym]. A field without a
// tag is dropped, unless fields below it have tags.
func InputPaths[In any](paths ...Path) Rule {
	return newRule(sideInputs, policy.ByPath[In](pathsOf(paths)...))
}

// OutputPaths is [InputPaths] for a job's output.
func OutputPaths[Out any](paths ...Path) Rule {
	return newRule(sideOutput, policy.ByPath[Out](pathsOf(paths)...))
}

func pathsOf(paths []Path) []policy.Path {
	all := make([]policy.Path, len(paths))
	for i, p := range paths {
		all[i] = p.path
	}
	return all
}

// Path names leaves of a value, for [InputPaths] and [OutputPaths]. It is made
// by [Keep] and [Drop]; [Path.Pseudonym] makes another of one.
//
// A path is made of JSON names joined by dots, as in "repo.name"; a name that
// holds one of . [ ] * is written in brackets and quotation marks, as in
// `labels["app.kubernetes.io/name"]`. A star stands for every name of an
// object, as in "labels.*", whose names are then stored too; [*] stands for
// every element of a list, as in "files[*].path". A star on a struct stands
// for the fields that it has when the program is built. Where a name and a
// star both fit, the name decides.
type Path struct{ path policy.Path }

// Keep names leaves that are stored.
func Keep(path string) Path { return Path{policy.Path{Path: walk.Path{Text: path}}} }

// Pseudonym returns the path with a pseudonym kept in place of each leaf: equal
// texts of one class and one organization have equal pseudonyms, whatever the
// action, and only who has [RegistryOptions].PseudonymKey can tell whose they
// are. A pseudonym is a string, pseudonym:KEY:EPOCH:VALUE: which key and epoch
// made it, and 16 bytes in base64url.
//
// Types with few values are refused: booleans, floats, times, integers of less
// than 32 bits and those with a type name of their own, as enumerations have.
// So are values other than strings and integers when they are met. Do not use
// it for strings of a few possible values.
func (p Path) Pseudonym(class string) Path {
	p.path.Pseudonym = class
	p.path.Pseudonymous = true
	return p
}

// Drop names what is removed, leaf or not, so that the redaction block says
// that it was there: its path and class, as in "credential". It is not needed
// for anything to be removed: what no path keeps is removed and counted.
func Drop(path, class string) Path {
	return Path{policy.Path{Path: walk.Path{Text: path, Drop: true, Class: class}}}
}
