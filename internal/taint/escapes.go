package taint

import (
	"bytes"
	"encoding/binary"
	"html"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// escapes are the characters that escapes begin with.
var escapes = [256]bool{'%': true, '\\': true, '&': true}

// unescape appends text without the escapes of URLs (%41), of JSON and Go (\n,
// \u0041, \x41), and of HTML (&amp;, &#65;), all in one pass, and reports whether
// there was one. A text that has several kinds is the same whichever is taken
// away first, as long as each is taken away: that is how needles are made. It
// appends to at, unless that is nil, where escapes began and ended in text. If there are
// several texts with between behind each, no escape reaches from one to another.
func unescape(dst, text []byte, several bool, at *[]place) (plain []byte, escaped bool) {
	i := firstEscape(text)
	if i < 0 {
		return dst, false
	}
	dst = slices.Grow(dst, len(text))
	for from := 0; ; from = i {
		i = nextEscape(text, i)
		dst = append(dst, text[from:i]...)
		if i == len(text) {
			return dst, escaped
		}
		size := 0
		switch {
		case text[i] == '%':
			if i+2 < len(text) {
				if high, low := hexValue[text[i+1]], hexValue[text[i+2]]; high|low != none {
					dst, size = append(dst, high<<4|low), 3
				}
			}
		case several && i+1 < len(text) && text[i+1] == between:
		default:
			dst, size = unescaped(dst, text[i:])
		}
		if size == 0 { // it is none
			dst, size = append(dst, text[i]), 1
		} else {
			escaped = true
			if at != nil {
				*at = append(*at, place{i, i + size})
			}
		}
		i += size
	}
}

// nextEscape returns where the next escape may begin, from i on, or the end of the text.
func nextEscape(text []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(text); i += 8 {
		eight := binary.LittleEndian.Uint64(text[i:])
		percent, slash, and := eight^'%'*ones, eight^'\\'*ones, eight^'&'*ones
		// The lowest of these bits is right, whatever the ones above it are.
		if found := ((percent-ones)&^percent | (slash-ones)&^slash | (and-ones)&^and) & tops; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(text) && !escapes[text[i]] {
		i++
	}
	return i
}

// firstEscape returns where the first escape may begin, or -1.
func firstEscape(text []byte) int {
	first := -1
	for _, c := range [...]byte{'%', '\\', '&'} {
		if at := bytes.IndexByte(text, c); at >= 0 {
			first, text = at, text[:at]
		}
	}
	return first
}

// unescaped appends what the escape of JSON, Go or HTML that text begins with
// stands for. A size of 0 means that it is none.
func unescaped(dst, text []byte) (char []byte, size int) {
	if text[0] == '&' {
		return entity(dst, text)
	}
	if len(text) == 1 {
		return dst, 0
	}
	switch c := text[1]; c {
	case 'x', 'u', 'U':
		if c == 'u' && len(text) > 3 && text[2] == '{' {
			return braced(dst, text)
		}
		r, size := codePoint(text[1:])
		switch {
		case size == 0:
			return dst, 0
		case c == 'x':
			return append(dst, byte(r)), 1 + size
		}
		return utf8.AppendRune(dst, r), 1 + size
	case 'a', 'b', 'f', 'n', 'r', 't', 'v':
		return append(dst, "\a\b\f\n\r\t\v"[strings.IndexByte("abfnrtv", c)]), 2
	default:
		if len(text) >= 4 && '0' <= c && c <= '3' && octal(text[2]) && octal(text[3]) { // of C, shells and PostgreSQL
			return append(dst, (c-'0')<<6|(text[2]-'0')<<3|(text[3]-'0')), 4
		}
		return append(dst, c), 2
	}
}

// braced is unescaped for \u{NN}, of JavaScript, Rust and others.
func braced(dst, text []byte) (char []byte, size int) {
	end := bytes.IndexByte(text[:min(len(text), len(`\u{10FFFF}`))], '}')
	if end < 4 {
		return dst, 0
	}
	r := rune(0)
	for _, c := range text[3:end] {
		if hexValue[c] == none {
			return dst, 0
		}
		r = r<<4 | rune(hexValue[c])
	}
	return utf8.AppendRune(dst, r), end + 1
}

func octal(c byte) bool { return '0' <= c && c <= '7' }

// maxEntity is the most bytes of an entity of HTML: the longest name has 31.
const maxEntity = 33

// entity is unescaped for &name; and &#number;.
func entity(dst, text []byte) (char []byte, size int) {
	end := bytes.IndexByte(text[:min(len(text), maxEntity)], ';')
	if end < 2 {
		return dst, 0
	}
	name := text[1:end]
	if name[0] == '#' {
		if r, ok := number(name[1:]); ok {
			return utf8.AppendRune(dst, r), end + 1
		}
		return dst, 0
	}
	for _, c := range name {
		if !isLetter(c) && !isDigit(c) {
			return dst, 0
		}
	}
	switch string(name) {
	case "amp":
		return append(dst, '&'), end + 1
	case "lt":
		return append(dst, '<'), end + 1
	case "gt":
		return append(dst, '>'), end + 1
	case "quot":
		return append(dst, '"'), end + 1
	case "apos":
		return append(dst, '\''), end + 1
	}
	whole := string(text[:end+1])
	if plain := html.UnescapeString(whole); plain != whole {
		return append(dst, plain...), end + 1
	}
	return dst, 0
}

// number reads the number of a character, in decimal or, after x, in hexadecimal.
func number(digits []byte) (r rune, ok bool) {
	base := rune(10)
	if len(digits) > 1 && digits[0]|0x20 == 'x' {
		base, digits = 16, digits[1:]
	}
	if len(digits) == 0 || len(digits) > 8 {
		return 0, false
	}
	for _, c := range digits {
		v := hexValue[c]
		if rune(v) >= base {
			return 0, false
		}
		r = r*base + rune(v)
	}
	return r, utf8.ValidRune(r)
}

// codePoint reads xNN, uNNNN or UNNNNNNNN, and a pair of surrogates as one.
func codePoint(text []byte) (r rune, size int) {
	digits := 2
	switch text[0] {
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	}
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
