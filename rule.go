package jobaudit

import (
	"encoding/json"
	"reflect"

	"github.com/jobaudit/jobaudit/internal/walk"
)

// Inputs is the rule that keeps of a job's inputs what f returns: Kept is the
// list of what may be stored, and everything in it is.
func Inputs[In, Kept any](f func(In) (Kept, error)) Rule { return typed(sideInputs, f) }

// Output is [Inputs] for a job's output.
func Output[Out, Kept any](f func(Out) (Kept, error)) Rule { return typed(sideOutput, f) }

// InputPaths is the rule that keeps of a job's inputs the leaves that the paths
// name.
func InputPaths[In any](paths ...Path) Rule { return byPath[In](sideInputs, paths) }

// OutputPaths is [InputPaths] for a job's output.
func OutputPaths[Out any](paths ...Path) Rule { return byPath[Out](sideOutput, paths) }

// Keep names leaves that are kept.
func Keep(path string) Path { return Path{walk.Path{Text: path}} }

// Drop names what is removed.
func Drop(path, class string) Path { return Path{walk.Path{Text: path, Drop: true, Class: class}} }

func typed[In, Kept any](side string, f func(In) (Kept, error)) Rule {
	r := &rule{form: "typed", typ: reflect.TypeFor[In]()}
	r.apply = func(v any) (walk.Result, error) {
		in, err := as[In](v)
		if err != nil {
			return walk.Result{}, err
		}
		kept, err := f(in)
		if err != nil {
			return walk.Result{}, err
		}
		return walk.Whole(reflect.ValueOf(&kept).Elem(), maxContent)
	}
	return Rule{side, r}
}

func byPath[In any](side string, paths []Path) Rule {
	r := &rule{form: "paths", typ: reflect.TypeFor[In]()}
	r.apply = func(v any) (walk.Result, error) { return walk.Result{}, walk.ErrLimit }
	return Rule{side, r}
}

// as returns v as an In: v itself, what it points to, or what it is the JSON
// of.
func as[In any](v any) (in In, err error) {
	switch v := v.(type) {
	case In:
		return v, nil
	case *In:
		if v == nil {
			return in, errType
		}
		return *v, nil
	case json.RawMessage:
		return decode[In](v)
	case []byte:
		return decode[In](v)
	}
	return in, errType
}

func decode[In any](raw []byte) (in In, err error) {
	if json.Unmarshal(raw, &in) != nil {
		return in, errType
	}
	return in, nil
}

// NewRedactor returns the policy of an action.
func NewRedactor(action, version string, rules ...Rule) Redactor {
	r := Redactor{action: action, version: version}
	for _, rule := range rules {
		if rule.side == sideInputs {
			r.inputs = rule.rule
		} else {
			r.output = rule.rule
		}
	}
	return r
}
