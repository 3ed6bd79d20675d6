package secrets

import (
	"unicode/utf8"
	"unsafe"
)

// minEncoded is the shortest run of base64 that is decoded: what it encodes has
// 15 bytes or more.
const minEncoded = 20

// maxDepth is how often base64 is decoded: a token that is base64 may be a part of
// something that is.
const maxDepth = 2

// window is how many bytes are decoded at a time. Windows overlap by as much as
// has to be seen of the longest secret. Both are multiples of six: whole groups
// of base64, and whole units of UTF-16.
const (
	window  = 3072
	overlap = 1536
)

// sextets holds the value of each character of both alphabets of RFC 4648, and
// 0xff for any other byte.
var sextets = func() (table [256]byte) {
	for i := range table {
		table[i] = 0xff
	}
	for i, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		table[b] = byte(i)
	}
	table['-'], table['_'] = 62, 63
	return table
}()

// encoded looks into the run of base64 text[from:to]. What is encoded may begin
// at the run's start or after a character that is base64's as well as
// punctuation: k8s/c2VjcmV0. Of the starts with one alignment only the first
// that decodes to text is followed, so each character is decoded four times at
// most.
//
// A run in one word has no such character.
func (c *scan) encoded(from, to int, words bool) bool {
	if c.storageKey(from, to) {
		return true
	}
	if c.depth == maxDepth {
		return false
	}
	to = c.wrapped(from, to)
	if !words {
		return startsAsText(c.text[from:]) && c.decoded(from, to)
	}
	var done [4]bool
	for i := from; to-i >= minEncoded; {
		if a := (i - from) % 4; !done[a] && startsAsText(c.text[i:]) {
			done[a] = true
			if c.decoded(i, to) {
				return true
			}
		}
		for i++; i < to && kinds[c.text[i-1]] != kindJoiner; i++ {
		}
	}
	return false
}

// wrapped returns the end of the base64 whose first line is text[from:to], when
// it is broken into lines.
func (c *scan) wrapped(from, to int) int {
	if to < c.joined || to-from < 60 {
		return to
	}
	end := to
	for i := to; i < len(c.text); {
		n := joint(c.text[i:])
		if n == 0 {
			break
		}
		for ; n > 0; n = joint(c.text[i:]) {
			i += n
		}
		line := i
		for i < len(c.text) && sextets[c.text[i]] != 0xff {
			i++
		}
		if i == line {
			break
		}
		end = i
	}
	c.work += end - to
	c.joined = end
	return end
}

// joint returns how many bytes between two parts of base64 belong to neither: a line end,
// which may be escaped, with the indentation or the marks of a quotation behind it, or
// the backslash before a slash.
func joint(s string) int {
	n := 0
	switch {
	case s == "":
		return 0
	case s[0] == '\n' || s[0] == '\r':
		n = 1
	case s[0] != '\\' || len(s) < 2:
		return 0
	case s[1] == '/':
		return 1
	case s[1] == 'n' || s[1] == 'r':
		n = 2
	case len(s) > 2 && s[1] == '\\' && (s[2] == 'n' || s[2] == 'r'):
		n = 3
	default:
		return 0
	}
	for stop := min(len(s), n+16); n < stop && (s[n] == ' ' || s[n] == '\t' || s[n] == '>'); n++ {
	}
	return n
}

