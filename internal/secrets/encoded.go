package secrets

import "unsafe"

// minEncoded is the shortest run of base64 that is decoded: what it encodes has
// 15 bytes or more.
const minEncoded = 20

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
func (c *scan) encoded(from, to int) bool {
	if c.storageKey(from, to) {
		return true
	}
	if c.nested {
		return false
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
	if n, _ := decode(buf[:], s[:8]); n < len(buf) {
		return false
	}
	if buf[1] == 0 && buf[3] == 0 && buf[5] == 0 {
		buf[1], buf[3], buf[5] = ' ', ' ', ' '
	}
	return isText(buf[:]) || buf[0] == 0xef && buf[1] == 0xbb && buf[2] == 0xbf
}

// decoded looks into what text[from:to] encodes.
func (c *scan) decoded(from, to int) bool {
	var buf [window]byte
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
		inner := scan{Scanner: c.Scanner, nested: true, text: asString(text)}
		found := len(text) >= minText && inner.run()
		c.work += read + len(text) + inner.work
		if found && c.hit(inner.rule, from, to) {
			return true
		}
		kept = copy(buf[:overlap], text[max(0, len(text)-overlap):])
	}
	return false
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

// decode decodes base64 of either alphabet, padded or not, skipping line ends,
// until another byte or the end of either slice, and returns how many bytes it
// wrote and read.
func decode(to []byte, s string) (wrote, read int) {
	have, value := 0, uint32(0)
	for read < len(s) && wrote < len(to) {
		v := sextets[s[read]]
		if v == 0xff {
			if s[read] != '\n' && s[read] != '\r' {
				break
			}
			read++
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
