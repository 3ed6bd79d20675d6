package taint

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Of what is decoded as if it began elsewhere, most is noise: bytes that stand in no
// needle, and that nobody reads. A look at some of the bytes tells; only the parts that
// could hold something are written out and looked at.

// sieve tells which bytes may stand in what is looked for in a text.
type sieve struct {
	off   bool    // nearly all may
	odd   bool    // others than those of usual may
	last  byteSet // in what is decoded for the last time
	more  byteSet // in what may encode something itself
	solid byteSet // those that withoutNoise does not take away
}

// makeSieve is off if needles have bytes that text in other scripts has: they may stand
// beside those of any other.
func (m *Matcher) makeSieve() {
	m.sieve.off = m.bytes[2]|m.bytes[3] != 0
	for i, needed := range m.bytes {
		m.sieve.odd = m.sieve.odd || needed&^usual[i] != 0
		m.sieve.last[i] = needed | noises[i] | markBytes[i]
		m.sieve.more[i] = m.sieve.last[i] | printables[i]
		m.sieve.solid[i] = needed | ^noises[i]
	}
}

// noises are the bytes of what withoutNoise takes away, markBytes those of the marks of
// cut, printables those of printable, and usual all of these.
var noises, markBytes, printables, usual = func() (n, m, p, u byteSet) {
	for _, c := range []byte("\x00\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\u034f\u180e\ufe0f\ufeff") {
		n.add(c)
	}
	for _, c := range []byte(".*[…") {
		m.add(c)
	}
	for c := range 256 {
		if printable[c] {
			p.add(byte(c))
		}
	}
	for i := range u {
		u[i] = n[i] | m[i] | p[i]
	}
	return n, m, p, u
}()

// usualIn says of two digits of base64 which of the bytes that begin in the first of them
// are usual: four times, for a digit in each of the four places of a group, a bit for each
// phase in which groups may begin.
var usualIn = func() (t [1 << 12]uint16) {
	for two := range t {
		for place := range 4 {
			for phase := range 4 {
				at := (place - phase) & 3
				if at == 3 || usual.has(byte(two>>(4-2*at))) { // no byte begins in the last digit
					t[two] |= 1 << (4*place + phase)
				}
			}
		}
	}
	return t
}()

// usualGroups appends, for each four digits of a run of base64, a bit for each phase in
// which they, and digits before them, stand for usual bytes alone: a part that is long
// enough to hold something has such digits. The higher four bits are of these digits alone.
//
// phases has these bits of all groups. There is padding behind the groups.
func (s *search) usualGroups(dst, d []byte) (groups []byte, phases uint16) {
	dst = slices.Grow(dst[:0], len(d)/4+padding)[:len(d)/4+padding]
	before, n := uint16(0), 0
	for ; len(d) > 4 && n < len(dst); d, n = d[4:], n+1 {
		one, two, three, four, five := uint(base64Value[d[0]]), uint(base64Value[d[1]]), uint(base64Value[d[2]]), uint(base64Value[d[3]]), uint(base64Value[d[4]])
		g := usualIn[(one<<6|two)&0xfff]&0xf | usualIn[(two<<6|three)&0xfff]&0xf0 | usualIn[(three<<6|four)&0xfff]&0xf00 | usualIn[(four<<6|five)&0xfff]&0xf000
		last := g >> 8 & (g >> 12)
		all := g & (g >> 4) & last & 0xf
		found := all & before
		if before = last; s.least >= minHead {
			before = all
		}
		phases |= found
		dst[n] = byte(found | all<<4)
	}
	clear(dst[n:])
	return dst[:n], phases
}

// hexEnd returns where the hexadecimal digits end that begin at i.
func hexEnd(text []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(text); i += 8 {
		eight := binary.LittleEndian.Uint64(text[i:])
		low := eight &^ tops
		small := low | ' '*ones
		digit := (low + (0x80-'0')*ones) &^ (low + (0x7f-'9')*ones)
		letter := (small + (0x80-'a')*ones) &^ (small + (0x7f-'f')*ones)
		if other := (eight | ^(digit | letter)) & tops; other != 0 {
			return i + bits.TrailingZeros64(other)/8
		}
	}
	for i < len(text) && hexValue[text[i]] != none {
		i++
	}
	return i
}

