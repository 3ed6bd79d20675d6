package taint

import (
	"bytes"
	"html"
	"slices"
	"strings"
	"sync"
)

// maxDecodings is how often a text may have been encoded, in ways that may
// differ; maxEscapes how often it may have been escaped in one way.
const (
	maxDecodings = 2
	maxEscapes   = 3
)

// Match reports whether text holds one of the needles.
func (m *Matcher) Match(text string) bool {
	return m.match(text, func(uint32) bool { return true })
}

// MatchCredential is Match for credentials alone.
func (m *Matcher) MatchCredential(text string) bool {
	if m == nil || !m.Credentials() {
		return false
	}
	return m.match(text, func(n uint32) bool { return m.needles[n].credential })
}

// Credentials reports whether some of the needles are credentials.
func (m *Matcher) Credentials() bool {
	return m != nil && slices.ContainsFunc(m.needles, func(n needle) bool { return n.credential })
}

// Without returns a Matcher of the needles, other than credentials, that stand
// in none of the texts: those are stored anyway.
func (m *Matcher) Without(texts func(yield func(string) bool)) *Matcher {
	if m == nil {
		return nil
	}
	var stored []bool
	for text := range texts {
		m.match(text, func(n uint32) bool {
			if !m.needles[n].credential {
				if stored == nil {
					stored = make([]bool, len(m.needles))
				}
				stored[n] = true
			}
			return false
		})
	}
	if stored == nil {
		return m
	}
	var left []needle
	for i, n := range m.needles {
		if !stored[i] {
			left = append(left, n)
		}
	}
	return newMatcher(left)
}

func (m *Matcher) match(text string, found func(uint32) bool) bool {
	if m == nil || len(text) < m.least {
		return false
	}
	s := pool.Get().(*search)
	s.Matcher, s.found, s.budget = m, found, 8*len(text)
	hit := s.text(append(s.rooms[0].text[:0], text...), 0, 0)
	s.Matcher, s.found = nil, nil
	if s.small() {
		pool.Put(s)
	}
	return hit
}

// search is one search of a text and of what it encodes.
type search struct {
	*Matcher
	found  func(uint32) bool
	rooms  [maxDecodings + maxEscapes + 2]room
	digits [maxDecodings + maxEscapes + 2][]byte // the values of a run's digits
	budget int                                   // bytes of encodings inside encodings that may still be looked at
}

// room is where the decoded forms of a text are put.
type room struct{ text, clean, numbers []byte }

var pool = sync.Pool{New: func() any { return new(search) }}

// small reports whether the rooms are worth keeping.
func (s *search) small() bool {
	total := 0
	for i := range s.rooms {
		total += cap(s.rooms[i].text) + cap(s.rooms[i].clean) + cap(s.rooms[i].numbers) + cap(s.digits[i])
	}
	return total <= 256<<10
}

func (s *search) here(text []byte) bool { return s.search(text, s.found) }

// text looks at a text that was decoded so many times, level of them in a row
// of rooms, and at what it encodes.
func (s *search) text(text []byte, decodings, level int) bool {
	if len(text) < s.least {
		return false
	}
	r := &s.rooms[level]
	r.text = text
	if s.here(text) {
		return true
	}
	if noisy(text) {
		r.clean = withoutNoise(r.clean[:0], text)
		if s.here(r.clean) {
			return true
		}
		text = r.clean
	}
	if decodings == maxDecodings || decodings > 0 && !s.encodes(text) {
		return false
	}
	return s.runs(text, decodings, level) || s.lists(text, decodings, level) || s.escapes(text, decodings, level)
}

// encodes reports whether a text that was decoded may encode something itself,
// and takes it from the budget if so. Most of what is decoded to see whether it
// was encoded is noise.
func (s *search) encodes(text []byte) bool {
	run, least := 0, s.leastRun()
	for i, c := range text {
		if !readable[c] {
			run = 0
			continue
		}
		if run++; run == least {
			s.budget -= len(text)
			return s.budget >= 0 && i < len(text)
		}
	}
	return false
}

// leastRun is the least number of digits that base64 has for a needle. All
// other encodings have more.
func (s *search) leastRun() int { return (s.least*8 + 5) / 6 }

