package walk

import (
	"errors"
	"reflect"
	"strings"
)

// tag is what a field's audit tag says.
type tag struct {
	verb  string // "", tagKeep, tagDrop or tagPseudonym
	class string
	bad   bool
}

const (
	tagKeep      = "keep"
	tagDrop      = "drop"
	tagPseudonym = "pseudonym"
)

// tagOf reads a field's tag: audit:"keep", audit:"drop=class" or
// audit:"pseudonym=class".
func tagOf(sf reflect.StructField) tag {
	text, ok := sf.Tag.Lookup("audit")
	if !ok {
		return tag{}
	}
	verb, class, classed := strings.Cut(text, "=")
	t := tag{verb: verb, class: class}
	switch verb {
	case tagKeep:
		t.bad = classed
	case tagDrop, tagPseudonym:
		t.bad = class == "" || strings.ContainsAny(class, ", ")
	default:
		t.bad = true
	}
	return t
}

// TagPaths returns the paths that the audit tags of t's fields, and of the
// fields below, stand for. A field without a tag is searched for more of them.
// The error joins a [*PathError] for each tag that is wrong. tagged is false
// if there is no tag.
func TagPaths(t reflect.Type) (paths []Path, tagged bool, err error) {
	r := tagReader{above: map[*info]bool{}}
	r.read(infoOf(t), "")
	return r.paths, r.tagged, errors.Join(r.errs...)
}

type tagReader struct {
	paths  []Path
	errs   []error
	tagged bool
	above  map[*info]bool
}

func (r *tagReader) fail(at, problem string) {
	r.errs = append(r.errs, &PathError{dotted(at), problem})
}

func (r *tagReader) read(t *info, at string) {
	t = t.base()
	switch t.style {
	case styleMap:
		r.read(t.elem, joinStar(at))
	case styleList:
		r.read(t.elem, at+"[*]")
	case styleStruct:
		r.fields(t, at)
	}
}

func (r *tagReader) fields(t *info, at string) {
	if r.above[t] {
		r.fail(at, "contains itself: tag it as dropped, or name paths")
		return
	}
	r.above[t] = true
	defer delete(r.above, t)
	r.hidden(t.typ, at)
	for i := range t.fields {
		f := &t.fields[i]
		where := join(at, f.name)
		r.tagged = r.tagged || f.tag.verb != "" || f.tag.bad
		switch {
		case f.tag.bad:
			r.fail(where, `the tag is not keep, drop=class or pseudonym=class`)
		case f.tag.verb == "":
			r.read(f.typ, where)
		case f.tag.verb == tagDrop:
			r.paths = append(r.paths, Path{Text: where, Drop: true, Class: f.tag.class})
		default:
			r.leaves(f.typ, where, f.tag)
		}
	}
}

// hidden refuses tags on fields that are no members of the JSON object.
func (r *tagReader) hidden(t reflect.Type, at string) {
	for sf := range t.Fields() {
		if tagOf(sf) == (tag{}) {
			continue
		}
		r.tagged = true
		if name, _, _ := strings.Cut(sf.Tag.Get("json"), ","); !sf.IsExported() || sf.Tag.Get("json") == "-" || sf.Anonymous && name == "" {
			r.fail(join(at, sf.Name), "tagged, but not a member of the JSON object")
		}
	}
}

// leaves adds the paths of the leaves of a tagged field: the field itself, or
// all elements of a list or map of leaves.
func (r *tagReader) leaves(t *info, at string, tag tag) {
	t = t.base()
	switch t.style {
	case styleMap:
		r.leaves(t.elem, joinStar(at), tag)
	case styleList:
		r.leaves(t.elem, at+"[*]", tag)
	case styleStruct:
		r.fail(at, "holds more than one value: tag its fields")
	default:
		p := Path{Text: at}
		if tag.verb == tagPseudonym {
			p.Pseudonym = tag.class
		}
		r.paths = append(r.paths, p)
	}
}
