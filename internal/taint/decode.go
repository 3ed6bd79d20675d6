package taint

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"
)

// leastRun is the least number of digits that base64 has for a needle. All
// other encodings have more.
func (s *search) leastRun() int { return (s.least*8 + 5) / 6 }

// between stands between texts that are looked at in one go: it is in no needle
// that is a text, in nothing that is encoded, and can not be read.
const between = 0x7f

// enough is how many decoded bytes are looked at in one go.
const enough = 32 << 10

// encoded looks at what a text encodes, where that is fresh: all decodings are
// collected, as most are short.
func (s *search) encoded(text []byte, decodings int, fresh places) bool {
	next := &s.rooms[decodings+1]
	next.text = next.text[:0]
	if decodings == 0 {
		s.budget = 0
	}
	return s.runs(text, decodings, fresh) || s.lists(text, decodings, fresh) || s.collected(decodings, 0)
}

// collected looks at what was decoded, once that is more than so many bytes.
func (s *search) collected(decodings, enough int) bool {
	next := &s.rooms[decodings+1]
	if len(next.text) <= enough {
		return false
	}
	hit := s.text(next.text, decodings+1)
	next.text = next.text[:0]
	return hit
}

// allow lets what so many bytes encode be looked at for encodings inside it.
func (s *search) allow(decodings, size int) {
	if decodings == 0 {
		s.budget += 4 * size // all that four phases of base64 and two of hex can give
	}
}

// runs decodes the runs of base64 and hexadecimal digits.
func (s *search) runs(text []byte, decodings int, fresh places) bool {
	least := s.leastRun()
	// What is next to a run matters: beside a short needle, and where an escape of an
	// escape takes the run's first digit.
	const beside = 1
	for i := least - 1; i < len(text); {
		// What is long enough has a digit at one of these places.
		if !isRun(text[i]) {
			i += least
			continue
		}
		from := i
		for from > 0 && isRun(text[from-1]) {
			from--
		}
		for i++; i < len(text) && isRun(text[i]); {
			i++
		}
		if i-from >= least && fresh.in(from-beside, i+beside) {
			if run := withoutLineEnds(&s.rooms[decodings].digits, text[from:i]); len(run) >= least {
				s.base64(run, decodings)
				s.hex(run, decodings)
			}
			if s.collected(decodings, enough) {
				return true
			}
		}
		i += least
	}
	return false
}

func isRun(c byte) bool { return inRun[c] }

// inRun are the bytes of a run of base64, which may be broken into lines.
var inRun = func() (t [256]bool) {
	for c := range t {
		t[c] = base64Value[c] != none || c == '\n' || c == '\r'
	}
	return t
}()

// base64 decodes a run as if its groups of four began with the first, second,
// third and fourth digit: other text may stand before it.
func (s *search) base64(run []byte, decodings int) {
	s.allow(decodings, len(run))
	r, next := &s.rooms[decodings], &s.rooms[decodings+1]
	groups, phases := []byte(nil), uint16(0xf)
	if s.least >= minNeedle && !s.sieve.odd {
		if r.groups, phases = s.usualGroups(r.groups, run); phases == 0 {
			return
		}
		groups = r.groups
	}
	r.packed = fromBase64Digits(r.packed[:0], run)
	for phase := range 4 {
		if phases>>phase&1 == 0 {
			continue
		}
		b := shiftedBy(r.packed, 6*phase, 6*len(run))
		b.groups, b.phase = groups, uint8(phase)
		next.text = s.sift(next.text, b, decodings)
	}
}

// withoutLineEnds returns a run of digits in one line.
func withoutLineEnds(room *[]byte, run []byte) []byte {
	if bytes.IndexByte(run, '\n') < 0 && bytes.IndexByte(run, '\r') < 0 {
		return run
	}
	digits := slices.Grow((*room)[:0], len(run))
	for _, c := range run {
		if c != '\n' && c != '\r' {
			digits = append(digits, c)
		}
	}
	*room = digits
	return digits
}

