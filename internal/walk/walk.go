// Package walk turns Go values into the JSON that a record may hold: whole, or
// only what a [Plan] names. It reads by kind, through reflection, and writes
// fresh bytes: it changes nothing, aliases nothing, and calls no method of a
// value that is not kept. What JSON cannot hold is replaced by the marker of a
// dropped leaf; what is too large, too deep or cyclic is an error, and then
// nothing of the value is to be stored.
package walk

import (
	"errors"
	"reflect"
	"strconv"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
)

// The limits of one value.
const (
	MaxDepth = 32      // objects, arrays and chained pointers inside each other
	MaxNodes = 10_000  // values visited, at every level
	MaxBytes = 1 << 20 // of encoded JSON, before it is cut to what an event holds
)

var (
	// ErrLimit means that a value exceeds one of the limits.
	ErrLimit = errors.New("too deep, too many values or too large")
	// ErrCycle means that a value contains itself.
	ErrCycle = errors.New("the value contains itself")
)

// The rules that a marker names when a leaf was dropped.
const (
	ruleKind   = "kind"   // a channel, function, complex number or unsafe pointer
	ruleNumber = "number" // NaN, an infinity, a json.Number that is none
	ruleJSON   = "json"   // raw JSON that is malformed or has a name twice
	ruleSecret = "secret" // a value that is never stored
	ruleTime   = "time"   // a time that RFC 3339 cannot hold
	ruleURL    = "url"    // an address whose parts cannot be told apart
)

// Result is what one walk yields.
type Result struct {
	// JSON is the value's encoding, or the marker of a truncated one. It is
	// the caller's.
	JSON []byte
	// Removed are the named removals of the plan that were met, in the order
	// of their paths.
	Removed []Removal
	// Count is the number of members, elements and map entries that were left
	// out beside them. What is below one of them is not counted.
	Count int
	// Hits are the leaves that the guard has dropped.
	Hits []Hit
}

// Removal is a path that a plan removes by name.
type Removal struct{ Path, Class string }

// Whole encodes all of v.
func Whole(v reflect.Value, env Env) (Result, error) {
	if !v.IsValid() {
		return Result{JSON: []byte("null")}, nil
	}
	return Type{infoOf(v.Type())}.Whole(v, env)
}

// Type is what is known of a type: it saves looking it up.
type Type struct{ info *info }

// TypeOf returns what is known of t.
func TypeOf(t reflect.Type) Type { return Type{infoOf(t)} }

// Whole is the function Whole for a value of the type.
func (t Type) Whole(v reflect.Value, env Env) (Result, error) {
	w := get(env)
	if err := w.value(v, t.info); err != nil {
		return Result{}, err
	}
	return w.finish(nil), nil
}

// walker is the state of one walk.
type walker struct {
	env         Env
	leastBytes  int // of a text that the guard is asked about, at least
	leastDigits int // of a number
	buf         []byte
	nodes       int
	depth       int
	count       int
	stack       []visit  // what is being visited and could contain itself
	entries     []entry  // of the maps being visited
	names       []string // of a map that is being collected
	rooms       []*mapRoom
	seen        []bool            // which of the plan's removals were met
	quiet       bool              // the guard is not asked: a pseudonym will stand for the text
	marks       []mark            // of the leaves that the guard has dropped
	shared      map[shared]string // what the guard said of long texts
	typ         reflect.Type      // the last that infoOf was asked about
	info        *info
}

// visit identifies a pointer, map or slice on the way to the current value.
type visit struct {
	at   unsafe.Pointer
	size int
	typ  *info
}

// entry is a map's entry: the name as it is written, and the value.
type entry struct {
	name string
	v    reflect.Value
}

var pool = sync.Pool{New: func() any { return new(walker) }}

// get returns an empty walker. One that failed is not put back.
func get(env Env) *walker {
	w := pool.Get().(*walker)
	w.env, w.leastDigits = env, maxDigits+1
	if env.Guard != nil {
		w.leastBytes, w.leastDigits = env.Guard.Least()
	}
	return w
}

