package fields

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// Writer appends JSON to Dst, and checks it by a table: what [Reader] would
// refuse is an error. The first one is kept. A field is named by its place in
// the object that is open; one that the table does not have is an error too.
//
// The rules that bind a caller's values, as what an identifier may hold, are not
// its business: callers check them before anything is written, and what was
// stored before such a rule can be written again.
type Writer struct {
	Dst   []byte
	at    *Field // the object or list that is open
	next  int    // the member of it behind the newest: most are written in their order
	stack [8]struct {
		at   *Field
		next int
	}
	depth int
	err   *Error
}

// NewWriter returns a Writer of members of the object that table describes,
// whose opening brace the caller has written.
func NewWriter(dst []byte, table *Field) Writer {
	return Writer{Dst: dst, at: table}
}

// Err returns the first problem, nil if there was none.
func (w *Writer) Err() *Error { return w.err }

func (w *Writer) fail(f *Field, name, problem string) {
	if w.err != nil || problem == "" {
		return
	}
	path := ""
	up := make([]*Field, 0, len(w.stack)+2)
	for i := range min(w.depth, len(w.stack)) {
		up = append(up, w.stack[i].at)
	}
	for _, up := range append(up, w.at, f) {
		part := name
		if up != nil {
			part = up.Name
		}
		if path != "" && part != "" {
			path += "."
		}
		path += part
	}
	w.err = &Error{Path: path, Problem: problem}
}

// key begins a member and returns what the table says of it, never nil.
func (w *Writer) key(name string) *Field {
	f := w.member(name)
	if f == nil {
		w.fail(nil, name, "is not in the table")
		f = &unlisted
	}
	dst, key := w.Dst, f.key
	if key == "" { // of a table that is made by hand
		key = `,"` + name + `":`
	}
	if dst[len(dst)-1] == '{' {
		key = key[1:]
	}
	w.Dst = append(dst, key...)
	return f
}

var unlisted Field

// member is Member of the open object, looked for behind the newest one first.
func (w *Writer) member(name string) *Field {
	at := w.at
	if at == nil {
		return nil
	}
	for i := w.next; i < len(at.Of); i++ {
		if f := at.Of[i]; f.Name == name {
			w.next = i + 1
			return f
		}
	}
	return at.Member(name)
}

// Enter makes a member that is an object, or a list, the open one, without
// writing anything: for members that are already encoded.
func (w *Writer) Enter(name string) { w.enter(w.member(name), name) }

func (w *Writer) enter(f *Field, name string) {
	if f == nil || w.depth == len(w.stack) {
		w.fail(nil, name, "is not in the table")
		f = &unlisted
	}
	if w.depth < len(w.stack) {
		w.stack[w.depth].at, w.stack[w.depth].next = w.at, w.next
	}
	w.depth++
	w.at, w.next = f, 0
}

// Leave makes the object around the open one the open one, without writing
// anything.
func (w *Writer) Leave() {
	w.depth--
	if w.depth < len(w.stack) {
		w.at, w.next = w.stack[w.depth].at, w.stack[w.depth].next
	}
}

// Open begins a member that is an object; Close ends it.
func (w *Writer) Open(name string) {
	w.enter(w.key(name), name)
	w.Dst = append(w.Dst, '{')
}

// Close ends the open object.
func (w *Writer) Close() {
	w.Leave()
	w.Dst = append(w.Dst, '}')
}

// List writes a list of n elements with element, as far as there is room for
// them.
func (w *Writer) List(name string, n int, element func(i int)) {
	f := w.key(name)
	w.enter(f, name)
	w.Dst = append(w.Dst, '[')
	for i := range min(int64(n), f.Max) {
		if i > 0 {
			w.Dst = append(w.Dst, ',')
		}
		element(int(i))
	}
	w.Leave()
	w.Dst = append(w.Dst, ']')
}

// element is what the open list consists of.
func (w *Writer) element() *Field {
	if len(w.at.Of) == 0 {
		w.fail(nil, "", "is not in the table")
		return &unlisted
	}
	return w.at.Of[0]
}

// OpenElement begins an element that is an object; Close ends it.
func (w *Writer) OpenElement() {
	w.enter(w.element(), "")
	w.Dst = append(w.Dst, '{')
}

