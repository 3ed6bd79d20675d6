package walk

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

// Env is what a walk depends on beside the value and the plan.
type Env struct {
	// Limit is how many bytes a result may have; a longer one becomes the
	// marker of a truncated value.
	Limit int
	// Guard is asked about every text that is content. If it is nil, all pass.
	Guard Guard
	// Numbers says that whole numbers are texts to ask about, too: nothing says
	// what they are.
	Numbers bool
	// Removed is called with what the walk leaves out. It may be nil.
	Removed *Collector
	// Kept is called with every text that is written. It may be nil.
	Kept func(text string)
}

// Guard decides over texts.
type Guard interface {
	// Check names the rule that a decoded text breaks, or returns "".
	Check(text string) (rule string)
	// Pseudonym returns what stands for a text of a class, or "" if nothing
	// can.
	Pseudonym(class, text string) string
	// Least returns how many bytes a text, and how many digits a whole number,
	// has at least that breaks a rule.
	Least() (bytes, digits int)
}

// Hit is a leaf that was dropped because the guard said so.
type Hit struct{ Path, Rule string }

// mark is a hit while the walk goes on: where in the buffer its marker begins
// or, of an entry that was left out because of its name, where its object was.
type mark struct {
	at   int
	name bool
	rule string
}

// check asks the guard about a text.
func (w *walker) check(s string) (rule string) {
	if len(s) < w.leastBytes || w.env.Guard == nil || w.quiet {
		return ""
	}
	if len(s) < minShared {
		return w.env.Guard.Check(s)
	}
	key := shared{unsafe.StringData(s), len(s)}
	rule, known := w.shared[key]
	if !known {
		rule = w.env.Guard.Check(s)
		if w.shared == nil {
			w.shared = map[shared]string{}
		}
		w.shared[key] = rule
	}
	return rule
}

// minShared is the shortest text of which it is noted what the guard said: one
// value may hold it many times.
const minShared = 4 << 10

type shared struct {
	at   *byte
	size int
}

// maxDigits is the most digits of a number that breaks a rule.
const maxDigits = 19

// whole asks the guard about the number that was written from start on, if it has
// as many digits as what breaks a rule.
func (w *walker) whole(start int) {
	digits := w.buf[start:]
	if len(digits) < w.leastDigits || len(digits) > maxDigits || w.quiet {
		return
	}
	for _, c := range digits {
		if c < '0' || '9' < c {
			return
		}
	}
	if rule := w.env.Guard.Check(string(digits)); rule != "" {
		w.buf = w.buf[:start]
		w.hit(rule)
	}
}

// unsafe reports whether a name that is content must not be stored, and then
// leaves its entry out.
func (w *walker) unsafe(name string) bool {
	rule := w.check(name)
	if rule == "" {
		return false
	}
	w.count++
	w.removedText(name)
	w.marks = append(w.marks, mark{len(w.buf), true, rule})
	return true
}

// hits tells where the marks are. It is called when the buffer is complete. It goes
// through the buffer once, however many marks there are.
func (w *walker) hits() []Hit {
	if len(w.marks) == 0 {
		return nil
	}
	// What was written and taken back leaves marks that later ones stand before.
	slices.SortStableFunc(w.marks, func(a, b mark) int { return cmp.Compare(a.at, b.at) })
	hits := make([]Hit, len(w.marks))
	at := place{buf: w.buf}
	for i, m := range w.marks {
		at.advance(m.at)
		hits[i] = Hit{dotted(at.path(m.name)), m.rule}
	}
	return hits
}

// maxPath is the most bytes of a hit's path.
const maxPath = 256

// place is a position in an encoded value, and the names and indices of what is around
// it. Names are stored there anyway; those that are long or more than identifiers
// become stars nevertheless.
type place struct {
	buf    []byte
	at     int
	levels []level
}

type level struct {
	name  []byte
	index int // of an element; -1 in an object
}

// advance goes on to a position that is no part of a text.
func (p *place) advance(to int) {
	buf, i := p.buf, p.at
	for ; i < to && i < len(buf); i++ {
		switch buf[i] {
		case '{':
			p.levels = append(p.levels, level{index: -1})
		case '[':
			p.levels = append(p.levels, level{})
		case '}', ']':
			p.levels = p.levels[:len(p.levels)-1]
		case ',':
			if l := &p.levels[len(p.levels)-1]; l.index >= 0 {
				l.index++
			} else {
				l.name = nil
			}
		case '"':
			start := i + 1
			for i++; buf[i] != '"'; i++ {
				if buf[i] == '\\' {
					i++
				}
			}
			if i+1 < len(buf) && buf[i+1] == ':' {
				p.levels[len(p.levels)-1].name = buf[start:i]
			}
		}
	}
	p.at = i
}

// path returns the path of the position; byName says that an entry of the object there
// was left out because of its name.
func (p *place) path(byName bool) string {
	path := ""
	for i, l := range p.levels {
		switch {
		case l.index >= 0:
			path += "[" + strconv.Itoa(l.index) + "]"
		case i == len(p.levels)-1 && byName:
			path = joinStar(path)
		case plainName(l.name):
			path = join(path, string(l.name))
		default:
			path = joinStar(path)
		}
	}
	if len(path) > maxPath {
		path = strings.ToValidUTF8(path[:maxPath-len("…")], "") + "…"
	}
	return path
}

// plainName reports whether a name is one that a programmer would give.
func plainName(name []byte) bool {
	if len(name) == 0 || len(name) > 48 {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c < '0' && c != '$' && c != '-' && c != '.' || '9' < c && c < 'A' || 'Z' < c && c < 'a' && c != '_' || c > 'z' {
			return false
		}
	}
	return true
}
