package secrets

import "unsafe"

// minEncoded is the shortest run of base64 that is decoded: what it encodes has
// 15 bytes or more.
const minEncoded = 20

// window is how much base64 is decoded at a time. Windows overlap by more than
// the longest secret that has to be seen whole.
const (
	window  = 4096
	overlap = 2048
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
func (c *scan) encoded(from, to int) bool {
	if c.nested || c.storageKey(from, to) {
		return !c.nested
	}
	to = c.wrapped(from, to)
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
	for i := to; i < len(c.text) && (c.text[i] == '\n' || c.text[i] == '\r'); {
		for i < len(c.text) && (c.text[i] == '\n' || c.text[i] == '\r') {
			i++
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

// startsAsText tells whether the first eight characters decode to text, or to
// text in UTF-16 as PowerShell encodes it, or to a byte order mark.
func startsAsText(s string) bool {
	if len(s) < 8 {
		return false
	}
	var buf [6]byte
	if decode(buf[:], s[:8]) < 6 {
		return false
	}
	if buf[1] == 0 && buf[3] == 0 && buf[5] == 0 {
		buf[1], buf[3], buf[5] = ' ', ' ', ' '
	}
	return isText(buf[:]) || buf[0] == 0xef && buf[1] == 0xbb && buf[2] == 0xbf
}

// decoded looks into what text[from:to] encodes.
func (c *scan) decoded(from, to int) bool {
	var buf [window / 4 * 3]byte
	inner := scan{Scanner: c.Scanner, nested: true}
	for i := from; ; {
		piece := c.text[i:min(to, i+window)]
		text := buf[:decode(buf[:], piece)]
		c.work += len(piece)
		if len(text) > 3 && text[1] == 0 && text[3] == 0 {
			text = narrow(text)
		}
		inner.text, inner.rule = asString(text), ""
		if len(text) >= minText && inner.run() && c.hit(inner.rule, from, to) {
			return true
		}
		c.work += inner.work
		inner.work = 0
		if i+window >= to {
			return false
		}
		i += window - overlap
	}
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

// decode decodes base64 of either alphabet, padded or not, up to the first
// other byte, skips line ends, and returns how many bytes it wrote.
func decode(to []byte, s string) int {
	n, have, value := 0, 0, uint32(0)
	for i := 0; i < len(s); i++ {
		v := sextets[s[i]]
		if v == 0xff {
			if s[i] == '\n' || s[i] == '\r' {
				continue
			}
			break
		}
		value, have = value<<6|uint32(v), have+6
		if have >= 8 {
			if n == len(to) {
				break
			}
			have -= 8
			to[n] = byte(value >> have)
			n++
		}
	}
	return n
}

func isText(s []byte) bool {
	for _, b := range s {
		if b < ' ' && b != '\t' && b != '\n' && b != '\r' || b >= 0x7f {
			return false
		}
	}
	return true
}

// asString is s as a string for as long as s does not change. What looks at it
// keeps no part of it.
func asString(s []byte) string { return unsafe.String(unsafe.SliceData(s), len(s)) }
