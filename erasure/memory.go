package erasure

import (
	"slices"
	"sync"
)

// MemoryKeys is a [KeyStore] in memory, for tests: with the process its keys
// are gone, and what was sealed with them. The zero MemoryKeys is empty and
// ready to use. It must not be copied.
type MemoryKeys struct {
	mu        sync.Mutex
	bySubject map[string]Key
	byID      map[string]Key
}

// SubjectKey is as [KeyStore] says.
func (m *MemoryKeys) SubjectKey(subject string) (Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key, ok := m.bySubject[subject]; ok {
		return key, nil
	}
	if m.byID == nil {
		m.bySubject, m.byID = map[string]Key{}, map[string]Key{}
	}
	key := NewKey()
	m.bySubject[subject], m.byID[key.ID] = key, key
	return key, nil
}

// KeyByID is as [KeyStore] says.
func (m *MemoryKeys) KeyByID(id string) (Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key, ok := m.byID[id]
	if !ok {
		return Key{}, ErrErased
	}
	return key, nil
}

// Erase is as [KeyStore] says.
func (m *MemoryKeys) Erase(subject string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key, ok := m.bySubject[subject]
	if !ok {
		return nil, nil
	}
	delete(m.bySubject, subject)
	delete(m.byID, key.ID)
	return slices.Clip([]string{key.ID}), nil
}
