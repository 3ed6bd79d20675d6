package taint

// Of what is decoded as if it began elsewhere, most is noise: bytes that stand in no
// needle, and that nobody reads. Only the parts that could hold something are written
// out and looked at.

// sieve tells which bytes may stand in what is looked for in a text.
type sieve struct {
	off  bool      // nearly all may
	last [256]bool // in what is decoded for the last time
	more [256]bool // in what may encode something itself
}

// makeSieve is off if needles have bytes that text in other scripts has: they may stand
// beside those of any other.
func (m *Matcher) makeSieve() {
	s := &m.sieve
	for c := range 256 {
		b := byte(c)
		if s.last[b] = m.has(b) || inNoise[b] || cuts[b]; m.has(b) && b >= 0x80 {
			s.off = true
		}
		s.more[b] = s.last[b] || printable[b]
	}
}

// inNoise are the bytes of what withoutNoise takes away.
var inNoise = func() (t [256]bool) {
	for _, c := range []byte("\x00\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\ufeff") {
		t[c] = true
	}
	return t
}()

// aside is how many bytes that are seen are written out beside a part: what tells that a needle
// stands alone, or that the text is cut. Parts that share some of them are written as one,
// or a needle in what is aside would seem to stand alone.
const aside = 8

// sift appends the parts that could hold something of the whole bytes of what is packed,
// from one bit to another.
func (s *search) sift(dst, packed []byte, from, to, decodings int) []byte {
	if s.sieve.off {
		return append(shifted(dst, packed, from, to), between)
	}
	alive := &s.sieve.more
	if decodings+1 == maxDecodings {
		alive = &s.sieve.last
	}
	r := &s.rooms[decodings]
	r.sifted = shifted(r.sifted[:0], packed[:(to+7)/8], from, to)
	bytes := r.sifted
	first, last := 0, 0 // the parts that are found, as far as they are beside one another
	for i := s.least - 1; i < len(bytes); i += s.least {
		if !alive[bytes[i]] {
			continue // as a part that is long enough has a byte at one of these places
		}
		begin := i
		for begin > 0 && alive[bytes[begin-1]] {
			begin--
		}
		for i++; i < len(bytes) && alive[bytes[i]]; {
			i++
		}
		if i-begin < s.least {
			continue
		}
		for n := 0; begin > 0 && n < aside; begin-- {
			if !inNoise[bytes[begin-1]] {
				n++
			}
		}
		if begin > last {
			if last > 0 {
				dst = append(append(dst, bytes[first:last]...), between)
			}
			first = begin
		}
		last = i
		for n := 0; last < len(bytes) && n < aside; last++ {
			if !inNoise[bytes[last]] {
				n++
			}
		}
	}
	if last > 0 {
		dst = append(append(dst, bytes[first:last]...), between)
	}
	return dst
}