// startsAsText tells whether the text decodes to something that begins as text
// does, in UTF-8 or in UTF-16 as PowerShell encodes it.
func startsAsText(s string) bool {
	// Almost everything that is not text ends here.
	a, b, c, d := sextets[s[0]], sextets[s[1]], sextets[s[2]], sextets[s[3]]
	first, second, third := a<<2|b>>4, b<<4|c>>2, c<<6|d
	switch {
	case first >= 0xc2:
		if second&0xc0 != 0x80 {
			return false
		}
	case !printable[first]:
		return false
	case second == 0 && printable[third]:
	case !printable[second] && second < 0xc2, !printable[third] && third < 0x80:
		return false
	}
	var buf [minEncoded / 4 * 3]byte
	n, _ := decode(buf[:], s)
	start := buf[:n]
	if start[1] == 0 {
		start = narrow(start)
	}
	if isText(start) { // as most
		return true
	}
	for len(start) > 0 && utf8.FullRune(start) {
		r, size := utf8.DecodeRune(start)
		if r == utf8.RuneError && size == 1 || r < 0x80 && !isText(start[:1]) {
			return false
		}
		start = start[size:]
	}
	return true
}

// decoded looks into what text[from:to] encodes.
func (c *scan) decoded(from, to int) bool {
	if c.space == nil {
		c.space = c.spaces.Get().(*space)
	}
	buf, inner := &c.space.buf, &c.space.inner
	wide, kept := false, 0
	for i := from; i < to; {
		n, read := decode(buf[kept:kept+(window-kept)/6*6], c.text[i:to])
		if n == 0 {
			return false
		}
		fresh := buf[kept : kept+n]
		if i == from {
			wide = n > 3 && fresh[1] == 0 && fresh[3] == 0
		}
		if wide {
			fresh = narrow(fresh)
		}
		i += read
		text := buf[:kept+len(fresh)]
		*inner = scan{Scanner: c.Scanner, depth: c.depth + 1, text: asString(text)}
		found, rule := len(text) >= minText && inner.run(), inner.rule
		inner.release()
		if !found && (inner.edge != 0 || inner.pluses || inner.entities) {
			rule, found = inner.unescaped()
		}
		c.work += read + len(text) + inner.work
		if found && c.hit(rule, from, to) {
			return true
		}
		kept = copy(buf[:overlap], text[max(0, len(text)-overlap):])
	}
	return false
}

// space is what looking into base64 needs. It is used again, as it is too large
// to be made for each.
type space struct {
	buf   [window]byte
	inner scan
}

// narrow takes the high bytes out of UTF-16, in place.
func narrow(text []byte) []byte {
	n := 0
	for i := 0; i < len(text); i += 2 {
		text[n] = text[i]
		n++
	}
	return text[:n]
}

// decode decodes base64 of either alphabet, padded or not, skipping joints,
// until another byte or the end of either slice, and returns how many bytes it
// wrote and read.
func decode(to []byte, s string) (wrote, read int) {
	have, value := 0, uint32(0)
	for read < len(s) && wrote < len(to) {
		for have == 0 && len(s)-read >= 4 && len(to)-wrote >= 3 { // whole groups
			four, out := s[read:read+4], to[wrote:wrote+3]
			a, b, c, d := sextets[four[0]], sextets[four[1]], sextets[four[2]], sextets[four[3]]
			if (a|b|c|d)&0xc0 != 0 {
				break
			}
			out[0], out[1], out[2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
			read, wrote = read+4, wrote+3
		}
		if read == len(s) || wrote == len(to) {
			break
		}
		v := sextets[s[read]]
		if v == 0xff {
			n := joint(s[read:])
			if n == 0 {
				break
			}
			read += n
			continue
		}
		read++
		value, have = value<<6|uint32(v), have+6
		if have >= 8 {
			have -= 8
			to[wrote] = byte(value >> have)
			wrote++
		}
	}
	return wrote, read
}

// printable are the bytes of text in ASCII.
var printable = func() (table [256]bool) {
	for b := range table {
		table[b] = b >= ' ' && b < 0x7f || b == '\t' || b == '\n' || b == '\r'
	}
	return table
}()

func isText(s []byte) bool {
	for _, b := range s {
		if !printable[b] {
			return false
		}
	}
	return true
}

// asString is s as a string for as long as s does not change. What looks at it
// keeps no part of it.
func asString(s []byte) string { return unsafe.String(unsafe.SliceData(s), len(s)) }