// readable are the printable characters and line ends of ASCII.
var readable = func() (t [256]bool) {
	for c := range 0x7f {
		t[c] = c >= ' ' || c == '\t' || c == '\n' || c == '\r'
	}
	return t
}()

// escapes looks at the text without the escapes of URLs, of JSON and Go, and of
// HTML, each of which may have been applied several times.
func (s *search) escapes(text []byte, decodings, level int) bool {
	next := &s.rooms[level+1]
	if bytes.IndexByte(text, '%') >= 0 {
		if plain := unpercent(next.text[:0], text); len(plain) < len(text) && s.text(plain, decodings+s.deeper(level), level+1) {
			return true
		}
	}
	if bytes.IndexByte(text, '+') >= 0 { // a space in a query
		next.text = append(next.text[:0], text...)
		for i, c := range next.text {
			if c == '+' {
				next.text[i] = ' '
			}
		}
		if s.text(unpercent(next.text[:0], next.text), maxDecodings, level+1) {
			return true
		}
	}
	if bytes.IndexByte(text, '\\') >= 0 {
		if plain := unquote(next.text[:0], text); len(plain) < len(text) && s.text(plain, decodings+s.deeper(level), level+1) {
			return true
		}
	}
	if at := bytes.IndexByte(text, '&'); at >= 0 && bytes.IndexByte(text[at:], ';') > 0 {
		if plain := html.UnescapeString(string(text)); plain != string(text) {
			next.text = append(next.text[:0], plain...)
			return s.text(next.text, decodings+s.deeper(level), level+1)
		}
	}
	return false
}

// deeper is how much one more escape counts: the first ones are free, so that
// JSON in JSON may be in base64.
func (s *search) deeper(level int) int {
	if level+1 < maxEscapes {
		return 0
	}
	return 1
}

// runs looks at what the runs of base64 and hexadecimal digits encode.
func (s *search) runs(text []byte, decodings, level int) bool {
	least := s.leastRun()
	for i := 0; i < len(text); {
		if base64Value[text[i]] == none {
			i++
			continue
		}
		start, digits := i, 0
		for ; i < len(text); i++ {
			if base64Value[text[i]] != none {
				digits++
			} else if text[i] != '\n' && text[i] != '\r' {
				break
			}
		}
		if digits < least {
			continue
		}
		if decodings == 0 {
			s.budget = 8 * digits
		}
		if s.base64(text[start:i], decodings, level) || s.hex(text[start:i], decodings, level) {
			return true
		}
	}
	return false
}

// hex decodes the runs of hexadecimal digits in a run of base64, each from its
// first and from its second digit.
func (s *search) hex(run []byte, decodings, level int) bool {
	digits := s.digits[level][:0]
	for i := 0; i <= len(run); i++ {
		if i < len(run) {
			if v := hexValue[run[i]]; v != none {
				digits = append(digits, v)
				continue
			}
			if run[i] == '\n' || run[i] == '\r' {
				continue
			}
		}
		s.digits[level] = digits
		if len(digits) >= 2*s.least {
			for phase := range 2 {
				decoded := s.rooms[level+1].text[:0]
				for k := phase; k+1 < len(digits); k += 2 {
					decoded = append(decoded, digits[k]<<4|digits[k+1])
				}
				if s.text(decoded, decodings+1, level+1) {
					return true
				}
			}
		}
		digits = digits[:0]
	}
	return false
}

// base64 decodes a run as if its groups of four began with the first, second,
// third and fourth digit: other text may stand before it.
func (s *search) base64(run []byte, decodings, level int) bool {
	digits := s.digits[level][:0]
	for _, c := range run {
		if v := base64Value[c]; v != none {
			digits = append(digits, v)
		}
	}
	s.digits[level] = digits
	for phase := range 4 {
		d := digits[phase:]
		decoded := slices.Grow(s.rooms[level+1].text[:0], len(d))
		for ; len(d) >= 4; d = d[4:] {
			decoded = append(decoded, d[0]<<2|d[1]>>4, d[1]<<4|d[2]>>2, d[2]<<6|d[3])
		}
		if len(d) > 1 {
			decoded = append(decoded, d[0]<<2|d[1]>>4)
		}
		if len(d) > 2 {
			decoded = append(decoded, d[1]<<4|d[2]>>2)
		}
		if s.text(decoded, decodings+1, level+1) {
			return true
		}
	}
	return false
}

