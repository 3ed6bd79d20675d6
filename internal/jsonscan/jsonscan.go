// Package jsonscan reads JSON the way an auditor must: one meaning only.
// encoding/json matches names without regard to case and lets the last of two
// equal names win, so two readers can see two different events in the same
// bytes. Here names match exactly, a name that stands twice in an object is an
// error, and so are bytes that are not UTF-8.
//
// Package jobaudit reads records with it and package jobhttp requests: the rules
// must not exist twice.
package jsonscan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may nest.
const MaxDepth = 128

// Error says what is wrong and at which byte of the text.
type Error struct {
	Offset  int
	Problem string
	TooDeep bool // nested deeper than MaxDepth, and maybe nothing else
	// Path leads to the value, or to the name that stands twice: names and
	// indices, the outermost first. The names are the text's own.
	Path []string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s at byte %d", e.Problem, e.Offset)
}

// Check returns nil if data is exactly one JSON value (RFC 8259), valid UTF-8,
// without duplicate names in any object, and nested at most MaxDepth deep.
// White space around the value is allowed.
func Check(data []byte) error { return CheckAt(data, 0) }

// CheckAt is [Check] for a value that is going to stand inside depth arrays and
// objects.
func CheckAt(data []byte, depth int) error {
	if !utf8.Valid(data) {
		return &Error{Offset: invalidAt(data), Problem: "invalid UTF-8"}
	}
	s := scanner{data: data}
	s.space()
	if err := s.value(depth); err != nil {
		slices.Reverse(err.Path)
		return err
	}
	s.space()
	if s.pos != len(data) {
		return s.errorf("unexpected text after the value")
	}
	return nil
}

// Unpaired returns the offset of the first escape in data that is half of a
// surrogate pair without the other half, which readers understand differently,
// or -1. Check has accepted data.
func Unpaired(data []byte) int {
	for i := 0; i < len(data); {
		next := bytes.IndexByte(data[i:], '\\')
		if next < 0 {
			return -1
		}
		i += next
		switch first := escaped(data[i:]); {
		case first < 0:
			i += len(`\n`)
		case !utf16.IsSurrogate(first):
			i += len(`\u0000`)
		case utf16.DecodeRune(first, escaped(data[i+len(`\u0000`):])) == utf8.RuneError:
			return i
		default:
			i += 2 * len(`\u0000`)
		}
	}
	return -1
}

// escaped returns the code unit of the \u escape that data begins with, or -1.
func escaped(data []byte) rune {
	if len(data) < len(`\u0000`) || data[0] != '\\' || data[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

func invalidAt(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(data)
}

// Object iterates over the members of an object that Check has accepted, in
// the order of the text: the decoded name and the value's bytes, which are a
// part of data.
func Object(data []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for name, value := range Members(data) {
			if !yield(string(name), value) {
				return
			}
		}
	}
}

// Members is [Object] without a string made of each name: the name is a part
// of data too, unless it is written with escapes.
func Members(data []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		s := scanner{data: data}
		s.space()
		if !s.eat('{') {
			return
		}
		for {
			s.space()
			raw := s.skipString()
			if raw == nil {
				return
			}
			name := raw[1 : len(raw)-1]
			if bytes.IndexByte(name, '\\') >= 0 {
				name = []byte(Unquote(raw))
			}
			s.space()
			s.eat(':')
			s.space()
			if value := s.skip(); value == nil || !yield(name, value) {
				return
			}
			s.space()
			if !s.eat(',') {
				return
			}
		}
	}
}

// Array iterates over the elements of an array that Check has accepted. Each
// is a part of data.
func Array(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		s := scanner{data: data}
		s.space()
		if !s.eat('[') {
			return
		}
		for {
			s.space()
			if value := s.skip(); value == nil || !yield(value) {
				return
			}
			s.space()
			if !s.eat(',') {
				return
			}
		}
	}
}