// fromBase64Digits appends the bytes that digits stand for, the last one filled with zeros.
func fromBase64Digits(dst, d []byte) []byte {
	at := len(dst)
	end := at + (len(d)*6+7)/8
	dst = slices.Grow(dst, end-at+padding)[:end+padding]
	for ; len(d) >= 8; d, at = d[8:], at+6 { // six bytes, and two that the next ones overwrite
		high := sextets[0][d[0]] | sextets[1][d[1]] | sextets[2][d[2]] | sextets[3][d[3]]
		low := sextets[0][d[4]] | sextets[1][d[5]] | sextets[2][d[6]] | sextets[3][d[7]]
		binary.BigEndian.PutUint64(dst[at:], uint64(high)<<40|uint64(low)<<16)
	}
	last := uint64(0)
	for i, c := range d {
		last |= uint64(base64Value[c]) << (58 - 6*i)
	}
	binary.BigEndian.PutUint64(dst[at:], last)
	return dst[:end]
}

// fromHexDigits is fromBase64Digits for hexadecimal digits.
func fromHexDigits(dst, d []byte) []byte {
	at := len(dst)
	end := at + (len(d)+1)/2
	dst = slices.Grow(dst, end-at+padding)[:end+padding]
	for ; len(d) >= 8; d, at = d[8:], at+4 {
		const ones = 0x0101010101010101
		v := binary.LittleEndian.Uint64(d)
		v = v&(0xf*ones) + v>>6&ones*9
		v = (v<<4 | v>>8) & 0x00ff00ff00ff00ff
		v = (v | v>>8) & 0x0000ffff0000ffff
		binary.LittleEndian.PutUint32(dst[at:], uint32(v|v>>16))
	}
	last := uint64(0)
	for i, c := range d {
		last |= uint64(hexValue[c]) << (60 - 4*i)
	}
	binary.BigEndian.PutUint64(dst[at:], last)
	return dst[:end]
}

// padding is how many bytes may be read, and are written, behind what is made of digits.
const padding = 8

// sextets are the values of the digits of base64 in each of the four places of a
// group.
var sextets = func() (t [4][256]uint32) {
	for c, v := range base64Value {
		if v != none {
			for place := range t {
				t[place][c] = uint32(v) << (18 - 6*place)
			}
		}
	}
	return t
}()

// shifted is bytes that begin at a bit of others.
type shifted struct {
	packed []byte // with padding
	shift  uint8
	size   int
	groups []byte // of usualGroups, or nil if they are not known
	phase  uint8
}

// shiftedBy returns the whole bytes from one bit to another.
func shiftedBy(packed []byte, from, to int) shifted {
	size := max(0, to-from) / 8
	return shifted{packed: packed[from/8 : len(packed)+padding], shift: uint8(from % 8), size: size}
}

// seven returns seven bytes from the one at i on, the first in the highest bits.
func (b *shifted) seven(i int) uint64 {
	return binary.BigEndian.Uint64(b.packed[i:]) << (b.shift & 7)
}

func (b *shifted) at(i int) byte { return byte(b.seven(i) >> 56) }

// append appends the bytes from one to another.
func (b *shifted) append(dst []byte, from, to int) []byte {
	at, end := len(dst), len(dst)+to-from
	dst = slices.Grow(dst, to-from+padding)[:end+padding]
	if b.shift == 0 {
		copy(dst[at:], b.packed[from:to])
		return dst[:end]
	}
	for i := from; at < end; i, at = i+7, at+7 { // and one that the next ones overwrite
		binary.BigEndian.PutUint64(dst[at:], b.seven(i))
	}
	return dst[:end]
}

// aside is how many bytes that are seen are written out beside a part: what tells that a needle
// stands alone, or that the text is cut. Parts that share some of them are written as one,
// or a needle in what is aside would seem to stand alone.
const aside = 8

// sift appends the parts that could hold something of the bytes.
func (s *search) sift(dst []byte, b shifted, decodings int) []byte {
	if s.sieve.off {
		return append(b.append(dst, 0, b.size), between)
	}
	alive := &s.sieve.more
	if decodings+1 == maxDecodings {
		alive = &s.sieve.last
	}
	first, last := 0, 0 // the parts that are found, as far as they are beside one another
	for i := s.next(&b, 0, alive); i < b.size; i = s.next(&b, i, alive) {
		var begin int
		if begin, i = s.alive(&b, i, alive); begin == i {
			continue
		}
		end := i
		for n := 0; begin > 0 && n < aside; begin-- {
			if !noises.has(b.at(begin - 1)) {
				n++
			}
		}
		if begin > last {
			if last > 0 {
				dst = append(b.append(dst, first, last), between)
			}
			first = begin
		}
		last = end
		for n := 0; last < b.size && n < aside; last++ {
			if !noises.has(b.at(last)) {
				n++
			}
		}
	}
	if last > 0 {
		dst = append(b.append(dst, first, last), between)
	}
	return dst
}

