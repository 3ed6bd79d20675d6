// Package jsonenc appends JSON in the one form that the record format allows:
// UTF-8, nothing escaped that need not be, numbers as encoding/json writes
// them. Every function appends to dst, returns the result and allocates
// nothing beyond dst's growth.
package jsonenc

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

const hexDigits = "0123456789abcdef"

// hexPairs are the two digits of each byte, the first in the low bits.
var hexPairs = func() (pairs [256]uint16) {
	for b := range pairs {
		pairs[b] = uint16(hexDigits[b>>4]) | uint16(hexDigits[b&0xf])<<8
	}
	return pairs
}()

// AppendString appends s as a JSON string. Only the quotation mark, the
// reverse solidus and U+0000 to U+001F are escaped; a byte that is not part of
// valid UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = AppendStringContent(dst, s)
	return append(dst, '"')
}

// AppendStringContent is AppendString without the quotation marks.
func AppendStringContent(dst []byte, s string) []byte {
	if plainText(s) {
		return append(dst, s...)
	}
	start := 0
	for i := 0; i < len(s); {
		if len(s)-i >= 8 && plain(word(s, i)) {
			i += 8
			continue
		}
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			dst = appendEscape(dst, c)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
			i++
			start = i
			continue
		}
		i += size
	}
	return append(dst, s[start:]...)
}

// plainText reports whether nothing of s is to be escaped. It looks at what is less
// than eight bytes behind the last eight together with some of those, and at four
// to seven bytes as at twice four.
func plainText(s string) bool {
	switch n := len(s); {
	case n < 4:
		for i := range n {
			if !plain(uint64(s[i]) | 0x2020202020202000) {
				return false
			}
		}
		return true
	case n < 8:
		return plain(half(s, 0) | half(s, n-4)<<32)
	default:
		for i := 0; i <= n-8; i += 8 {
			if !plain(word(s, i)) {
				return false
			}
		}
		return plain(word(s, n-8))
	}
}

// half is word for four bytes.
func half(s string, i int) uint64 {
	s = s[i : i+4]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}

// word returns the eight bytes of s from i on. The compiler makes one load of
// it.
func word(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// plain reports whether all eight bytes of w are ASCII that stands for itself
// in a JSON string. A byte's high bit is set in below if the byte is less than
// a space, and in quote or solidus if it is that character; carries can only
// make it say no where another byte says no already.
func plain(w uint64) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	below := w - ones*' '
	quote := (w ^ ones*'"') - ones
	solidus := (w ^ ones*'\\') - ones
	return (w|below|quote|solidus)&highs == 0
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}

// StringLen returns how many bytes [AppendStringContent] appends for s.
func StringLen(s string) int {
	n := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			n += escapedLen(c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			n += len("\uFFFD")
		} else {
			n += size
		}
		i += size
	}
	return n
}

func escapedLen(c byte) int {
	switch c {
	case '"', '\\', '\b', '\f', '\n', '\r', '\t':
		return 2
	}
	if c < ' ' {
		return 6
	}
	return 1
}

// Head returns the longest prefix of s that ends on a whole character and
// whose encoding, without quotation marks, takes at most limit bytes.
func Head(s string, limit int) string {
	n := 0
	for i := 0; i < len(s); {
		if limit-n >= 8 && len(s)-i >= 8 && plain(word(s, i)) {
			n, i = n+8, i+8
			continue
		}
		size, enc := 1, 0
		if c := s[i]; c < utf8.RuneSelf {
			enc = escapedLen(c)
		} else {
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			enc = size
			if r == utf8.RuneError && size == 1 {
				enc = len("\uFFFD")
			}
		}
		if n+enc > limit {
			return s[:i]
		}
		n += enc
		i += size
	}
	return s
}

// AppendFloat appends f in the form that encoding/json uses for a float of
// bits 32 or 64 (ECMA-262 number-to-string). It reports false, and appends
// nothing, for NaN and the infinities, which JSON cannot hold.
func AppendFloat(dst []byte, f float64, bits int) ([]byte, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, false
	}
	abs := math.Abs(f)
	if bits == 64 && abs < 1e12 && (f != 0 || !math.Signbit(f)) {
		// Most numbers have up to two decimals. Division rounds correctly, and
		// no two decimals of up to 15 digits are the same float64: if f is a
		// number of hundredths, no shorter decimal is f.
		if cents := int64(math.Round(f * 100)); float64(cents)/100 == f {
			return appendHundredths(dst, cents), true
		}
	}
	format := byte('f')
	if abs != 0 {
		if bits == 64 && (abs < 1e-6 || abs >= 1e21) ||
			bits == 32 && (float32(abs) < 1e-6 || float32(abs) >= 1e21) {
			format = 'e'
		}
	}
	dst = strconv.AppendFloat(dst, f, format, -1, bits)
	if format == 'e' {
		// e-09 becomes e-9.
		if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
			dst[n-2] = dst[n-1]
			dst = dst[:n-1]
		}
	}
	return dst, true
}

func appendHundredths(dst []byte, n int64) []byte {
	if n < 0 {
		dst = append(dst, '-')
		n = -n
	}
	dst = strconv.AppendInt(dst, n/100, 10)
	switch c := n % 100; {
	case c == 0:
	case c%10 == 0:
		dst = append(dst, '.', '0'+byte(c/10))
	default:
		dst = append(dst, '.', '0'+byte(c/10), '0'+byte(c%10))
	}
	return dst
}

// AppendUUID appends id as a JSON string in the lower-case form of RFC 9562.
func AppendUUID(dst []byte, id uuid.UUID) []byte {
	dst = append(dst, `"00000000-0000-0000-0000-000000000000"`...)
	text := dst[len(dst)-38:]
	hexadecimal(text[1:9], id[0:4])
	hexadecimal(text[10:14], id[4:6])
	hexadecimal(text[15:19], id[6:8])
	hexadecimal(text[20:24], id[8:10])
	hexadecimal(text[25:37], id[10:16])
	return dst
}

func hexadecimal(dst, src []byte) {
	dst = dst[:2*len(src)]
	for i, b := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], hexPairs[b])
	}
}

// AppendTime appends t as a JSON string: RFC 3339, UTC, six fraction digits.
func AppendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return append(t.AppendFormat(append(dst, '"'), TimeLayout), '"')
	}
	hour, minute, second := t.Clock()
	micro := t.Nanosecond() / 1000
	text := [29]byte{0: '"', 5: '-', 8: '-', 11: 'T', 14: ':', 17: ':', 20: '.', 27: 'Z', 28: '"'}
	two(text[1:], year/100)
	two(text[3:], year%100)
	two(text[6:], int(month))
	two(text[9:], day)
	two(text[12:], hour)
	two(text[15:], minute)
	two(text[18:], second)
	two(text[21:], micro/10_000)
	two(text[23:], micro/100%100)
	two(text[25:], micro%100)
	return append(dst, text[:]...)
}

// two writes the two decimal digits of n at the beginning of dst.
func two(dst []byte, n int) { dst[0], dst[1] = '0'+byte(n/10), '0'+byte(n%10) }

// TimeLayout is the one form of a time in a record: microseconds, always.
const TimeLayout = "2006-01-02T15:04:05.000000Z"

// AppendHash appends a hash as a JSON string in standard base64, as in
// checkpoints.
func AppendHash(dst []byte, hash [32]byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, hash[:])
	return append(dst, '"')
}
