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
	end, err := scanner{data, hasControls(data)}.value(past(data, 0), depth)
	if err != nil {
		slices.Reverse(err.Path)
		return err
	}
	if end = past(data, end); end != len(data) {
		return &Error{Offset: end, Problem: "unexpected text after the value"}
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
		for at, c := past(data, 0), byte('{'); is(data, at, c); c = ',' {
			at = past(data, at+1)
			end := stringEnd(data, at)
			if end < 0 {
				return
			}
			name := data[at+1 : end-1]
			if bytes.IndexByte(name, '\\') >= 0 {
				name = []byte(Unquote(data[at:end]))
			}
			if at = past(data, end); is(data, at, ':') {
				at = past(data, at+1)
			}
			end = valueEnd(data, at)
			if end == at || !yield(name, data[at:end]) {
				return
			}
			at = past(data, end)
		}
	}
}

// Array iterates over the elements of an array that Check has accepted. Each
// is a part of data.
func Array(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for at, c := past(data, 0), byte('['); is(data, at, c); c = ',' {
			at = past(data, at+1)
			end := valueEnd(data, at)
			if end == at || !yield(data[at:end]) {
				return
			}
			at = past(data, end)
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

// scanner checks JSON. Its methods take the place where something begins, and return
// where it ends, or where the problem is.
type scanner struct {
	data     []byte
	controls bool // data has control characters, such as line feeds, somewhere
}

// hasControls searches for each of them, which takes less time than a look at each byte.
func hasControls(data []byte) bool {
	for c := range byte(' ') {
		if bytes.IndexByte(data, c) >= 0 {
			return true
		}
	}
	return false
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

// past returns where white space that begins at a place of data ends.
func past(data []byte, at int) int {
	for at < len(data) {
		if c := data[at]; c > ' ' || c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			break
		}
		at++
	}
	return at
}

func is(data []byte, at int, c byte) bool { return at < len(data) && data[at] == c }

func isDigit(data []byte, at int) bool {
	return at < len(data) && data[at] >= '0' && data[at] <= '9'
}

// value checks a value that stands inside depth arrays and objects. An error's path
// is the innermost first.
func (s scanner) value(at, depth int) (end int, err *Error) {
	var c byte
	if at < len(s.data) {
		c = s.data[at]
	}
	problem, ok := "expected a value", false
	switch {
	case (c == '{' || c == '[') && depth == MaxDepth:
		return at, &Error{Offset: at, Problem: fmt.Sprintf("nested deeper than %d", MaxDepth), TooDeep: true}
	case c == '{':
		return s.object(at+1, depth)
	case c == '[':
		return s.array(at+1, depth)
	case c == '"':
		problem = "malformed string"
		end, ok = s.text(at)
	case c == 't':
		end, ok = s.literal(at, "true")
	case c == 'f':
		end, ok = s.literal(at, "false")
	case c == 'n':
		end, ok = s.literal(at, "null")
	case c == '-' || c >= '0' && c <= '9':
		problem = "malformed number"
		end, ok = s.number(at)
	default:
		end = at
	}
	if !ok {
		return end, &Error{Offset: end, Problem: problem}
	}
	return end, nil
}

func (s scanner) literal(at int, word string) (end int, ok bool) {
	if len(s.data)-at < len(word) || string(s.data[at:at+len(word)]) != word {
		return at, false
	}
	return at + len(word), true
}

// digits checks that there is one at least.
func (s scanner) digits(at int) (end int, ok bool) {
	for end = at; isDigit(s.data, end); end++ {
	}
	return end, end > at
}

func (s scanner) number(at int) (end int, ok bool) {
	data, end := s.data, at
	if is(data, end, '-') {
		end++
	}
	if is(data, end, '0') {
		end++
	} else if end, ok = s.digits(end); !ok {
		return end, false
	}
	if is(data, end, '.') {
		if end, ok = s.digits(end + 1); !ok {
			return end, false
		}
	}
	if is(data, end, 'e') || is(data, end, 'E') {
		end++
		if is(data, end, '+') || is(data, end, '-') {
			end++
		}
		return s.digits(end)
	}
	return end, true
}

// valueEnd returns where a value ends that begins at a place of a text that has
// been checked: there, if there is none.
func valueEnd(data []byte, begin int) int {
	depth := 0
	for at := begin; at < len(data); at++ {
		switch data[at] {
		case '"':
			end := stringEnd(data, at)
			if end < 0 {
				return begin
			}
			if depth == 0 {
				return end
			}
			at = end - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // the end of what the value is in
				return at
			}
			if depth--; depth == 0 {
				return at + 1
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return at
			}
		}
	}
	return len(data)
}

// stringEnd returns where a string ends, with its quotation marks, that begins at a
// place of a text that has been checked; -1 if there is none.
func stringEnd(data []byte, begin int) int {
	if !is(data, begin, '"') {
		return -1
	}
	for end := begin + 1; ; {
		n := bytes.IndexByte(data[end:], '"')
		if n < 0 {
			return -1
		}
		end += n + 1
		escapes := 0
		for i := end - 2; i > begin && data[i] == '\\'; i-- {
			escapes++
		}
		if escapes%2 == 0 {
			return end
		}
	}
}

// text checks a string, with its quotation marks.
func (s scanner) text(begin int) (end int, ok bool) {
	data := s.data
	if !is(data, begin, '"') {
		return begin, false
	}
	quote := begin // the next quotation mark
	for at := begin + 1; ; at = end {
		if quote < at {
			if quote = bytes.IndexByte(data[at:], '"'); quote < 0 {
				quote = len(data) - at
			}
			quote += at
		}
		escape := bytes.IndexByte(data[at:quote], '\\')
		if end = quote; escape >= 0 {
			end = at + escape
		}
		if s.controls {
			for i, c := range data[at:end] {
				if c < ' ' {
					return at + i, false
				}
			}
		}
		switch {
		case escape >= 0:
			if end, ok = s.escape(end + 1); !ok {
				return end, false
			}
		case end == len(data):
			return end, false
		default:
			return end + 1, true
		}
	}
}

// escape checks what stands behind a reverse solidus.
func (s scanner) escape(at int) (end int, ok bool) {
	if at == len(s.data) {
		return at, false
	}
	switch s.data[at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return at + 1, true
	case 'u':
		for end = at + 1; end < at+5; end++ {
			if end == len(s.data) {
				return end, false
			}
			c := s.data[end]
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return end, false
			}
		}
		return end, true
	}
	return at, false
}

