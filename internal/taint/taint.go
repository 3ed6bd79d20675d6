// Package taint finds values that were removed from a job's inputs in later
// texts of the job, however they are written there: as they are, in other case,
// in parts, cut short, in base64, in hexadecimal, escaped for URLs, JSON or
// HTML, in UTF-16, with invisible characters between, or in one of these inside
// another.
//
// A [Set] collects the removed values. It makes needles of them: the value, or
// the head of each of its lines, and the parts of it that a later text could
// hold alone, as the password in the address of a database. A [Matcher] finds
// all needles at once, by a part of each that few others have, and those that have
// all parts in common by the automaton of Aho and Corasick ("Efficient string
// matching: an aid to bibliographic search", Communications of the ACM 18(6), 1975),
// in time that is linear in the text whatever the needles are.
//
// Values are kept in memory and nowhere else, up to a bound.
package taint

import (
	"unicode/utf8"
	"unsafe"
)

const (
	// minNeedle is the shortest value that is looked for wherever it stands:
	// shorter ones stand in any text by chance.
	minNeedle = 8
	// minCredential is the shortest credential that is looked for. Below
	// minNeedle it has to stand alone.
	minCredential = 4
	// minHead is the shortest text that holds the head of a needle: the head, and the
	// mark that it is cut by.
	minHead = minNeedle + len("...")
	// maxNeedle is how much of a value is compared: a text that holds the
	// beginning of a value is as bad as one that holds the whole.
	maxNeedle = 128

	maxNeedles     = 2_048     // besides the credentials
	maxCredentials = 1_024     // needles made of credentials
	maxBytes       = 128 << 10 // of all needles
	maxRead        = 4 << 20   // bytes of values that are read
	maxValues      = 100_000   // of each kind
)

// Set is the values that were removed from one job's inputs. The zero Set is
// empty. It is not safe for concurrent use.
type Set struct {
	credentials, rest []value
	named             []value // credentials, as only their names say
	read              int
	shared            map[shared]bool
	incomplete        bool
	only              func(text string) bool // nil, or what tells credentials by their looks
	made, madeNamed   *Matcher               // of the credentials and the named, once they were asked for
	full              bool                   // and there was no room for all of them
}

type value struct {
	text   string
	binary bool
	whole  bool // no part of it says anything
}

// Add adds a text that was removed. A credential is one that is named so, and
// is looked for whatever it looks like; of others, ordinary words are not. What
// is no text, but may hold some, is taken apart; where hardly any text can be
// made out in it, the set is incomplete.
func (s *Set) Add(text string, credential bool) {
	if credential {
		s.add(&s.credentials, text, minCredential)
	} else {
		s.add(&s.rest, text, minNeedle)
	}
}

// AddBytes is Add for a copy of bytes.
func (s *Set) AddBytes(raw []byte, credential bool) { s.Add(string(raw), credential) }

// AddNamed is Add for a credential that only a name says is one.
func (s *Set) AddNamed(text string) { s.add(&s.named, text, minCredential) }

// AddWhole is Add for a text of which no part says anything.
func (s *Set) AddWhole(text string) {
	before := len(s.rest)
	s.add(&s.rest, text, minNeedle)
	for i := range s.rest[before:] {
		s.rest[before+i].whole = true
	}
}

func (s *Set) add(to *[]value, text string, least int) {
	if len(text) < least || len(text) >= minShared && s.again(text, to) {
		return
	}
	if room := maxRead - s.read; len(text) > room {
		s.incomplete = true
		if text = text[:max(room, 0)]; len(text) < least {
			return
		}
	}
	if len(*to) >= maxValues {
		s.incomplete = true
		return
	}
	s.read += len(text)
	*to = append(*to, value{text: text, binary: !utf8.ValidString(text) || controls(text)})
	s.made, s.madeNamed = nil, nil
}

// Keep says which texts are stored. What is a credential by its name alone is none if
// it is one of them.
func (s *Set) Keep(texts func(yield func(string) bool)) {
	if len(s.named) == 0 {
		return
	}
	kept := make(map[string]bool, len(s.named))
	for _, v := range s.named {
		kept[v.text] = false
	}
	some := false
	for text := range texts {
		if _, ok := kept[text]; ok {
			kept[text], some = true, true
		}
	}
	if !some {
		return
	}
	var left []value
	for _, v := range s.named {
		if kept[v.text] {
			s.rest = append(s.rest, v)
		} else {
			left = append(left, v)
		}
	}
	s.named, s.madeNamed = left, nil
}

// minShared is the shortest text of which it is noted that it was added: one value
// may hold it many times.
const minShared = 4 << 10

// again reports whether the very same text was added before.
func (s *Set) again(text string, to *[]value) bool {
	key := shared{unsafe.StringData(text), len(text), to}
	if s.shared[key] {
		return true
	}
	if s.shared == nil {
		s.shared = map[shared]bool{}
	}
	s.shared[key] = true
	return false
}

type shared struct {
	at   *byte
	size int
	to   *[]value
}

// controls reports whether text holds control characters that texts do not
// have.
func controls(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != 0x1b {
			return true
		}
	}
	return false
}

// SetIncomplete notes that there are values that were not added.
func (s *Set) SetIncomplete() { s.incomplete = true }

// Incomplete reports whether more was removed than is looked for. It is known
// once the Matcher was made.
func (s *Set) Incomplete() bool { return s.incomplete }

// Empty reports whether there is nothing to look for.
func (s *Set) Empty() bool { return len(s.credentials)+len(s.named)+len(s.rest) == 0 }

// Credentials reports whether some of the values are credentials.
func (s *Set) Credentials() bool { return len(s.credentials)+len(s.named) > 0 }

// Matcher returns what finds the set's values, and forgets the values: only
// whether the set is complete is still known. It is nil if there is nothing to
// look for. Credentials come first, so that nothing else takes their room.
func (s *Set) Matcher() *Matcher {
	m := s.made
	if m == nil || len(s.named)+len(s.rest) > 0 {
		e := expander{limit: maxCredentials, only: s.only}
		e.all(s.credentials, true)
		e.all(s.named, true)
		e.limit = len(e.needles) + maxNeedles
		e.all(s.rest, false)
		m, s.full = newMatcher(e.needles), e.full
	}
	*s = Set{incomplete: s.incomplete || s.full, only: s.only}
	return m
}

// CredentialsOnly makes needles only of what looks like a credential: by its
// name or sign, because scan says so, or because no person would choose it. It is
// for inputs without a policy, of which nothing is kept: most of their words will
// stand in any text of the job.
func (s *Set) CredentialsOnly(scan func(text string) bool) { s.only = scan }

// CredentialMatcher returns what finds the credentials, other than those that only
// names say are some, and forgets nothing.
func (s *Set) CredentialMatcher() *Matcher {
	if s.made == nil && len(s.credentials) > 0 {
		e := expander{limit: maxCredentials, only: s.only}
		e.all(s.credentials, true)
		s.made, s.full = newMatcher(e.needles), e.full
	}
	return s.made
}

// NamedMatcher is CredentialMatcher for those that only names say are some.
func (s *Set) NamedMatcher() *Matcher {
	if s.madeNamed == nil && len(s.named) > 0 {
		e := expander{limit: maxCredentials, only: s.only}
		e.all(s.named, true)
		s.madeNamed = newMatcher(e.needles)
	}
	return s.madeNamed
}

func (e *expander) all(values []value, credential bool) {
	for _, v := range values {
		e.expand(v, credential)
	}
}
