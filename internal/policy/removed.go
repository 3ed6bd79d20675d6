package policy

import (
	"iter"
	"sync"
	"sync/atomic"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
	"github.com/jobaudit/jobaudit/internal/taint"
	"github.com/jobaudit/jobaudit/internal/walk"
)

// RemovedValues are the values that were removed from one job's inputs, and
// those that the jobs above it know of. The zero RemovedValues is empty. It is
// safe for concurrent use once Known and Inherit were called.
type RemovedValues struct {
	known   []string // texts that the record holds anyway
	parents []*RemovedValues
	last    atomic.Pointer[removal]

	// The first memory of known and last: most jobs need no more.
	ownKnown  [3]string
	own       removal
	collected atomic.Bool // own is in use
	lost      atomic.Bool // what was removed is not known, in part at least
}

// removal is what was removed from a job's inputs.
type removal struct {
	of   *RemovedValues
	kept []byte // of the inputs, as JSON
	any  bool   // something was removed

	collection Collection // while the inputs pass through the policy

	isReady    atomic.Bool // what follows has been made, when a text was first compared
	mu         sync.Mutex  // held while it is made
	set        taint.Set
	own        *taint.Matcher   // of set; nil if there is nothing to look for
	matchers   []*taint.Matcher // own, and those of the jobs above
	ownMatcher [1]*taint.Matcher
	incomplete bool
}

// maxParents is how many jobs above one are looked at, of those from whose inputs
// something was removed.
const maxParents = 16

// Known adds texts that the record holds whatever the policy says.
func (m *RemovedValues) Known(texts ...string) {
	if m.known == nil {
		m.known = m.ownKnown[:0]
	}
	m.known = append(m.known, texts...)
}

// Inherit adds what a job above this one knows of.
func (m *RemovedValues) Inherit(parent *RemovedValues) {
	if r := parent.last.Load(); r != nil && (r.ready().own != nil || r.incomplete || parent.lost.Load()) {
		m.parents = append(m.parents, parent)
	}
	m.parents = append(m.parents, parent.parents[:min(len(parent.parents), maxParents)]...)
	if len(m.parents) > 0 {
		m.last.CompareAndSwap(nil, &removal{of: m})
	}
}

// Collection takes what a policy removes from a job's inputs.
type Collection struct {
	To *taint.Set

	parents     []*RemovedValues
	known       []string
	credentials *taint.Matcher
	named       *taint.Matcher
}

// Collect calls apply, which passes a job's inputs through a policy and returns
// the JSON that is stored of them.
func (m *RemovedValues) Collect(apply func(*Collection) (kept []byte)) {
	r := &m.own
	if m.collected.Swap(true) {
		r = new(removal)
	}
	r.of = m
	r.collection = Collection{To: &r.set, parents: m.parents, known: m.known}
	r.kept = apply(&r.collection)
	r.collection = Collection{}
	r.any = !r.set.Empty()
	if !r.any && len(m.parents) == 0 {
		r.kept = nil
	}
	m.last.Store(r)
}

// Again reports whether what is stored holds a credential that was removed
// beside it, or from the inputs of a job above. It is for [Call].
func (c *Collection) Again(result walk.Result) bool {
	if !c.To.Credentials() && len(c.parents) == 0 {
		return false
	}
	c.To.Keep(func(yield func(string) bool) {
		for _, text := range c.known {
			if !yield(text) {
				return
			}
		}
		jsonscan.Texts(result.JSON)(yield)
	})
	c.credentials, c.named = c.To.CredentialMatcher(), c.To.NamedMatcher()
	for text := range jsonscan.Texts(result.JSON) {
		if c.Holds(text) {
			return true
		}
	}
	return false
}

// Holds reports whether a text holds one of the credentials that Again has
// looked for.
func (c *Collection) Holds(text string) bool {
	if c.credentials.Match(text) || c.named.MatchCredential(text) {
		return true
	}
	for _, p := range c.parents[:min(len(c.parents), maxParents)] {
		if p.compare(text, (*taint.Matcher).MatchCredential) {
			return true
		}
	}
	return false
}

// Inherits reports whether the jobs above know of something that was removed.
func (m *RemovedValues) Inherits() bool { return len(m.parents) > 0 }

// Looks reports whether there is something of this job's that texts are compared with, or
// should be.
func (m *RemovedValues) Looks() bool {
	r := m.last.Load()
	return r != nil && (r.ready().own != nil || r.incomplete)
}

// Any reports whether there may be something to look for.
func (m *RemovedValues) Any() bool {
	r := m.last.Load()
	return r != nil && r.any
}

// In reports whether a text holds a value that was removed.
func (m *RemovedValues) In(text string) bool { return m.compare(text, (*taint.Matcher).Match) }

func (m *RemovedValues) compare(text string, match func(*taint.Matcher, string) bool) bool {
	r := m.last.Load()
	if r == nil {
		return false
	}
	for _, matcher := range r.ready().matchers {
		if match(matcher, text) {
			return true
		}
	}
	return false
}

// SetIncomplete notes that not all that was removed is known.
func (m *RemovedValues) SetIncomplete() {
	m.lost.Store(true)
	m.last.CompareAndSwap(nil, &removal{of: m})
}

// Incomplete reports whether texts cannot be compared with all that was
// removed.
func (m *RemovedValues) Incomplete() bool {
	r := m.last.Load()
	return r != nil && (m.lost.Load() || r.ready().incomplete)
}

// ready makes the matchers, of what is not stored anyway.
func (r *removal) ready() *removal {
	if r.isReady.Load() {
		return r
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.isReady.Load() {
		r.make()
		r.isReady.Store(true)
	}
	return r
}

func (r *removal) make() {
	r.matchers = r.ownMatcher[:0]
	if r.own = r.set.Matcher().Without(r.stored()); r.own != nil {
		r.matchers = append(r.matchers, r.own)
	}
	r.incomplete = r.set.Incomplete() || len(r.of.parents) > maxParents
	for i, p := range r.of.parents {
		above := p.last.Load()
		if i == maxParents || above == nil {
			continue
		}
		above.ready()
		r.incomplete = r.incomplete || above.incomplete || p.lost.Load()
		if matcher := above.own.Without(r.stored()); matcher != nil {
			r.matchers = append(r.matchers, matcher)
		}
	}
	r.kept = nil
}

// stored yields the texts that the record holds.
func (r *removal) stored() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, text := range r.of.known {
			if !yield(text) {
				return
			}
		}
		jsonscan.Texts(r.kept)(yield)
	}
}
