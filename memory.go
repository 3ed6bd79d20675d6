package jobaudit

import (
	"iter"
	"reflect"
	"sync"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
	"github.com/jobaudit/jobaudit/internal/taint"
	"github.com/jobaudit/jobaudit/internal/walk"
)

const (
	ruleTaint        = "taint"       // a text that holds what was removed from the inputs
	taintUnavailable = "unavailable" // what was removed from the inputs is not known
)

// memory is what one job's door remembers of the values that were removed from
// the job's inputs. The inputs are remembered before anything else passes.
type memory struct {
	known   []string // texts that the record holds anyway
	missing bool     // there was a policy, but no inputs to apply it to

	mu      sync.Mutex // guards what follows, but for a matcher that is built
	removed taint.Set
	kept    []byte // of the inputs, as JSON

	once    sync.Once
	matcher *taint.Matcher // made of the rest when first needed
}

// remember copies the texts in v. Which of them are not in kept is found out
// when the first later text is compared.
func (m *memory) remember(v any, kept []byte) {
	if absent(v) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() {
		if recover() != nil { // v may be anything
			m.removed.SetIncomplete()
		}
	}()
	if !walk.Texts(reflect.ValueOf(v), revealed, m.removed.Add) {
		m.removed.SetIncomplete()
	}
	m.kept = kept
}

// revealed returns what a Secret holds.
func revealed(v any) (any, bool) {
	s, ok := v.(interface{ held() any })
	if !ok {
		return nil, false
	}
	return s.held(), true
}

// know adds texts that the record holds whatever the policy says.
func (m *memory) know(texts ...string) { m.known = append(m.known, texts...) }

// unavailable reports whether texts cannot be compared with all that was
// removed.
func (m *memory) unavailable() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.missing || m.removed.Incomplete()
}

// holds reports whether a text holds a value that was removed.
func (m *memory) holds(text string) bool {
	m.once.Do(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.matcher = m.removed.Matcher(m.stored())
		m.removed.Forget()
		m.kept = nil
	})
	return m.matcher.Match(text)
}

// stored yields the texts that the record holds.
func (m *memory) stored() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, text := range m.known {
			if !yield(text) {
				return
			}
		}
		if len(m.kept) > 0 {
			storedIn(m.kept, yield)
		}
	}
}

func storedIn(raw []byte, yield func(string) bool) bool {
	switch raw[0] {
	case '{':
		for name, member := range jsonscan.Object(raw) {
			if !yield(name) || !storedIn(member, yield) {
				return false
			}
		}
	case '[':
		for element := range jsonscan.Array(raw) {
			if !storedIn(element, yield) {
				return false
			}
		}
	case '"':
		return yield(jsonscan.Unquote(raw))
	}
	return true
}