// lists looks at bytes that are written one by one, as pairs of hexadecimal
// digits or as decimal numbers: 73:33, 73 33, 0x73, 0x33, [115 51], [115,51].
func (s *search) lists(text []byte, decodings, level int) bool {
	var pairs, numbers list
	pairs.bytes, numbers.bytes = s.rooms[level].numbers[:0], s.rooms[level+1].numbers[:0]
	defer func() { s.rooms[level].numbers, s.rooms[level+1].numbers = pairs.bytes, numbers.bytes }()
	flush := func(l *list) bool {
		if len(l.bytes) < s.least {
			return false
		}
		s.rooms[level+1].text = append(s.rooms[level+1].text[:0], l.bytes...)
		return s.text(s.rooms[level+1].text, decodings+1, level+1)
	}
	for i := 0; i < len(text); {
		if !isWord(text[i]) {
			i++
			continue
		}
		start := i
		for i < len(text) && isWord(text[i]) {
			i++
		}
		word := text[start:i]
		if len(word) > 4 {
			continue
		}
		for _, l := range [...]*list{&pairs, &numbers} {
			b, ok := hexPair(word)
			if l == &numbers {
				b, ok = decimal(word)
			}
			if !ok {
				continue
			}
			if len(l.bytes) > 0 && !separates(text[l.end:start]) {
				if flush(l) {
					return true
				}
				l.bytes = l.bytes[:0]
			}
			l.bytes, l.end = append(l.bytes, b), i
		}
	}
	return flush(&pairs) || flush(&numbers)
}

// list is bytes that were written one by one, and where the last one ended.
type list struct {
	bytes []byte
	end   int
}

// separates reports whether a text stands between the bytes of one list.
func separates(between []byte) bool {
	if len(between) == 0 || len(between) > 4 {
		return false
	}
	for _, c := range between {
		switch c {
		case ' ', ',', ':', '-', '+', '\n', '\r', '\t':
		default:
			return false
		}
	}
	return true
}

// hexPair reads a byte in hexadecimal: two digits, or one or two after 0x.
func hexPair(word []byte) (b byte, ok bool) {
	if len(word) > 2 {
		if word[0] != '0' || word[1]|0x20 != 'x' {
			return 0, false
		}
		if word = word[2:]; len(word) == 1 {
			return hexValue[word[0]], hexValue[word[0]] != none
		}
	}
	if len(word) != 2 || hexValue[word[0]] == none || hexValue[word[1]] == none {
		return 0, false
	}
	return hexValue[word[0]]<<4 | hexValue[word[1]], true
}

// decimal reads a number up to 255.
func decimal(word []byte) (b byte, ok bool) {
	n := 0
	for _, c := range word {
		if !isDigit(c) {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return byte(n), len(word) <= 3 && n <= 255
}

// noisy reports whether text may hold what withoutNoise takes away.
func noisy(text []byte) bool {
	return bytes.IndexByte(text, 0) >= 0 || bytes.IndexByte(text, 0xe2) >= 0 || bytes.IndexByte(text, 0xc2) >= 0 || bytes.IndexByte(text, 0xef) >= 0
}

// withoutNoise appends text without what is not seen: zero bytes, which UTF-16
// has between the characters of ASCII, and characters without a width.
func withoutNoise(dst, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case 0:
			continue
		case 0xc2, 0xe2, 0xef:
			if n := invisible(text[i:]); n > 0 {
				i += n - 1
				continue
			}
		}
		dst = append(dst, text[i])
	}
	return dst
}

// invisible returns the size of the invisible character at the start of text:
// soft hyphen, zero-width space, joiners and marks, word joiner, byte order
// mark.
func invisible(text []byte) int {
	switch {
	case len(text) >= 2 && text[0] == 0xc2 && text[1] == 0xad:
		return 2
	case len(text) < 3:
	case text[0] == 0xe2 && text[1] == 0x80 && text[2] >= 0x8b && text[2] <= 0x8f,
		text[0] == 0xe2 && text[1] == 0x80 && text[2] >= 0xaa && text[2] <= 0xae,
		text[0] == 0xe2 && text[1] == 0x81 && text[2] >= 0xa0 && text[2] <= 0xa4,
		text[0] == 0xef && text[1] == 0xbb && text[2] == 0xbf:
		return 3
	}
	return 0
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
