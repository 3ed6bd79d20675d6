package policy

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/jobaudit/jobaudit/internal/walk"
)

// Typed is the rule that keeps what f returns, whole.
func Typed[In, Kept any](f func(In) (Kept, error)) *Rule {
	in, kept := reflect.TypeFor[In](), reflect.TypeFor[Kept]()
	r := &Rule{Form: "typed"}
	r.Keeps, r.err = describeKept(in, kept)
	if f == nil {
		r.err = errors.Join(r.err, &walk.PathError{Path: ".", Problem: "no function"})
	}
	for _, kind := range r.Keeps {
		r.Pseudonyms = r.Pseudonyms || strings.HasPrefix(kind, "pseudonym ")
	}
	removed, typ := countMissing(in, kept), walk.TypeOf(kept)
	r.apply = func(v any, env walk.Env) (walk.Result, error) {
		value, err := as[In](v)
		if err != nil {
			return walk.Result{}, err
		}
		kept, err := f(*value)
		if err != nil {
			return walk.Result{}, &functionError{err}
		}
		result, err := typ.Whole(reflect.ValueOf(&kept).Elem(), env)
		result.Count += removed
		return result, err
	}
	return r
}

// describeKept lists what values of type kept hold.
func describeKept(in, kept reflect.Type) (map[string]string, error) {
	for in.Kind() == reflect.Pointer && in.Name() == "" {
		in = in.Elem()
	}
	same := kept
	for same.Kind() == reflect.Pointer && same.Name() == "" {
		same = same.Elem()
	}
	if in != same && in.Kind() != reflect.Struct {
		in = nil // a kept type may well contain a string, if that is what In is
	}
	return walk.Describe(kept, in)
}

// countMissing returns how many fields in has and kept has not.
func countMissing(in, kept reflect.Type) (n int) {
	have := walk.Fields(kept)
	for _, name := range walk.Fields(in) {
		if !slices.Contains(have, name) {
			n++
		}
	}
	return n
}