// hex decodes the runs of hexadecimal digits in a run of base64, each from its
// first and from its second digit.
func (s *search) hex(run []byte, decodings int) {
	r, next := &s.rooms[decodings], &s.rooms[decodings+1]
	least := 2 * s.least
	for i := least - 1; i < len(run); i += least {
		if hexValue[run[i]] == none {
			continue
		}
		from := i
		for from > 0 && hexValue[run[from-1]] != none {
			from--
		}
		i = hexEnd(run, i)
		if i-from >= least {
			s.allow(decodings, i-from)
			r.packed = fromHexDigits(r.packed[:0], run[from:i])
			for phase := range 2 {
				next.text = s.sift(next.text, shiftedBy(r.packed, 4*phase, 4*(i-from)), decodings)
			}
		}
	}
}

// lists decodes bytes that are written one by one, as pairs of hexadecimal
// digits or as decimal numbers: 73:33, 73 33, 0x73, 0x33, [115 51], [115,51].
func (s *search) lists(text []byte, decodings int, fresh places) bool {
	least := 2*s.least - 1
	const beside = maxBetween + 1 // as many bytes of a list have one between words
	for i := 0; i+beside <= len(text); i += least - beside + 1 {
		if inList[text[i]] == 0 || !partOfList(text[i:i+beside]) {
			continue // as what is long enough has such a part at one of these places
		}
		from := i
		for from > 0 && inList[text[from-1]] != 0 {
			from--
		}
		for i += beside; i < len(text) && inList[text[i]] != 0; {
			i++
		}
		if i-from >= least && fresh.in(from-1, i+1) {
			s.listed(text[from:i], decodings)
			if s.collected(decodings, enough) {
				return true
			}
		}
	}
	return false
}

// partOfList reports whether a text may be a part of a list.
func partOfList(text []byte) bool {
	all, some := uint8(3), uint8(0)
	for _, c := range text {
		all &= inList[c] | inList[c]>>1
		some |= inList[c]
	}
	return all != 0 && some&2 != 0
}

// inList has a bit for the bytes of words in lists, and one for what stands between them.
var inList = func() (t [256]uint8) {
	for _, c := range []byte("0123456789abcdefABCDEFxX") {
		t[c] = 1
	}
	for _, c := range []byte(" ,:-+\n\r\t") {
		t[c] = 2
	}
	return t
}()

// listed decodes a text of such bytes alone. Those that are of no word separate words.
func (s *search) listed(text []byte, decodings int) {
	r := &s.rooms[decodings]
	pairs, numbers := list{bytes: r.pairs[:0]}, list{bytes: r.bytes[:0]}
	last := 0 // the end of the word before
	for i := 0; i < len(text); {
		if !isWord(text[i]) {
			i++
			continue
		}
		start := i
		for i < len(text) && isWord(text[i]) {
			i++
		}
		word, beside := text[start:i], start-last <= maxBetween
		if b, ok := hexPair(word); ok {
			if pairs.add(b, beside && pairs.end == last, i, s.least) {
				s.list(pairs.full(), decodings)
			}
		}
		if b, ok := decimal(word); ok {
			if numbers.add(b, beside && numbers.end == last, i, s.least) {
				s.list(numbers.full(), decodings)
			}
		}
		last = i
	}
	s.list(pairs.bytes, decodings)
	s.list(numbers.bytes, decodings)
	r.pairs, r.bytes = pairs.bytes, numbers.bytes
}

// maxBetween is how many bytes stand between those of one list.
const maxBetween = 4

// list adds the bytes of a list to what was decoded.
func (s *search) list(bytes []byte, decodings int) {
	if len(bytes) < s.least {
		return
	}
	s.allow(decodings, len(bytes))
	next := &s.rooms[decodings+1]
	next.text = append(append(next.text, bytes...), between)
}

// list is bytes that were written one by one, and where the last one ended.
type list struct {
	bytes []byte
	end   int
	last  int // how many bytes there were when another list began
}

// add adds the byte that a word which ends at end says, and that goes on with the list or
// not. It reports whether it begins another list, while the one before it is long enough to
// be looked at.
func (l *list) add(b byte, goesOn bool, end, least int) (began bool) {
	if !goesOn && len(l.bytes) > 0 {
		l.last, began = len(l.bytes), len(l.bytes) >= least
		if !began {
			l.bytes = l.bytes[:0]
		}
	}
	l.bytes, l.end = append(l.bytes, b), end
	return began
}

