package walk

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
)

// Path is one path of a plan: it keeps leaves, or it names a removal.
//
// A path is names joined by dots: a.b. A star stands for every name of an
// object or map, [*] for every element of a list, and ["a.b"] for a name that
// holds one of the characters . [ ] * themselves.
type Path struct {
	Text  string
	Drop  bool
	Class string // of a removal
	// Pseudonym is the class of the pseudonym that is kept instead of the leaf.
	Pseudonym string
}

// Plan says which leaves of a value are kept and which removals are worth
// telling. It does not change and is safe for concurrent use.
type Plan struct {
	root  *node
	typed bool // the paths were held against a type
	// Pseudonyms says that the plan keeps some.
	Pseudonyms bool
	drops      []Removal
	keeps      map[string]string
}

// Keeps lists the paths of the leaves that the plan keeps, with their kinds:
// "any" where the type is known only at run time.
func (p *Plan) Keeps() map[string]string { return p.keeps }

// Drops lists the removals that the plan names.
func (p *Plan) Drops() []Removal { return p.drops }

// node is one step of a plan's paths.
type node struct {
	keep bool // the leaf that ends here
	drop int  // index into the plan's drops, plus one
	path string

	pseudonym  string // the class of what stands for the leaf
	credential bool   // what is dropped here is one
	quoted     bool   // the leaf is a string of JSON, as the option "string" makes it
	nameless   bool   // a star stands for the leaf's name: nothing says what it is

	children []child // sorted by name
	any      *node   // *
	elem     *node   // [*]

	typ *info // of what is here, without pointers; nil if that is not known

	fit atomic.Pointer[fit]
}

// child is a named step.
type child struct {
	name string
	head []byte        // the name as it is written: comma, name, colon
	key  reflect.Value // the name as a string
	*node
}

// fit is a node's children in the order of a struct's fields.
type fit struct {
	typ      *info
	children []*node // nil for a field that is not kept
}

// PathError says what is wrong with a path.
type PathError struct{ Path, Problem string }

func (e *PathError) Error() string { return e.Path + ": " + e.Problem }

