package secrets

import "slices"

// probe compares the first bytes of a format's prefix, up to eight of them, in
// one step.
type probe struct {
	mask, want uint64
	format     *format
}

// index finds the formats whose prefix may begin at a position by its first
// two bytes. Row and bucket 0 are empty.
type index struct {
	pairs   [256][4]uint64 // a bit for the two bytes that a prefix begins with
	open    [256][4]uint64 // the same, of formats that no short word rules out
	row     [256]uint8
	rows    [][256]uint16
	buckets [][]probe
}

func (x *index) build(formats []format) {
	x.rows = make([][256]uint16, 1)
	x.buckets = make([][]probe, 1)
	formats = slices.Clone(formats)
	for n := range formats {
		f := &formats[n]
		p := probe{format: f}
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
	x.pairs[first][second>>6] |= 1 << (second & 63)
	if !p.format.whole() {
		x.open[first][second>>6] |= 1 << (second & 63)
	}
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