// array checks what stands behind the bracket.
func (s scanner) array(at, depth int) (end int, err *Error) {
	if end = past(s.data, at); is(s.data, end, ']') {
		return end + 1, nil
	}
	for i := 0; ; i++ {
		if end, err = s.value(past(s.data, end), depth+1); err != nil {
			err.Path = append(err.Path, strconv.Itoa(i))
			return end, err
		}
		end = past(s.data, end)
		switch {
		case is(s.data, end, ']'):
			return end + 1, nil
		case !is(s.data, end, ','):
			return end, &Error{Offset: end, Problem: "expected ',' or ']'"}
		}
		end++
	}
}

// object checks what stands behind the brace.
func (s scanner) object(at, depth int) (end int, err *Error) {
	data := s.data
	if end = past(data, at); is(data, end, '}') {
		return end + 1, nil
	}
	var names nameSet
	for {
		at = past(data, end)
		var ok bool
		if end, ok = s.text(at); !ok {
			return end, &Error{Offset: end, Problem: "expected a name"}
		}
		name := data[at:end]
		if !names.add(data, at, end) {
			return at, &Error{Offset: at, Problem: "duplicate name", Path: []string{Unquote(name)}}
		}
		if end = past(data, end); !is(data, end, ':') {
			return end, &Error{Offset: end, Problem: "expected ':'"}
		}
		if end, err = s.value(past(data, end+1), depth+1); err != nil {
			err.Path = append(err.Path, Unquote(name))
			return end, err
		}
		end = past(data, end)
		switch {
		case is(data, end, '}'):
			return end + 1, nil
		case !is(data, end, ','):
			return end, &Error{Offset: end, Problem: "expected ',' or '}'"}
		}
		end++
	}
}

// nameSet finds duplicates: by looking through a short list of places in the
// text, then, or where a name is written with escapes, by a map.
type nameSet struct {
	few  [16]struct{ from, to int }
	n    int
	seen uint64 // a bit for names that begin, end and are as long as each other
	many map[string]struct{}
}

// add adds the name that stands, with its quotation marks, in data[from:to].
func (n *nameSet) add(data []byte, from, to int) bool {
	name := data[from+1 : to-1]
	if n.many == nil {
		if n.n < len(n.few) && bytes.IndexByte(name, '\\') < 0 {
			// The quotation mark before the name stands for the letter of an empty one.
			bit := uint64(1) << ((uint(data[from+1]) + 5*uint(data[to-2]) + 11*uint(len(name))) % 64)
			if n.seen&bit != 0 && n.has(data, name) {
				return false
			}
			n.seen |= bit
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

func (n *nameSet) has(data, name []byte) bool {
	for _, have := range n.few[:n.n] {
		if string(data[have.from:have.to]) == string(name) {
			return true
		}
	}
	return false
}