// NewPlan compiles paths for values of type t. A nil type, an interface and
// bytes say nothing about what is below. The error joins a [*PathError] for
// each path that is wrong.
func NewPlan(t reflect.Type, paths []Path) (*Plan, error) {
	p := &Plan{keeps: map[string]string{}}
	root := &node{}
	var errs []error
	ordered := slices.SortedFunc(slices.Values(paths), func(a, b Path) int { return cmp.Compare(a.Text, b.Text) })
	for _, path := range ordered {
		steps, problem := parsePath(path.Text)
		if problem == "" {
			problem = p.insert(root, steps, path)
		}
		if problem != "" {
			errs = append(errs, &PathError{path.Text, problem})
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var known *info
	if t != nil {
		known = infoOf(t)
		style := known.base().style
		p.typed = style != styleInterface && style != styleRaw
	}
	r := resolver{plan: p, strict: true}
	p.root = r.resolve(root, known, "")
	if p.root == nil {
		p.root = &node{}
	}
	if p.typed {
		p.root.typ = known.base()
	}
	return p, errors.Join(r.errs...)
}

// step is a name, * or [*].
type step struct {
	name string
	kind byte // 'n', '*', '['
}

func parsePath(text string) (steps []step, problem string) {
	switch {
	case text == "":
		return nil, "empty"
	case len(text) > 256:
		return nil, "longer than 256 bytes"
	case !utf8.ValidString(text):
		return nil, "not UTF-8"
	}
	rest := text
	for first := true; rest != ""; first = false {
		var quoted bool
		switch {
		case strings.HasPrefix(rest, "[*]"):
			steps, rest = append(steps, step{kind: '['}), rest[3:]
			continue
		case strings.HasPrefix(rest, `["`):
			quoted = true
		case first:
		case rest[0] == '.':
			rest = rest[1:]
		default:
			return nil, "malformed"
		}
		var name string
		if quoted {
			var ok bool
			if name, rest, ok = strings.Cut(rest[2:], `"]`); !ok {
				return nil, "malformed"
			}
		} else {
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			name, rest = rest[:end], rest[end:]
			if name == "*" {
				steps = append(steps, step{kind: '*'})
				continue
			}
			if name == "" || strings.ContainsAny(name, `*]"`) {
				return nil, "malformed"
			}
		}
		steps = append(steps, step{name, 'n'})
	}
	if len(steps) > MaxDepth {
		return nil, fmt.Sprintf("deeper than %d", MaxDepth)
	}
	return steps, ""
}

// insert adds a path to the tree, whatever the types are.
func (p *Plan) insert(n *node, steps []step, path Path) (problem string) {
	for _, s := range steps {
		if n.keep && s.kind != '[' || n.drop > 0 {
			return "contradicts " + n.path
		}
		n = n.grow(s)
	}
	switch {
	case path.Drop && path.Class == "":
		return "is dropped without a class"
	case n.path == path.Text:
		return "named twice"
	case n.keep || n.drop > 0 || !n.bare() && (path.Drop || !n.listOnly()):
		return "contradicts another path"
	}
	n.path = path.Text
	if path.Drop {
		p.drops = append(p.drops, Removal{path.Text, path.Class})
		n.drop, n.credential = len(p.drops), path.Class == ClassCredential
		return ""
	}
	n.keep, n.pseudonym = true, path.Pseudonym
	p.Pseudonyms = p.Pseudonyms || n.pseudonym != ""
	return ""
}

// listOnly reports whether only elements of a list are named below n. What may be
// a leaf or a list, as texts in the APIs of chats, is named by both paths.
func (n *node) listOnly() bool { return len(n.children) == 0 && n.any == nil }

func (n *node) bare() bool { return len(n.children) == 0 && n.any == nil && n.elem == nil }

// grow returns the child for a step, a new one if need be.
func (n *node) grow(s step) *node {
	switch s.kind {
	case '*':
		if n.any == nil {
			n.any = &node{nameless: true}
		}
		return n.any
	case '[':
		if n.elem == nil {
			n.elem = &node{}
		}
		return n.elem
	}
	at, have := n.search(s.name)
	if !have {
		n.children = slices.Insert(n.children, at, newChild(s.name, &node{}))
	}
	return n.children[at].node
}

func newChild(name string, n *node) child {
	head := append(jsonenc.AppendString([]byte{','}, EscapeName(name)), ':')
	return child{name: name, head: head, key: reflect.ValueOf(name), node: n}
}

func (n *node) search(name string) (int, bool) {
	return slices.BinarySearchFunc(n.children, name, func(k child, name string) int { return cmp.Compare(k.name, name) })
}

// child returns what the plan says of a name: a name says more than a star.
func (n *node) child(name string) *node {
	if at, ok := n.search(name); ok {
		return n.children[at].node
	}
	return n.any
}

// childOf is child for a name in JSON.
func (n *node) childOf(name []byte) *node {
	low, high := 0, len(n.children)
	for low < high {
		if mid := (low + high) / 2; n.children[mid].name < string(name) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < len(n.children) && n.children[low].name == string(name) {
		return n.children[low].node
	}
	return n.any
}

// fitted returns the children in the order of the fields of t.
func (n *node) fitted(t *info) []*node {
	if f := n.fit.Load(); f != nil && f.typ == t {
		return f.children
	}
	f := &fit{typ: t, children: make([]*node, len(t.fields))}
	for i := range t.fields {
		f.children[i] = n.child(t.fields[i].name)
	}
	n.fit.Store(f)
	return f.children
}

// resolver holds a tree of paths against the types that the values have.
type resolver struct {
	plan   *Plan
	errs   []error
	strict bool // a path that leads nowhere is an error
}

// resolve returns what of n can be met in values of type t: nil if nothing.
// at is the path so far. A nil type is not known.
func (r *resolver) resolve(n *node, t *info, at string) *node {
	if t != nil {
		t = t.base()
		if t.style == styleInterface || t.style == styleRaw {
			t = nil
		}
	}
	if n.drop > 0 {
		return &node{drop: n.drop, path: n.path, credential: n.credential, nameless: n.nameless, typ: t}
	}
	if n.keep && n.elem != nil {
		if t != nil {
			r.fail(n, at, "is a leaf or a list, and not both: name the one")
			return nil
		}
		both := r.leaf(n, nil, at)
		both.elem = r.resolve(n.elem, nil, at+"[*]")
		return both
	}
	if n.keep {
		return r.leaf(n, t, at)
	}
	out := &node{path: n.path, typ: t}
	switch {
	case t == nil || t.shape == styleMap && t.style != styleSecret:
		var elem *info
		if t != nil {
			elem = t.elem
		}
		r.named(out, n, at, func(string) (*info, bool) { return elem, true })
		if n.any != nil {
			out.any = r.resolve(n.any, elem, joinStar(at))
		}
	case t.shape == styleStruct && t.style != styleSecret:
		r.named(out, n, at, t.field)
		r.spread(out, n, t, at)
		out.markQuoted(t)
	case len(n.children) > 0 || n.any != nil:
		r.fail(n, at, "not an object")
	}
	switch {
	case n.elem == nil:
	case t == nil:
		out.elem = r.resolve(n.elem, nil, at+"[*]")
	case t.shape == styleList:
		out.elem = r.resolve(n.elem, t.elem, at+"[*]")
	default:
		r.fail(n, at, "not a list")
	}
	if out.bare() {
		return nil
	}
	return out
}

// markQuoted notes which children are fields with the option "string".
func (n *node) markQuoted(t *info) {
	for i := range t.fields {
		if at, ok := n.search(t.fields[i].name); ok && t.fields[i].quoted && (n.children[at].keep || n.children[at].drop > 0) {
			n.children[at].quoted = true
		}
	}
}

// leaf resolves a path that ends here.
func (r *resolver) leaf(n *node, t *info, at string) *node {
	switch {
	case n.pseudonym != "" && t != nil && t.noPseudonym(true) != "":
		r.fail(n, at, t.noPseudonym(true))
		return nil
	case n.pseudonym != "":
		r.plan.keeps[at] = "pseudonym " + n.pseudonym
	case t == nil:
		r.plan.keeps[at] = "any"
	case t.style == styleOpaque:
		r.fail(n, at, "cannot be stored")
		return nil
	case t.style == styleSecret && !r.strict:
		return nil
	case !t.style.leaf():
		r.fail(n, at, "holds more than one value: name what is kept of it")
		return nil
	default:
		r.plan.keeps[at] = t.kind()
	}
	return &node{keep: true, path: n.path, pseudonym: n.pseudonym, nameless: n.nameless, typ: t}
}

func (r *resolver) named(out, n *node, at string, typeOf func(string) (*info, bool)) {
	for _, k := range n.children {
		t, ok := typeOf(k.name)
		if !ok {
			r.fail(k.node, join(at, k.name), "unknown")
			continue
		}
		if child := r.resolve(k.node, t, join(at, k.name)); child != nil {
			out.children = append(out.children, newChild(k.name, child))
		}
	}
}

// spread puts the names of t's fields in place of a star, so that a policy
// says, and its digest covers, which ones they were.
func (r *resolver) spread(out, n *node, t *info, at string) {
	if n.any == nil {
		return
	}
	before, found := r.strict, false
	r.strict = false
	for i := range t.fields {
		f := &t.fields[i]
		if _, have := n.search(f.name); have {
			continue
		}
		child := r.resolve(n.any, f.typ, join(at, f.name))
		if child == nil {
			continue
		}
		found = true
		where, _ := out.search(f.name)
		out.children = slices.Insert(out.children, where, newChild(f.name, child))
	}
	r.strict = before
	if !found {
		r.fail(n.any, joinStar(at), "unknown")
	}
}

func (r *resolver) fail(n *node, at, problem string) {
	if r.strict {
		r.errs = append(r.errs, &PathError{cmp.Or(n.path, at, "."), problem})
	}
}

// field returns the type of a struct's field.
func (i *info) field(name string) (*info, bool) {
	for f := range i.fields {
		if i.fields[f].name == name {
			return i.fields[f].typ, true
		}
	}
	return nil, false
}

func join(at, name string) string {
	if name == "" || strings.ContainsAny(name, `.[]*"`) {
		return at + `["` + name + `"]`
	}
	if at == "" {
		return name
	}
	return at + "." + name
}

func joinStar(at string) string {
	if at == "" {
		return "*"
	}
	return at + ".*"
}
