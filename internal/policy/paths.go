package policy

import (
	"encoding/json"
	"errors"
	"reflect"

	"github.com/jobaudit/jobaudit/internal/walk"
)

// Path is a path of a rule.
type Path struct {
	walk.Path
	// Pseudonymous says that a pseudonym was asked for, whatever its class.
	Pseudonymous bool
}

// ByPath is the rule that keeps the leaves that the paths name or, without
// paths, those that the audit tags of In's fields name.
func ByPath[In any](paths ...Path) *Rule {
	in := reflect.TypeFor[In]()
	r := &Rule{}
	plan := r.plan(in, paths)
	if r.err != nil {
		return r
	}
	r.Keeps, r.Drops, r.Pseudonyms = plan.Keeps(), plan.Drops(), plan.Pseudonyms
	decodes := walk.Decodes(in)
	r.apply = func(v any, c *Call) (walk.Result, error) {
		rv := reflect.ValueOf(v)
		if c.Removed != nil {
			c.Removed.In = in
		}
		switch t := rv.Type(); {
		case t == reflect.TypeFor[json.RawMessage](),
			isBytes(t) && (t == in || t.Name() == "" && in.Kind() != reflect.Interface):
			if decodes && c.Removed != nil { // what decodes itself may hold a credential under any name
				if value, err := decode[In](rv.Bytes()); err == nil {
					c.Removed.Marks(reflect.ValueOf(value))
				}
			}
			return parsed(c.encode(func(env walk.Env) (walk.Result, error) { return plan.Raw(rv.Bytes(), env) }))
		case in.Kind() == reflect.Interface && t.Name() == "" && isBytes(t):
			return walk.Result{}, ErrType
		}
		if in.Kind() == reflect.Pointer && rv.Type() == in.Elem() { // In is *T and v is a T
			return c.encode(func(env walk.Env) (walk.Result, error) { return plan.Value(rv, env) })
		}
		switch v.(type) {
		case In, *In:
			return c.encode(func(env walk.Env) (walk.Result, error) { return plan.Value(rv, env) })
		}
		return walk.Result{}, ErrType
	}
	return r
}

// plan compiles the paths, or the tags of In's fields if there are none.
func (r *Rule) plan(in reflect.Type, paths []Path) *walk.Plan {
	tagPaths, tagged, err := walk.TagPaths(in)
	r.Form = "paths"
	raw := make([]walk.Path, len(paths))
	for i, p := range paths {
		raw[i] = p.Path
		if p.Pseudonymous && (p.Drop || p.Pseudonym == "") {
			r.fail(p.Text, "a pseudonym needs a class and a leaf that is kept")
		}
	}
	switch {
	case len(paths) == 0 && !tagged:
		r.fail(".", "no paths, and no field has an audit tag")
	case len(paths) == 0:
		r.Form, raw = "tags", tagPaths
		r.err = errors.Join(r.err, err)
	case tagged:
		r.fail(".", "has paths, and fields with audit tags: only one of them can decide")
	}
	if r.err != nil {
		return nil
	}
	if isBytes(in) {
		in = nil
	}
	plan, err := walk.NewPlan(in, raw)
	r.err = err
	return plan
}

// parsed makes a value that should be JSON and is not one of another type.
func parsed(r walk.Result, err error) (walk.Result, error) {
	if err == walk.ErrJSON {
		err = ErrType
	}
	return r, err
}
