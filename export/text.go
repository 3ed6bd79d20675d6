package export

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	begin := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[begin:i]...)
		begin = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(dst, s[begin:]...), '"')
}

// appendValue appends a value as JSON.
func appendValue(dst []byte, x value) []byte {
	switch x.form {
	case isNumber:
		return strconv.AppendInt(dst, x.number, 10)
	case isJSON:
		return append(dst, x.text...)
	}
	return appendString(dst, x.text)
}

// appendObject appends a JSON object of the rows that the event has. A dot in a
// row's name leads into an object: rows of one object stand next to each other.
func appendObject(dst []byte, rows []row, v *view) []byte {
	dst = append(dst, '{')
	open := "" // the objects that are open, as "a.b."
	for _, r := range rows {
		x := r.get(v)
		if x.form == absent {
			continue
		}
		name := r.name
		for !strings.HasPrefix(name, open) {
			dst = append(dst, '}')
			open = open[:strings.LastIndexByte(open[:len(open)-1], '.')+1]
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		for {
			part, below, found := strings.Cut(name[len(open):], ".")
			dst = append(append(append(dst, '"'), part...), '"', ':')
			if !found {
				break
			}
			dst = append(dst, '{')
			open = name[:len(name)-len(below)]
		}
		dst = appendValue(dst, x)
	}
	for range strings.Count(open, ".") {
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// cut returns the first n characters of s.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// isControl reports whether a line-based receiver, or a terminal behind it, would
// act on a character: the C0 and C1 sets, and the line separators of Unicode.
func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029
}

// appendVisible appends s, with what would end a line or control a terminal as
// \n, \r, \t or \uXXXX. appendRune appends every other character.
func appendVisible(dst []byte, s string, appendRune func([]byte, rune) []byte) []byte {
	for _, r := range s {
		switch {
		case r == '\n':
			dst = appendRune(dst, '\\')
			dst = append(dst, 'n')
		case r == '\r':
			dst = appendRune(dst, '\\')
			dst = append(dst, 'r')
		case r == '\t':
			dst = appendRune(dst, '\\')
			dst = append(dst, 't')
		case isControl(r):
			dst = appendRune(dst, '\\')
			dst = append(dst, 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		default:
			dst = appendRune(dst, r)
		}
	}
	return dst
}

func appendRune(dst []byte, r rune) []byte { return utf8.AppendRune(dst, r) }
