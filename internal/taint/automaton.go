package taint

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// needle is a text in lower case that is looked for.
type needle struct {
	text       string
	credential bool
}

// short reports whether the needle has to stand alone.
func (n *needle) short() bool { return len(n.text) < minNeedle }

// tells reports whether a text that is cut behind so many bytes of the needle
// tells that they are its: not if they are words of which others texts are made.
func (n *needle) tells(depth int) bool {
	head := n.text[:depth]
	whole := depth == len(n.text) || !isWord(head[depth-1]) || !isWord(n.text[depth])
	return n.credential || !whole || !ordinary(head)
}

// Matcher finds needles. It does not change and is safe for concurrent use. A
// nil Matcher finds nothing.
type Matcher struct {
	needles     []needle
	credentials bool      // some of them are
	others      bool      // some of them are none
	least       int       // the length of the shortest text that holds one, or a head of one
	bytes       [4]uint64 // that needles have, in either case: a bit for each

	// made is the automaton, if there is one: for few needles it is made when
	// comparing them one by one has proved too much work.
	making sync.Once
	made   atomic.Pointer[automaton]

	// What begins a needle is looked for first: most places of a text begin
	// none. Every stride bytes the hash of four bytes tells whether they are
	// among the first of a needle, at one of as many offsets.
	stride   int
	grams    []uint64 // a bit for each hash
	fewGrams [1 << (fewBits - 6)]uint64
	shift    uint8 // how far a hash is shifted
}

// fewBits is how many bits of a hash tell few needles apart.
const fewBits = 10

// automaton finds any number of needles in linear time.
type automaton struct {
	needles []needle

	// The nodes of the trie are numbered by depth, so that the children of
	// each have numbers in a row; 0 is the root.
	nodes []node
	label []byte // of the edge to the node

	root [256]uint32 // the root's children; 0 where there is none

	// Nodes with many children have a bit for each byte that leads to one.
	wide []byteSet
}

// byteSet is a set of bytes.
type byteSet [4]uint64

// rank returns how many bytes of the set are less than c, and whether c is in it.
func (b *byteSet) rank(c byte) (n int, ok bool) {
	word := b[c>>6]
	if word>>(c&63)&1 == 0 {
		return 0, false
	}
	n = bits.OnesCount64(word & (1<<(c&63) - 1))
	for i := range c >> 6 {
		n += bits.OnesCount64(b[i&3])
	}
	return n, true
}

// many is how many children a node has at least to be in wide.
const many = 5

type node struct {
	child uint32 // the first
	fail  uint32 // the longest proper suffix that is a node
	goOn  uint32 // the longest suffix, the node itself included, that has children
	found uint32 // the longest suffix, the node itself included, that is a needle: its node; or 0
	what  uint32 // the needle that ends here, plus one; or 0
	begin uint32 // a needle that begins with the node: a credential if there is one
	wide  uint32 // where its bytes are, if it has many
	count uint16 // of the children
	depth uint16
}

// lower maps ASCII letters to lower case, and the plus sign, which is a space in
// queries and forms, to a space.
var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			t[i] += 'a' - 'A'
		}
	}
	t['+'] = ' '
	return t
}()

// newMatcher returns nil if there are no needles. Their texts are distinct.
func newMatcher(needles []needle) *Matcher {
	if len(needles) == 0 {
		return nil
	}
	slices.SortFunc(needles, func(a, b needle) int { return cmp.Compare(a.text, b.text) })
	m := &Matcher{needles: needles, least: minNeedle}
	for i := range needles {
		if needles[i].credential {
			m.credentials = true
		} else {
			m.others = true
		}
		m.least = min(m.least, len(needles[i].text))
		for _, c := range []byte(needles[i].text) {
			m.bytes[c>>6] |= 1 << (c & 63)
		}
	}
	for c := range 256 {
		if l := lower[c]; m.has(l) {
			m.bytes[c>>6] |= 1 << (c & 63)
		}
	}
	m.sample()
	if len(needles) > few {
		m.automaton()
	}
	return m
}

// has reports whether needles have the byte, in either case.
func (m *Matcher) has(c byte) bool { return m.bytes[c>>6]&(1<<(c&63)) != 0 }

// automaton returns the automaton, which it makes if there is none yet.
func (m *Matcher) automaton() *automaton {
	m.making.Do(func() {
		size := 1
		for i := range m.needles {
			size += len(m.needles[i].text)
		}
		a := &automaton{needles: m.needles, nodes: make([]node, 1, size), label: make([]byte, 1, size)}
		a.grow()
		a.link()
		m.made.Store(a)
	})
	return m.made.Load()
}

