package walk

import (
	"reflect"
	"unsafe"
)

// removed reports a value that is left out.
func (w *walker) removed(v reflect.Value, credential bool) {
	if w.env.Removed != nil && v.IsValid() {
		w.env.Removed.Texts(v, credential)
	}
}

// removedText reports a text that is left out.
func (w *walker) removedText(s string) {
	if w.env.Removed != nil {
		w.env.Removed.To.Add(s, false)
	}
}

// removedName reports a name that is content and left out.
func (w *walker) removedName(name string, credential bool) {
	if w.env.Removed != nil {
		w.env.Removed.name(name, credential)
	}
}

// removedRaw reports JSON, which has been checked, that is left out. It is of a type that
// may be nil.
func (w *walker) removedRaw(raw []byte, of *info, credential bool) {
	if w.env.Removed != nil {
		w.env.Removed.rawOf(raw, of, credential)
	}
}

// removedMember is removedRaw for a member of an object. n is the object's.
func (w *walker) removedMember(name, raw []byte, n *node) {
	if w.env.Removed == nil {
		return
	}
	of, _ := n.typ.decoded()
	typ, quoted, credential := of.member(string(name))
	if quoted {
		raw = unquoted(raw)
	}
	t := texts{Collector: w.env.Removed}
	t.member(string(name))
	t.raw(raw, typ, credential)
	if t.cut {
		t.To.SetIncomplete()
	}
}

// removedAs reports a value of a member that is left out.
func (w *walker) removedAs(name string, v reflect.Value, credential bool) {
	if w.env.Removed == nil || !v.IsValid() {
		return
	}
	t := texts{Collector: w.env.Removed}
	t.member(name)
	t.value(v, true, credential)
	if t.cut {
		t.To.SetIncomplete()
	}
}

// unseen reports the fields of a struct that are no members of its JSON
// object.
func (w *walker) unseen(v reflect.Value, t *info) {
	if w.env.Removed == nil || len(t.unseen) == 0 {
		return
	}
	if t.hidden && !v.CanAddr() && v.CanInterface() {
		p := reflect.New(t.typ).Elem()
		p.Set(v)
		v = p
	}
	for _, index := range t.unseen {
		w.removed(v.Field(index), false)
	}
}

// exposed returns a value that was read from a field that is not exported as one
// that can be asked for what it holds. It can be addressed.
func exposed(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
}
