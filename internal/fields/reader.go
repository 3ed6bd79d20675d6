package fields

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// MinTime and MaxTime bound the times that a format can hold.
var (
	MinTime = time.Unix(0, 0).UTC()
	MaxTime = time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
)

// Error says which field is wrong, and how.
type Error struct {
	Path    string
	Problem string
}

func (e *Error) Error() string { return e.Path + ": " + e.Problem }

// Reader reads JSON that jsonscan.Check has accepted, and checks it by a table.
// Its methods take the bytes of a value. The first problem found is kept, with
// the path of its field; what is returned then means nothing.
type Reader struct {
	at    *Field // of the value that is read; nil where the table has none
	names *Names
	path  [][]byte
	err   *Error
}

// NewReader returns a Reader of a value that is as the table says. Its path
// begins with prefix, if that is not empty. names may be nil.
func NewReader(table *Field, names *Names, prefix string) *Reader {
	r := &Reader{at: table, names: names}
	if prefix != "" {
		r.path = append(r.path, []byte(prefix))
	}
	return r
}

// Err returns the first problem, nil if there was none.
func (r *Reader) Err() *Error { return r.err }

// Fail says that the value which is read is wrong.
func (r *Reader) Fail(problem string) {
	if r.err != nil || problem == "" {
		return
	}
	var path strings.Builder
	for i, name := range r.path {
		if i > 0 {
			path.WriteByte('.')
		}
		path.Write(name)
	}
	r.err = &Error{Path: path.String(), Problem: problem}
}

// FailAt is Fail for a member of the value.
func (r *Reader) FailAt(name, problem string) {
	r.path = append(r.path, []byte(name))
	r.Fail(problem)
	r.path = r.path[:len(r.path)-1]
}

// Object calls member for each member of an object. All that the table requires
// must be there, and no name of the format in another case.
func (r *Reader) Object(raw []byte, member func(name, raw []byte)) {
	if raw[0] != '{' {
		r.Fail("is not an object")
		return
	}
	at := r.at
	missing := 0
	if at != nil {
		for _, f := range at.Of {
			if f.Required {
				missing++
			}
		}
	}
	next := 0
	for name, value := range jsonscan.Members(raw) {
		r.at, next = memberOf(at, name, next)
		if r.at != nil && r.at.Required {
			missing--
		}
		r.path = append(r.path, name)
		if r.at == nil && r.names.otherCase(name) {
			r.Fail("is a name in another case")
		}
		member(name, value)
		r.path = r.path[:len(r.path)-1]
	}
	r.at = at
	if missing > 0 {
		r.missing(raw)
	}
}

// memberOf returns the member of a name, and the place behind it in the table, with
// which the search for the next begins: most of what is read is in the table's order.
func memberOf(f *Field, name []byte, from int) (member *Field, next int) {
	if f == nil {
		return nil, 0
	}
	for i := range f.Of {
		at := (from + i) % len(f.Of)
		if m := f.Of[at]; m.Name == string(name) {
			return m, at + 1
		}
	}
	return nil, from
}

func (r *Reader) missing(raw []byte) {
	var have []string
	for name := range jsonscan.Object(raw) {
		have = append(have, name)
	}
	for _, f := range r.at.Of {
		if f.Required && !slices.Contains(have, f.Name) {
			r.FailAt(f.Name, "is missing")
		}
	}
}

// List calls element for each element of an array.
func (r *Reader) List(raw []byte, element func(raw []byte)) {
	if raw[0] != '[' {
		r.Fail("is not an array")
		return
	}
	at := r.at
	i := int64(0)
	for value := range jsonscan.Array(raw) {
		if at != nil && at.Max > 0 && i == at.Max {
			r.Fail("has more than " + itoa(at.Max) + " elements")
			break
		}
		r.at = nil
		if at != nil && len(at.Of) > 0 {
			r.at = at.Of[0]
		}
		r.path = append(r.path, strconv.AppendInt(nil, i, 10))
		element(value)
		r.path = r.path[:len(r.path)-1]
		i++
	}
	r.at = at
}

// String reads a string.
func (r *Reader) String(raw []byte) string {
	if raw[0] != '"' {
		r.Fail("is not a string")
		return ""
	}
	s := jsonscan.Unquote(raw)
	if f := r.at; f != nil {
		if f.Max > 0 && f.tooLong(s) {
			r.Fail("is longer than " + itoa(f.Max) + " bytes")
		}
		if f.Words != nil && !slices.Contains(f.Words, s) {
			r.Fail("is none of " + strings.Join(f.Words, ", "))
		}
	}
	return s
}

// marker is what stands for a text that is not there in full.
var marker = &Field{Kind: Object, Of: []*Field{
	{Name: "$jobaudit", Kind: String, Required: true}, {Name: "size", Kind: Integer, Max: MaxCount},
	{Name: "head", Kind: String}, {Name: "rule", Kind: String},
}}

