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
	if escapedAt(c.text) < 0 && !c.pluses {
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
