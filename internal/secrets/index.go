package secrets

import "slices"

// probe compares the first bytes of a format's prefix, up to eight of them, in
// one step.
type probe struct {
	mask, want uint64
	format     *format
	next       *set // what follows the prefix; nil if that says nothing
	tires      bool // tries at it are counted
}

// index finds the formats whose prefix may begin at a position by its first
// two bytes. Row and bucket 0 are empty.
type index struct {
	all     beginnings
	open    beginnings // of formats that no short word rules out
	row     [256]uint8
	rows    [][256]uint16
	buckets [][]probe
}

// beginnings tells at most places of a text that no prefix begins there.
type beginnings struct {
	two   [256][4]uint64              // a bit for the two bytes that a prefix of no more is
	three [1 << threeBits / 64]uint64 // a bit for the hash of the first three bytes of the others
}

// threeBits are the bits of a hash of three bytes.
const threeBits = 14

// hashOf returns the hash of the first three bytes.
func hashOf(eight uint64) uint32 { return uint32(eight) << 8 * 0x9E3779B1 >> (32 - threeBits) }

// begins tells whether a prefix may begin with the eight bytes.
func (b *beginnings) begins(eight uint64) bool {
	h := hashOf(eight)
	return (b.two[eight&0xff][eight>>14&3]>>(eight>>8&63)|b.three[h>>6]>>(h&63))&1 != 0
}

func (b *beginnings) add(f *format) {
	for _, first := range variants(f, f.prefix[0]) {
		for _, second := range variants(f, f.prefix[1]) {
			if len(f.prefix) == 2 {
				b.two[first][second>>6] |= 1 << (second & 63)
				continue
			}
			for _, third := range variants(f, f.prefix[2]) {
				h := hashOf(uint64(first) | uint64(second)<<8 | uint64(third)<<16)
				b.three[h>>6] |= 1 << (h & 63)
			}
		}
	}
}

func (x *index) build(formats []format) {
	x.rows = make([][256]uint16, 1)
	x.buckets = make([][]probe, 1)
	formats = slices.Clone(formats)
	var sets []set
	for n := range formats {
		f := &formats[n]
		f.parts = slices.Clone(f.parts)
		for i := range f.parts {
			at := slices.Index(sets, f.parts[i].set)
			if at < 0 {
				at = len(sets)
				sets = append(sets, f.parts[i].set)
			}
			f.parts[i].which = uint8(min(at, maxSets-1))
		}
		x.all.add(f)
		if !f.whole() {
			x.open.add(f)
		}
		p := probe{format: f, tires: f.builtin && f.check == checkParts}
		if f.check == checkParts && len(f.parts) > 0 && f.parts[0].min > 0 && len(f.prefix) < longTry {
			p.next = &f.parts[0].set
		}
		for i := range min(len(f.prefix), 8) {
			b, mask := f.prefix[i], byte(0xff)
			if f.fold && isAlnum(b) && !isDigit(b) {
				b, mask = upper(b), 0xdf
			}
			p.want |= uint64(b) << (8 * i)
			p.mask |= uint64(mask) << (8 * i)
		}
		for _, first := range variants(f, f.prefix[0]) {
			for _, second := range variants(f, f.prefix[1]) {
				x.put(first, second, p)
			}
		}
	}
}

// minWhole is how long a word has to be for a format that is whole to begin with it.
const minWhole = 12

// whole tells whether what the format matches has no separator of words in its
// first minWhole bytes.
func (f *format) whole() bool {
	if f.check != checkParts {
		return false
	}
	size := len(f.prefix)
	for i := range f.prefix {
		if kinds[f.prefix[i]] == kindOther {
			return false
		}
	}
	for _, p := range f.parts {
		if size >= minWhole {
			return true
		}
		for i := range p.literal {
			if kinds[p.literal[i]] == kindOther {
				return false
			}
		}
		for b := range 256 {
			if p.literal == "" && kinds[b] == kindOther && p.set.has(byte(b)) {
				return false
			}
		}
		if size += len(p.literal) + p.min; p.min < p.max && size < minWhole {
			return false
		}
	}
	return size >= minWhole
}

// variants returns the bytes that the format takes for one of its prefix's.
func variants(f *format, b byte) []byte {
	if f.fold && lower(b) != upper(b) {
		return []byte{lower(b), upper(b)}
	}
	return []byte{b}
}

func (x *index) put(first, second byte, p probe) {
	if x.row[first] == 0 {
		x.row[first] = uint8(len(x.rows))
		x.rows = append(x.rows, [256]uint16{})
	}
	bucket := &x.rows[x.row[first]][second]
	if *bucket == 0 {
		*bucket = uint16(len(x.buckets))
		x.buckets = append(x.buckets, nil)
	}
	x.buckets[*bucket] = append(x.buckets[*bucket], p)
}
