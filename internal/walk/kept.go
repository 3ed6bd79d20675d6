package walk

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"slices"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// ErrJSON means that a text is not JSON with exactly one meaning.
var ErrJSON = errors.New("not strict JSON")

// Value encodes what the plan keeps of v.
//
// What the plan names as a leaf is kept if it is one when it is met: a scalar
// or a type with a form of its own. An object or list there is left out, and
// so are bytes that only an interface leads to. A member that is left out
// leaves nothing behind but the count.
func (p *Plan) Value(v reflect.Value, env Env) (Result, error) {
	w := p.get(env)
	ok, err := w.kept(v, infoOf(v.Type()), p.root, p.typed)
	return p.done(w, ok, err)
}

// Raw is Value for JSON text. [ErrJSON] means that it is none.
func (p *Plan) Raw(raw []byte, env Env) (Result, error) {
	if err := Check(raw); err != nil {
		return Result{}, err
	}
	w := p.get(env)
	ok, err := w.keptRaw(raw, p.root)
	return p.done(w, ok, err)
}

func (p *Plan) get(env Env) *walker {
	w := get(env)
	w.seen = slices.Grow(w.seen, len(p.drops))[:len(p.drops)]
	clear(w.seen)
	return w
}

func (p *Plan) done(w *walker, ok bool, err error) (Result, error) {
	if err != nil {
		return Result{}, err
	}
	if !ok {
		w.buf = append(w.buf[:0], "null"...)
	}
	return w.finish(p), nil
}

// kept encodes what n keeps of v and reports false, with w.buf as it was or
// longer, if that is nothing. static says that the type was known when the
// plan was made.
func (w *walker) kept(v reflect.Value, t *info, n *node, static bool) (bool, error) {
	switch t.style {
	case stylePointer:
		if v.IsNil() {
			return w.null()
		}
		if err := w.push(v.UnsafePointer(), 0, t); err != nil {
			return false, err
		}
		ok, err := w.kept(v.Elem(), t.elem, n, static)
		w.pop()
		return ok, err
	case styleInterface:
		if v.IsNil() {
			return w.null()
		}
		v = v.Elem()
		return w.kept(v, w.infoOf(v.Type()), n, false)
	}
	if err := w.node(); err != nil {
		return false, err
	}
	switch {
	case t.style == styleRaw:
		return w.keptMessage(v.Bytes(), n)
	case n.keep && t.style.leaf():
		start := len(w.buf)
		if n.pseudonym == "" {
			ok, err := w.keptLeaf(v, t, static)
			if ok && err == nil && t.style.number() && (w.env.Numbers || n.nameless && !static) {
				w.whole(start)
			}
			return ok, err
		}
		w.quiet = true
		ok, err := w.keptLeaf(v, t, static)
		if w.quiet = false; ok && err == nil {
			w.pseudonym(n.pseudonym, start)
		}
		return ok, err
	case t.style == styleSecret:
	case t.shape == styleStruct && n.object():
		return true, w.keptStruct(v, t, n, static)
	case t.shape == styleMap && n.object():
		if v.IsNil() {
			return w.null()
		}
		return true, w.keptMap(v, t, n, static)
	case t.shape == styleList && n.elem != nil:
		if v.Kind() == reflect.Slice && v.IsNil() {
			return w.null()
		}
		return true, w.keptList(v, t, n, static)
	}
	w.count++
	w.removed(v, t.style == styleSecret)
	return false, nil
}

func (n *node) object() bool { return len(n.children) > 0 || n.any != nil }

func (w *walker) null() (bool, error) {
	w.buf = append(w.buf, "null"...)
	return true, nil
}

