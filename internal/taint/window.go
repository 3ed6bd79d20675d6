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
	last  byteSet // in what is decoded for the last time
	more  byteSet // in what may encode something itself
	solid byteSet // those that withoutNoise does not take away
}

// makeSieve is off if needles have bytes that text in other scripts has: they may stand
// beside those of any other.
func (m *Matcher) makeSieve() {
	m.sieve.off = m.bytes[2]|m.bytes[3] != 0
	for i, needed := range m.bytes {
		m.sieve.last[i] = needed | noises[i] | markBytes[i]
		m.sieve.more[i] = m.sieve.last[i] | printables[i]
		m.sieve.solid[i] = needed | ^noises[i]
	}
}

// noises are the bytes of what withoutNoise takes away, markBytes those of the marks of
// cut, and printables those of printable.
var noises, markBytes, printables = func() (n, m, p byteSet) {
	for _, c := range []byte("\x00\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\ufeff") {
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
	return n, m, p
}()

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

// padding is how many bytes may be read, and are written, behind those that digits stand for.
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
}

// shiftedBy returns the whole bytes from one bit to another.
func shiftedBy(packed []byte, from, to int) shifted {
	size := max(0, to-from) / 8
	return shifted{packed[from/8 : len(packed)+padding], uint8(from % 8), size}
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
	for i := s.least - 1; i < b.size; i += s.least {
		// A part that is long enough has a byte at one of these places, and so many beside it.
		x := b.seven(i - 3)
		if !alive.has(byte(x>>32)) || s.least >= minNeedle &&
			!(alive.has(byte(x>>24)) && alive.has(byte(x>>16)) && alive.has(byte(x>>8))) &&
			!(alive.has(byte(x>>40)) && alive.has(byte(x>>48)) && alive.has(byte(x>>56))) {
			continue
		}
		var begin int
		if begin, i = s.alive(&b, i); begin == i {
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

// alive returns the part around i that has only bytes of sieve.more, which is empty if it
// is too short to hold something.
func (s *search) alive(b *shifted, i int) (begin, end int) {
	solid := 0
	for begin = i; begin > 0; begin-- {
		if begin >= 7 {
			if odd := unreadable(b.seven(begin-7)) >> 8; odd == 0 {
				begin -= 6
				continue
			} else if n := bits.TrailingZeros64(odd) / 8; n > 0 {
				begin -= n - 1
				continue
			}
		}
		c := b.at(begin - 1)
		if !s.sieve.more.has(c) {
			break
		}
		solid -= 1 - s.sieve.solid.bit(c)
	}
	for end = i; end < b.size; {
		if n := bits.LeadingZeros64(unreadable(b.seven(end))) / 8; n > 0 {
			end += min(n, 7)
			continue
		}
		c := b.at(end)
		if !s.sieve.more.has(c) {
			break
		}
		solid -= 1 - s.sieve.solid.bit(c)
		end++
	}
	end = min(end, b.size)
	if end-begin < s.least || end-begin+solid < min(s.least, minNeedle) {
		return end, end
	}
	return begin, end
}

// unreadable has the top bit of each of eight bytes that is no printable character of ASCII.
func unreadable(eight uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	low := eight &^ tops
	return (eight | ^(low + (0x80-' ')*ones) | low + ones) & tops
}
