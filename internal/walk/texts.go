package walk

import (
	"encoding/json"
	"net/url"
	"reflect"
	"strconv"
	"unicode/utf8"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// Removed takes what is removed from a value: the texts in it. A credential is
// what a [Mark], or a removal of the class "credential", says is one.
type Removed interface {
	Add(text string, credential bool)
	AddBytes(raw []byte, credential bool)
	// SetIncomplete says that there is more than was added.
	SetIncomplete()
}

// ClassCredential is the class of removals that are credentials, whatever they
// look like.
const ClassCredential = "credential"

// Collector reads the texts of values: by kind, and without calling a method.
//
// Fields that are not exported are read in errors, in values that are not behind
// a pointer and in those that hold nothing but text and numbers: others may be
// in use by other goroutines. Values with a [Mark] are read wherever they are.
type Collector struct {
	To Removed
	// Reveal gives what a value with a [Mark] holds. It may be nil.
	Reveal func(any) (any, bool)
	// Named reports whether a text is a credential by its member's name. If it
	// is nil, names say nothing.
	Named func(name, text string) bool
}

// Texts adds every text that v holds. What lies deeper than twice [MaxDepth], or
// behind twice [MaxNodes] values, makes it incomplete.
func (c *Collector) Texts(v reflect.Value, credential bool) {
	t := texts{Collector: c}
	t.value(v, true, credential)
	if t.cut {
		c.To.SetIncomplete()
	}
}

// Raw adds every text of JSON that has been checked.
func (c *Collector) Raw(raw []byte, credential bool) {
	t := texts{Collector: c}
	t.raw(raw, credential)
	if t.cut {
		c.To.SetIncomplete()
	}
}

type texts struct {
	*Collector
	name  string // of the member that is being read
	nodes int
	depth int
	cut   bool
}

var (
	errorType    = reflect.TypeFor[error]()
	userinfoType = reflect.TypeFor[url.Userinfo]()
)

func (t *texts) add(text string, credential bool) {
	if t.Named != nil && t.name != "" && t.Named(t.name, text) {
		credential = true
	}
	t.To.Add(text, credential)
}

// value reads v. own says that v is a part of what the caller gave by value,
// or that pointed to by it.
func (t *texts) value(v reflect.Value, own, credential bool) {
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
		t.add(v.String(), credential)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if credential {
			t.add(strconv.FormatInt(v.Int(), 10), true)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if credential {
			t.add(strconv.FormatUint(v.Uint(), 10), true)
		}
	case reflect.Float32, reflect.Float64: // as decoded JSON has its numbers
		if credential {
			t.add(strconv.FormatFloat(v.Float(), 'f', -1, 64), true)
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			if v.Kind() == reflect.Pointer && t.depth > 1 {
				own = v.Type().Implements(errorType)
			}
			t.value(v.Elem(), own, credential)
		}
	case reflect.Struct:
		t.fields(v, own, credential)
	case reflect.Map:
		if !v.CanInterface() { // somebody's own, and maybe being changed
			return
		}
		t.entries(v, own, credential)
	case reflect.Slice, reflect.Array:
		t.list(v, own, credential)
	}
}

func (t *texts) entries(v reflect.Value, own, credential bool) {
	i := infoOf(v.Type())
	r := i.room(1)
	r.iter.Reset(v)
	value := r.values.Index(0)
	before := t.name
	for r.iter.Next() && !t.cut {
		r.key.SetIterKey(&r.iter)
		t.name = before
		t.value(r.key, own, credential)
		if r.key.Kind() == reflect.String {
			t.name = r.key.String()
		}
		value.SetIterValue(&r.iter)
		t.value(value, own, credential)
	}
	t.name = before
	r.key.SetZero()
	value.SetZero()
	r.iter.Reset(reflect.Value{})
	i.rooms.Put(r)
}

func (t *texts) fields(v reflect.Value, own, credential bool) {
	i := infoOf(v.Type())
	switch i.style {
	case styleSecret:
		t.secret(v)
		return
	case styleTime:
		return
	}
	if i.hidden && !v.CanAddr() && v.CanInterface() { // a field that is not exported can be read at its address only
		p := reflect.New(i.typ).Elem()
		p.Set(v)
		v = p
	}
	own = own || i.plain
	before := t.name
	for _, p := range i.parts {
		if !own && !p.open && !p.marked {
			continue
		}
		if p.name != "" {
			t.name = p.name
		}
		t.value(v.Field(p.index), own, credential || p.credential)
		t.name = before
	}
}

// secret adds what a value with a Mark holds.
func (t *texts) secret(v reflect.Value) {
	if t.Reveal == nil {
		return
	}
	if !v.CanInterface() {
		if !v.CanAddr() {
			t.cut = true
			return
		}
		v = exposed(v)
	}
	held, ok := t.Reveal(v.Interface())
	if !ok { // of a type that was made from one
		t.cut = true
		return
	}
	t.value(reflect.ValueOf(held), false, true)
}

// part is a field of a struct, as far as its texts matter.
type part struct {
	index      int
	name       string // of the member; "" if it has none
	open       bool   // exported or embedded
	marked     bool   // holds, by value, a Mark
	credential bool   // tagged so
}

// partsOf lists the fields of a struct that could hold a text.
func partsOf(t reflect.Type) (parts []part, plain, hidden bool) {
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Type == markType || sf.Type.Kind() == reflect.Func || sf.Type.Kind() == reflect.Chan {
			continue
		}
		tag := tagOf(sf)
		p := part{index: i, name: sf.Name, open: sf.IsExported() || sf.Anonymous, marked: holdsMark(sf.Type, 0)}
		p.credential = tag.verb == tagDrop && tag.class == ClassCredential
		if f, _, ok := fieldOf(sf); ok && f.name != "" {
			p.name = f.name
		}
		hidden = hidden || p.marked && !sf.IsExported()
		parts = append(parts, p)
	}
	plain = t.Implements(errorType) || reflect.PointerTo(t).Implements(errorType) || t == userinfoType || plainData(t, 0)
	return parts, plain, hidden
}