func (w *walker) keptLeaf(v reflect.Value, t *info, static bool) (bool, error) {
	switch t.style {
	case styleOpaque:
		w.count++
		return false, nil
	case styleBytes:
		if !static {
			w.count++
			w.removed(v, false)
			return false, nil
		}
	case styleMarshalJSON:
		raw, err := receiver(v).(json.Marshaler).MarshalJSON()
		if err != nil {
			return false, err
		}
		raw = bytes.Trim(raw, " \t\r\n")
		if len(raw) > 0 && (raw[0] == '{' || raw[0] == '[') { // not a leaf
			w.count++
			w.removed(v, false)
			return false, nil
		}
		w.inside(v, t)
		return true, w.raw(raw)
	case styleMarshalText:
		if endless(v) {
			return false, ErrLimit
		}
		text, err := receiver(v).(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return false, err
		}
		w.inside(v, t)
		return true, w.text(string(text))
	}
	return true, w.leaf(v, t)
}

func (w *walker) keptStruct(v reflect.Value, t *info, n *node, static bool) error {
	if err := w.enter(); err != nil {
		return err
	}
	w.buf = append(w.buf, '{')
	start := len(w.buf)
	children := n.fitted(t)
	for i := range t.fields {
		f := &t.fields[i]
		child := children[i]
		if static && f.simple && child != nil && child.keep && child.pseudonym == "" && f.typ.style.plain() { // as most are
			w.member(f.head, start)
			if err := w.simple(v.Field(f.at), f.typ); err != nil {
				return err
			}
			continue
		}
		fv, ok := f.get(v)
		if !ok || f.omitted(fv) {
			continue
		}
		if child == nil {
			w.count++
			w.removedAs(f.name, fv, f.credential())
			continue
		}
		if child.drop > 0 {
			w.met(child, f.name, fv)
			continue
		}
		mark := len(w.buf)
		w.member(f.head, start)
		ok, err := w.keptField(fv, f, child, static)
		if err != nil {
			return err
		}
		if !ok {
			w.buf = w.buf[:mark]
		}
	}
	w.unseen(v, t)
	w.buf = append(w.buf, '}')
	w.leave()
	return nil
}

func (w *walker) keptField(v reflect.Value, f *field, n *node, static bool) (bool, error) {
	if f.quoted && n.keep && n.pseudonym == "" {
		return true, w.field(v, f)
	}
	return w.kept(v, f.typ, n, static)
}

// met notes that a removal that the plan names took place. What is removed of
// a job's inputs passes here.
func (w *walker) met(n *node, name string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		if v.IsNil() {
			return
		}
	}
	w.seen[n.drop-1] = true
	w.removedAs(name, v, n.credential)
}

// metRaw is met for JSON.
func (w *walker) metRaw(n *node, name string, raw []byte) {
	if raw[0] == 'n' {
		return
	}
	w.seen[n.drop-1] = true
	if w.env.Removed == nil {
		return
	}
	if n.quoted {
		raw = unquoted(raw)
	}
	t := texts{Collector: w.env.Removed}
	t.member(name)
	t.raw(raw, n.typ, n.credential)
	if t.cut {
		t.To.SetIncomplete()
	}
}

func (w *walker) keptMap(v reflect.Value, t *info, n *node, static bool) error {
	byName := n.any == nil && v.Type().Key().Kind() == reflect.String
	if byName { // the map's size is no matter: nothing iterates over it
		if err := w.enter(); err != nil {
			return err
		}
		if err := w.push(v.UnsafePointer(), 0, t); err != nil {
			return err
		}
	} else if err := w.openMap(v, t); err != nil {
		return err
	}
	w.buf = append(w.buf, '{')
	base := len(w.entries)
	var err error
	if byName {
		err = w.lookUp(v, t, n, static)
	} else {
		err = w.goThrough(v, t, n, static)
	}
	if err != nil {
		return err
	}
	w.buf = append(w.buf, '}')
	w.closeMap(base)
	return nil
}