func (w *walker) finish(p *Plan) Result {
	r := Result{Count: w.count, Hits: w.hits()}
	r.JSON = jsonenc.AppendValue(make([]byte, 0, min(len(w.buf), w.env.Limit)), w.buf, w.env.Limit)
	if p != nil {
		for i, met := range w.seen {
			if met {
				r.Removed = append(r.Removed, p.drops[i])
			}
		}
	}
	if cap(w.buf) <= 64<<10 && cap(w.entries) <= 1<<10 {
		w.env, w.leastBytes, w.shared = Env{}, 0, nil
		w.buf, w.entries, w.rooms, w.stack, w.seen, w.marks = w.buf[:0], w.entries[:0], w.rooms[:0], w.stack[:0], w.seen[:0], w.marks[:0]
		w.nodes, w.depth, w.count, w.quiet = 0, 0, 0, false
		pool.Put(w)
	}
	return r
}

// node counts a value and holds the limits.
func (w *walker) node() error {
	w.nodes++
	if w.nodes > MaxNodes || len(w.buf) > MaxBytes {
		return ErrLimit
	}
	return nil
}

// enter goes one level down, leave back up.
func (w *walker) enter() error {
	w.depth++
	if w.depth > MaxDepth {
		return ErrLimit
	}
	return nil
}

func (w *walker) leave() { w.depth-- }

// push notes what is being visited; pop forgets it.
func (w *walker) push(at unsafe.Pointer, size int, t *info) error {
	v := visit{at, size, t}
	for i := range w.stack {
		if w.stack[i].at == at && w.stack[i] == v {
			return ErrCycle
		}
	}
	if len(w.stack) >= 4*MaxDepth {
		return ErrLimit
	}
	w.stack = append(w.stack, v)
	return nil
}

func (w *walker) pop() {
	last := len(w.stack) - 1
	w.stack[last] = visit{} // a walker that is kept holds on to nothing
	w.stack = w.stack[:last]
}

func (w *walker) drop(rule string) { w.buf = jsonenc.AppendDropped(w.buf, rule) }

// text writes a string leaf. Every decoded text of a value passes here.
func (w *walker) text(s string) error {
	if len(s) > MaxBytes-len(w.buf) {
		return ErrLimit
	}
	if rule := w.check(s); rule != "" {
		w.hit(rule)
		w.removedText(s)
		return nil
	}
	if w.env.Kept != nil && !w.quiet {
		w.env.Kept(s)
	}
	w.buf = jsonenc.AppendString(w.buf, s)
	return nil
}

// hit drops a leaf because of what it holds.
func (w *walker) hit(rule string) {
	w.marks = append(w.marks, mark{at: len(w.buf), rule: rule})
	w.drop(rule)
}

// value encodes all of v, whose type t describes.
func (w *walker) value(v reflect.Value, t *info) error {
	if err := w.node(); err != nil {
		return err
	}
	switch t.style { // the most frequent first
	case styleText:
		return w.text(v.String())
	case styleInt:
		start := len(w.buf)
		w.buf = strconv.AppendInt(w.buf, v.Int(), 10)
		if w.env.Numbers {
			w.whole(start)
		}
		return nil
	case styleFloat64:
		start := len(w.buf)
		w.float(v.Float(), 64)
		if w.env.Numbers {
			w.whole(start)
		}
		return nil
	case styleBool:
		w.buf = strconv.AppendBool(w.buf, v.Bool())
		return nil
	case styleStruct:
		return w.structure(v, t)
	case styleList:
		return w.list(v, t)
	case styleMap:
		return w.mapping(v, t)
	case stylePointer:
		return w.pointer(v, t)
	case styleInterface:
		if v.IsNil() {
			w.buf = append(w.buf, "null"...)
			return nil
		}
		w.nodes-- // the same value
		v = v.Elem()
		return w.value(v, w.infoOf(v.Type()))
	}
	start := len(w.buf)
	err := w.leaf(v, t)
	if w.env.Numbers && err == nil && (t.style == styleUint || t.style == styleNumber) {
		w.whole(start)
	}
	return err
}