// holdsMark reports whether values of type t hold, by value, a Mark.
func holdsMark(t reflect.Type, depth int) bool {
	if t.Kind() == reflect.Array {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || depth > 8 {
		return false
	}
	for f := range t.Fields() {
		if f.Type == markType || holdsMark(f.Type, depth+1) {
			return true
		}
	}
	return false
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

func (t *texts) list(v reflect.Value, own, credential bool) {
	elem := v.Type().Elem()
	switch elem.Kind() {
	case reflect.Uint8:
		t.bytes(v, credential)
		return
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128, reflect.Chan, reflect.Func:
		if elem.Kind() == reflect.Int32 && v.Len() < MaxNodes { // runes
			runes := make([]rune, v.Len())
			for i := range runes {
				runes[i] = rune(v.Index(i).Int())
			}
			t.add(string(runes), credential)
		}
		return
	}
	for i := 0; i < v.Len() && !t.cut; i++ {
		t.value(v.Index(i), own, credential)
	}
}

// bytes are JSON, text or anything else.
func (t *texts) bytes(v reflect.Value, credential bool) {
	var raw []byte
	if v.Kind() == reflect.Slice || v.CanAddr() {
		raw = v.Bytes()
	} else {
		raw = make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(raw), v)
	}
	if len(raw) > MaxBytes {
		t.cut = true
		raw = raw[:MaxBytes]
	}
	if len(raw) > 0 && (v.Type() == rawType || raw[0] == '{' || raw[0] == '[' || raw[0] == '"') && jsonscan.Check(raw) == nil {
		t.raw(raw, credential)
		return
	}
	if t.Named != nil && t.name != "" && utf8.Valid(raw) && t.Named(t.name, string(raw)) {
		credential = true
	}
	t.To.AddBytes(raw, credential)
}

// raw reads JSON that has been checked.
func (t *texts) raw(raw json.RawMessage, credential bool) {
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
	switch c := raw[0]; {
	case c == '{':
		before := t.name
		for name, member := range jsonscan.Object(raw) {
			t.name = before
			t.add(name, credential)
			t.name = name
			t.raw(member, credential)
		}
		t.name = before
	case c == '[':
		for element := range jsonscan.Array(raw) {
			t.raw(element, credential)
		}
	case c == '"':
		t.add(jsonscan.Unquote(raw), credential)
	case credential && (c == '-' || '0' <= c && c <= '9'):
		t.add(string(raw), true)
	}
}
