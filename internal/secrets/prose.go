package secrets

import "math/bits"

// Most texts are prose: letters, spaces and a little punctuation, in words that
// are shorter than any token. That is seen without looking at each byte, and such
// a text holds nothing to find, whatever its words are.

// plainWords tells whether a text, of minText bytes at least, is prose in that
// sense.
func plainWords(text string) bool {
	word := 0 // the bytes since the last space
	whole := text
	for ; len(text) >= 8; text = text[8:] {
		spaces, plain := plainBytes(load(text))
		if word += bits.TrailingZeros64(spaces) / 8; !plain || word >= minWhole {
			return false
		}
		if spaces != 0 {
			word = bits.LeadingZeros64(spaces) / 8
		}
	}
	if text == "" {
		return true
	}
	missing := 8 * (8 - len(text)) // bits
	rest := load(whole[len(whole)-8:])>>missing | ones*' '<<(64-missing)
	spaces, plain := plainBytes(rest)
	return plain && word+bits.TrailingZeros64(spaces)/8 < minWhole
}

const (
	ones = 0x0101010101010101
	tops = 0x80 * ones
)

// plainBytes looks at eight bytes at once: spaces has the top bit of each that is
// one; plain tells whether all are letters, spaces, bytes of other scripts, or some
// of ! " ' ( ) , - and the full stop.
func plainBytes(eight uint64) (spaces uint64, plain bool) {
	low := eight &^ tops
	other := eight & tops
	letters := within(low|0x20*ones, 'a', 'z')
	marks := within(low, ' ', '"') | within(low, '\'', ')') | within(low, ',', '.')
	spaces = within(low, ' ', ' ') & tops &^ other
	return spaces, (letters|marks|other)&tops == tops
}

// oneWord tells whether a text, of minText bytes at least, is all letters, digits and
// the signs - . / between them, as short names and numbers are.
func oneWord(text string) bool {
	word := func(eight uint64) bool {
		low := eight &^ tops
		return (within(low|0x20*ones, 'a', 'z')|within(low, '-', '9'))&^eight&tops == tops
	}
	for ; len(text) > 8; text = text[min(8, len(text)-8):] {
		if !word(load(text)) {
			return false
		}
	}
	return word(load(text))
}

// within has the top bit of each byte, of those below 0x80, from low to high.
func within(bytes uint64, low, high byte) uint64 {
	return (bytes + ones*uint64(0x80-low)) &^ (bytes + ones*uint64(0x7f-high))
}

// wordBytes returns how many of eight bytes are letters and digits, from the first
// on.
func wordBytes(eight uint64) int {
	low := eight &^ tops
	words := (within(low|0x20*ones, 'a', 'z') | within(low, '0', '9')) &^ eight
	return bits.TrailingZeros64(words&tops^tops) / 8
}

// wordEnd returns where the letters and digits end that begin at i.
func wordEnd(text string, i int) int {
	for ; i+8 <= len(text); i += 8 {
		if n := wordBytes(load(text[i:])); n < 8 {
			return i + n
		}
	}
	for i < len(text) && kinds[text[i]] == kindWord {
		i++
	}
	return i
}

// load returns the first eight bytes of a text as a number.
func load(s string) uint64 {
	b := s[:8]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// beyondProse tells whether all that the format matches has a row of bytes between
// spaces that is longer than prose has.
func (f *format) beyondProse() bool {
	row, longest := 0, 0
	note := func(space bool, n int) {
		if row += n; space {
			row = 0
		}
		longest = max(longest, row)
	}
	for i := range f.prefix {
		note(f.prefix[i] == ' ', 1)
	}
	for _, p := range f.parts {
		for i := range p.literal {
			note(p.literal[i] == ' ', 1)
		}
		if p.literal == "" {
			note(p.set.has(' '), p.min)
		}
	}
	return longest >= minWhole
}

// least returns the length of the shortest text that the format matches.
func (f *format) least() int {
	n := len(f.prefix)
	for _, p := range f.parts {
		n += len(p.literal)
		if p.literal == "" {
			n += p.min
		}
	}
	return n
}
