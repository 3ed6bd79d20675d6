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

// removedRaw reports JSON, which has been checked, that is left out.
func (w *walker) removedRaw(raw []byte, credential bool) {
	if w.env.Removed != nil {
		w.env.Removed.Raw(raw, credential)
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
