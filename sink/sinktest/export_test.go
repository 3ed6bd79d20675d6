package sinktest

import "context"

// CheckCase is Check with one case.
func CheckCase(ctx context.Context, open func(context.Context) (Medium, error), traits Traits, name string) error {
	for _, c := range clauses() {
		if c.name == name {
			return c.check(ctx, open, traits)
		}
	}
	panic("no case " + name)
}

// CaseNames returns the names of the cases.
func CaseNames() []string {
	var names []string
	for _, c := range clauses() {
		names = append(names, c.name)
	}
	return names
}

// WaivedBy returns the trait that waives a case, or "".
func WaivedBy(traits Traits, name string) string {
	for _, c := range clauses() {
		if c.name == name {
			by, _ := c.waivedBy(traits)
			return string(by)
		}
	}
	panic("no case " + name)
}