// full returns the list that has ended, and leaves the one that has begun.
func (l *list) full() []byte {
	ended := l.bytes[:l.last]
	l.bytes = l.bytes[l.last:]
	return ended
}

// hexPair reads a byte in hexadecimal: two digits, or one or two after 0x.
func hexPair(word []byte) (b byte, ok bool) {
	if len(word) > 2 {
		if len(word) > 4 || word[0] != '0' || word[1]|0x20 != 'x' {
			return 0, false
		}
		if word = word[2:]; len(word) == 1 {
			return hexValue[word[0]], hexValue[word[0]] != none
		}
	}
	if len(word) != 2 {
		return 0, false
	}
	high, low := hexValue[word[0]], hexValue[word[1]]
	return high<<4 | low, high|low != none
}

// decimal reads a number up to 255.
func decimal(word []byte) (b byte, ok bool) {
	n := uint(0)
	for _, c := range word[:min(len(word), 3)] {
		if !isDigit(c) {
			return 0, false
		}
		n = 10*n + uint(c-'0')
	}
	return byte(n), len(word) <= 3 && n <= 255
}

// readable returns the first part of the text from i on that could encode
// something itself: printable, in UTF-8, and long enough.
func (s *search) readable(text []byte, i int) (from, to int) {
	least := s.least + 1 // an escape has two bytes at least
	for at := i + least - 1; at < len(text); at += least {
		from, to = at, at+1
		if !printable[text[at]] {
			if from, to = characterAround(text, i, at); from == to {
				continue
			}
		}
		for from > i && printable[text[from-1]] {
			from--
		}
		for to = printableEnd(text, to); to < len(text); to = printableEnd(text, to) {
			size := multibyte(text[to:])
			if size == 0 {
				break
			}
			to += size
		}
		from = backOverRunes(text, i, from)
		if to-from >= least {
			return from, to
		}
		at = max(at, to)
	}
	return len(text), len(text)
}

// characterAround returns where the character of another script begins and ends that the
// byte at at is of, and is no earlier than at least, or nothing.
func characterAround(text []byte, least, at int) (from, to int) {
	for from = at; from >= max(least, at-utf8.UTFMax+1) && text[from] >= 0x80; from-- {
		if size := multibyte(text[from:]); size > at-from {
			return from, from + size
		}
	}
	return at, at
}

// printableEnd returns where the bytes that are printable end, from i on.
func printableEnd(text []byte, i int) int {
	for i+8 <= len(text) && unreadable(binary.LittleEndian.Uint64(text[i:])) == 0 {
		i += 8
	}
	for i < len(text) && printable[text[i]] {
		i++
	}
	return i
}

// backOverRunes returns where the readable text that begins at from really
// begins, if characters of other scripts stand before it.
func backOverRunes(text []byte, least, from int) int {
	for from > least && text[from-1]&0xc0 == 0x80 {
		r, size := utf8.DecodeLastRune(text[least:from])
		if r == utf8.RuneError {
			break
		}
		from -= size
		for from > least && printable[text[from-1]] {
			from--
		}
	}
	return from
}

// multibyte returns the size of the character of another script that text begins
// with, or 0.
func multibyte(text []byte) int {
	if text[0] < 0xc2 || len(text) < 2 || text[1]&0xc0 != 0x80 {
		return 0
	}
	if text[0] < 0xe0 {
		return 2
	}
	r, size := utf8.DecodeRune(text)
	if r == utf8.RuneError {
		return 0
	}
	return size
}

// printable are the printable characters and line ends of ASCII.
var printable = func() (t [256]bool) {
	for c := range 0x7f {
		t[c] = c >= ' ' || c == '\t' || c == '\n' || c == '\r'
	}
	return t
}()

