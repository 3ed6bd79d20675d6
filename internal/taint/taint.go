// Package taint remembers the values that a policy removed from a job's inputs
// and finds them in later texts of the job, however they are encoded there:
// as they are, in other case, line by line, escaped for URLs, for JSON or as Go
// quotes it, in hexadecimal, in base64, or in one of these inside another.
//
// Values are remembered in memory and nowhere else, up to a bound. A text is
// decoded in every way that its characters allow, and each decoded form is
// searched once for all values together: the cost is linear in the text.
package taint

import "strings"

const (
	// minNeedle is the shortest value that is looked for: shorter ones stand
	// in any text by chance.
	minNeedle = 8
	// maxNeedle is how much of a value is compared: a text that holds the
	// beginning of a value is as bad as one that holds the whole.
	maxNeedle = 128

	maxValue   = 16 << 10 // bytes remembered of one value
	maxBytes   = 64 << 10 // of all values
	maxNeedles = 2_048
)

// Set is the values that were removed from one job's inputs. The zero Set is
// empty. It is not safe for concurrent use.
type Set struct {
	buf        []byte
	ends       []int // of the values in buf
	incomplete bool
}

// Add copies a value, or its beginning, unless it is too short to be looked
// for.
func (s *Set) Add(v string) {
	if len(v) < minNeedle {
		return
	}
	room := min(maxValue, maxBytes-len(s.buf))
	if len(v) > room {
		s.incomplete = true
		v = v[:max(room, 0)]
		if len(v) < minNeedle {
			return
		}
	}
	if s.buf == nil {
		s.buf, s.ends = make([]byte, 0, max(256, 2*len(v))), make([]int, 0, 8)
	}
	s.buf = append(s.buf, v...)
	s.ends = append(s.ends, len(s.buf))
}

// SetIncomplete notes that there are values that were not added.
func (s *Set) SetIncomplete() { s.incomplete = true }

// Incomplete reports whether more was removed than is remembered.
func (s *Set) Incomplete() bool { return s.incomplete }

// Forget drops the values, but not whether the set is complete.
func (s *Set) Forget() { s.buf, s.ends = nil, nil }

// Matcher finds the values of a Set. It does not change and is safe for
// concurrent use. A nil Matcher finds nothing.
type Matcher struct {
	needles []string // in lower case
	next    []int32  // the needle that begins alike, or -1
	table   []slot
	shift   uint
}

// slot is an entry of a hash table with linear probing: the first eight bytes
// of a needle, and its index plus one.
type slot struct {
	key   uint64
	first int32
}

// Matcher returns what finds the set's values, but for ordinary words and for
// what stands in kept, the texts that are stored anyway. It is nil if nothing
// is left to be found.
func (s *Set) Matcher(kept func(yield func(string) bool)) *Matcher {
	var e expander
	all, start := string(s.buf), 0
	for _, end := range s.ends {
		e.value(all[start:end], 0)
		start = end
	}
	if len(e.needles) == 0 {
		return nil
	}
	m := newMatcher(e.needles)
	known := make([]bool, len(e.needles))
	found := false
	for text := range kept {
		m.search([]byte(text), func(needle int) bool {
			known[needle], found = true, true
			return false
		})
	}
	if !found {
		return m
	}
	var left []string
	for i, needle := range e.needles {
		if !known[i] {
			left = append(left, needle)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return newMatcher(left)
}

func newMatcher(needles []string) *Matcher {
	bits := uint(4)
	for 1<<bits < 4*len(needles) {
		bits++
	}
	m := &Matcher{needles: needles, next: make([]int32, len(needles)), table: make([]slot, 1<<bits), shift: 64 - bits}
	for i, needle := range needles {
		key := prefix(needle)
		s := m.slot(key)
		m.next[i] = s.first - 1
		*s = slot{key, int32(i) + 1}
	}
	return m
}

func prefix(needle string) (key uint64) {
	for i := range minNeedle {
		key = key<<8 | uint64(needle[i])
	}
	return key
}

// slot returns the entry for a key, or the empty one where it belongs.
func (m *Matcher) slot(key uint64) *slot {
	i := key * 0x9E3779B97F4A7C15 >> m.shift
	for m.table[i].first != 0 && m.table[i].key != key {
		i = (i + 1) & uint64(len(m.table)-1)
	}
	return &m.table[i]
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

// search calls found with the index of each needle that text holds until it
// returns true, and reports whether it did.
func (m *Matcher) search(text []byte, found func(needle int) bool) bool {
	if len(text) < minNeedle {
		return false
	}
	var key uint64
	for _, c := range text[:minNeedle-1] {
		key = key<<8 | uint64(lower[c])
	}
	for i := minNeedle - 1; i < len(text); i++ {
		key = key<<8 | uint64(lower[text[i]])
		at := key * 0x9E3779B97F4A7C15 >> m.shift
		if m.table[at].first == 0 {
			continue
		}
		for n := m.slot(key).first - 1; n >= 0; n = m.next[n] {
			if hasPrefix(text[i-minNeedle+1:], m.needles[n]) && found(int(n)) {
				return true
			}
		}
	}
	return false
}

func hasPrefix(text []byte, needle string) bool {
	if len(text) < len(needle) {
		return false
	}
	for i := minNeedle; i < len(needle); i++ {
		if lower[text[i]] != needle[i] {
			return false
		}
	}
	return true
}

// expander makes needles of values.
type expander struct {
	needles []string
	have    map[string]bool
}

// add adds a value in lower case: ASCII's, which texts are compared in, and
// for other alphabets also what a program makes of the value when it changes
// the case.
func (e *expander) add(v string) {
	if len(v) < minNeedle || ordinary(v) {
		return
	}
	e.needle(v)
	for i := range len(v) {
		if v[i] >= 0x80 {
			e.needle(strings.ToUpper(v))
			e.needle(strings.ToLower(v))
			return
		}
	}
}

func (e *expander) needle(v string) {
	if len(e.needles) == maxNeedles || len(v) < minNeedle {
		return
	}
	needle := []byte(v[:min(len(v), maxNeedle)])
	for i, c := range needle {
		needle[i] = lower[c]
	}
	if e.have[string(needle)] {
		return
	}
	if e.have == nil {
		e.have = map[string]bool{}
	}
	v = string(needle)
	e.have[v] = true
	e.needles = append(e.needles, v)
}