// maxMarker bounds the marker of a dropped text, whose rule may need more room
// than the text had.
const maxMarker = 1_024

// MaxCount is the largest number that all readers of JSON hold exactly, and one
// more.
const MaxCount = 1 << 53

// Text reads a text, or the marker that stands for one.
func (r *Reader) Text(raw []byte) string {
	if raw[0] != '{' {
		return r.String(raw)
	}
	at := r.at
	if at != nil && at.Max > 0 && int64(len(raw)) > max(at.Max, maxMarker) {
		r.Fail("is a marker of more than " + itoa(max(at.Max, maxMarker)) + " bytes")
	}
	r.at = marker
	var kind, rule, head string
	var size int64
	r.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "$jobaudit":
			kind = r.String(raw)
		case "rule":
			rule = r.String(raw)
		case "head":
			head = r.String(raw)
		case "size":
			size = r.Integer(raw)
		}
	})
	r.at = at
	if kind == "truncated" {
		return fmt.Sprintf("%s… (%d bytes in all)", head, size)
	}
	return fmt.Sprintf("(%s: %s)", kind, rule)
}

// Integer reads a number without fraction and exponent.
func (r *Reader) Integer(raw []byte) int64 {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	switch {
	case err != nil:
		r.Fail("is not an integer")
	case r.at != nil:
		r.Fail(r.at.CheckInteger(n))
	}
	return n
}

// Bool reads true or false.
func (r *Reader) Bool(raw []byte) bool {
	if raw[0] != 't' && raw[0] != 'f' {
		r.Fail("is not true or false")
	}
	return raw[0] == 't'
}

// UUID reads a UUID of any version in lower case. The nil UUID would read as an
// absent one.
func (r *Reader) UUID(raw []byte) uuid.UUID {
	id, ok := uuid.Nil, false
	if len(raw) == 38 && raw[0] == '"' {
		id, ok = ParseUUID(raw[1:37])
	}
	if !ok { // as one that is written with escapes
		id, ok = ParseUUID(r.String(raw))
	}
	switch {
	case !ok:
		r.Fail("is not a lower-case UUID")
	case id == uuid.Nil:
		r.Fail("is the nil UUID")
	}
	return id
}

// ParseUUID accepts the one form that the formats use.
func ParseUUID[T string | []byte](s T) (id uuid.UUID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return uuid.Nil, false
	}
	for i, at := range [...]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34} {
		high, low := digit(s[at]), digit(s[at+1])
		if high|low > 15 {
			return uuid.Nil, false
		}
		id[i] = high<<4 | low
	}
	return id, true
}

// digit is the value of a hexadecimal digit in lower case, 255 of what is none.
func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// Hash reads a SHA-256 hash in standard base64.
func (r *Reader) Hash(raw []byte) (h [32]byte) {
	s := r.String(raw)
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(h) || len(s) != 44 {
		r.Fail("is not a SHA-256 hash in base64")
		return h
	}
	copy(h[:], b)
	return h
}

// Time reads a time as [jsonenc.AppendTime] writes it, from 1970 to 9999.
func (r *Reader) Time(raw []byte) time.Time {
	s := r.String(raw)
	t, err := time.Parse(jsonenc.TimeLayout, s)
	switch {
	case err != nil || t.Format(jsonenc.TimeLayout) != s: // Parse is lenient
		r.Fail("is not a UTC time with six fraction digits")
	case t.Before(MinTime):
		r.Fail("is before 1970")
	}
	return t
}

// Raw reads any value as it stands; the bytes are a copy.
func (r *Reader) Raw(raw []byte) []byte {
	if r.at != nil && r.at.Max > 0 && int64(len(raw)) > r.at.Max {
		r.Fail("is longer than " + itoa(r.at.Max) + " bytes")
	}
	return slices.Clone(raw)
}

// Names are the names of the fields of formats, to find those that differ from
// one by the case of their letters only. Readers that ignore case, like
// encoding/json, would take them for that one. A nil Names finds nothing.
type Names struct{ own, folded map[string]bool }

// NamesOf returns the names in the tables.
func NamesOf(tables ...*Field) *Names {
	n := &Names{own: map[string]bool{}, folded: map[string]bool{}}
	for _, table := range append(tables, marker) {
		table.All("", func(_ string, f *Field) {
			if f.Name != "" {
				n.own[f.Name] = true
				n.folded[string(appendFolded(nil, []byte(f.Name)))] = true
			}
		})
	}
	return n
}

func (n *Names) otherCase(name []byte) bool {
	if n == nil || n.own[string(name)] {
		return false
	}
	var buf [64]byte
	return n.folded[string(appendFolded(buf[:0], name))]
}

// appendFolded appends a name so that names that are equal but for their case,
// as strings.EqualFold has it, give the same bytes.
func appendFolded(dst, name []byte) []byte {
	for _, r := range string(name) {
		for { // the least of the runes that fold to each other
			next := unicode.SimpleFold(r)
			if next <= r {
				r = next
				break
			}
			r = next
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
