package walk

import (
	"bytes"
	"encoding/json"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// Removed takes what is removed from a value: the texts in it. A credential is
// what a [Mark], or a removal of the class "credential", says is one.
type Removed interface {
	Add(text string, credential bool)
	AddBytes(raw []byte, credential bool)
	// AddNamed is Add for a credential that only its member's name says is one.
	AddNamed(text string)
	// AddWhole is Add for what is no credential, and of which no part says anything.
	AddWhole(text string)
	// SetIncomplete says that there is more than was added.
	SetIncomplete()
}

// ClassCredential is the class of removals that are credentials, whatever they
// look like.
const ClassCredential = "credential"

// Naming is what a name says of its value. Its values can be compared.
type Naming interface {
	// Holds reports whether a text of that name is a credential.
	Holds(text string) bool
}

// Collector reads the texts of values: by kind, and without calling a method of
// the application's.
//
// Fields that are not exported are read in errors, in values that are not behind
// a pointer and in those that hold nothing but text and numbers: others may be
// in use by other goroutines. Values with a [Mark] are read wherever they are.
//
// All that one Collector is given is bounded, and what is shared is read once.
type Collector struct {
	To Removed
	// Reveal gives what a value with a [Mark] holds. It may be nil.
	Reveal func(any) (any, bool)
	// Named returns what a member's name says, or nil if that is nothing. If it
	// is nil, names say nothing.
	Named func(name string) Naming
	// Word reports whether a name is one that any text may hold. It may be nil.
	Word func(name string) bool
	// In is the type that JSON which is given in a value's place is decoded into,
	// or nil if that is not known.
	In reflect.Type

	nodes [2]int // that were read: of others, and of credentials
	read  visited
}

// maxTexts is how many values a Collector reads, of credentials and of others.
const maxTexts = 10 * MaxNodes

// Texts adds every text that v holds. What lies deeper than twice [MaxDepth], or
// behind too many values, makes it incomplete.
func (c *Collector) Texts(v reflect.Value, credential bool) { c.texts(v, credential, false) }

// Marks is Texts for the credentials in v alone.
func (c *Collector) Marks(v reflect.Value) {
	to := c.To
	c.To = credentialsOf{to}
	c.texts(v, false, true)
	c.To = to
}

// credentialsOf takes the credentials of what is removed.
type credentialsOf struct{ Removed }

func (c credentialsOf) Add(text string, credential bool) {
	if credential {
		c.Removed.Add(text, true)
	}
}

func (c credentialsOf) AddBytes(raw []byte, credential bool) {
	if credential {
		c.Removed.AddBytes(raw, true)
	}
}

func (c credentialsOf) AddNamed(string) {}

func (c credentialsOf) AddWhole(string) {}

func (c *Collector) texts(v reflect.Value, credential, partly bool) {
	t := texts{Collector: c, partly: partly}
	t.value(v, true, credential)
	if t.cut {
		c.To.SetIncomplete()
	}
}

// Raw adds every text of JSON that has been checked.
func (c *Collector) Raw(raw []byte, credential bool) { c.rawOf(raw, nil, credential) }

// rawOf is Raw for JSON of a type, which may be nil.
func (c *Collector) rawOf(raw []byte, of *info, credential bool) {
	t := texts{Collector: c}
	t.raw(raw, of, credential)
	if t.cut {
		c.To.SetIncomplete()
	}
}

// name adds a member's name that is content.
func (c *Collector) name(name string, credential bool) {
	c.To.Add(name, credential && (c.Word == nil || !c.Word(name)))
}

type texts struct {
	*Collector
	naming Naming // of the member that is being read
	depth  int
	cut    bool
	many   bool // it is in a long list: fractions there are measures, which would take the room of all else
	partly bool // what cannot be read is written by a method of its own
}

var (
	errorType    = reflect.TypeFor[error]()
	userinfoType = reflect.TypeFor[url.Userinfo]()
)

func (t *texts) add(text string, credential bool) {
	if !credential && t.naming != nil && t.naming.Holds(text) {
		t.To.AddNamed(text)
		return
	}
	t.To.Add(text, credential)
}

// spell adds a text that is looked for whole: parts of times and of addresses stand in any
// text.
func (t *texts) spell(text string, of reflect.Type, credential bool) {
	switch {
	case credential:
		t.To.Add(text, true)
	case of == uuidType && t.naming != nil && t.naming.Holds(text):
		t.To.AddNamed(text)
	default:
		t.To.AddWhole(text)
	}
}

// minDigits is the fewest digits that a number has which is looked for though it is
// no credential: shorter ones stand in any text.
const minDigits = 12

// number adds a number.
func (t *texts) number(text string, credential bool) {
	if t.many && !credential && strings.ContainsAny(text, ".eE") {
		return
	}
	if credential || len(text) >= minDigits { // whatever its name: there are lengths, ages and times
		t.To.Add(text, credential)
	}
}

// member sets what is said by the name of what is read next.
func (t *texts) member(name string) {
	t.naming = nil
	if t.Named != nil {
		t.naming = t.Named(name)
	}
}

// enter counts a value and reports whether it is to be read.
func (t *texts) enter(credential bool) bool {
	n := &t.nodes[0]
	if credential {
		n = &t.nodes[1]
	}
	if *n++; *n > maxTexts || t.depth > 2*MaxDepth {
		t.cut = true
		return false
	}
	t.depth++
	return true
}

// value reads v. own says that v is a part of what the caller gave by value,
// or that pointed to by it.
func (t *texts) value(v reflect.Value, own, credential bool) {
	if !v.IsValid() || !t.enter(credential) {
		return
	}
	defer func() { t.depth-- }()
	switch v.Kind() {
	case reflect.String:
		t.add(v.String(), credential)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n := v.Int(); credential || n >= 1e11 || n <= -1e11 {
			t.number(strconv.FormatInt(n, 10), credential)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n := v.Uint(); credential || n >= 1e11 {
			t.number(strconv.FormatUint(n, 10), credential)
		}
	case reflect.Float32, reflect.Float64: // as decoded JSON has its numbers
		t.number(strconv.FormatFloat(v.Float(), 'f', -1, v.Type().Bits()), credential)
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if t.depth > 1 {
			own = v.Type().Implements(errorType)
		}
		if !t.again(v.UnsafePointer(), 0, v.Type(), own, credential) {
			t.value(v.Elem(), own, credential)
		}
	case reflect.Interface:
		if !v.IsNil() {
			t.value(v.Elem(), own, credential)
		}
	case reflect.Struct:
		t.fields(v, own, credential)
	case reflect.Map:
		if !v.CanInterface() { // somebody's own, and maybe being changed
			t.skipped(v.Type(), v.Len() > 0)
		} else if !t.again(v.UnsafePointer(), 0, v.Type(), own, credential) {
			t.entries(v, own, credential)
		}
	case reflect.Slice:
		if v.Len() == 0 || v.Len() >= fewElements && t.again(v.UnsafePointer(), v.Len(), v.Type(), own, credential) {
			return
		}
		t.list(v, own, credential)
	case reflect.Array:
		t.list(v, own, credential)
	}
}

// fewElements is how many elements a list has at most that is read each time that it is met.
const fewElements = 8

// skipped notes that something was not read that may hold texts.
func (t *texts) skipped(of reflect.Type, some bool) {
	if some && !t.partly && infoOf(of).holdsText() {
		t.cut = true
	}
}

func (t *texts) entries(v reflect.Value, own, credential bool) {
	i := infoOf(v.Type())
	r := i.room(1)
	r.iter.Reset(v)
	value := r.values.Index(0)
	before := t.naming
	for r.iter.Next() && !t.cut {
		r.key.SetIterKey(&r.iter)
		t.naming = before
		if name, ok := key(r.key); ok {
			t.Collector.name(name, credential)
			t.member(name)
		} else {
			t.value(r.key, own, credential)
		}
		value.SetIterValue(&r.iter)
		t.value(value, own, credential)
	}
	t.naming = before
	r.key.SetZero()
	value.SetZero()
	r.iter.Reset(reflect.Value{})
	i.rooms.Put(r)
}

func (t *texts) fields(v reflect.Value, own, credential bool) {
	i := infoOf(v.Type())
	switch {
	case i.style == styleSecret:
		t.secret(v)
		return
	case i.spells != nil:
		t.spelled(v, i, credential)
		return
	}
	if i.hidden && !v.CanAddr() && v.CanInterface() { // a field that is not exported can be read at its address only
		p := reflect.New(i.typ).Elem()
		p.Set(v)
		v = p
	}
	own = own || i.plain
	before := t.naming
	for _, p := range i.parts {
		fv := v.Field(p.index)
		if !own && !p.open && !p.marked {
			t.skipped(fv.Type(), !fv.IsZero())
			continue
		}
		if p.name != "" {
			t.member(p.name)
		}
		t.value(fv, own, credential || p.credential)
		t.naming = before
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
		p.credential = tag.verb == tagDrop && tag.class == ClassCredential || t == userinfoType && sf.Name == "password"
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
	i := infoOf(v.Type())
	if i.spells != nil {
		t.spelled(v, i, credential)
		return
	}
	if credential && i.style != i.shape && v.Kind() == reflect.Array { // what is written of it, only its method says
		t.skipped(v.Type(), true)
	}
	elem := v.Type().Elem()
	switch elem.Kind() {
	case reflect.Uint8:
		t.bytes(v, credential)
		return
	case reflect.Bool, reflect.Complex64, reflect.Complex128, reflect.Chan, reflect.Func:
		return
	case reflect.Int32:
		if v.Len() < MaxNodes { // runes
			runes := make([]rune, v.Len())
			for i := range runes {
				runes[i] = rune(v.Index(i).Int())
			}
			t.add(string(runes), credential)
		}
	}
	before := t.many
	t.many = before || v.Len() > fewElements
	for i := 0; i < v.Len() && !t.cut; i++ {
		t.value(v.Index(i), own, credential)
	}
	t.many = before
}

// spelled adds a value of a type of which it is known how it is written.
func (t *texts) spelled(v reflect.Value, i *info, credential bool) {
	switch {
	case v.CanInterface():
	case v.CanAddr():
		v = exposed(v)
	case v.Kind() == reflect.Array:
		p := reflect.New(i.typ).Elem()
		reflect.Copy(p, v)
		v = p
	default: // of a field that is not exported
		t.cut = t.cut || credential
		return
	}
	text, ok := i.spells(v)
	if !ok {
		t.cut = true
	}
	if text != "" && (credential || !v.IsZero()) { // zeros stand for nothing
		t.spell(text, i.typ, credential)
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
		var of *info
		if t.depth == 1 && t.In != nil {
			of = infoOf(t.In)
		}
		t.raw(raw, of, credential)
		return
	}
	if !credential && t.naming != nil && utf8.Valid(raw) && t.naming.Holds(string(raw)) {
		t.To.AddNamed(string(raw))
		return
	}
	t.To.AddBytes(raw, credential)
}

// raw reads JSON that has been checked, of a type that may be nil.
func (t *texts) raw(raw json.RawMessage, of *info, credential bool) {
	of, secret := of.decoded()
	credential = credential || secret
	if !t.enter(credential) {
		return
	}
	defer func() { t.depth-- }()
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 {
		return
	}
	switch c := raw[0]; {
	case c == '{':
		before := t.naming
		for name, member := range jsonscan.Object(raw) {
			t.naming = before
			typ, quoted, named := of.member(name)
			if of == nil || of.shape != styleStruct || typ == nil {
				t.Collector.name(name, credential)
			}
			if quoted {
				member = unquoted(bytes.TrimSpace(member))
			}
			t.member(name)
			t.raw(member, typ, credential || named)
		}
		t.naming = before
	case c == '[':
		var elem *info
		if of != nil && of.shape == styleList {
			elem = of.elem
		}
		before, n := t.many, 0
		for element := range jsonscan.Array(raw) {
			n++
			t.many = before || n > fewElements
			t.raw(element, elem, credential)
		}
		t.many = before
	case c == '"':
		t.add(jsonscan.Unquote(raw), credential)
	case c == '-' || '0' <= c && c <= '9':
		t.number(string(bytes.TrimRight(raw, " \t\r\n")), credential)
	}
}

// decoded returns what is known of JSON that is decoded into a value of the type,
// and whether that is a credential.
func (i *info) decoded() (of *info, secret bool) {
	if i == nil {
		return nil, false
	}
	i = i.base()
	switch {
	case i.style == styleSecret:
		return nil, true
	case i.style == styleInterface, i.style == styleRaw, i.decodes:
		return nil, false
	}
	return i, false
}

// member returns what is known of a member of JSON that is decoded into a value of
// the type: its type, whether it is a string of JSON, and a credential. Names may
// differ by case, as in what is refused because they do.
func (i *info) member(name string) (typ *info, quoted, credential bool) {
	if i == nil {
		return nil, false, false
	}
	switch i.shape {
	case styleMap:
		return i.elem, false, false
	case styleStruct:
		similar := -1
		for f := range i.fields {
			switch {
			case i.fields[f].name == name:
				return i.fields[f].typ, i.fields[f].quoted, i.fields[f].credential()
			case similar < 0 && strings.EqualFold(i.fields[f].name, name):
				similar = f
			}
		}
		if similar >= 0 {
			return i.fields[similar].typ, i.fields[similar].quoted, i.fields[similar].credential()
		}
	}
	return nil, false, false
}

// credential reports whether the field's tag says that it is one.
func (f *field) credential() bool { return f.tag.verb == tagDrop && f.tag.class == ClassCredential }
