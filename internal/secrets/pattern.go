package secrets

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxOpen is how far beyond what it needs the end of an open-ended match is
// looked for.
const maxOpen = 64

// maxRepeat bounds how often a class may be repeated before something else
// follows, and with it what a text that only looks like a match costs.
const maxRepeat = 512

// set is a set of bytes.
type set [4]uint64

func (s *set) add(b byte)      { s[b>>6] |= 1 << (b & 63) }
func (s *set) has(b byte) bool { return s[b>>6]&(1<<(b&63)) != 0 }

func (s *set) meets(other *set) bool {
	return s[0]&other[0]|s[1]&other[1]|s[2]&other[2]|s[3]&other[3] != 0
}

// part is a literal, or between min and max bytes of a set, as many as there
// are.
type part struct {
	literal  string
	set      set
	min, max int
	which    uint8 // number of the set among those of an index
}

// format is a compiled pattern: a prefix to look up, and what has to follow.
type format struct {
	rule    string
	builtin bool
	pattern string
	prefix  string
	fold    bool // the prefix and literals match in any case
	parts   []part
	weak    bool // the prefix alone says little: what follows has to look random
	tail    bool // what follows may be a part of a token: it must not be words
	check   check
}

// check is what follows a prefix, where that is more than a pattern.
type check uint8

const (
	checkParts check = iota
	checkPEM
	checkJWT
	checkBearer
	checkBasic
	checkDER
	checkJWK
	checkHeader
	checkCurl
	checkTink
	checkNetrc
	checkSet
	checkIdentified
	checkPasswordOf
	checkCommand
	checkVariable
	checkForm
)

// parse compiles a pattern. What it accepts can be matched greedily, without
// ever going back: a class repeated a varying number of times has no byte in
// common with what follows it.
func parse(pattern string) (format, error) {
	f := format{pattern: pattern}
	rest := pattern
	rest, f.fold = strings.CutPrefix(rest, "(?i)")
	for rest != "" {
		p, after, err := parsePart(rest, f.fold)
		if err != nil {
			return format{}, err
		}
		rest = after
		if p.literal != "" && len(f.parts) == 0 {
			f.prefix = p.literal
			f.parts = append(f.parts, part{}) // the prefix's place, removed below
			continue
		}
		f.parts = append(f.parts, p)
	}
	if len(f.prefix) < 2 || !isASCII(f.prefix) || !isAlnum(f.prefix[0]) && f.prefix[0] != '$' {
		return format{}, errors.New("a pattern begins with a letter, a digit or $, and another literal character, all of ASCII")
	}
	f.parts = f.parts[1:]
	shortest := len(f.prefix)
	for i, p := range f.parts {
		shortest += p.min + len(p.literal)
		if i > 0 && p.follows(&f.parts[i-1], f.fold) {
			return format{}, errors.New("a class repeated {n,m} times is followed by one that shares characters with it")
		}
		if i < len(f.parts)-1 && p.max > maxRepeat {
			return format{}, fmt.Errorf("only the last class may be repeated more than %d times", maxRepeat)
		}
	}
	if shortest < minText {
		return format{}, fmt.Errorf("a pattern matches at least %d characters", minText)
	}
	return f, nil
}

// follows tells whether p may begin with a byte that the part before it, of
// varying length, would have taken.
func (p *part) follows(before *part, fold bool) bool {
	if before.min == before.max {
		return false
	}
	if p.literal == "" {
		return p.set.meets(&before.set)
	}
	first := p.literal[0]
	return before.set.has(first) || fold && (before.set.has(lower(first)) || before.set.has(upper(first)))
}

func parsePart(s string, fold bool) (p part, rest string, err error) {
	if s[0] != '[' {
		return parseLiteral(s)
	}
	end := closing(s)
	if end < 0 {
		return part{}, "", errors.New("a class has no ]")
	}
	if p.set, err = parseSet(s[1:end], fold); err != nil {
		return part{}, "", err
	}
	p.min, p.max, rest, err = parseRepeat(s[end+1:])
	return p, rest, err
}

// parseLiteral reads up to the next class. A backslash takes any character as
// it is.
func parseLiteral(s string) (p part, rest string, err error) {
	var literal []byte
	for s != "" && s[0] != '[' {
		switch {
		case s[0] == '\\' && len(s) > 1 && !isAlnum(s[1]):
			s = s[1:]
		case strings.IndexByte(`\.*+?(){}|^$`, s[0]) >= 0:
			return part{}, "", fmt.Errorf("%q stands for itself only after a backslash", s[0])
		}
		literal = append(literal, s[0])
		s = s[1:]
	}
	return part{literal: string(literal)}, s, nil
}

// closing returns the index of the ] that ends the class at the start of s.
func closing(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ']':
			return i
		}
	}
	return -1
}

func parseSet(s string, fold bool) (set, error) {
	var out set
	if s == "" || s[0] == '^' {
		return out, errors.New("a class lists its characters")
	}
	for i := 0; i < len(s); i++ {
		from, escaped := s[i], false
		if from == '\\' && i+1 < len(s) {
			i++
			from, escaped = s[i], true
		}
		to := from
		switch {
		case escaped && from == 'w':
			add(&out, "_", '0', '9', 'A', 'Z', 'a', 'z')
			continue
		case escaped && from == 'd':
			add(&out, "", '0', '9')
			continue
		case escaped && isAlnum(from):
			return out, fmt.Errorf("\\%c is no class", from)
		case i+2 < len(s) && s[i+1] == '-' && s[i+2] != '\\':
			to = s[i+2]
			i += 2
		}
		if from > to {
			return out, fmt.Errorf("the range %c-%c is empty", from, to)
		}
		add(&out, "", from, to)
	}
	if fold {
		for b := byte('a'); b <= 'z'; b++ {
			if out.has(b) || out.has(upper(b)) {
				add(&out, "", b, b, upper(b), upper(b))
			}
		}
	}
	return out, nil
}

// add adds single characters, and ranges given as pairs.
func add(s *set, single string, ranges ...byte) {
	for i := range len(single) {
		s.add(single[i])
	}
	for i := 0; i < len(ranges); i += 2 {
		for b := int(ranges[i]); b <= int(ranges[i+1]); b++ {
			s.add(byte(b))
		}
	}
}

func parseRepeat(s string) (least, most int, rest string, err error) {
	if !strings.HasPrefix(s, "{") {
		return 1, 1, s, nil
	}
	counts, rest, ok := strings.Cut(s[1:], "}")
	from, to, ranged := strings.Cut(counts, ",")
	least, errFrom := strconv.Atoi(from)
	most = least
	var errTo error
	switch {
	case ranged && to == "":
		most = math.MaxInt
	case ranged:
		most, errTo = strconv.Atoi(to)
	}
	if !ok || errFrom != nil || errTo != nil || least < 0 || least > most || least > maxRepeat || most == 0 {
		return 0, 0, "", fmt.Errorf("{%s} is no number of repetitions", counts)
	}
	return least, most, rest, nil
}

func (f *format) same(a, b string) bool {
	return a == b || f.fold && strings.EqualFold(a, b)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func isDigit(b byte) bool { return b-'0' <= 9 }

func isAlnum(b byte) bool { return isDigit(b) || b|0x20-'a' <= 'z'-'a' }

func isHex(b byte) bool { return isDigit(b) || b|0x20-'a' <= 'f'-'a' }

func lower(b byte) byte {
	if b-'A' <= 'Z'-'A' {
		return b | 0x20
	}
	return b
}

func upper(b byte) byte {
	if b-'a' <= 'z'-'a' {
		return b &^ 0x20
	}
	return b
}
