package taint

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

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
