package secrets

import "strings"

// What a text is made of tells whether it was drawn by lot.

// The classes of bytes, in the two lowest bits of classes, and what else is noted of
// them.
const (
	otherByte = iota
	smallLetter
	capitalLetter
	digit

	classBits = 3

	ofTemplates = 1 << 2 // a sign of templates, which passwords have too
	ofPrograms  = 1 << 3 // a sign of expressions in programs
	ofNoWord    = 1 << 4 // a sign that stands between no words of a name
)

var classes = func() (table [256]uint8) {
	for b := range 256 {
		switch b := byte(b); {
		case isDigit(b):
			table[b] = digit
		case isAlnum(b) && b >= 'a':
			table[b] = smallLetter
		case isAlnum(b):
			table[b] = capitalLetter
		case strings.IndexByte("_-./:+", b) < 0:
			table[b] = ofNoWord
		}
	}
	for _, b := range []byte("[]$") {
		table[b] |= ofTemplates
	}
	for _, b := range []byte("(){}<> ") {
		table[b] |= ofPrograms
	}
	return table
}()

// mix is what a text is made of.
type mix struct {
	counts  [4]int // of the bytes of each class
	changes int    // how often one class of letters or digits follows another directly
	has     uint8  // what else is noted of its bytes
}

// maxCounted is how many bytes are counted at a time: so many fit into the quarter
// of a number.
const maxCounted = 1<<16 - 1

func mixOf(s string) (m mix) {
	last := uint8(0)
	for s != "" {
		part := s[:min(len(s), maxCounted)]
		s = s[len(part):]
		sum, changes, has := uint64(0), 0, uint8(0)
		for i := range len(part) {
			c := classes[part[i]]
			has |= c
			c &= classBits
			sum += 1 << (c * 16)
			changes += int(changed[last&classBits][c])
			last = c
		}
		for class, n := range countsOf(sum) {
			m.counts[class] += n
		}
		m.changes += changes
		m.has |= has
	}
	return m
}

// countsOf takes the counts of the four classes out of one number.
func countsOf(sum uint64) [4]int {
	return [4]int{int(sum & 0xffff), int(sum >> 16 & 0xffff), int(sum >> 32 & 0xffff), int(sum >> 48)}
}

// changed is 1 where a class is not the one before, and both are of letters or
// digits.
var changed = func() (table [4][4]uint8) {
	for last := range table {
		for class := range table {
			if last != otherByte && class != otherByte && class != last {
				table[last][class] = 1
			}
		}
	}
	return table
}()

func (m *mix) letters() int { return m.counts[smallLetter] + m.counts[capitalLetter] }

// drawn tells whether the text looks drawn by lot, given that its name says that it
// is: it mixes letters and digits, or is long and goes from one case to the other.
func (m mix) drawn(text string, least int) bool {
	if len(text) < least || version(text) || m.counts[otherByte]*3 > len(text) {
		return false
	}
	return m.counts[digit] > 0 && m.letters() > 0 && m.changes > 1 || m.counts[digit] == len(text) && len(text) >= 16 ||
		m.counts[smallLetter] > 0 && m.counts[capitalLetter] > 0 && m.changes > 4 && len(text) >= 16
}

// wordy tells whether the text is one or several words, as a description or a name
// in a program is, rather than a password: it has no digit beside a letter and
// no other sign.
func (m mix) wordy(text string) bool {
	if m.drawn(text, 12) {
		return false
	}
	if m.letters() == 0 {
		return m.counts[digit] < minText
	}
	return m.has&ofNoWord == 0 && (m.counts[digit] == 0 || version(text))
}

// made tells whether a text is not made of words: it mixes digits or capitals
// with small letters, and not at the seams of words alone.
func made(body string) bool {
	m := mixOf(body)
	if m.counts[otherByte] > 3 { // separators
		return false
	}
	if m.counts[otherByte] == 0 && len(body) >= 32 { // no word is as long
		return true
	}
	return m.counts[digit] > 0 && m.changes > 2 || m.counts[digit] == len(body) || m.changes > 4
}

// plainLetters tells whether a text has neither capitals nor digits.
func plainLetters(s string) bool {
	for ; len(s) >= 8; s = s[8:] {
		eight := load(s)
		low := eight &^ tops
		if (within(low, '0', '9')|within(low, 'A', 'Z'))&^eight&tops != 0 {
			return false
		}
	}
	for i := range len(s) {
		if isDigit(s[i]) || isUpper(s[i]) {
			return false
		}
	}
	return true
}

// few tells whether the text has at most two different bytes.
func few(body string) bool {
	if body == "" {
		return true
	}
	other, found := byte(0), false
	for i := 1; i < len(body); i++ {
		switch b := body[i]; {
		case b == body[0], found && b == other:
		case found:
			return false
		default:
			other, found = b, true
		}
	}
	return true
}

// random tells whether the text looks drawn by lot, by how often it goes from
// one of small letters, capitals and digits to another: names, paths and
// identifiers do so where their words meet.
func random(body string) bool {
	sum, changes, last := uint64(0), 0, uint8(otherByte)
	body = body[:min(len(body), maxCounted)] // no token is as long
	if plainLetters(body) {
		return false
	}
	for i := range len(body) {
		class := classes[body[i]] & classBits
		sum += 1 << (class * 16)
		changes += int(changed[last&classBits][class])
		if class != otherByte {
			last = class
		}
	}
	counts := countsOf(sum)
	n := counts[smallLetter] + counts[capitalLetter] + counts[digit]
	mixed := counts[smallLetter] > 0 && counts[capitalLetter] > 0
	switch {
	case counts[digit] == 0:
		return mixed && changes*5 >= n*2
	case mixed: // a name may well have one digit
		return changes*3 >= n || changes*4 >= n && counts[digit] > 1
	case counts[smallLetter] == 0: // no names are so
		return changes >= 2
	}
	return changes >= 2 && changes*8 >= n
}
