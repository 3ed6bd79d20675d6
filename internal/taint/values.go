package taint

import (
	"net/url"
	"strings"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// value adds what is worth looking for of one value: the value or, of several
// lines, each line, and the parts of forms in which secrets travel.
func (e *expander) value(v string, depth int) {
	v = strings.Trim(v, " \t\r\n\x00")
	if len(v) < minNeedle || depth > 2 {
		return
	}
	if c := v[0]; (c == '{' || c == '[') && jsonscan.Check([]byte(v)) == nil {
		e.json([]byte(v), depth+1)
		return
	}
	if strings.ContainsAny(v, "\r\n\x00") {
		before := len(e.needles)
		for line := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == '\n' || r == '\r' || r == 0 }) {
			e.value(line, depth+1)
		}
		if len(e.needles) > before {
			return
		}
	}
	e.add(v)
	e.parts(v, depth)
}

// json adds the strings of a JSON text that has been checked.
func (e *expander) json(raw []byte, depth int) {
	switch raw[0] {
	case '{':
		for _, member := range jsonscan.Object(raw) {
			e.json(member, depth)
		}
	case '[':
		for element := range jsonscan.Array(raw) {
			e.json(element, depth)
		}
	case '"':
		e.value(jsonscan.Unquote(raw), depth)
	}
}

// parts adds what a value holds besides a name: of NAME=value, alone or in a
// list as in cookies and queries; of "Bearer value"; of an address with a
// password.
func (e *expander) parts(v string, depth int) {
	if scheme, rest, ok := strings.Cut(v, " "); ok && isName(scheme) && !strings.Contains(rest, " ") {
		e.value(rest, depth+1)
	}
	if strings.Contains(v, "://") {
		e.address(v, depth)
		return
	}
	for piece := range strings.FieldsFuncSeq(v, func(r rune) bool { return strings.ContainsRune(";&, ", r) }) {
		if name, rest, ok := strings.Cut(piece, "="); ok && isName(name) {
			e.value(strings.Trim(rest, `"'`), depth+1)
			if decoded, err := url.QueryUnescape(rest); err == nil && decoded != rest {
				e.value(decoded, depth+1)
			}
		}
	}
}

func (e *expander) address(v string, depth int) {
	u, err := url.Parse(v)
	if err != nil {
		return
	}
	if u.User != nil {
		password, _ := u.User.Password()
		e.value(password, depth+1)
		e.value(u.User.Username(), depth+1)
	}
	query, _ := url.ParseQuery(u.RawQuery)
	for _, values := range query {
		for _, value := range values {
			e.value(value, depth+1)
		}
	}
	e.value(u.Fragment, depth+1)
}

func isName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && !isDigit(c) && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return isLetter(s[0]) || s[0] == '_'
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