// StringElement writes an element that is a string.
func (w *Writer) StringElement(value string) { w.string(w.element(), value) }

// TextElement writes an element that is a text.
func (w *Writer) TextElement(value string) {
	w.Dst = jsonenc.AppendText(w.Dst, value, int(w.element().Max))
}

// UUIDElement writes an element that is a UUID.
func (w *Writer) UUIDElement(id uuid.UUID) { w.Dst = jsonenc.AppendUUID(w.Dst, id) }

// String writes a string. One that is too long is an error.
func (w *Writer) String(name, value string) { w.string(w.key(name), value) }

func (w *Writer) string(f *Field, value string) {
	if f.Max > 0 && f.tooLong(value) {
		w.fail(f, "", "is longer than "+itoa(f.Max)+" bytes")
	}
	if f.Words != nil && !slices.Contains(f.Words, value) {
		w.fail(f, "", "is none of "+strings.Join(f.Words, ", "))
	}
	w.Dst = jsonenc.AppendString(w.Dst, value)
}

// Optional writes a string unless it is empty.
func (w *Writer) Optional(name, value string) {
	if value != "" {
		w.String(name, value)
	}
}

// Cut writes a string that is ours to cut, as a type's name: as much of it as
// there is room for, and nothing if it is empty.
func (w *Writer) Cut(name, value string) {
	if value != "" {
		f := w.key(name)
		w.Dst = jsonenc.AppendString(w.Dst, jsonenc.Head(value, int(f.Max)))
	}
}

// Text writes a free text, or the marker of a truncated one if it is too long,
// or of a dropped one if dropped names the rule.
func (w *Writer) Text(name, value, dropped string) { w.TextWithin(name, value, dropped, MaxContent) }

// TextWithin is Text with a limit of its own, where that is less.
func (w *Writer) TextWithin(name, value, dropped string, limit int) {
	f := w.key(name)
	if dropped != "" {
		w.Dst = jsonenc.AppendDropped(w.Dst, jsonenc.Head(dropped, MaxIdentifier))
		return
	}
	w.Dst = jsonenc.AppendText(w.Dst, value, min(int(f.Max), limit))
}

// Integer writes a number. One out of range is an error.
func (w *Writer) Integer(name string, n int64) {
	f := w.key(name)
	if problem := f.CheckInteger(n); problem != "" {
		w.fail(f, "", problem)
	}
	w.Dst = strconv.AppendInt(w.Dst, n, 10)
}

// Bool writes true or false.
func (w *Writer) Bool(name string, value bool) {
	w.key(name)
	w.Dst = strconv.AppendBool(w.Dst, value)
}

// UUID writes a UUID unless it is the nil one.
func (w *Writer) UUID(name string, id uuid.UUID) {
	if id != uuid.Nil {
		w.key(name)
		w.Dst = jsonenc.AppendUUID(w.Dst, id)
	} else if f := w.member(name); f != nil && f.Required {
		w.fail(f, "", "is missing")
	}
}

// Hash writes a hash.
func (w *Writer) Hash(name string, hash [32]byte) {
	w.key(name)
	w.Dst = jsonenc.AppendHash(w.Dst, hash)
}

// Time writes a time. One out of range is an error.
func (w *Writer) Time(name string, t time.Time) {
	f := w.key(name)
	if t.Before(MinTime) || t.After(MaxTime) {
		w.fail(f, "", "is not between 1970 and 9999")
	}
	w.Dst = jsonenc.AppendTime(w.Dst, t)
}

// Raw writes a value that is JSON already, unless it is nil. It checks that it
// is.
func (w *Writer) Raw(name string, value []byte) {
	if value == nil {
		return
	}
	f := w.key(name)
	switch {
	case f.Max > 0 && int64(len(value)) > f.Max:
		w.fail(f, "", "is longer than "+itoa(f.Max)+" bytes")
	case jsonscan.CheckAt(value, w.depth+1) != nil || jsonscan.Unpaired(value) >= 0 || bytes.IndexByte(value, '\n') >= 0:
		w.fail(f, "", "is not JSON on one line that every reader reads alike")
	}
	w.Dst = append(w.Dst, value...)
}
