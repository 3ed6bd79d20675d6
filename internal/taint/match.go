package taint

import "sync"

// maxDecodings is how often a text may have been encoded, in ways that may
// differ; maxEscapes how often it may have been escaped besides, as JSON in JSON.
const (
	maxDecodings = 2
	maxEscapes   = 3
)

// Match reports whether text holds one of the needles.
func (m *Matcher) Match(text string) bool {
	return m.match(text, func(uint32) bool { return true })
}

// MatchCredential is Match for credentials alone.
func (m *Matcher) MatchCredential(text string) bool {
	if m == nil || !m.Credentials() {
		return false
	}
	return m.match(text, func(n uint32) bool { return m.needles[n].credential })
}

// Credentials reports whether some of the needles are credentials.
func (m *Matcher) Credentials() bool { return m != nil && m.credentials }

func (m *Matcher) match(text string, found func(uint32) bool) bool {
	if m == nil || len(text) < m.least {
		return false
	}
	return m.run(text, found, nil)
}

func (m *Matcher) run(text string, found func(uint32) bool, stored *stored) bool {
	s := pool.Get().(*search)
	s.Matcher, s.found, s.stored = m, found, stored
	r := &s.rooms[0]
	r.text = append(r.text[:0], text...)
	hit := s.text(r.text, 0)
	s.Matcher, s.found, s.stored = nil, nil, nil
	if s.small() {
		pool.Put(s)
	}
	return hit
}

// search is one search of a text and of what it encodes.
type search struct {
	*Matcher
	found  func(uint32) bool
	stored *stored                // what takes the place of found, if it is not nil
	rooms  [maxDecodings + 1]room // by how often a text was decoded
	budget int                    // bytes of encodings inside encodings that may still be looked at
}

// room is where the forms of a text are put.
type room struct {
	text         []byte
	clean        [2][]byte // without what is not seen: of the text, and of plain
	plain        [2][]byte // without escapes
	digits       []byte    // of a run, without line ends
	packed       []byte    // what they stand for
	groups       []byte    // of them, that could hold something
	pairs, bytes []byte    // that were written one by one
	readable     []byte    // the parts of text that could encode something
	at           []place   // where escapes were
}

func (r *room) size() int {
	return cap(r.text) + cap(r.clean[0]) + cap(r.clean[1]) + cap(r.plain[0]) + cap(r.plain[1]) + cap(r.digits) + cap(r.readable) + 16*cap(r.at) + cap(r.packed) + cap(r.groups) + cap(r.pairs) + cap(r.bytes)
}

var pool = sync.Pool{New: func() any { return new(search) }}

// small reports whether the rooms are worth keeping.
func (s *search) small() bool {
	total := 0
	for i := range s.rooms {
		total += s.rooms[i].size()
	}
	return total <= 512<<10
}

func (s *search) here(text []byte) bool {
	if s.stored != nil {
		s.stored.note(text)
		return false
	}
	return s.search(text, true, s.found)
}

// text looks at a text that was decoded so many times, and at what it encodes. Of
// what was decoded to see whether it was encoded most is noise, so only what can
// be read is looked at further.
func (s *search) text(text []byte, decodings int) bool {
	if len(text) < s.least {
		return false
	}
	text, hit := s.seen(text, &s.rooms[decodings].clean[0])
	switch {
	case hit:
		return true
	case decodings == maxDecodings:
		return false
	case decodings == 0:
		return s.deeper(text, 0)
	}
	r := &s.rooms[decodings]
	r.readable = r.readable[:0]
	for from, to := s.readable(text, 0); from < to; from, to = s.readable(text, to) {
		if to-from > s.budget {
			continue // a shorter part may still be looked at
		}
		s.budget -= to - from
		r.readable = append(append(r.readable, text[from:to]...), between)
	}
	return len(r.readable) > 0 && s.deeper(r.readable, decodings)
}

// seen looks at the text as it is and as it is seen, which it returns.
func (s *search) seen(text []byte, room *[]byte) (clean []byte, hit bool) {
	if s.here(text) {
		return text, true
	}
	if !s.noisy(text) {
		return text, false
	}
	*room = withoutNoise((*room)[:0], text)
	return *room, s.here(*room)
}

// deeper looks at what the text encodes, with and without its escapes, which may
// have been put in several times. What encodes something stands in the text without
// any escapes just as it does in the text itself, unless an escape takes a part of it.
func (s *search) deeper(text []byte, decodings int) bool {
	r := &s.rooms[decodings]
	r.at = r.at[:0]
	plain, escaped := unescape(r.plain[0][:0], text, decodings > 0, &r.at)
	if !escaped {
		return s.encoded(text, decodings, places{all: true})
	}
	if s.encoded(text, decodings, places{at: r.at}) {
		return true
	}
	for round := 1; ; round++ {
		r.plain[(round-1)%2] = plain
		var hit bool
		if text, hit = s.seen(plain, &r.clean[1]); hit {
			return true
		}
		if round == maxEscapes {
			break
		}
		if plain, escaped = unescape(r.plain[round%2][:0], text, decodings > 0, nil); !escaped {
			break
		}
	}
	return s.encoded(text, decodings, places{all: true})
}

// place is where an escape begins and ends.
type place struct{ from, to int }

// places are where a text has escapes.
type places struct {
	all bool
	at  []place // in order
}

// in reports whether an escape reaches into text[from:to]. It is asked about parts
// of a text in their order.
func (p *places) in(from, to int) bool {
	if p.all {
		return true
	}
	for len(p.at) > 0 && p.at[0].to <= from {
		p.at = p.at[1:]
	}
	return len(p.at) > 0 && p.at[0].from < to
}
