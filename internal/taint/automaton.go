package taint

import (
	"cmp"
	"slices"
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
	needles []needle
	least   int // the length of the shortest text that holds one, or a head of one

	// The nodes of the trie are numbered by depth, so that the children of
	// each have numbers in a row; 0 is the root.
	nodes []node
	label []byte // of the edge to the node

	root   [256]uint32                  // the root's children; 0 where there is none
	starts [1 << (startBits - 6)]uint64 // the hashes of how needles begin
}

type node struct {
	child uint32 // the first
	fail  uint32 // the longest proper suffix that is a node
	found uint32 // the longest suffix, the node itself included, that is a needle: its node; or 0
	what  uint32 // the needle that ends here, plus one; or 0
	begin uint32 // a needle that begins with the node: a credential if there is one
	count uint16 // of the children
	depth uint16
}

// lower maps ASCII letters to lower case.
var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			t[i] += 'a' - 'A'
		}
	}
	return t
}()

// newMatcher returns nil if there are no needles. Their texts are distinct.
func newMatcher(needles []needle) *Matcher {
	if len(needles) == 0 {
		return nil
	}
	slices.SortFunc(needles, func(a, b needle) int { return cmp.Compare(a.text, b.text) })
	m := &Matcher{needles: needles, least: minNeedle}
	size := 1
	for i := range needles {
		text := needles[i].text
		size += len(text)
		m.least = min(m.least, len(text))
		h := start(text[0], text[1], text[2], text[3])
		m.starts[h>>6] |= 1 << (h & 63)
	}
	m.nodes, m.label = make([]node, 1, size), make([]byte, 1, size)
	m.grow()
	m.link()
	return m
}

const startBits = 14

// start is the hash of the first four bytes of a needle.
func start(a, b, c, d byte) uint32 {
	return (uint32(a) | uint32(b)<<8 | uint32(c)<<16 | uint32(d)<<24) * 0x9E3779B1 >> (32 - startBits)
}

// grow makes the nodes, those of one depth after those of another. Each stands
// for the sorted needles that begin with it.
func (m *Matcher) grow() {
	type span struct{ from, to uint32 }
	spans := make([]span, 1, cap(m.nodes))
	spans[0] = span{0, uint32(len(m.needles))}
	for i := 0; i < len(m.nodes); i++ {
		s, depth := spans[i], int(m.nodes[i].depth)
		at := s.from
		if len(m.needles[at].text) == depth {
			m.nodes[i].what = at + 1
			at++
		}
		m.nodes[i].child = uint32(len(m.nodes))
		for at < s.to {
			c := m.needles[at].text[depth]
			n := node{depth: uint16(depth + 1), begin: at}
			from := at
			for at < s.to && m.needles[at].text[depth] == c {
				if m.needles[at].credential {
					n.begin = at
				}
				at++
			}
			m.nodes[i].count++
			m.nodes, m.label, spans = append(m.nodes, n), append(m.label, c), append(spans, span{from, at})
		}
	}
	for i := range uint32(m.nodes[0].count) {
		m.root[m.label[1+i]] = 1 + i
	}
}

// link sets the nodes' suffixes. Those of a node are less deep than itself.
func (m *Matcher) link() {
	for i := range m.nodes {
		n := &m.nodes[i]
		for c := n.child; c < n.child+uint32(n.count); c++ {
			if i != 0 {
				m.nodes[c].fail = m.step(n.fail, m.label[c])
			}
			m.nodes[c].found = m.nodes[m.nodes[c].fail].found
			if m.nodes[c].what != 0 {
				m.nodes[c].found = c
			}
		}
	}
}

// step returns the node that stands for the longest suffix of a node's text and
// another byte.
func (m *Matcher) step(state uint32, c byte) uint32 {
	for state != 0 {
		n := &m.nodes[state]
		if next := m.childOf(n, c); next != 0 {
			return next
		}
		state = n.fail
	}
	return m.root[c]
}

func (m *Matcher) childOf(n *node, c byte) uint32 {
	switch {
	case n.count == 0:
		return 0
	case n.count == 1:
		if m.label[n.child] == c {
			return n.child
		}
		return 0
	}
	low, high := n.child, n.child+uint32(n.count)
	for low < high {
		if mid := (low + high) / 2; m.label[mid] < c {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < n.child+uint32(n.count) && m.label[low] == c {
		return low
	}
	return 0
}

// search calls found with the index of each needle that text holds until it
// returns true, and reports whether it did. A needle's head counts as the
// needle where the text is cut behind it.
func (m *Matcher) search(text []byte, found func(needle uint32) bool) bool {
	for i := 0; ; {
		if i = m.next(text, i); i < 0 {
			return false
		}
		state := uint32(0)
		for {
			state = m.step(state, lower[text[i]])
			i++
			for hit := m.nodes[state].found; hit != 0; hit = m.nodes[m.nodes[hit].fail].found {
				what := m.nodes[hit].what - 1
				if m.needles[what].short() && !alone(text, i-len(m.needles[what].text), i) {
					continue
				}
				if found(what) {
					return true
				}
			}
			if state == 0 || i == len(text) {
				break
			}
			if n := &m.nodes[state]; n.depth >= minNeedle && cuts[text[i]] && cut(text[i:]) &&
				m.needles[n.begin].tells(int(n.depth)) && found(n.begin) {
				return true
			}
		}
	}
}

// next returns the first position from i on at which a needle may begin, or -1.
// Most positions begin none, which is cheap to see.
func (m *Matcher) next(text []byte, i int) int {
	if i+minCredential > len(text) {
		return -1
	}
	four := uint32(lower[text[i]])<<8 | uint32(lower[text[i+1]])<<16 | uint32(lower[text[i+2]])<<24
	for k, c := range text[i+3:] {
		four = four>>8 | uint32(lower[c])<<24
		h := four * 0x9E3779B1 >> (32 - startBits)
		if m.starts[h>>6]&(1<<(h&63)) != 0 {
			return i + k
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

func isWord(c byte) bool   { return isLetter(c) || isDigit(c) || c >= 0x80 }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