// lookUp writes the entries that n names.
func (w *walker) lookUp(v reflect.Value, t *info, n *node, static bool) error {
	start := len(w.buf)
	left := v.Len()
	dynamic, _ := v.Interface().(map[string]any)
	for i := range n.children {
		k := &n.children[i]
		var e reflect.Value
		typ := t.elem
		if dynamic != nil {
			value, ok := dynamic[k.name]
			if !ok {
				continue
			}
			if value != nil {
				e = reflect.ValueOf(value)
				typ = w.infoOf(e.Type())
			}
		} else {
			key := k.key
			if kt := v.Type().Key(); key.Type() != kt {
				key = key.Convert(kt)
			}
			if e = v.MapIndex(key); !e.IsValid() {
				continue
			}
		}
		left--
		if err := w.keptMember(k.name, k.head, e, typ, k.node, start, static && dynamic == nil); err != nil {
			return err
		}
	}
	w.count += left
	if left > 0 {
		w.others(v, n)
	}
	return nil
}

// others reports the entries of a map that n does not name.
func (w *walker) others(v reflect.Value, n *node) {
	if w.env.Removed == nil {
		return
	}
	if v.Len() > 2*MaxNodes {
		w.env.Removed.To.SetIncomplete()
		return
	}
	if m, ok := v.Interface().(map[string]any); ok {
		for name, value := range m {
			if _, named := n.search(name); !named {
				w.removedText(name)
				w.removedAs(name, reflect.ValueOf(value), false)
			}
		}
		return
	}
	for entries := v.MapRange(); entries.Next(); {
		if _, named := n.search(entries.Key().String()); !named {
			w.removed(entries.Key(), false)
			w.removedAs(entries.Key().String(), entries.Value(), false)
		}
	}
}

// goThrough writes the entries that n keeps of all that the map has.
func (w *walker) goThrough(v reflect.Value, t *info, n *node, static bool) error {
	start := len(w.buf)
	base, end := w.collect(v, t)
	for i := base; i < end; i++ {
		e := w.entries[i]
		child := n.child(unescapeName(e.name))
		if child == nil {
			w.count++
			w.removedText(e.name)
			w.removedAs(e.name, e.v, false)
			continue
		}
		elem, known := t.elem, static
		if e.v.IsValid() && elem.style == styleInterface && e.v.Kind() != reflect.Interface {
			elem, known = w.infoOf(e.v.Type()), false
		}
		// What is dropped is so under its class, whatever its name is.
		if child.drop == 0 && w.unsafe(e.name) {
			w.removed(e.v, false)
			continue
		}
		if err := w.keptMember(e.name, nil, e.v, elem, child, start, known); err != nil {
			return err
		}
	}
	w.release()
	return nil
}

// keptMember writes one entry of a map. head is its name as it is written, if
// that is known. An invalid v is nil.
func (w *walker) keptMember(name string, head []byte, v reflect.Value, t *info, n *node, start int, static bool) error {
	if n.drop > 0 {
		if n.nameless { // the name is content
			w.removedName(name, n.credential)
		}
		if v.IsValid() {
			w.met(n, name, v)
		}
		return nil
	}
	mark := len(w.buf)
	if head != nil {
		w.member(head, start)
	} else {
		w.comma(start)
		if err := w.name(name); err != nil {
			return err
		}
	}
	if len(w.buf) > MaxBytes {
		return ErrLimit
	}
	if !v.IsValid() {
		w.buf = append(w.buf, "null"...)
		return nil
	}
	ok, err := w.kept(v, t, n, static)
	if err == nil && !ok {
		w.buf = w.buf[:mark]
	}
	return err
}

func (w *walker) keptList(v reflect.Value, t *info, n *node, static bool) error {
	length := v.Len()
	if v.Kind() == reflect.Slice && length > 0 {
		if err := w.push(v.UnsafePointer(), length, t); err != nil {
			return err
		}
		defer w.pop()
	}
	if length > MaxNodes-w.nodes {
		return ErrLimit
	}
	if err := w.enter(); err != nil {
		return err
	}
	w.buf = append(w.buf, '[')
	start := len(w.buf)
	for i := range length {
		e := v.Index(i)
		if n.elem.drop > 0 {
			w.met(n.elem, "", e)
			continue
		}
		mark := len(w.buf)
		w.comma(start)
		ok, err := w.kept(e, t.elem, n.elem, static)
		if err != nil {
			return err
		}
		if !ok {
			w.buf = w.buf[:mark]
		}
	}
	w.buf = append(w.buf, ']')
	w.leave()
	return nil
}

