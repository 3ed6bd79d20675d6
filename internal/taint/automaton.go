package taint

import "encoding/binary"

// tells reports whether a text that is cut behind so many bytes of the needle
// tells that they are its: not if they are words of which others texts are made.
func (n *needle) tells(depth int) bool {
	if depth <= int(n.shown) {
		return false
	}
	head := n.text[:depth]
	whole := depth == len(n.text) || !isWord(head[depth-1]) || !isWord(n.text[depth])
	return n.credential || !whole || !ordinary(head)
}

// automaton finds any number of needles, none of them short, in linear time.
type automaton struct {
	needles []needle
	first   uint32 // the number of the first

	// The nodes of the trie are numbered by depth, so that the children of
	// each have numbers in a row; 0 is the root.
	nodes []node
	label []byte // of the edge to the node

	root [256]uint32 // the root's children; 0 where there is none

	// Nodes with many children have a bit for each byte that leads to one.
	wide []byteSet
}

// many is how many children a node has at least to be in wide.
const many = 5

type node struct {
	child uint32 // the first
	fail  uint32 // the longest proper suffix that is a node
	retry uint32 // fail, or the next one behind it that goes on with another byte
	goOn  uint32 // the longest suffix, the node itself included, that has children
	found uint32 // the longest suffix, the node itself included, that is a needle: its node; or 0
	what  uint32 // the needle that ends here, plus one; or 0
	begin uint32 // a needle that begins with the node: a credential if there is one
	wide  uint32 // where its bytes are, if it has many
	ahead uint32 // the node behind the next run bytes, where all needles go on with them
	count uint16 // of the children
	depth uint8
	first byte // the label of the first child
	run   uint8
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
			n := node{depth: uint8(depth + 1), begin: at}
			from := at
			for at < s.to && a.needles[at].text[depth] == c {
				if a.needles[at].credential {
					n.begin = at
				}
				at++
			}
			if a.nodes[i].count++; a.nodes[i].count == 1 {
				a.nodes[i].first = c
			}
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
			a.nodes[c].retry = a.nodes[c].fail
			if f := &a.nodes[a.nodes[c].fail]; f.count == 1 && a.nodes[c].count == 1 && f.first == a.nodes[c].first {
				a.nodes[c].retry = f.retry
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
	for i := range a.nodes {
		a.lookAhead(&a.nodes[i])
	}
}

// leastAhead and mostAhead are how many bytes are compared in one go.
const leastAhead, mostAhead = 3, 8

// lookAhead notes where all needles that begin with a node go on with the same bytes, none
// of which is the last of a needle or may begin a mark of cut.
func (a *automaton) lookAhead(n *node) {
	if int(n.depth)+mostAhead > len(a.needles[n.begin].text) {
		return
	}
	at := n
	for n.run < mostAhead && at.count == 1 && (n.run == 0 || at.found == 0 && !cuts[at.first]) {
		n.ahead = at.child
		n.run++
		at = &a.nodes[at.child]
	}
	if n.run < leastAhead {
		n.run = 0
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

// over looks at text[from:to], in the given state of what stands before it, and
// returns the state behind it. It tells found of the needles, and if heads is true of heads
// of needles that are cut, that end there.
func (a *automaton) over(text []byte, from, to int, state uint32, heads bool, found func(needle uint32) bool) (uint32, bool) {
	nodes := a.nodes
	for i := from; i < to; {
		if n := &nodes[state]; n.run != 0 && i+mostAhead <= to && a.same(n, text[i:]) {
			state, i = n.ahead, i+int(n.run)
		} else {
			c := lower[text[i]]
			i++
			for { // as step does
				if state == 0 {
					state = a.root[c]
					break
				}
				n := &nodes[state]
				if n.count != 0 && n.first == c {
					state = n.child
					break
				}
				if n.count > 1 {
					if next := a.childOf(n, c); next != 0 {
						state = next
						break
					}
				}
				state = n.retry
			}
		}
		if state == 0 {
			continue
		}
		n := &nodes[state]
		if n.found != 0 && a.report(n.found, found) {
			return state, true
		}
		if heads && n.depth >= minNeedle && i < len(text) && cuts[text[i]] && cut(text[i:]) && a.needles[n.begin].tells(int(n.depth)) && found(a.first+n.begin) {
			return state, true
		}
		if n.count == 0 { // as few nodes have no children, which is told before goOn is read
			state = n.goOn
		}
	}
	return state, false
}

// same reports whether a text goes on as all needles do that begin with a node.
func (a *automaton) same(n *node, text []byte) bool {
	other := fold(binary.LittleEndian.Uint64(text)) ^ load64(a.needles[n.begin].text[n.depth:])
	return other<<(8*(mostAhead-n.run)&63) == 0
}

// report tells found of the needles that end with a node.
func (a *automaton) report(hit uint32, found func(needle uint32) bool) bool {
	for ; hit != 0; hit = a.nodes[a.nodes[hit].fail].found {
		if found(a.first + a.nodes[hit].what - 1) {
			return true
		}
	}
	return false
}

// cuts are the bytes that a mark of cut begins with.
var cuts = [256]bool{'.': true, 0xe2: true, '*': true, '[': true}

// cut reports whether rest begins as what follows a text that was cut short: with ..., … or
// ***, or with one of the first two in a bracket.
func cut(rest []byte) bool {
	bracket := len(rest) > 3 && rest[0] == '['
	if bracket {
		rest = rest[1:]
	}
	if len(rest) < 3 {
		return false
	}
	switch mark := rest[0]; mark {
	case 0xe2:
		return rest[1] == 0x80 && rest[2] == 0xa6
	case '.', '*':
		return rest[1] == mark && rest[2] == mark && (mark == '.' || !bracket)
	}
	return false
}

// alone reports whether no letter or digit is next to text[from:to], other than
// that of a flag, as in mysql -pVALUE.
func alone(text []byte, from, to int) bool {
	if to < len(text) && isWord(text[to]) {
		return false
	}
	return from == 0 || !isWord(text[from-1]) || from > 1 && text[from-2] == '-' && (from == 2 || text[from-3] <= ' ' || text[from-3] == between)
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
