package secrets

import "sync"

// match returns where the format ends in the text, which has its prefix at start,
// or -1. A match does not end inside a longer word of its last class, unless
// that may be repeated without a limit; then the end is not looked for beyond
// maxRepeat.
//
// seen is how many bytes stand for the match, as far as it goes.
func (c *scan) match(f *format, start int) (end, seen int) {
	text := c.text
	i := start + len(f.prefix)
	for n := range f.parts {
		p := &f.parts[n]
		if p.literal != "" {
			if len(text)-i < len(p.literal) || !f.same(text[i:i+len(p.literal)], p.literal) {
				return -1, i - start
			}
			i += len(p.literal)
			continue
		}
		stop := min(len(text), i+min(p.max, maxRepeat))
		if p.max > maxRepeat {
			stop = min(stop, i+p.min+maxOpen)
		}
		begin := i
		for few := min(stop, i+fewBytes); i < few && p.set.has(text[i]); {
			i++
		}
		if i == begin+fewBytes && i < stop {
			i = c.span(p, begin, stop)
		}
		if i-begin < p.min {
			return -1, i - start
		}
		if n == len(f.parts)-1 && p.max <= maxRepeat && i == stop && i < len(text) && p.set.has(text[i]) {
			return -1, i - start
		}
	}
	return i, i - start
}

// fewBytes are looked at again rather than noted.
const fewBytes = 12

// runs are, for each set of an index, where bytes of the set were seen last, so that
// none is looked at for each of many formats that begin close to each other.
type runs [maxSets]struct{ from, to int }

// maxSets is how many sets are told apart. All others share the last number, whose
// runs are not noted.
const maxSets = 64

var allRuns = sync.Pool{New: func() any { return new(runs) }}

// span returns where the bytes of the part's set end that begin at begin, or stop.
func (c *scan) span(p *part, begin, stop int) int {
	if c.runs == nil {
		c.runs = allRuns.Get().(*runs)
		*c.runs = runs{}
	}
	r := &c.runs[p.which]
	if begin < r.from || begin > r.to || p.which == maxSets-1 {
		r.from, r.to = begin, begin
	}
	i := min(r.to, stop)
	for i < stop && p.set.has(c.text[i]) {
		i++
	}
	r.to = max(r.to, i)
	return i
}