// Unquote decodes a JSON string that Check has accepted. Half of a surrogate
// pair becomes U+FFFD.
func Unquote(raw []byte) string {
	if len(raw) < 2 {
		return ""
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

type scanner struct {
	data []byte
	pos  int
}

// Texts yields the strings and names of JSON, which may be empty. The JSON must be
// valid.
func Texts(raw []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(raw) > 0 {
			yieldTexts(raw, yield)
		}
	}
}

func yieldTexts(raw []byte, yield func(string) bool) bool {
	switch raw[0] {
	case '{':
		for name, member := range Object(raw) {
			if !yield(name) || !yieldTexts(member, yield) {
				return false
			}
		}
	case '[':
		for element := range Array(raw) {
			if !yieldTexts(element, yield) {
				return false
			}
		}
	case '"':
		return yield(Unquote(raw))
	}
	return true
}

func (s *scanner) errorf(problem string) *Error {
	return &Error{Offset: s.pos, Problem: problem}
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) eat(c byte) bool {
	if s.peek() != c || s.pos >= len(s.data) {
		return false
	}
	s.pos++
	return true
}

// value consumes a value that stands inside depth arrays and objects. An
// error's path is the innermost first.
func (s *scanner) value(depth int) *Error {
	switch c := s.peek(); {
	case (c == '{' || c == '[') && depth == MaxDepth:
		return &Error{Offset: s.pos, Problem: fmt.Sprintf("nested deeper than %d", MaxDepth), TooDeep: true}
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		if _, ok := s.rawString(); !ok {
			return s.errorf("malformed string")
		}
		return nil
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	return s.errorf("expected a value")
}

func (s *scanner) literal(word string) *Error {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return s.errorf("expected a value")
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) number() *Error {
	s.eat('-')
	if !s.eat('0') && !s.digits() {
		return s.errorf("malformed number")
	}
	if s.eat('.') && !s.digits() {
		return s.errorf("malformed number")
	}
	if s.eat('e') || s.eat('E') {
		if !s.eat('+') {
			s.eat('-')
		}
		if !s.digits() {
			return s.errorf("malformed number")
		}
	}
	return nil
}

// skip moves past a value of a text that has been checked, and returns it; nil
// if there is none.
func (s *scanner) skip() []byte {
	start, depth := s.pos, 0
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case '"':
			if s.skipString() == nil {
				return nil
			}
			if depth == 0 {
				return s.data[start:s.pos]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // the end of what the value is in
				return s.scalar(start)
			}
			if depth--; depth == 0 {
				s.pos++
				return s.data[start:s.pos]
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return s.scalar(start)
			}
		}
		s.pos++
	}
	return s.scalar(start)
}

func (s *scanner) scalar(start int) []byte {
	if s.pos == start {
		return nil
	}
	return s.data[start:s.pos]
}

// skipString moves past a string of a text that has been checked, and returns
// it with its quotation marks; nil if there is none.
func (s *scanner) skipString() []byte {
	start := s.pos
	if !s.eat('"') {
		return nil
	}
	for {
		n := bytes.IndexByte(s.data[s.pos:], '"')
		if n < 0 {
			return nil
		}
		s.pos += n + 1
		escapes := 0
		for i := s.pos - 2; i > start && s.data[i] == '\\'; i-- {
			escapes++
		}
		if escapes%2 == 0 {
			return s.data[start:s.pos]
		}
	}
}

// rawString consumes a string and returns it with its quotation marks.
func (s *scanner) rawString() ([]byte, bool) {
	start := s.pos
	if !s.eat('"') {
		return nil, false
	}
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start:s.pos], true
		case c < ' ':
			return nil, false
		case c == '\\':
			if !s.escape() {
				return nil, false
			}
		default:
			s.pos++
		}
	}
	return nil, false
}

func (s *scanner) escape() bool {
	s.pos++ // the reverse solidus
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return true
	case 'u':
		s.pos++
		for range 4 {
			c := s.peek()
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return false
			}
			s.pos++
		}
		return true
	}
	return false
}

func (s *scanner) array(depth int) *Error {
	s.pos++ // [
	s.space()
	if s.eat(']') {
		return nil
	}
	for i := 0; ; i++ {
		s.space()
		if err := s.value(depth + 1); err != nil {
			err.Path = append(err.Path, strconv.Itoa(i))
			return err
		}
		s.space()
		if s.eat(']') {
			return nil
		}
		if !s.eat(',') {
			return s.errorf("expected ',' or ']'")
		}
	}
}

func (s *scanner) object(depth int) *Error {
	s.pos++ // {
	s.space()
	if s.eat('}') {
		return nil
	}
	var names nameSet
	for {
		s.space()
		at := s.pos
		name, ok := s.rawString()
		if !ok {
			return s.errorf("expected a name")
		}
		if !names.add(s.data, at, s.pos) {
			return &Error{Offset: at, Problem: "duplicate name", Path: []string{Unquote(name)}}
		}
		s.space()
		if !s.eat(':') {
			return s.errorf("expected ':'")
		}
		s.space()
		if err := s.value(depth + 1); err != nil {
			err.Path = append(err.Path, Unquote(name))
			return err
		}
		s.space()
		if s.eat('}') {
			return nil
		}
		if !s.eat(',') {
			return s.errorf("expected ',' or '}'")
		}
	}
}

// nameSet finds duplicates: by looking through a short list of places in the
// text, then, or where a name is written with escapes, by a map.
type nameSet struct {
	few  [16]struct{ from, to int }
	n    int
	many map[string]struct{}
}

// add adds the name that stands, with its quotation marks, in data[from:to].
func (n *nameSet) add(data []byte, from, to int) bool {
	name := data[from+1 : to-1]
	if n.many == nil {
		if n.n < len(n.few) && bytes.IndexByte(name, '\\') < 0 {
			for _, have := range n.few[:n.n] {
				if string(data[have.from:have.to]) == string(name) {
					return false
				}
			}
			n.few[n.n].from, n.few[n.n].to = from+1, to-1
			n.n++
			return true
		}
		n.many = make(map[string]struct{}, 2*len(n.few))
		for _, have := range n.few[:n.n] {
			n.many[string(data[have.from:have.to])] = struct{}{}
		}
	}
	decoded := Unquote(data[from:to])
	_, dup := n.many[decoded]
	n.many[decoded] = struct{}{}
	return !dup
}
