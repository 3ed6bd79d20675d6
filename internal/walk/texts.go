package walk

import (
	"encoding/json"
	"net/url"
	"reflect"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// Texts calls add with every text that v holds, kept or not, and reports
// whether it has seen all of v: what lies deeper than twice [MaxDepth], or
// behind twice [MaxNodes] values, it has not. It reads by kind and calls no
// method. reveal gives what a value with a [Mark] holds, and may be nil.
//
// Fields that are not exported are read in errors, in values that are not behind
// a pointer and in those that hold nothing but text and numbers: others may be
// in use by other goroutines.
func Texts(v reflect.Value, reveal func(any) (any, bool), add func(string)) (complete bool) {
	t := texts{add: add, reveal: reveal}
	t.value(v, true)
	return !t.cut
}

type texts struct {
	add    func(string)
	reveal func(any) (any, bool)
	nodes  int
	depth  int
	cut    bool
}

var (
	errorType    = reflect.TypeFor[error]()
	userinfoType = reflect.TypeFor[url.Userinfo]()
)

// value reads v. own says that v is a part of what the caller gave by value,
// or that pointed to by it.
func (t *texts) value(v reflect.Value, own bool) {
	if !v.IsValid() {
		return
	}
	t.nodes++
	if t.nodes > 2*MaxNodes || t.depth > 2*MaxDepth {
		t.cut = true
		return
	}
	t.depth++
	defer func() { t.depth-- }()
	switch v.Kind() {
	case reflect.String:
		t.add(v.String())
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			if v.Kind() == reflect.Pointer && t.depth > 1 {
				own = v.Type().Implements(errorType)
			}
			t.value(v.Elem(), own)
		}
	case reflect.Struct:
		t.fields(v, own)
	case reflect.Map:
		if !v.CanInterface() { // somebody's own, and maybe being changed
			return
		}
		t.entries(v, own)
	case reflect.Slice, reflect.Array:
		t.list(v, own)
	}
}

func (t *texts) entries(v reflect.Value, own bool) {
	i := infoOf(v.Type())
	r := i.room(1)
	r.iter.Reset(v)
	value := r.values.Index(0)
	for r.iter.Next() && !t.cut {
		r.key.SetIterKey(&r.iter)
		t.value(r.key, own)
		value.SetIterValue(&r.iter)
		t.value(value, own)
	}
	r.key.SetZero()
	value.SetZero()
	r.iter.Reset(reflect.Value{})
	i.rooms.Put(r)
}

func (t *texts) fields(v reflect.Value, own bool) {
	i := infoOf(v.Type())
	if i.style == styleSecret {
		if t.reveal != nil && v.CanInterface() {
			if held, ok := t.reveal(v.Interface()); ok {
				t.value(reflect.ValueOf(held), false)
			}
		}
		return
	}
	if i.style == styleTime {
		return
	}
	own = own || v.Type().Implements(errorType) || v.Type() == userinfoType || plainData(v.Type(), 0)
	for f := range v.Type().NumField() {
		if own || v.Type().Field(f).IsExported() || v.Type().Field(f).Anonymous {
			t.value(v.Field(f), own)
		}
	}
}

// plainData reports whether values of a struct type hold nothing but text and
// numbers: no lock, nothing shared.
func plainData(t reflect.Type, depth int) bool {
	for f := range t.Fields() {
		typ := f.Type
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Array {
			typ = typ.Elem()
		}
		switch kind := typ.Kind(); {
		case kind == reflect.Struct:
			if depth > 4 || typ.PkgPath() == "sync" || typ.PkgPath() == "sync/atomic" || !plainData(typ, depth+1) {
				return false
			}
		case kind > reflect.Complex128 && kind != reflect.String:
			return false
		}
	}
	return true
}

func (t *texts) list(v reflect.Value, own bool) {
	elem := v.Type().Elem()
	switch elem.Kind() {
	case reflect.Uint8:
		t.bytes(v)
		return
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128, reflect.Chan, reflect.Func:
		if elem.Kind() == reflect.Int32 && v.Len() < MaxNodes { // runes
			runes := make([]rune, v.Len())
			for i := range runes {
				runes[i] = rune(v.Index(i).Int())
			}
			t.add(string(runes))
		}
		return
	}
	for i := 0; i < v.Len() && !t.cut; i++ {
		t.value(v.Index(i), own)
	}
}

// bytes are text, or JSON, where that is what they are.
func (t *texts) bytes(v reflect.Value) {
	var raw []byte
	if v.Kind() == reflect.Slice || v.CanAddr() {
		raw = v.Bytes()
	} else {
		raw = make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(raw), v)
	}
	if len(raw) > 0 && len(raw) <= MaxBytes && (v.Type() == rawType || raw[0] == '{' || raw[0] == '[' || raw[0] == '"') &&
		jsonscan.Check(raw) == nil {
		t.raw(raw)
		return
	}
	t.add(string(raw[:min(len(raw), MaxBytes)]))
}

// raw reads JSON that has been checked.
func (t *texts) raw(raw json.RawMessage) {
	if t.nodes++; t.nodes > 2*MaxNodes {
		t.cut = true
		return
	}
	for len(raw) > 0 && (raw[0] == ' ' || raw[0] == '\t' || raw[0] == '\r' || raw[0] == '\n') {
		raw = raw[1:]
	}
	if len(raw) == 0 {
		return
	}
	switch raw[0] {
	case '{':
		for name, member := range jsonscan.Object(raw) {
			t.add(name)
			t.raw(member)
		}
	case '[':
		for element := range jsonscan.Array(raw) {
			t.raw(element)
		}
	case '"':
		t.add(jsonscan.Unquote(raw))
	}
}