// keptMessage writes what n keeps of raw JSON inside a value.
func (w *walker) keptMessage(raw []byte, n *node) (bool, error) {
	if len(raw) == 0 {
		return w.null()
	}
	switch err := Check(raw); err {
	case nil:
	case ErrJSON:
		w.malformed(raw)
		return true, nil
	default:
		return false, err
	}
	w.nodes-- // the same value
	return w.keptRaw(raw, n)
}

// keptRaw is kept for raw JSON that has been checked.
func (w *walker) keptRaw(raw []byte, n *node) (bool, error) {
	if err := w.node(); err != nil {
		return false, err
	}
	raw = bytes.Trim(raw, " \t\r\n")
	switch c := raw[0]; {
	case c == 'n':
		return w.null()
	case n.keep && n.typ != nil && n.typ.style == styleSecret:
		w.drop(ruleSecret)
		w.removedRaw(raw, n.typ, true)
		return true, nil
	case c == '{' && n.object():
		return true, w.keptRawObject(raw, n)
	case c == '[' && n.elem != nil:
		return true, w.keptRawArray(raw, n)
	case c == '{' || c == '[' || !n.keep:
		w.count++
		w.removedRaw(raw, n.typ, false)
		return false, nil
	case n.pseudonym != "":
		start := len(w.buf)
		if n.quoted {
			raw = unquoted(raw)
		}
		w.buf = append(w.buf, raw...)
		w.pseudonym(n.pseudonym, start)
		return true, nil
	case c == '"':
		return true, w.rawText(raw)
	}
	start := len(w.buf)
	w.buf = append(w.buf, raw...)
	if w.env.Numbers || n.nameless {
		w.whole(start)
	}
	return true, nil
}

func (w *walker) keptRawObject(raw []byte, n *node) error {
	if err := w.enter(); err != nil {
		return err
	}
	w.buf = append(w.buf, '{')
	start := len(w.buf)
	for name, member := range jsonscan.Members(raw) {
		child := n.childOf(name)
		if child == nil {
			w.count++
			if n.typ == nil || n.typ.shape != styleStruct {
				w.removedText(string(name))
			}
			w.removedMember(name, member, n)
			continue
		}
		if child.drop > 0 {
			if child == n.any {
				w.removedName(string(name), child.credential)
			}
			w.metRaw(child, string(name), member)
			continue
		}
		if n.any != nil && w.unsafe(string(name)) { // other names are the policy's
			w.removedMember(name, member, n)
			continue
		}
		mark := len(w.buf)
		w.comma(start)
		if err := w.name(EscapeName(string(name))); err != nil {
			return err
		}
		ok, err := w.keptRaw(member, child)
		if err != nil {
			return err
		}
		if !ok {
			w.buf = w.buf[:mark]
		}
	}
	w.buf = append(w.buf, '}')
	w.leave()
	return nil
}

func (w *walker) keptRawArray(raw []byte, n *node) error {
	if err := w.enter(); err != nil {
		return err
	}
	w.buf = append(w.buf, '[')
	start := len(w.buf)
	for element := range jsonscan.Array(raw) {
		if n.elem.drop > 0 {
			w.metRaw(n.elem, "", element)
			continue
		}
		mark := len(w.buf)
		w.comma(start)
		ok, err := w.keptRaw(element, n.elem)
		if err != nil {
			return err
		}
		if !ok {
			w.buf = w.buf[:mark]
		}
	}
	w.buf = append(w.buf, ']')
	w.leave()
	return nil
}