// next returns the next place behind i, or at the beginning, that a part may be around which
// could hold something, or the end.
func (s *search) next(b *shifted, i int, alive *byteSet) int {
	if b.groups != nil {
		for i = b.nextGroup(i); i < b.size; i = b.nextGroup(i + 1) {
			// The byte before is also one of those that are usual.
			if x := b.seven(i - 1); alive.bit(byte(x>>56))&alive.bit(byte(x>>48)) != 0 {
				break
			}
		}
		return i
	}
	// A part that is long enough has a byte at one of these places, and so many beside it.
	for i += s.least - 1; i < b.size; i += s.least {
		x := b.seven(i - 3)
		if alive.has(byte(x>>32)) && (s.least < minNeedle ||
			alive.has(byte(x>>24)) && alive.has(byte(x>>16)) && alive.has(byte(x>>8)) ||
			alive.has(byte(x>>40)) && alive.has(byte(x>>48)) && alive.has(byte(x>>56))) {
			return i
		}
	}
	return b.size
}

// nextGroup returns the next place from i on in one of the groups.
func (b *shifted) nextGroup(i int) int {
	const ones = 0x0101010101010101
	for g := (i + 2) / 3; g < len(b.groups); g += 8 {
		if found := binary.LittleEndian.Uint64(b.groups[g:g+padding]) >> b.phase & ones; found != 0 {
			return 3 * (g + bits.TrailingZeros64(found)/8)
		}
	}
	return b.size
}

// alive returns the part around i that has only bytes of a set, which is empty if it is too
// short to hold something.
func (s *search) alive(b *shifted, i int, alive *byteSet) (begin, end int) {
	begin, end = i, i+1
	switch {
	case alive == &s.sieve.last: // in which other bytes are than in the rest
	case b.groups != nil:
		begin, end = b.usual(i)
	default:
		begin, end = b.readable(i)
	}
	for begin > 0 && alive.has(b.at(begin-1)) {
		begin--
	}
	for end < b.size && alive.has(b.at(end)) {
		end++
	}
	if end-begin < s.least {
		return end, end
	}
	if !s.holds(b, begin, end) {
		return end, end
	}
	return begin, end
}

// holds reports whether a part has as many bytes that are seen as what is looked for.
func (s *search) holds(b *shifted, begin, end int) bool {
	least := min(s.least, minNeedle)
	seen := 0
	for at := begin; seen < least && at < end; at += 7 { // as most are printable
		readable := ^unreadable(b.seven(at)) & (0x8080808080808080 << (8 * max(1, 8-(end-at))))
		seen += bits.OnesCount64(readable)
	}
	if seen >= least {
		return true
	}
	seen = 0
	for at := begin; seen < least && at < end; at++ {
		seen += s.sieve.solid.bit(b.at(at))
	}
	return seen >= least
}

// usual returns a part around i, where a group of usual bytes is, that has usual bytes alone.
func (b *shifted) usual(i int) (begin, end int) {
	first, last := i/3, i/3
	for first > 0 && b.groups[first-1]>>(4+b.phase)&1 != 0 {
		first--
	}
	for last+1 < len(b.groups) && b.groups[last+1]>>(4+b.phase)&1 != 0 {
		last++
	}
	return 3 * first, 3*last + 1
}

// readable returns a part around i, possibly none, that has printable bytes alone.
func (b *shifted) readable(i int) (begin, end int) {
	for begin = i; begin >= 7; begin -= 7 {
		seven := b.seven(begin-7) >> 8 // before them, in the highest bits, a zero
		if n := bits.TrailingZeros64(unreadable(seven)) / 8; n < 7 {
			begin -= n
			break
		}
	}
	for end = i; end < b.size; end += 7 {
		if n := bits.LeadingZeros64(unreadable(b.seven(end)&^0xff)) / 8; n < 7 {
			end += n
			break
		}
	}
	return begin, min(end, b.size)
}

// unreadable has the top bit of each of eight bytes that is no printable character of ASCII.
func unreadable(eight uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	low := eight &^ tops
	return (eight | ^(low + (0x80-' ')*ones) | low + ones) & tops
}
