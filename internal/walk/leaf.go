package walk

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
)

// leaf writes a value that is kept as one: a scalar, or a type that has a form
// of its own.
func (w *walker) leaf(v reflect.Value, t *info) error {
	switch t.style {
	case styleBool:
		w.buf = strconv.AppendBool(w.buf, v.Bool())
	case styleInt:
		w.buf = strconv.AppendInt(w.buf, v.Int(), 10)
	case styleUint:
		w.buf = strconv.AppendUint(w.buf, v.Uint(), 10)
	case styleFloat32:
		w.float(v.Float(), 32)
	case styleFloat64:
		w.float(v.Float(), 64)
	case styleText:
		return w.text(v.String())
	case styleNumber:
		w.number(v.String())
	case styleBytes:
		return w.bytes(v)
	case styleTime:
		w.time(v)
	case styleUUID:
		w.buf = jsonenc.AppendUUID(w.buf, uuidOf(v))
	case styleURL:
		return w.url(v)
	case styleMarshalJSON:
		raw, err := receiver(v).(json.Marshaler).MarshalJSON()
		if err != nil {
			return err
		}
		w.inside(v, t)
		return w.raw(raw)
	case styleMarshalText:
		if endless(v) {
			return ErrLimit
		}
		text, err := receiver(v).(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return err
		}
		w.inside(v, t)
		return w.text(string(text))
	case styleSecret:
		w.drop(ruleSecret)
		w.removed(v, true)
	case styleRaw:
		return w.raw(v.Bytes())
	default:
		w.drop(ruleKind)
	}
	return nil
}

// inside reports the parts of a value whose own method says what is written.
func (w *walker) inside(v reflect.Value, t *info) {
	if w.env.Removed != nil && !w.quiet {
		w.env.Removed.texts(v, false, true)
	}
}

// receiver returns what a marshaler's methods are called on: a pointer, so
// that it makes no difference to the record whether a value was reached
// through one.
func receiver(v reflect.Value) any {
	if v.CanAddr() {
		return v.Addr().Interface()
	}
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p.Interface()
}

func (w *walker) float(f float64, bits int) {
	buf, ok := jsonenc.AppendFloat(w.buf, f, bits)
	if !ok {
		w.drop(ruleNumber)
		return
	}
	w.buf = buf
}

func (w *walker) number(s string) {
	switch {
	case s == "": // as encoding/json writes it
		w.buf = append(w.buf, '0')
	case len(s) <= 256 && numeric(s):
		w.buf = append(w.buf, s...)
	default:
		w.drop(ruleNumber)
	}
}

func (w *walker) bytes(v reflect.Value) error {
	if v.IsNil() {
		w.buf = append(w.buf, "null"...)
		return nil
	}
	b := v.Bytes()
	if len(b) > MaxBytes-len(w.buf) {
		return ErrLimit
	}
	if w.env.Guard != nil {
		if rule := w.check(string(b)); rule != "" {
			w.hit(rule)
			w.removed(v, false)
			return nil
		}
	}
	if w.env.Kept != nil && !w.quiet {
		w.env.Kept(string(b))
	}
	w.buf = append(w.buf, '"')
	w.buf = base64.StdEncoding.AppendEncode(w.buf, b)
	w.buf = append(w.buf, '"')
	return nil
}

func (w *walker) time(v reflect.Value) {
	var t time.Time
	if v.CanAddr() {
		t = *v.Addr().Interface().(*time.Time)
	} else {
		t = v.Interface().(time.Time)
	}
	start := len(w.buf)
	buf, err := t.AppendText(append(w.buf, '"'))
	if err != nil {
		w.buf = w.buf[:start]
		w.drop(ruleTime)
		return
	}
	w.buf = append(buf, '"')
}