// noisy reports whether withoutNoise could make a needle of the text: what it
// takes away stands between bytes that mean something.
func (s *search) noisy(text []byte) bool {
	if !maybeNoisy(text) { // as most are
		return false
	}
	for i := indexFrom(text, 1, 0); i >= 0 && i+1 < len(text); i = indexFrom(text, i+1, 0) {
		if s.means(text[i-1]) && (text[i+1] == 0 || s.means(text[i+1])) {
			return true
		}
	}
	for _, lead := range [...]byte{0xc2, 0xcd, 0xe1, 0xe2, 0xef} {
		for i := indexFrom(text, 0, lead); i >= 0; i = indexFrom(text, i+1, lead) {
			if invisible(text[i:]) > 0 {
				return true
			}
		}
	}
	return false
}

// indexFrom returns where a byte is first, from i on, or -1.
func indexFrom(text []byte, i int, c byte) int {
	if i >= len(text) {
		return -1
	}
	if n := bytes.IndexByte(text[i:], c); n >= 0 {
		return i + n
	}
	return -1
}

// maybeNoisy reports whether a text has one of the bytes that noise begins with,
// eight bytes at a time.
func maybeNoisy(text []byte) bool {
	if len(text) >= 256 { // where looking for each byte alone is faster
		return bytes.IndexByte(text, 0) >= 0 || bytes.IndexByte(text, 0xc2) >= 0 || bytes.IndexByte(text, 0xcd) >= 0 ||
			bytes.IndexByte(text, 0xe1) >= 0 || bytes.IndexByte(text, 0xe2) >= 0 || bytes.IndexByte(text, 0xef) >= 0
	}
	for ; len(text) >= 8; text = text[8:] {
		if noiseIn(binary.LittleEndian.Uint64(text)) {
			return true
		}
	}
	for _, c := range text {
		if noise[c] {
			return true
		}
	}
	return false
}

// noiseIn reports whether one of eight bytes is 0, 0xc2, 0xcd, 0xe1, 0xe2 or 0xef.
func noiseIn(eight uint64) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	zero := func(v uint64) uint64 { return (v - ones) &^ v }
	return (zero(eight)|zero(eight^0xc2*ones)|zero(eight^0xcd*ones)|zero(eight^0xe1*ones)|zero(eight^0xe2*ones)|zero(eight^0xef*ones))&tops != 0
}

// means reports whether a byte may be one of a needle, or of what encodes one.
func (s *search) means(c byte) bool { return s.has(c) || printable[c] }

// withoutNoise appends text without what is not seen: zero bytes, which UTF-16
// has between the characters of ASCII, and characters without a width.
func withoutNoise(dst, text []byte) []byte {
	for i := 0; ; {
		kept := i
		for i < len(text) && !noise[text[i]] {
			i++
		}
		dst = append(dst, text[kept:i]...)
		if i == len(text) {
			return dst
		}
		size := 1
		if text[i] != 0 {
			if size = invisible(text[i:]); size == 0 {
				dst, size = append(dst, text[i]), 1
			}
		}
		i += size
	}
}

// noise are the bytes that invisible characters begin with.
var noise = [256]bool{0: true, 0xc2: true, 0xcd: true, 0xe1: true, 0xe2: true, 0xef: true}

// invisible returns the size of the invisible character at the start of text:
// soft hyphen, grapheme and word joiners, zero-width space, joiners, marks and
// isolates of direction, vowel separator, variation selector, byte order mark.
func invisible(text []byte) int {
	switch {
	case len(text) >= 2 && (text[0] == 0xc2 && text[1] == 0xad || text[0] == 0xcd && text[1] == 0x8f):
		return 2
	case len(text) < 3:
	case text[0] == 0xe2 && text[1] == 0x80 && text[2] >= 0x8b && text[2] <= 0x8f,
		text[0] == 0xe2 && text[1] == 0x80 && text[2] >= 0xaa && text[2] <= 0xae,
		text[0] == 0xe2 && text[1] == 0x81 && text[2] >= 0xa0 && text[2] <= 0xa9 && text[2] != 0xa5,
		text[0] == 0xe1 && text[1] == 0xa0 && text[2] == 0x8e,
		text[0] == 0xef && text[1] == 0xb8 && text[2] == 0x8f,
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
