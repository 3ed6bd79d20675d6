package walk

import (
	"errors"
	"reflect"
	"strings"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// kind names what a leaf is, for a policy's description.
func (i *info) kind() string {
	switch i.style {
	case styleBool:
		return "boolean"
	case styleInt, styleUint:
		return "integer"
	case styleFloat32, styleFloat64, styleNumber:
		return "number"
	case styleText:
		return "string"
	case styleBytes:
		return "bytes"
	case styleTime:
		return "time"
	case styleUUID:
		return "uuid"
	case styleURL:
		return "url"
	case styleSecret:
		return "secret"
	case styleMarshalJSON:
		return "json " + typeName(i.typ)
	case styleMarshalText:
		return "text " + typeName(i.typ)
	}
	return "any"
}

func typeName(t reflect.Type) string {
	if t.PkgPath() == "" || t.Name() == "" {
		return t.String()
	}
	return t.PkgPath() + "." + t.Name()
}

// maxLeaves is how many leaves a type may describe. Types that share parts can
// describe more than anybody would read.
const maxLeaves = 2_000

// Describe lists the leaves of values of type t, which are encoded whole: path
// and kind. The error joins a [*PathError] for each part of the type that does
// not say what it holds, that cannot be stored, or that is the type other,
// which may be nil.
func Describe(t, other reflect.Type) (map[string]string, error) {
	d := describer{leaves: map[string]string{}, other: other, above: map[*info]string{}}
	d.describe(infoOf(t), "")
	return d.leaves, errors.Join(d.errs...)
}

type describer struct {
	leaves map[string]string
	other  reflect.Type
	above  map[*info]string // the types around the current one, and where they are
	errs   []error
}

func (d *describer) fail(at, problem string) {
	d.errs = append(d.errs, &PathError{dotted(at), problem})
}

func (d *describer) describe(t *info, at string) {
	if len(d.leaves) > maxLeaves {
		if d.leaves["…"] == "" {
			d.leaves["…"] = "…"
			d.fail(at, "too many leaves")
		}
		return
	}
	t = t.base()
	if d.other != nil && (t.typ == d.other || t.shape == styleStruct && sameFields(t.typ, d.other)) {
		d.fail(at, "keeps the whole value that it is to be chosen from")
		return
	}
	switch t.style {
	case styleInterface, styleRaw:
		d.fail(at, "may hold anything: the type must say what is kept")
		return
	case styleOpaque, stylePointer:
		d.fail(at, "cannot be stored")
		return
	}
	if t.style.leaf() {
		d.leaves[dotted(at)] = t.kind()
		return
	}
	if where, ok := d.above[t]; ok {
		d.leaves[dotted(at)] = "like " + dotted(where)
		return
	}
	d.above[t] = at
	switch t.style {
	case styleStruct:
		for i := range t.fields {
			d.field(&t.fields[i], join(at, t.fields[i].name))
		}
	case styleMap:
		d.describe(t.elem, joinStar(at))
	case styleList:
		d.describe(t.elem, at+"[*]")
	}
	delete(d.above, t)
}

// sameFields reports whether one struct can be converted to the other: type Kept
// In is In by another name.
func sameFields(t, other reflect.Type) bool {
	return other.Kind() == reflect.Struct && t.NumField() > 0 && t.ConvertibleTo(other)
}

// field describes a member of a kept type, where a tag may ask for a
// pseudonym.
func (d *describer) field(f *field, at string) {
	switch {
	case f.tag.bad || f.tag.verb == tagDrop:
		d.fail(at, "a kept type's tag is keep or pseudonym=class")
	case f.tag.verb != tagPseudonym:
		d.describe(f.typ, at)
	case f.typ.noPseudonym(false) != "":
		d.fail(at, f.typ.noPseudonym(false))
	default:
		d.leaves[at] = "pseudonym " + f.tag.class
	}
}

// dotted is a path as it is shown: the value itself is a dot.
func dotted(at string) string {
	if at == "" {
		return "."
	}
	return at
}

// Fields returns the JSON names of the fields of t, or of what t points to:
// none if it is not a struct with fields to be seen.
func Fields(t reflect.Type) []string {
	i := infoOf(t).base()
	if i.style != styleStruct {
		return nil
	}
	var names []string
	for f := range i.fields {
		names = append(names, i.fields[f].name)
	}
	return names
}

// Check returns nil if raw is JSON with exactly one meaning, [ErrLimit] if it
// is too large or too deep to look at, and [ErrJSON] otherwise.
func Check(raw []byte) error {
	if len(raw) > MaxBytes {
		return ErrLimit
	}
	err := jsonscan.Check(raw)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*jsonscan.Error](err); ok && e.TooDeep {
		return ErrLimit
	}
	return ErrJSON
}

// ExactNames reports whether encoding/json would decode raw, which Check has
// accepted, into a t by exact names only: it ignores the case of names, so
// that a member could end up in a field that has another name.
func ExactNames(raw []byte, t reflect.Type) bool { return exact(raw, infoOf(t)) }

func exact(raw []byte, t *info) bool {
	t = t.base()
	if t.decodes {
		return true
	}
	switch t.shape {
	case styleStruct:
		for name, member := range jsonscan.Object(raw) {
			if f, ok := t.field(name); ok {
				if !exact(member, f) {
					return false
				}
			} else if t.similar(name) {
				return false
			}
		}
	case styleMap:
		for _, member := range jsonscan.Object(raw) {
			if !exact(member, t.elem) {
				return false
			}
		}
	case styleList:
		for element := range jsonscan.Array(raw) {
			if !exact(element, t.elem) {
				return false
			}
		}
	}
	return true
}

// similar reports whether a field's name differs from name by case only.
func (i *info) similar(name string) bool {
	for f := range i.fields {
		if strings.EqualFold(i.fields[f].name, name) {
			return true
		}
	}
	return false
}
