// Package policy is what a redaction policy is made of: the rules that say what
// may be stored of a value, the document that describes them to those who read
// their digest years later, and the pseudonyms that stand for values.
package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"

	"github.com/jobaudit/jobaudit/internal/walk"
)

// Rule says what is stored of values on one side of an action. It does not
// change once made and is safe for concurrent use.
type Rule struct {
	Form       string            // "typed", "paths" or "tags"
	Keeps      map[string]string // paths of the leaves that are kept, and their kinds
	Drops      []walk.Removal
	Pseudonyms bool // some of what is kept is pseudonyms

	apply func(v any, c *Call) (walk.Result, error)
	err   error // what is wrong with the rule: walk.PathErrors
}

// Call is what a rule is applied with.
type Call struct {
	walk.Env
	// Again looks at what was encoded. If it returns true, having changed the
	// Env, the same is encoded once more, without calling the rule's function
	// again. It may be nil.
	Again func(walk.Result) bool
}

// encode calls write and, if need be, calls it again.
func (c *Call) encode(write func(walk.Env) (walk.Result, error)) (walk.Result, error) {
	result, err := write(c.Env)
	if err == nil && c.Again != nil && c.Again(result) {
		return write(c.Env)
	}
	return result, err
}

// ErrType means that a value is not of the type that its rule is for.
var ErrType = errors.New("the value is not of the rule's type")

// Apply encodes what the rule keeps of v. A panic of the rule's function, or of
// a method of what is kept, is an error.
func (r *Rule) Apply(v any, c *Call) (walk.Result, error) {
	return guarded(v, c, r.apply)
}

// Whole encodes all of v, as Apply does with a rule that keeps everything.
func Whole(v any, c *Call) (walk.Result, error) {
	return guarded(v, c, func(v any, c *Call) (walk.Result, error) {
		return c.encode(func(env walk.Env) (walk.Result, error) { return walk.Whole(reflect.ValueOf(v), env) })
	})
}

// Problems lists what is wrong with the rule.
func (r *Rule) Problems() []*walk.PathError { return pathErrors(r.err) }

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

func (r *Rule) fail(path, problem string) {
	r.err = errors.Join(r.err, &walk.PathError{Path: path, Problem: problem})
}

// functionError is an error of a user's function. Its own type keeps what it
// wraps from being mistaken for one of ours.
type functionError struct{ error }

func (e *functionError) Unwrap() error { return e.error }

// panicError is a panic in a redactor, or in a method of a value that is kept.
type panicError struct{ what string }

func (e *panicError) Error() string { return "panic: " + e.what }

// guarded calls apply and turns a panic into an error.
func guarded(v any, c *Call, apply func(any, *Call) (walk.Result, error)) (r walk.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = walk.Result{}, &panicError{describePanic(p)}
		}
	}()
	return apply(v, c)
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

// Panicked reports whether err is a panic in a rule.
func Panicked(err error) bool {
	_, ok := err.(*panicError)
	return ok
}

func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

// as returns a pointer to v as an In: v itself, what it points to, or what it is the JSON
// of.
func as[In any](v any) (*In, error) {
	switch v := v.(type) {
	case *In:
		return v, nil
	case In:
		return &v, nil
	case json.RawMessage:
		return decode[In](v)
	case []byte:
		return decode[In](v)
	}
	// In is *T and v is a T.
	if t := reflect.TypeFor[In](); t.Kind() == reflect.Pointer && t.Elem() == reflect.TypeOf(v) {
		p := reflect.New(t.Elem())
		p.Elem().Set(reflect.ValueOf(v))
		in := p.Interface().(In)
		return &in, nil
	}
	return nil, ErrType
}

func decode[In any](raw []byte) (*In, error) {
	in := new(In)
	switch err := walk.Check(raw); {
	case err == walk.ErrLimit:
		return nil, err
	case err != nil || !walk.ExactNames(raw, reflect.TypeFor[In]()), json.Unmarshal(raw, in) != nil:
		return nil, ErrType
	}
	return in, nil
}
