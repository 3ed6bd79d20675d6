package taint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
)

// needle is a text in lower case that is looked for.
type needle struct {
	text       string
	credential bool
	// shown is the longest head of it that is stored where a text is cut: neither that nor
	// a shorter one tells anything.
	shown uint8
	// The value is longer than the text: its size, and a hash of it in lower case. A
	// negative size stands for several, or one too large to be stored.
	size int
	sum  uint64
}

// short reports whether the needle has to stand alone.
func (n *needle) short() bool { return len(n.text) < minNeedle }

// Matcher finds needles. It does not change and is safe for concurrent use. A
// nil Matcher finds nothing.
//
// Each needle has an anchor: eight bytes of it (four of a short one) that stand in
// as few others as possible, so that a text made of what many needles have in common
// costs no more than another. Where an anchor stands in a text, its needle is
// compared. Needles with an anchor that many have are left to an automaton, and so
// are heads of needles where a text is cut.
type Matcher struct {
	needles     []needle // the short ones first, each in order
	long        int      // where the others begin
	credentials bool     // some of them are
	others      bool     // some of them are none
	least       int      // the length of the shortest text that holds one, or a head of one
	longest     int      // the length of the longest needle
	bytes       byteSet  // that needles have, in either case

	// Most places of a text hold no anchor. Every stride bytes the hash of a few
	// bytes tells whether they are of one, and at which of as many offsets.
	stride   int
	mask     uint64   // of these bytes, in eight
	grams    []uint64 // for each hash a bit for each offset
	fewGrams [1 << (fewBits - 4)]uint64
	shift    uint8 // how far a hash is shifted

	anchors    []anchored // those with the same key in a row
	slots      []slot     // where they begin, found by a hash of the key
	fewAnchors [few]anchored
	fewSlots   [2 * few]slot
	counts     counts // of the parts of needles, unless they are few

	sieve sieve // of what is decoded

	making sync.Once
	made   *automaton // of all needles that are not short
}

// anchored is a needle and where its anchor is in it.
type anchored struct {
	needle uint32
	at     uint8
	last   bool // of those with the same key
	crowd  bool // this stands for more needles than are compared one by one
}

// slot is where the needles of an anchor are, plus one.
type slot struct {
	key   uint64
	first uint32
}

// fewBits is how many bits of a hash tell few needles apart.
const fewBits = 10

// byteSet is a set of bytes.
type byteSet [4]uint64

func (b *byteSet) add(c byte)      { b[c>>6] |= 1 << (c & 63) }
func (b *byteSet) has(c byte) bool { return b.bit(c) != 0 }

// bit is 1 if c is in the set, and else 0.
func (b *byteSet) bit(c byte) int { return int(b[c>>6] >> (c & 63) & 1) }

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

// fold is lower for eight bytes at once.
func fold(v uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	low := v &^ tops
	capitals := (low + (0x80-'A')*ones) &^ (low + (0x7f-'Z')*ones) &^ v & tops
	plus := low ^ '+'*ones
	pluses := ^((plus + 0x7f*ones) | v) & tops
	return v | capitals>>2 ^ pluses>>7*('+'^' ')
}