// url writes scheme, host and path. User information, query and fragment are
// where credentials travel; who wants to keep one of them names it in a type
// of their own.
func (w *walker) url(v reflect.Value) error {
	u := v.Interface().(url.URL)
	if w.env.Removed != nil && (u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "") {
		w.removedText(u.String())
	}
	if u.Opaque != "" {
		w.drop(ruleURL)
		return nil
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return w.text(bare.String())
}

func uuidOf(v reflect.Value) (id uuid.UUID) {
	if v.CanAddr() && v.CanInterface() {
		return *v.Addr().Interface().(*uuid.UUID)
	}
	reflect.Copy(reflect.ValueOf(id[:]), v)
	return id
}

// collect appends the entries of a map to w.entries, sorted by their names,
// and returns where they are, until release. An invalid value is nil in an
// interface. Entries whose key has no name, or shares its name with another's,
// are left out and counted.
func (w *walker) collect(v reflect.Value, t *info) (base, end int) {
	base = len(w.entries)
	if m, ok := v.Interface().(map[string]any); ok {
		w.rooms = append(w.rooms, nil)
		w.collectNamed(m)
	} else {
		w.collectAny(v, t)
	}
	if own := w.entries[base:]; len(own) < 2 {
		return base, len(w.entries)
	}
	own := w.entries[base:]
	byName := func(a, b entry) int { return strings.Compare(a.name, b.name) }
	if !slices.IsSortedFunc(own, byName) {
		slices.SortFunc(own, byName)
	}
	end = base
	for i := 0; i < len(own); {
		j := i + 1
		for j < len(own) && own[j].name == own[i].name {
			j++
		}
		if j == i+1 {
			w.entries[end] = own[i]
			end++
		} else {
			w.count += j - i
			for _, e := range own[i:j] {
				w.removedText(e.name)
				w.removedAs(e.name, e.v, false)
			}
		}
		i = j
	}
	clear(w.entries[end:])
	w.entries = w.entries[:end]
	return base, end
}

// collectNamed appends the entries of a map, sorted by their names as they are: names
// take less to move about than entries do.
func (w *walker) collectNamed(m map[string]any) {
	for name := range m {
		w.names = append(w.names, name)
	}
	slices.Sort(w.names)
	for _, name := range w.names {
		w.entries = append(w.entries, entry{name: EscapeName(name), v: reflect.ValueOf(m[name])})
	}
	clear(w.names)
	w.names = w.names[:0]
}

// mapRoom is where a map's entries are copied to while it is written: reflect
// would make room for each of them.
type mapRoom struct {
	iter   reflect.MapIter
	key    reflect.Value
	values reflect.Value // a slice
	used   int
	of     *info
}

// maxRoom is how many entries a room that is kept may hold.
const maxRoom = 64

func (t *info) room(n int) *mapRoom {
	r, ok := t.rooms.Get().(*mapRoom)
	if !ok {
		r = &mapRoom{key: reflect.New(t.typ.Key()).Elem()}
	}
	if !r.values.IsValid() || r.values.Len() < n {
		size := max(n, 8)
		r.values = reflect.MakeSlice(reflect.SliceOf(t.typ.Elem()), size, size)
	}
	return r
}

// release gives back the room of the map that was collected last.
func (w *walker) release() {
	last := len(w.rooms) - 1
	r := w.rooms[last]
	w.rooms[last] = nil
	w.rooms = w.rooms[:last]
	if r == nil || r.values.Len() > maxRoom {
		return
	}
	for i := range r.used { // a room that is kept holds on to nothing
		r.values.Index(i).SetZero()
	}
	r.key.SetZero()
	r.iter.Reset(reflect.Value{})
	r.of.rooms.Put(r)
}

// collectAny appends the entries of a map of any type. The values are copied
// to one slice.
func (w *walker) collectAny(v reflect.Value, t *info) {
	r := t.room(v.Len())
	w.rooms = append(w.rooms, r)
	r.of, r.used = t, 0
	r.iter.Reset(v)
	for ; r.iter.Next() && r.used < r.values.Len(); r.used++ {
		r.key.SetIterKey(&r.iter)
		name, ok := key(r.key)
		if !ok {
			w.count++
			w.removed(r.key, false)
			w.removed(r.iter.Value(), false)
			continue
		}
		value := r.values.Index(r.used)
		value.SetIterValue(&r.iter)
		w.entries = append(w.entries, entry{name: EscapeName(name), v: value})
	}
}
