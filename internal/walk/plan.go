package walk

import "reflect"

// Plan says which leaves of a value are kept.
type Plan struct {
	drops []Removal
}

// Value encodes what the plan keeps of v.
func (p *Plan) Value(v reflect.Value, limit int) (Result, error) { return Result{}, ErrLimit }

// Path is one path of a plan.
type Path struct {
	Text  string
	Drop  bool
	Class string
}