// sample notes the beginnings of needles. A needle of eight bytes has four
// beginnings of four, of which one is where a text is looked at, whichever of
// four places in a row those are.
func (m *Matcher) sample() {
	m.stride = 4
	if m.least < minNeedle {
		m.stride = 1
	}
	size := bits.Len(uint(16 * m.stride * len(m.needles)))
	size = min(max(size, fewBits), 17)
	m.grams, m.shift = m.fewGrams[:], uint8(32-size)
	if size > fewBits {
		m.grams = make([]uint64, 1<<(size-6))
	}
	for i := range m.needles {
		text := m.needles[i].text
		for at := range m.stride {
			m.note([4]byte([]byte(text[at:at+4])), 0)
		}
	}
}

// note notes four bytes of a needle, with each space also as a plus sign.
func (m *Matcher) note(four [4]byte, from int) {
	for i := from; i < len(four); i++ {
		if four[i] == ' ' {
			four[i] = '+'
			m.note(four, i+1)
			four[i] = ' '
		}
	}
	g := gram(four[:])
	for _, h := range [...]uint32{g >> m.shift, again(g) >> m.shift} {
		m.grams[h>>6] |= 1 << (h & 63)
	}
}

// again is another hash of what gram has hashed.
func again(gram uint32) uint32 { return bits.ReverseBytes32(gram) * 0x85EBCA6B }

// noted reports whether four bytes may be among the first of a needle.
func (m *Matcher) noted(gram uint32) bool {
	h := gram >> (m.shift & 31)
	if m.grams[h>>6]&(1<<(h&63)) == 0 {
		return false
	}
	h = again(gram) >> (m.shift & 31)
	return m.grams[h>>6]&(1<<(h&63)) != 0
}

// gram is the hash of the four bytes that text begins with. It is the same for
// small letters and capitals.
func gram(text []byte) uint32 {
	return (binary.LittleEndian.Uint32(text) | 0x20202020) * 0x9E3779B1
}

// search calls found with the index of each needle that text holds until it
// returns true, and reports whether it did. A needle's head counts as the
// needle where the text is cut behind it.
func (m *Matcher) search(text []byte, found func(needle uint32) bool) bool {
	a := m.made.Load()
	if a == nil {
		hit, done := m.oneByOne(text, found)
		if done {
			return hit
		}
		a = m.automaton()
	}
	for i := 0; ; {
		at := m.next(text, i)
		if at < 0 {
			return false
		}
		var hit bool
		if i, hit = a.from(text, max(i, at-m.stride+1), at, found); hit {
			return true
		}
	}
}

// grow makes the nodes, those of one depth after those of another. Each stands
// for the sorted needles that begin with it.
func (a *automaton) grow() {
	type span struct{ from, to uint32 }
	spans := make([]span, 1, cap(a.nodes))
	spans[0] = span{0, uint32(len(a.needles))}
	for i := 0; i < len(a.nodes); i++ {
		s, depth := spans[i], int(a.nodes[i].depth)
		at := s.from
		if len(a.needles[at].text) == depth {
			a.nodes[i].what = at + 1
			at++
		}
		a.nodes[i].child = uint32(len(a.nodes))
		for at < s.to {
			c := a.needles[at].text[depth]
			n := node{depth: uint16(depth + 1), begin: at}
			from := at
			for at < s.to && a.needles[at].text[depth] == c {
				if a.needles[at].credential {
					n.begin = at
				}
				at++
			}
			a.nodes[i].count++
			a.nodes, a.label, spans = append(a.nodes, n), append(a.label, c), append(spans, span{from, at})
		}
	}
	for i := range a.nodes {
		n := &a.nodes[i]
		if n.count < many {
			continue
		}
		n.wide = uint32(len(a.wide))
		var set byteSet
		for _, c := range a.label[n.child : n.child+uint32(n.count)] {
			set[c>>6] |= 1 << (c & 63)
		}
		a.wide = append(a.wide, set)
	}
	for i := range uint32(a.nodes[0].count) {
		a.root[a.label[1+i]] = 1 + i
	}
}

// link sets the nodes' suffixes. Those of a node are less deep than itself.
func (a *automaton) link() {
	for i := range a.nodes {
		n := &a.nodes[i]
		for c := n.child; c < n.child+uint32(n.count); c++ {
			if i != 0 {
				a.nodes[c].fail = a.step(n.fail, a.label[c])
			}
			a.nodes[c].goOn = c
			if a.nodes[c].count == 0 {
				a.nodes[c].goOn = a.nodes[a.nodes[c].fail].goOn
			}
			a.nodes[c].found = a.nodes[a.nodes[c].fail].found
			if a.nodes[c].what != 0 {
				a.nodes[c].found = c
			}
		}
	}
}