// newMatcher returns nil if there are no needles. Their texts are distinct.
func newMatcher(needles []needle) *Matcher {
	if len(needles) == 0 {
		return nil
	}
	slices.SortFunc(needles, func(a, b needle) int {
		if a.short() != b.short() {
			if a.short() {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.text, b.text)
	})
	m := &Matcher{needles: needles, least: minHead, stride: 4, mask: 1<<40 - 1}
	for i := range needles {
		n := &needles[i]
		if n.credential {
			m.credentials = true
		} else {
			m.others = true
		}
		if n.short() {
			m.long = i + 1
			m.stride, m.mask = 1, 1<<32-1
		}
		m.least, m.longest = min(m.least, len(n.text)), max(m.longest, len(n.text))
		for _, c := range []byte(n.text) {
			m.bytes.add(c)
		}
	}
	const letters = (1<<26 - 1) << ('A' & 63) // the bits of A to Z
	m.bytes['A'>>6] |= m.bytes['a'>>6] >> ('a' - 'A') & letters
	if m.has(' ') {
		m.bytes.add('+')
	}
	m.makeSieve()
	size := bits.Len(uint(16 * m.stride * len(m.needles)))
	size = min(max(size, fewBits), 16)
	m.grams, m.shift = m.fewGrams[:], uint8(32-size)
	if size > fewBits {
		m.grams = make([]uint64, 1<<(size-4))
	}
	m.anchor()
	return m
}

// has reports whether needles have the byte, in either case.
func (m *Matcher) has(c byte) bool { return m.bytes.has(c) }

// note notes a part of an anchor at an offset, with each space also as a plus sign.
func (m *Matcher) note(part []byte, offset, from int) {
	for i := from; i < len(part); i++ {
		if part[i] == ' ' {
			part[i] = '+'
			m.note(part, offset, i+1)
			part[i] = ' '
		}
	}
	var eight [8]byte
	copy(eight[:], part)
	g := m.gram(binary.LittleEndian.Uint64(eight[:]))
	for _, h := range [...]uint32{g >> m.shift, again(g) >> m.shift} {
		m.grams[h>>4] |= 1 << (h&15*4 + uint32(offset))
	}
}

// gram is the hash of the first bytes of eight: of five, which an anchor of eight has
// at each offset, or of four if there are shorter ones. It is the same for small
// letters and capitals.
func (m *Matcher) gram(eight uint64) uint32 {
	return uint32((eight | 0x2020202020202020) & m.mask * 0x9E3779B97F4A7C15 >> 32)
}

// again is another hash of what gram has hashed.
func again(gram uint32) uint32 { return bits.ReverseBytes32(gram) * 0x85EBCA6B }

// offsets returns a bit for each offset at which anchors may have a part.
func (m *Matcher) offsets(gram uint32) uint64 {
	h, g := gram>>(m.shift&31), again(gram)>>(m.shift&31)
	return m.grams[h>>4] >> (h & 15 * 4) & (m.grams[g>>4] >> (g & 15 * 4)) & 15
}

// automaton returns the automaton, which it makes if there is none yet.
func (m *Matcher) automaton() *automaton {
	m.making.Do(func() {
		size := 1
		for _, n := range m.needles[m.long:] {
			size += len(n.text)
		}
		a := &automaton{needles: m.needles[m.long:], first: uint32(m.long), nodes: make([]node, 1, size), label: make([]byte, 1, size)}
		a.grow()
		a.link()
		m.made = a
	})
	return m.made
}

// search calls found with the index of each needle that text holds until it
// returns true, and reports whether it did. If heads is true, a needle's head counts
// as the needle where the text is cut behind it.
func (m *Matcher) search(text []byte, heads bool, found func(needle uint32) bool) bool {
	crowd := false // the anchor of many is there
	for at, offsets := m.next(text, 0); offsets != 0; at, offsets = m.next(text, at+m.stride) {
		for ; offsets != 0; offsets &= offsets - 1 {
			i := at - bits.TrailingZeros64(offsets)
			if i < 0 || m.long == 0 && i+minNeedle <= len(text) && m.slot(fold(binary.LittleEndian.Uint64(text[i:]))).first == 0 {
				continue
			}
			crowded, hit := m.anchoredAt(text, i, found)
			if hit {
				return true
			}
			crowd = crowd || crowded
		}
		if crowd && m.long == 0 {
			break
		}
	}
	switch {
	case m.long == len(m.needles):
		return false
	case crowd:
		// From the beginning: what is cut before the crowd is looked for, too.
		_, hit := m.automaton().over(text, 0, len(text), 0, heads, found)
		return hit
	}
	return heads && m.searchCut(text, found)
}

// next returns the first place from i on, of those that are looked at, where a part
// of an anchor is, and at which offsets; there are none if it is the end.
func (m *Matcher) next(text []byte, i int) (at int, offsets uint64) {
	grams, shift, stride := m.grams, m.shift, m.stride
	for ; i+8 <= len(text); i += stride {
		g := m.gram(binary.LittleEndian.Uint64(text[i:]))
		h := g >> (shift & 31)
		if grams[h>>4]>>(h&15*4)&15 != 0 {
			if offsets := m.offsets(g); offsets != 0 {
				return i, offsets
			}
		}
	}
	for ; i+4 <= len(text); i += stride {
		var eight [8]byte
		copy(eight[:], text[i:])
		if offsets := m.offsets(m.gram(binary.LittleEndian.Uint64(eight[:]))); offsets != 0 {
			return i, offsets
		}
	}
	return i, 0
}

// anchoredAt tells found of the needles whose anchor is at i. crowded says that
// there are more of them than are compared one by one.
func (m *Matcher) anchoredAt(text []byte, i int, found func(needle uint32) bool) (crowded, hit bool) {
	if i+minNeedle <= len(text) && m.long < len(m.needles) {
		crowded, hit = m.anchoredBy(text, i, fold(binary.LittleEndian.Uint64(text[i:])), found)
	}
	if m.long > 0 && !hit {
		_, hit = m.anchoredBy(text, i, fold(uint64(binary.LittleEndian.Uint32(text[i:]))), found)
	}
	return crowded, hit
}

// anchoredBy compares the needles of one anchor.
func (m *Matcher) anchoredBy(text []byte, i int, key uint64, found func(needle uint32) bool) (crowded, hit bool) {
	at := m.slot(key).first
	if at == 0 {
		return false, false
	}
	for at--; ; at++ {
		a := &m.anchors[at]
		if a.crowd {
			return true, false
		}
		n := &m.needles[a.needle]
		from := i - int(a.at)
		to := from + len(n.text)
		if from >= 0 && to <= len(text) && same(text[from:to], n.text) && (!n.short() || alone(text, from, to)) && found(a.needle) {
			return false, true
		}
		if a.last {
			return false, false
		}
	}
}

// slot returns the slot of a key, or the empty one where it would be.
func (m *Matcher) slot(key uint64) *slot {
	for at := key * 0x9E3779B97F4A7C15 >> 32; ; at++ {
		if s := &m.slots[at&uint64(len(m.slots)-1)]; s.first == 0 || s.key == key {
			return s
		}
	}
}

// searchCut is search for the heads that a text is cut behind.
func (m *Matcher) searchCut(text []byte, found func(needle uint32) bool) bool {
	var a *automaton
	state, done, n := uint32(0), 0, 0
	for at := m.nextCut(text, firstMark(text)); at >= 0; at = m.nextCut(text, at+1) {
		if n++; len(m.needles) <= few && n <= few {
			if m.headBefore(text, at, found) {
				return true
			}
			continue
		}
		if a == nil {
			a = m.automaton()
		}
		if at-m.longest > done {
			state, done = 0, at-m.longest
		}
		var hit bool
		if state, hit = a.over(text, done, at, state, true, found); hit {
			return true
		}
		done = at
	}
	return false
}

// headBefore tells found of the needle that has the longest head before the cut at
// at.
func (m *Matcher) headBefore(text []byte, at int, found func(needle uint32) bool) bool {
	for from := max(0, at-m.longest); from+minNeedle <= at; from++ {
		eight := fold(binary.LittleEndian.Uint64(text[from:]))
		begin := -1
		for i := m.long; i < len(m.needles); i++ {
			n := &m.needles[i]
			if load64(n.text) == eight && len(n.text) >= at-from && same(text[from:at], n.text[:at-from]) && (begin < 0 || n.credential) {
				begin = i
			}
		}
		if begin >= 0 {
			return m.needles[begin].tells(at-from) && found(uint32(begin))
		}
	}
	return false
}

// nextCut returns the next place from i on where a text is cut behind what could be of a
// needle, or -1.
func (m *Matcher) nextCut(text []byte, i int) int {
	for i = max(i, minNeedle); ; i++ {
		if i = nextMark(text, i); i >= len(text) {
			return -1
		}
		if m.has(text[i-1]) && cut(text[i:]) && m.mayBePart(text[i-minNeedle:i]) {
			return i
		}
	}
}

// firstMark returns where a mark of cut may begin first, or the end of the text.
func firstMark(text []byte) int {
	for _, c := range [...]byte{'.', 0xe2, '*', '['} {
		if at := bytes.IndexByte(text, c); at >= 0 {
			text = text[:at]
		}
	}
	return len(text)
}

// nextMark returns where the next mark of cut may begin, from i on, or the end of the text.
func nextMark(text []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(text); i += 8 {
		eight := binary.LittleEndian.Uint64(text[i:])
		dot, ellipsis, star, bracket := eight^'.'*ones, eight^0xe2*ones, eight^'*'*ones, eight^'['*ones
		// The lowest of these bits is right, whatever the ones above it are.
		if found := ((dot-ones)&^dot | (ellipsis-ones)&^ellipsis | (star-ones)&^star | (bracket-ones)&^bracket) & tops; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(text) && !cuts[text[i]] {
		i++
	}
	return i
}

// mayBePart reports whether eight bytes may stand in a needle.
func (m *Matcher) mayBePart(eight []byte) bool {
	if m.counts != nil {
		return *m.counts.of(fold(binary.LittleEndian.Uint64(eight))) != 0
	}
	return m.has(eight[0])
}

// same reports whether a text is the needle, of at least four bytes, which is as
// long.
func same(text []byte, needle string) bool {
	n := min(len(text), len(needle))
	if n < 8 {
		return fold(uint64(binary.LittleEndian.Uint32(text))) == uint64(load32(needle)) &&
			fold(uint64(binary.LittleEndian.Uint32(text[n-4:]))) == uint64(load32(needle[n-4:]))
	}
	for k := 0; k < n-8; k += 8 {
		if fold(binary.LittleEndian.Uint64(text[k:])) != load64(needle[k:]) {
			return false
		}
	}
	return fold(binary.LittleEndian.Uint64(text[n-8:])) == load64(needle[n-8:])
}

func load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func load32(s string) uint32 {
	_ = s[3]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

// crowded is how many needles with one anchor are compared one by one.
const crowded = 8

// chosen is a needle with the key of its anchor.
type chosen struct {
	key uint64
	anchored
}

// anchor chooses an anchor of each needle.
func (m *Matcher) anchor() {
	size := 1 << bits.Len(uint(2*len(m.needles)-1))
	total := 0
	for i := range m.needles {
		total += len(m.needles[i].text)
	}
	var roomOfAll [few]chosen
	var roomOfCounts [2 * few * maxNeedle]uint8
	all, parts := roomOfAll[:0], counts(roomOfCounts[:])
	m.slots, m.anchors = m.fewSlots[:], m.fewAnchors[:0]
	if len(m.needles) > few {
		all, m.counts = make([]chosen, 0, len(m.needles)), make([]uint8, 1<<bits.Len(uint(2*total)))
		parts = m.counts
		m.slots, m.anchors = make([]slot, size), make([]anchored, 0, len(m.needles))
	}
	for i := range m.needles {
		text := m.needles[i].text
		for at := range len(text) - anchorSize(text) + 1 {
			if n := parts.of(anchorAt(text, at)); *n < 255 {
				*n++
			}
		}
	}
	for i := range m.needles {
		text := m.needles[i].text
		best, least := chosen{anchored: anchored{needle: uint32(i)}}, ^uint32(0)
		for n := range tries {
			at := n * (len(text) - anchorSize(text)) / (tries - 1)
			key := anchorAt(text, at)
			if cost := uint32(*parts.of(key))<<8 | lettersIn(key); cost < least {
				best.key, best.at, least = key, uint8(at), cost
			}
		}
		all = append(all, best)
	}
	slices.SortFunc(all, func(a, b chosen) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.needle, b.needle)) })
	for i := 0; i < len(all); {
		group := i
		for i < len(all) && all[i].key == all[group].key {
			i++
		}
		*m.slot(all[group].key) = slot{all[group].key, uint32(len(m.anchors) + 1)}
		for _, c := range all[group:i] {
			m.anchors = append(m.anchors, c.anchored)
		}
		m.anchors[len(m.anchors)-1].last = true
		// Of short ones no anchor has many more: only three bytes are left of them.
		m.anchors[len(m.anchors)-(i-group)].crowd = i-group > crowded && !m.needles[all[group].needle].short()
		for _, c := range all[group:i] {
			text := m.needles[c.needle].text
			for k := range m.stride {
				var part [5]byte
				m.note(part[:copy(part[:bits.Len64(m.mask)/8], text[int(c.at)+k:])], k, 0)
			}
		}
	}
}

// tries is how many parts of a needle are looked at as its anchor.
const tries = 9

// anchorSize is how many bytes the anchor of a needle has.
func anchorSize(text string) int {
	if len(text) < minNeedle {
		return 4
	}
	return 8
}

// anchorAt returns a part of the needle as a key.
func anchorAt(text string, at int) uint64 {
	if len(text) < minNeedle {
		return uint64(load32(text[at:]))
	}
	return load64(text[at:])
}

// counts says how many parts of needles have a key, or another key with its hash.
type counts []uint8

func (c counts) of(key uint64) *uint8 { return &c[key*0x9E3779B97F4A7C15>>40&uint64(len(c)-1)] }

// lettersIn counts the small letters of a key: words have them, and so has prose.
func lettersIn(key uint64) uint32 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	low := key &^ tops
	return uint32(bits.OnesCount64((low + (0x80-'a')*ones) &^ (low + (0x7f-'z')*ones) &^ key & tops))
}
