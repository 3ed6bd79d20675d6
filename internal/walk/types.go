package walk

import (
	"cmp"
	"encoding"
	"encoding/json"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
)

// Mark, as the type of a struct's field, says that the struct's value is never
// to be stored, whatever names it.
type Mark struct{}

// style is how values of a type are written.
type style uint8

const (
	styleOpaque style = iota // never written
	styleBool
	styleInt
	styleUint
	styleFloat32
	styleFloat64
	styleText
	styleNumber // json.Number
	styleBytes
	styleTime
	styleUUID
	styleURL
	styleMarshalJSON
	styleMarshalText
	styleSecret
	styleRaw // JSON that is already encoded

	// From here on a value is not a leaf.
	styleStruct
	styleMap
	styleList
	stylePointer
	styleInterface
)

func (s style) leaf() bool { return s < styleRaw }

// plain reports whether simple writes values of the style without a further call.
func (s style) plain() bool {
	return s == styleText || s == styleInt || s == styleBool || s == styleFloat64 || s == styleTime || s == styleUUID
}

func (s style) number() bool { return s >= styleInt && s <= styleFloat64 || s == styleNumber }

// info is what is known of a type. It never changes once published.
type info struct {
	typ    reflect.Type
	style  style
	shape  style   // what style would be if the type were not written as a leaf
	fields []field // of a struct
	elem   *info   // of a map, slice, array, pointer

	parts  []part // of a struct
	plain  bool   // a struct of which all fields may be read
	hidden bool   // a struct with a Mark in a field that is not exported
	text   int32  // whether values may hold a text, once that was asked
	unseen []int  // the fields of a struct that are no members of its JSON object

	spells  func(reflect.Value) (string, bool) // how values are written, where that is known
	decodes bool                               // a method of its own decodes it

	rooms sync.Pool // of *mapRoom, for a map
}

// base is what pointers of type i lead to. A type of pointers without an end
// leads to a pointer.
func (i *info) base() *info {
	for range MaxDepth {
		if i.style != stylePointer {
			break
		}
		i = i.elem
	}
	return i
}

// field is a member of a struct's JSON object.
type field struct {
	name   string // the JSON name
	head   []byte // the name as it is written: comma, name, colon
	index  []int
	typ    *info
	goType reflect.Type
	tagged bool
	tag    tag

	omitEmpty, omitZero, quoted bool

	at     int  // the first of index
	simple bool // neither promoted nor any of these
}

var (
	markType   = reflect.TypeFor[Mark]()
	timeType   = reflect.TypeFor[time.Time]()
	uuidType   = reflect.TypeFor[uuid.UUID]()
	urlType    = reflect.TypeFor[url.URL]()
	rawType    = reflect.TypeFor[json.RawMessage]()
	numberType = reflect.TypeFor[json.Number]()
	jsonType   = reflect.TypeFor[json.Marshaler]()
	textType   = reflect.TypeFor[encoding.TextMarshaler]()
)