// step returns the node that stands for the longest suffix of a node's text and
// another byte.
func (a *automaton) step(state uint32, c byte) uint32 {
	for state != 0 {
		n := &a.nodes[state]
		if next := a.childOf(n, c); next != 0 {
			return next
		}
		state = n.fail
	}
	return a.root[c]
}

func (a *automaton) childOf(n *node, c byte) uint32 {
	if n.count >= many {
		if i, ok := a.wide[n.wide].rank(c); ok {
			return n.child + uint32(i)
		}
		return 0
	}
	for i, l := range a.label[n.child : n.child+uint32(n.count)] {
		if l == c {
			return n.child + uint32(i)
		}
	}
	return 0
}

// from searches from i on, until behind at no needle has begun, and returns where
// that is.
func (a *automaton) from(text []byte, i, at int, found func(needle uint32) bool) (int, bool) {
	state, nodes, label := uint32(0), a.nodes, a.label
	for i < len(text) {
		c := lower[text[i]]
		i++
		for { // as step does
			if state == 0 {
				state = a.root[c]
				break
			}
			n := &nodes[state]
			if n.count != 0 && label[n.child] == c {
				state = n.child
				break
			}
			if n.count > 1 {
				if next := a.childOf(n, c); next != 0 {
					state = next
					break
				}
			}
			state = n.fail
		}
		if state == 0 {
			if i > at {
				break
			}
			continue
		}
		n := &a.nodes[state]
		if n.found != 0 && a.report(text, i, n.found, found) {
			return i, true
		}
		if n.depth >= minNeedle && i < len(text) && cuts[text[i]] && cut(text[i:]) && a.needles[n.begin].tells(int(n.depth)) && found(n.begin) {
			return i, true
		}
		state = n.goOn
	}
	return i, false
}

// report tells found of the needles that end at i.
func (a *automaton) report(text []byte, i int, hit uint32, found func(needle uint32) bool) bool {
	for ; hit != 0; hit = a.nodes[a.nodes[hit].fail].found {
		what := a.nodes[hit].what - 1
		if a.needles[what].short() && !alone(text, i-len(a.needles[what].text), i) {
			continue
		}
		if found(what) {
			return true
		}
	}
	return false
}

// next returns the first place from i on, of those that are looked at, where four
// bytes are among the first of a needle, or -1.
func (m *Matcher) next(text []byte, i int) int {
	if m.stride == 1 {
		return m.nextOfAll(text, i)
	}
	grams, shift := m.grams, m.shift
	for ; i+4 <= len(text); i += 4 {
		g := gram(text[i : i+4])
		h := g >> (shift & 31)
		if grams[h>>6]&(1<<(h&63)) != 0 && m.noted(g) {
			return i
		}
	}
	return -1
}

// nextOfAll is next where all places are looked at.
func (m *Matcher) nextOfAll(text []byte, i int) int {
	grams, shift := m.grams, m.shift
	for ; i+4 <= len(text); i++ {
		g := gram(text[i : i+4])
		h := g >> (shift & 31)
		if grams[h>>6]&(1<<(h&63)) != 0 && m.noted(g) {
			return i
		}
	}
	return -1
}

// cuts are the bytes that a mark of cut begins with.
var cuts = [256]bool{'.': true, 0xe2: true, '*': true, '[': true}

// cut reports whether rest begins as what follows a text that was cut short.
func cut(rest []byte) bool {
	for _, mark := range [...]string{"...", "…", "***", "[…", "[..."} {
		if len(rest) >= len(mark) && string(rest[:len(mark)]) == mark {
			return true
		}
	}
	return false
}

// alone reports whether no letter or digit is next to text[from:to], other than
// that of a flag, as in mysql -pVALUE.
func alone(text []byte, from, to int) bool {
	if to < len(text) && isWord(text[to]) {
		return false
	}
	return from == 0 || !isWord(text[from-1]) || from > 1 && text[from-2] == '-' && (from == 2 || text[from-3] <= ' ')
}

func isWord(c byte) bool   { return wordBytes[c] }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

var wordBytes = func() (t [256]bool) {
	for c := range t {
		t[c] = isLetter(byte(c)) || isDigit(byte(c)) || c >= 0x80
	}
	return t
}()