// infoOf is the function infoOf. Values that are met one after another are often of
// one type.
func (w *walker) infoOf(t reflect.Type) *info {
	if t != w.typ {
		w.typ, w.info = t, infoOf(t)
	}
	return w.info
}

func (w *walker) pointer(v reflect.Value, t *info) error {
	if v.IsNil() {
		w.buf = append(w.buf, "null"...)
		return nil
	}
	if err := w.push(v.UnsafePointer(), 0, t); err != nil {
		return err
	}
	w.nodes-- // the same value
	err := w.value(v.Elem(), t.elem)
	w.pop()
	return err
}

func (w *walker) structure(v reflect.Value, t *info) error {
	if err := w.enter(); err != nil {
		return err
	}
	w.buf = append(w.buf, '{')
	start := len(w.buf)
	for i := range t.fields {
		f := &t.fields[i]
		if f.simple { // as most are
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
		w.member(f.head, start)
		if err := w.field(fv, f); err != nil {
			return err
		}
	}
	w.unseen(v, t)
	w.buf = append(w.buf, '}')
	w.leave()
	return nil
}

// simple is value for a field: the kinds that most fields have are written
// without a further call.
func (w *walker) simple(v reflect.Value, t *info) error {
	switch t.style {
	case styleText:
		if s := v.String(); w.env.Guard == nil && w.env.Kept == nil && len(s) < 1024 {
			w.buf = jsonenc.AppendString(w.buf, s)
			break
		} else if err := w.text(s); err != nil {
			return err
		}
	case styleInt:
		if w.env.Numbers {
			return w.value(v, t)
		}
		w.buf = strconv.AppendInt(w.buf, v.Int(), 10)
	case styleBool:
		w.buf = strconv.AppendBool(w.buf, v.Bool())
	case styleFloat64:
		if w.env.Numbers {
			return w.value(v, t)
		}
		w.float(v.Float(), 64)
	case styleTime:
		w.time(v)
	case styleUUID:
		w.buf = jsonenc.AppendUUID(w.buf, uuidOf(v))
	default:
		return w.value(v, t)
	}
	return w.node()
}

// member writes a prepared name: with a comma unless it is the first after
// start.
func (w *walker) member(head []byte, start int) {
	if len(w.buf) == start {
		head = head[1:]
	}
	w.buf = append(w.buf, head...)
}

func (w *walker) comma(start int) {
	if len(w.buf) != start {
		w.buf = append(w.buf, ',')
	}
}

// field writes a member's value, as a string where its tag says so.
func (w *walker) field(v reflect.Value, f *field) error {
	if f.tag.verb == tagPseudonym {
		start, before := len(w.buf), w.quiet
		w.quiet = true
		err := w.value(v, f.typ)
		if w.quiet = before; err == nil {
			w.pseudonym(f.tag.class, start)
		}
		return err
	}
	if !f.quoted {
		return w.value(v, f.typ)
	}
	start := len(w.buf)
	if err := w.value(v, f.typ); err != nil {
		return err
	}
	if c := w.buf[start]; c == '{' || c == 'n' { // a marker, null
		return nil
	}
	plain := string(w.buf[start:])
	w.buf = jsonenc.AppendString(w.buf[:start], plain)
	return nil
}

func (w *walker) list(v reflect.Value, t *info) error {
	n := v.Len()
	if v.Kind() == reflect.Slice {
		if v.IsNil() {
			w.buf = append(w.buf, "null"...)
			return nil
		}
		if n == 0 {
			w.buf = append(w.buf, "[]"...)
			return nil
		}
		if err := w.push(v.UnsafePointer(), n, t); err != nil {
			return err
		}
	}
	if n > MaxNodes-w.nodes {
		return ErrLimit
	}
	if rule := w.spelled(v, t); rule != "" {
		w.hit(rule)
		w.removed(v, false)
		w.popList(v)
		return nil
	}
	if err := w.enter(); err != nil {
		return err
	}
	w.buf = append(w.buf, '[')
	for i := range n {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		if err := w.value(v.Index(i), t.elem); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, ']')
	w.leave()
	w.popList(v)
	return nil
}

func (w *walker) popList(v reflect.Value) {
	if v.Kind() == reflect.Slice {
		w.pop()
	}
}

// spelled checks a list of bytes or runes, which may spell a text.
func (w *walker) spelled(v reflect.Value, t *info) (rule string) {
	kind := t.elem.typ.Kind()
	if w.env.Guard == nil || kind != reflect.Uint8 && kind != reflect.Int32 {
		return ""
	}
	var text []byte
	for i := range v.Len() {
		if kind == reflect.Uint8 {
			text = append(text, byte(v.Index(i).Uint()))
		} else {
			text = utf8.AppendRune(text, rune(v.Index(i).Int()))
		}
	}
	return w.check(string(text))
}

func (w *walker) mapping(v reflect.Value, t *info) error {
	if v.IsNil() {
		w.buf = append(w.buf, "null"...)
		return nil
	}
	if err := w.openMap(v, t); err != nil {
		return err
	}
	before := len(w.entries)
	w.buf = append(w.buf, '{')
	if ok, err := w.common(v); ok {
		w.buf = append(w.buf, '}')
		w.closeMap(before)
		return err
	}
	start := len(w.buf)
	base, end := w.collect(v, t)
	for i := base; i < end; i++ {
		e := w.entries[i]
		if w.unsafe(e.name) {
			w.removed(e.v, false)
			continue
		}
		w.comma(start)
		if err := w.name(e.name); err != nil {
			return err
		}
		if !e.v.IsValid() {
			w.buf = append(w.buf, "null"...)
			continue
		}
		elem := t.elem
		if elem.style == styleInterface && e.v.Kind() != reflect.Interface {
			elem = w.infoOf(e.v.Type())
		}
		if err := w.value(e.v, elem); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, '}')
	w.release()
	w.closeMap(base)
	return nil
}

// openMap holds the limits before a map is iterated over.
func (w *walker) openMap(v reflect.Value, t *info) error {
	if v.Len() > MaxNodes-w.nodes {
		return ErrLimit
	}
	if err := w.enter(); err != nil {
		return err
	}
	return w.push(v.UnsafePointer(), 0, t)
}

func (w *walker) closeMap(base int) {
	clear(w.entries[base:])
	w.entries = w.entries[:base]
	w.pop()
	w.leave()
}

// name writes a member's name that is content, a key of a map or of raw JSON,
// and that is safe.
func (w *walker) name(name string) error {
	if len(name) > MaxBytes-len(w.buf) {
		return ErrLimit
	}
	w.buf = append(jsonenc.AppendString(w.buf, name), ':')
	return nil
}

// EscapeName returns a user's name as it is written: valid UTF-8, and with one
// more dollar sign if it could be taken for one of the format's own.
func EscapeName(name string) string {
	if !utf8.ValidString(name) {
		valid := make([]byte, 0, len(name)+8)
		for _, r := range name { // an invalid byte ranges as U+FFFD
			valid = utf8.AppendRune(valid, r)
		}
		name = string(valid)
	}
	if reserved(name) {
		return "$" + name
	}
	return name
}

// unescapeName takes the added dollar sign away.
func unescapeName(name string) string {
	if reserved(name) {
		return name[1:]
	}
	return name
}

// reserved reports whether name matches ^\$+jobaudit.
func reserved(name string) bool {
	i := 0
	for i < len(name) && name[i] == '$' {
		i++
	}
	const own = "jobaudit"
	return i > 0 && len(name)-i >= len(own) && name[i:i+len(own)] == own
}

// key returns a map key as a name. Keys that are neither strings nor whole
// numbers have none, and their entries are left out.
func key(k reflect.Value) (string, bool) {
	if k.Kind() == reflect.Interface {
		k = k.Elem()
	}
	switch k.Kind() {
	case reflect.String:
		return k.String(), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(k.Int(), 10), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.FormatUint(k.Uint(), 10), true
	case reflect.Array:
		if k.Type() == uuidType {
			var buf [38]byte
			id := jsonenc.AppendUUID(buf[:0], uuidOf(k))
			return string(id[1 : len(id)-1]), true
		}
	}
	return "", false
}
