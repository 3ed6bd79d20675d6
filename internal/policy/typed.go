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
	r.apply = func(v any, c *Call) (walk.Result, error) {
		given := textsOf(v, c)
		value, err := as[In](v)
		if err != nil {
			given.pass(false)
			return walk.Result{}, err
		}
		defer given.pass(false)
		kept, err := f(*value)
		if err != nil {
			return walk.Result{}, &functionError{err}
		}
		result, err := c.encode(func(env walk.Env) (walk.Result, error) {
			env.Kept = given.keptBy(env.Kept)
			return typ.Whole(reflect.ValueOf(&kept).Elem(), env)
		})
		result.Count += removed
		return result, err
	}
	return r
}

// givenTexts are the texts of a value that a function chooses from. They are read
// before it is called, as it may change the value.
type givenTexts struct {
	to         walk.Removed
	all        []givenText
	kept       map[string]bool
	incomplete bool
}

type givenText struct {
	text              string
	bytes, credential bool
}

// textsOf reads the texts of v. It returns nil if what is removed is not collected.
func textsOf(v any, c *Call) *givenTexts {
	if c.Removed == nil {
		return nil
	}
	g := &givenTexts{to: c.Removed.To, all: make([]givenText, 0, 16)}
	from := *c.Removed
	from.To = g
	from.Texts(reflect.ValueOf(v), false)
	g.pass(true)
	return g
}

// Add is for [walk.Collector].
func (g *givenTexts) Add(text string, credential bool) {
	g.all = append(g.all, givenText{text, false, credential})
}

// AddBytes is for [walk.Collector].
func (g *givenTexts) AddBytes(raw []byte, credential bool) {
	g.all = append(g.all, givenText{string(raw), true, credential})
}

// SetIncomplete is for [walk.Collector].
func (g *givenTexts) SetIncomplete() { g.incomplete = true }

// keptBy returns what notes the texts that are kept.
func (g *givenTexts) keptBy(also func(string)) func(string) {
	if g == nil {
		return also
	}
	g.kept = make(map[string]bool, len(g.all))
	return func(text string) { g.kept[text] = true }
}

// pass reports the credentials, or other texts that were not kept.
func (g *givenTexts) pass(credentials bool) {
	if g == nil {
		return
	}
	for _, text := range g.all {
		switch {
		case text.credential != credentials, !credentials && g.kept[text.text]:
		case text.bytes:
			g.to.AddBytes([]byte(text.text), text.credential)
		default:
			g.to.Add(text.text, text.credential)
		}
	}
	if g.incomplete {
		g.to.SetIncomplete()
	}
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
