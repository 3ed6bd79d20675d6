package taint

import (
	"encoding/binary"
	"hash/maphash"
)

// Without returns a Matcher of the needles, other than credentials, that do not stand
// whole in one of the texts: those are stored anyway. Of the others a head that is
// stored where a text is cut tells nothing.
func (m *Matcher) Without(texts func(yield func(string) bool)) *Matcher {
	if m == nil || !m.others {
		return m
	}
	s := stored{Matcher: m}
	for text := range texts {
		if len(text) >= m.least {
			m.run(text, nil, &s)
		}
	}
	if s.whole == nil && s.shown == nil {
		return m
	}
	var left []needle
	for i, n := range m.needles {
		if s.whole != nil && s.whole[i] {
			continue
		}
		if s.shown != nil {
			n.shown = max(n.shown, s.shown[i])
		}
		left = append(left, n)
	}
	return newMatcher(left)
}

// stored is what is stored of the needles.
type stored struct {
	*Matcher
	whole []bool              // nil if none is
	shown []uint8             // how long the heads of them are before a cut; nil if there are none
	heads map[uint64][]uint32 // the needles by their first bytes, once a text with a cut was met
	cuts  int                 // that were looked at
	read  int                 // bytes that were compared with values longer than their needles
}

// maxCompared is how many bytes are compared with long values: what is stored has far less.
const maxCompared = 8 << 20

// maxCuts is how many cuts of what is stored are looked at: there are seldom more than one
// in a text, and each costs as much as some hundred bytes.
const maxCuts = 256

// note looks at one form of a stored text.
func (s *stored) note(text []byte) {
	s.search(text, false, func(n uint32) bool {
		if !s.needles[n].credential && (s.whole == nil || !s.whole[n]) && s.all(&s.needles[n], text) {
			if s.whole == nil {
				s.whole = make([]bool, len(s.needles))
			}
			s.whole[n] = true
		}
		return false
	})
	for at := s.nextCut(text, firstMark(text)); at >= 0 && s.cuts < maxCuts; at = s.nextCut(text, at+1) {
		s.cuts++
		s.headBefore(text, at)
	}
}

// headBefore notes the needles that have the longest head before the cut at at.
func (s *stored) headBefore(text []byte, at int) {
	if s.heads == nil {
		s.heads = map[uint64][]uint32{}
		for i := s.long; i < len(s.needles); i++ {
			key := load64(s.needles[i].text)
			s.heads[key] = append(s.heads[key], uint32(i))
		}
	}
	for from := max(0, at-s.longest); from+minNeedle <= at; from++ {
		for _, i := range s.heads[fold(binary.LittleEndian.Uint64(text[from:]))] {
			n := &s.needles[i]
			if !n.credential && len(n.text) >= at-from && same(text[from:at], n.text[:at-from]) {
				if s.shown == nil {
					s.shown = make([]uint8, len(s.needles))
				}
				s.shown[i] = max(s.shown[i], uint8(at-from))
			}
		}
	}
}

// all reports whether a text, which holds the needle, holds all of its value.
func (s *stored) all(n *needle, text []byte) bool {
	if n.size <= 0 {
		return n.size == 0
	}
	for from := 0; from+n.size <= len(text) && s.read < maxCompared; from++ {
		s.read++
		if !same(text[from:from+len(n.text)], n.text) {
			continue
		}
		s.read += n.size
		if sumOf(text[from:from+n.size]) == n.sum {
			return true
		}
	}
	return false
}

// maxStored is the longest value that a record could hold whole.
const maxStored = 16 << 10

var seed = maphash.MakeSeed()

// sumOf returns a hash of a text in lower case.
func sumOf[T string | []byte](text T) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	var buf [256]byte
	for len(text) > 0 {
		n := copy(buf[:], text)
		for i, c := range buf[:n] {
			buf[i] = lower[c]
		}
		_, _ = h.Write(buf[:n])
		text = text[n:]
	}
	return h.Sum64()
}
