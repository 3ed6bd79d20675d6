package policy

import (
	"encoding/json"
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
	removed, typ, marked := countMissing(in, kept), walk.TypeOf(kept), walk.Marked(in)
	r.apply = func(v any, c *Call) (walk.Result, error) {
		given := textsOf(v, in, c)
		defer given.pass(false)
		value, err := as[In](v)
		if err != nil {
			given.pass(true)
			return walk.Result{}, err
		}
		if marked && isJSON(v) { // what decodes itself may hold a credential under any name
			given.read(reflect.ValueOf(value))
		}
		given.pass(true)
		kept, err := f(*value)
		if err != nil {
			return walk.Result{}, &functionError{err}
		}
		result, err := c.encode(func(env walk.Env) (walk.Result, error) {
			env.Kept = given.keptBy(env.Kept)
			result, err := typ.Whole(reflect.ValueOf(&kept).Elem(), env)
			given.pass(false) // before what is kept is compared with it
			return result, err
		})
		result.Count += removed
		return result, err
	}
	return r
}

// isJSON reports whether a rule takes the value as JSON.
func isJSON(v any) bool {
	switch v.(type) {
	case json.RawMessage, []byte:
		return true
	}
	return false
}

// givenTexts are the texts of a value that a function chooses from. They are read
// before it is called, as it may change the value.
type givenTexts struct {
	to         walk.Removed
	from       walk.Collector
	all        []givenText
	kept       map[string]bool
	passed     bool // all of it
	incomplete bool
}

type givenText struct {
	text  string
	bytes bool
	whole bool
	as    standing
}

// standing is what makes a text a credential.
type standing uint8

const (
	noCredential standing = iota
	byName                // unless it is kept
	byType
)

// textsOf reads the texts of v, which is an in or JSON of one. It returns nil if what
// is removed is not collected.
func textsOf(v any, in reflect.Type, c *Call) *givenTexts {
	if c.Removed == nil {
		return nil
	}
	c.Removed.In = in
	g := &givenTexts{to: c.Removed.To, from: *c.Removed, all: make([]givenText, 0, 16)}
	g.from.To = g
	g.read(reflect.ValueOf(v))
	return g
}

func (g *givenTexts) read(v reflect.Value) {
	if g != nil {
		g.from.Texts(v, false)
	}
}

func (g *givenTexts) add(text string, bytes, credential bool) {
	as := noCredential
	if credential {
		as = byType
	}
	g.all = append(g.all, givenText{text: text, bytes: bytes, as: as})
}

// Add is for [walk.Collector].
func (g *givenTexts) Add(text string, credential bool) { g.add(text, false, credential) }

// AddBytes is for [walk.Collector].
func (g *givenTexts) AddBytes(raw []byte, credential bool) { g.add(string(raw), true, credential) }

// AddNamed is for [walk.Collector].
func (g *givenTexts) AddNamed(text string) {
	g.all = append(g.all, givenText{text: text, as: byName})
}

// AddWhole is for [walk.Collector].
func (g *givenTexts) AddWhole(text string) { g.all = append(g.all, givenText{text: text, whole: true}) }

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

// pass reports the credentials, or once the other texts that were not kept.
func (g *givenTexts) pass(credentials bool) {
	if g == nil || g.passed {
		return
	}
	for _, text := range g.all {
		switch {
		case (text.as == byType) != credentials, !credentials && g.kept[text.text]:
		case text.bytes:
			g.to.AddBytes([]byte(text.text), text.as != noCredential)
		case text.whole:
			g.to.AddWhole(text.text)
		case text.as == byName:
			g.to.AddNamed(text.text)
		default:
			g.to.Add(text.text, text.as != noCredential)
		}
	}
	if g.incomplete {
		g.to.SetIncomplete()
	}
	g.passed = !credentials
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
