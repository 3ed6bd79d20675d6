package policy

import (
	"iter"
	"reflect"
	"sync"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
	"github.com/jobaudit/jobaudit/internal/taint"
	"github.com/jobaudit/jobaudit/internal/walk"
)

// RemovedValues are the values that were removed from one job's inputs. They
// are collected before anything else of the job is compared. The zero
// RemovedValues is empty. It is safe for concurrent use once Known was called.
type RemovedValues struct {
	known []string // texts that the record holds anyway

	mu      sync.Mutex // guards what follows, but for a matcher that is built
	removed taint.Set
	kept    []byte // of the inputs, as JSON

	once    sync.Once
	matcher *taint.Matcher // made of the rest when first needed
}

// From collects the texts in v. Which of them are not in kept, the JSON that is
// stored, is found out when the first later text is compared. reveal returns
// what a secret value holds.
func (m *RemovedValues) From(v any, kept []byte, reveal func(any) (any, bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() {
		if recover() != nil { // v may be anything
			m.removed.SetIncomplete()
		}
	}()
	if !walk.Texts(reflect.ValueOf(v), reveal, m.removed.Add) {
		m.removed.SetIncomplete()
	}
	m.kept = kept
}

// Known adds texts that the record holds whatever the policy says.
func (m *RemovedValues) Known(texts ...string) { m.known = append(m.known, texts...) }

// SetIncomplete notes that not all that was removed is known.
func (m *RemovedValues) SetIncomplete() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.removed.SetIncomplete()
}

// Incomplete reports whether texts cannot be compared with all that was
// removed.
func (m *RemovedValues) Incomplete() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.removed.Incomplete()
}

// In reports whether a text holds a value that was removed.
func (m *RemovedValues) In(text string) bool {
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
func (m *RemovedValues) stored() iter.Seq[string] {
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
