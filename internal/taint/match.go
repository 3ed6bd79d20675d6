package taint

import (
	"bytes"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// scratch is the room that decoded forms of a text are put in.
type scratch struct{ quoted, view, run, decoded []byte }

var pool = sync.Pool{New: func() any { return new(scratch) }}

// maxEscapes is how often a text may have been escaped.
const maxEscapes = 3

// Match reports whether text holds one of the values.
func (m *Matcher) Match(text string) bool {
	if m == nil || len(text) < minNeedle {
		return false
	}
	s := pool.Get().(*scratch)
	defer func() {
		if cap(s.quoted)+cap(s.view)+cap(s.run)+cap(s.decoded) <= 64<<10 {
			pool.Put(s)
		}
	}()
	s.quoted = append(s.quoted[:0], text...)
	for range maxEscapes + 1 {
		s.view = append(s.view[:0], s.quoted...)
		if m.view(s, s.view) || m.percents(s) {
			return true
		}
		// Decoding makes a text shorter, so that it can take its own place.
		before := len(s.quoted)
		if s.quoted = unquote(s.quoted[:0], s.quoted); len(s.quoted) == before {
			return false
		}
	}
	return false
}

// percents looks at what a URL's decoder makes of the text.
func (m *Matcher) percents(s *scratch) bool {
	for range maxEscapes {
		if bytes.IndexByte(s.view, '+') >= 0 && m.query(s) {
			return true
		}
		before := len(s.view)
		if s.view = unpercent(s.view[:0], s.view); len(s.view) == before {
			return false
		}
		if m.view(s, s.view) {
			return true
		}
		if bytes.IndexByte(s.view, '\\') >= 0 && m.search(unquote(nil, s.view), first) {
			return true
		}
	}
	return false
}

// first ends a search at the first needle that is found.
func first(int) bool { return true }

// query looks at the text as a part of a query, where a plus sign is a space.
func (m *Matcher) query(s *scratch) bool {
	s.decoded = append(s.decoded[:0], s.view...)
	for i, c := range s.decoded {
		if c == '+' {
			s.decoded[i] = ' '
		}
	}
	return m.search(unpercent(s.decoded[:0], s.decoded), first)
}

// view looks at one form of the text, and at the runs in it that could be
// hexadecimal or base64.
func (m *Matcher) view(s *scratch, text []byte) bool {
	if m.search(text, first) {
		return true
	}
	for i := 0; i < len(text); {
		if base64Value[text[i]] == none {
			i++
			continue
		}
		start := i
		for i < len(text) && (base64Value[text[i]] != none || text[i] == '\n' || text[i] == '\r') {
			i++
		}
		if i-start >= minBase64 && m.digits(s, text[start:i]) {
			return true
		}
	}
	return false
}

// minBase64 is how many digits the shortest value has in base64; in
// hexadecimal it has more.
const minBase64 = (minNeedle*8 + 5) / 6

// digits looks at a run of base64 digits and line feeds, and at the runs of
// hexadecimal digits in it.
func (m *Matcher) digits(s *scratch, text []byte) bool {
	s.run = s.run[:0]
	for _, c := range text {
		if v := base64Value[c]; v != none {
			s.run = append(s.run, v)
		}
	}
	if len(s.run) < minBase64 {
		return false
	}
	if m.base64(s) {
		return true
	}
	s.run = s.run[:0]
	for _, c := range text {
		if v := hexValue[c]; v != none {
			s.run = append(s.run, v)
		} else if c != '\n' && c != '\r' {
			if m.hex(s) {
				return true
			}
			s.run = s.run[:0]
		}
	}
	return m.hex(s)
}

// hex decodes a run from its first and from its second digit.
func (m *Matcher) hex(s *scratch) bool {
	if len(s.run) < 2*minNeedle {
		return false
	}
	for phase := range 2 {
		s.decoded = s.decoded[:0]
		for i := phase; i+1 < len(s.run); i += 2 {
			s.decoded = append(s.decoded, s.run[i]<<4|s.run[i+1])
		}
		if m.search(s.decoded, first) ||
			bytes.IndexByte(s.decoded, '\\') >= 0 && m.search(unquote(s.decoded[:0], s.decoded), first) {
			return true
		}
	}
	return false
}

// base64 decodes a run as if its groups of four began with the first, second,
// third and fourth digit: other text may stand before it.
func (m *Matcher) base64(s *scratch) bool {
	for phase := range 4 {
		s.decoded = s.decoded[:0]
		bits, n := uint32(0), 0
		for _, v := range s.run[min(phase, len(s.run)):] {
			bits = bits<<6 | uint32(v)
			if n += 6; n >= 8 {
				n -= 8
				s.decoded = append(s.decoded, byte(bits>>n))
			}
		}
		if m.search(s.decoded, first) ||
			bytes.IndexByte(s.decoded, '\\') >= 0 && m.search(unquote(s.decoded[:0], s.decoded), first) {
			return true
		}
	}
	return false
}

const none = 0xff

var hexValue, base64Value = digitValues()

func digitValues() (hex, base64 [256]byte) {
	for i := range 256 {
		hex[i], base64[i] = none, none
	}
	for i, c := range "0123456789abcdef" {
		hex[c], hex[strings.ToUpper(string(c))[0]] = byte(i), byte(i)
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		base64[c] = byte(i)
	}
	base64['-'], base64['_'] = 62, 63
	return hex, base64
}

// unpercent appends text without its %XX escapes. dst may be text's own place.
func unpercent(dst, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' && i+2 < len(text) {
			if high, low := hexValue[text[i+1]], hexValue[text[i+2]]; high != none && low != none {
				c = high<<4 | low
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// unquote appends text without the escapes of JSON and of Go's strings. dst
// may be text's own place.
func unquote(dst, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\\' || i+1 == len(text) {
			dst = append(dst, c)
			continue
		}
		i++
		switch c = text[i]; c {
		case 'x', 'u', 'U':
			r, size := codePoint(text[i:])
			switch {
			case size == 0:
				dst = append(dst, '\\', c)
				continue
			case c == 'x':
				dst = append(dst, byte(r))
			default:
				dst = utf8.AppendRune(dst, r)
			}
			i += size - 1
		default:
			if at := strings.IndexByte("abfnrtv", c); at >= 0 {
				c = "\a\b\f\n\r\t\v"[at]
			}
			dst = append(dst, c)
		}
	}
	return dst
}

// codePoint reads xNN, uNNNN or UNNNNNNNN, and a pair of surrogates as one.
func codePoint(text []byte) (r rune, size int) {
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[text[0]]
	if len(text) <= digits {
		return 0, 0
	}
	for _, c := range text[1 : 1+digits] {
		if hexValue[c] == none {
			return 0, 0
		}
		r = r<<4 | rune(hexValue[c])
	}
	size = 1 + digits
	if text[0] == 'u' && utf16.IsSurrogate(r) && len(text) >= size+6 && text[size] == '\\' && text[size+1] == 'u' {
		if second, n := codePoint(text[size+1:]); n == 5 {
			if both := utf16.DecodeRune(r, second); both != utf8.RuneError {
				return both, size + 1 + n
			}
		}
	}
	return r, size
}