var (
	unjsonType = reflect.TypeFor[json.Unmarshaler]()
	untextType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// infos holds what is known of every type that was met: derived data, never
// more than the program has types.
var infos sync.Map // reflect.Type to *info

func infoOf(t reflect.Type) *info {
	if have, ok := infos.Load(t); ok {
		return have.(*info)
	}
	building := map[reflect.Type]*info{}
	made := build(t, building)
	for typ, i := range building { // published when all of them are complete
		infos.LoadOrStore(typ, i)
	}
	return made
}

// build describes t and what it refers to.
func build(t reflect.Type, building map[reflect.Type]*info) *info {
	if have, ok := infos.Load(t); ok {
		return have.(*info)
	}
	if have, ok := building[t]; ok {
		return have
	}
	i := &info{typ: t, shape: shapeOf(t)}
	building[t] = i
	i.style, i.spells = styleOf(t, i.shape), spelling(t)
	to := reflect.PointerTo(t)
	i.decodes = to.Implements(unjsonType) || to.Implements(untextType)
	switch t.Kind() {
	case reflect.Struct:
		i.fields = fieldsOf(t)
		i.parts, i.plain, i.hidden = partsOf(t)
		i.unseen = unseenOf(i)
		for f := range i.fields {
			field := &i.fields[f]
			field.typ = build(field.goType, building)
			field.at = field.index[0]
			field.quoted = field.quoted && quotable(field.typ)
			field.simple = len(field.index) == 1 && !field.omitEmpty && !field.omitZero && !field.quoted && field.tag.verb != tagPseudonym
		}
	case reflect.Map, reflect.Slice, reflect.Array, reflect.Pointer:
		i.elem = build(t.Elem(), building)
	}
	return i
}

// unseenOf lists the fields that could hold a text and are never written.
func unseenOf(i *info) (unseen []int) {
	written := map[int]bool{}
	for f := range i.fields {
		written[i.fields[f].index[0]] = true
	}
	for _, p := range i.parts {
		if !written[p.index] {
			unseen = append(unseen, p.index)
		}
	}
	return unseen
}

func quotable(t *info) bool {
	if t.style == stylePointer {
		t = t.elem
	}
	return t.style >= styleBool && t.style <= styleNumber
}

func styleOf(t reflect.Type, shape style) style {
	switch t {
	case timeType:
		return styleTime
	case uuidType:
		return styleUUID
	case urlType:
		return styleURL
	case rawType:
		return styleRaw
	case numberType:
		return styleNumber
	}
	if secret(t) {
		return styleSecret
	}
	if shape == stylePointer || shape == styleInterface {
		return shape
	}
	switch to := reflect.PointerTo(t); {
	case to.Implements(jsonType):
		return styleMarshalJSON
	case to.Implements(textType):
		return styleMarshalText
	}
	return shape
}

func secret(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for f := range t.Fields() {
		if f.Type == markType {
			return true
		}
	}
	return false
}

func shapeOf(t reflect.Type) style {
	switch t.Kind() {
	case reflect.Bool:
		return styleBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return styleInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return styleUint
	case reflect.Float32:
		return styleFloat32
	case reflect.Float64:
		return styleFloat64
	case reflect.String:
		return styleText
	case reflect.Struct:
		return styleStruct
	case reflect.Map:
		return styleMap
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 && !marshals(t.Elem()) {
			return styleBytes
		}
		return styleList
	case reflect.Array:
		return styleList
	case reflect.Pointer:
		return stylePointer
	case reflect.Interface:
		return styleInterface
	}
	return styleOpaque
}

func marshals(t reflect.Type) bool {
	to := reflect.PointerTo(t)
	return to.Implements(jsonType) || to.Implements(textType)
}

// get returns the field of the struct v: false if it is promoted through a
// pointer that is nil.
func (f *field) get(v reflect.Value) (reflect.Value, bool) {
	if len(f.index) == 1 {
		return v.Field(f.index[0]), true
	}
	for _, i := range f.index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v, true
}

// omitted reports whether the field's tag leaves the value out. It asks no
// method but time.Time's own.
func (f *field) omitted(v reflect.Value) bool {
	if f.omitZero {
		if f.typ.style == styleTime {
			return v.Interface().(time.Time).IsZero()
		}
		if v.IsZero() {
			return true
		}
	}
	if f.omitEmpty {
		switch v.Kind() {
		case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
			return v.Len() == 0
		case reflect.Struct:
			return false
		default:
			return v.IsZero()
		}
	}
	return false
}

// fieldsOf lists the members of t's JSON object as encoding/json would: the
// embedded structs' fields are promoted; of several with one name the least
// nested wins, then a tagged one; if that leaves several, none is written.
func fieldsOf(t reflect.Type) []field {
	type level struct {
		typ   reflect.Type
		index []int
	}
	var all []field
	visited := map[reflect.Type]bool{}
	current := []level{{typ: t}}
	for len(current) > 0 {
		var next []level
		at := map[reflect.Type]bool{}
		for _, l := range current {
			if visited[l.typ] {
				continue
			}
			at[l.typ] = true
			for i := range l.typ.NumField() {
				sf := l.typ.Field(i)
				f, embedded, ok := fieldOf(sf)
				if !ok {
					continue
				}
				index := append(slices.Clone(l.index), i)
				if embedded != nil {
					next = append(next, level{embedded, index})
					continue
				}
				f.index = index
				all = append(all, f)
			}
		}
		for typ := range at {
			visited[typ] = true
		}
		current = next
	}
	return dominant(all)
}

// fieldOf reads a field's tag. embedded is the struct whose fields are
// promoted in its place.
func fieldOf(sf reflect.StructField) (f field, embedded reflect.Type, ok bool) {
	target := sf.Type
	if sf.Anonymous {
		if target.Kind() == reflect.Pointer {
			target = target.Elem()
		}
		if !sf.IsExported() && target.Kind() != reflect.Struct {
			return f, nil, false
		}
	} else if !sf.IsExported() {
		return f, nil, false
	}
	tag := sf.Tag.Get("json")
	if tag == "-" {
		return f, nil, false
	}
	name, options, _ := strings.Cut(tag, ",")
	if !validName(name) {
		name = ""
	}
	if sf.Anonymous && name == "" && target.Kind() == reflect.Struct {
		return f, target, true
	}
	if !sf.IsExported() { // a named, unexported, embedded struct
		return f, nil, false
	}
	f = field{name: cmp.Or(name, sf.Name), goType: sf.Type, tagged: name != "", tag: tagOf(sf)}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty":
			f.omitEmpty = true
		case "omitzero":
			f.omitZero = true
		case "string":
			f.quoted = true
		}
	}
	f.head = append(jsonenc.AppendString([]byte{','}, EscapeName(f.name)), ':')
	return f, nil, true
}

func validName(name string) bool {
	for _, r := range name {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return false
		}
	}
	return name != ""
}

func dominant(all []field) []field {
	byName := map[string][]field{}
	for _, f := range all {
		byName[f.name] = append(byName[f.name], f)
	}
	var kept []field
	for _, same := range byName {
		slices.SortStableFunc(same, func(a, b field) int {
			if c := cmp.Compare(len(a.index), len(b.index)); c != 0 {
				return c
			}
			if a.tagged == b.tagged {
				return 0
			}
			if a.tagged {
				return -1
			}
			return 1
		})
		if len(same) > 1 && len(same[0].index) == len(same[1].index) && same[0].tagged == same[1].tagged {
			continue
		}
		kept = append(kept, same[0])
	}
	slices.SortFunc(kept, func(a, b field) int { return slices.Compare(a.index, b.index) })
	return kept
}
