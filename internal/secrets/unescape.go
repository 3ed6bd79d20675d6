package secrets

import (
	"strings"
	"sync"
)

// escapedAt returns where the first escape of URLs begins, or -1.
func escapedAt(text string) int {
	for at := strings.IndexByte(text, '%'); at >= 0; {
		if hexes(text[at+1:], 2) {
			return at
		}
		next := strings.IndexByte(text[at+1:], '%')
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return -1
}

// unescaped scans the text without the escapes of URLs, behind which the parts of
// a secret are not what they are.
func (c *scan) unescaped() (rule string, found bool) {
	if escapedAt(c.text) < 0 && !c.pluses && !c.entities {
		return "", false
	}
	room := plains.Get().(*[]byte)
	plain, query, spaces := (*room)[:0], false, false
	for i := 0; ; i++ {
		from := i
		for i < len(c.text) && !ofQueries[c.text[i]] {
			i++
		}
		if plain = append(plain, c.text[from:i]...); i == len(c.text) {
			break
		}
		b := c.text[i]
		if b == '%' && hexes(c.text[i+1:], 2) {
			b = hexByte(c.text[i+1])<<4 | hexByte(c.text[i+2])
			i += 2
		}
		if b == '&' && c.entities {
			if sign, size := entity(c.text[i:]); size > 0 {
				b = sign
				i += size - 1
			}
		}
		switch at := c.text[i]; {
		case at == '?', at == '=', at == '&':
			query = true
		case at <= ' ', at == '"', at == '<':
			query = false
		case at == '+' && (query || i > 2 && c.text[i-3] == '%' || i+1 < len(c.text) && c.text[i+1] == '%'): // a space
			b, spaces = ' ', true
		}
		plain = append(plain, b)
	}
	c.work += len(c.text)
	if (spaces || len(plain) < len(c.text)) && len(plain) >= minText {
		inner := scan{Scanner: c.Scanner, text: asString(plain), depth: c.depth}
		found = inner.run()
		rule = inner.rule
		inner.release()
		c.work += len(plain) + inner.work
	}
	if *room = plain; cap(plain) <= 64<<10 {
		plains.Put(room)
	}
	return rule, found
}

// entities are the bytes that entities of HTML begin with, of those that are taken out.
var entities = [256]bool{'#': true, 'q': true, 'l': true, 'g': true, 'a': true}

// entity returns the sign that the entity of HTML stands for which a text begins with, and
// its size, or 0.
func entity(text string) (sign byte, size int) {
	for _, known := range [...]struct {
		name string
		sign byte
	}{{"&quot;", '"'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&apos;", '\''}} {
		if strings.HasPrefix(text, known.name) {
			return known.sign, len(known.name)
		}
	}
	if len(text) < 4 || text[1] != '#' {
		return 0, 0
	}
	value, at := 0, 2
	if text[2]|0x20 == 'x' {
		for at = 3; at < len(text) && at < 8 && isHex(text[at]); at++ {
			value = value<<4 | int(hexByte(text[at]))
		}
	} else {
		for at < len(text) && at < 8 && isDigit(text[at]) {
			value = value*10 + int(text[at]-'0')
			at++
		}
	}
	if at == len(text) || text[at] != ';' || value < ' ' || value > '~' {
		return 0, 0
	}
	return byte(value), at + 1
}

// ofQueries are the bytes that unescaped looks at.
var ofQueries = func() (table [256]bool) {
	for b := range 0x21 {
		table[b] = true
	}
	for _, b := range []byte("%?=&\"<+") {
		table[b] = true
	}
	return table
}()

// plains are rooms for texts without escapes.
var plains = sync.Pool{New: func() any { return new([]byte) }}

func hexByte(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
