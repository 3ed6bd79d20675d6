package mirror

import (
	"errors"
	"fmt"
	"io/fs"
)

// unread are objects that a store lists and that may not be read, of those that were met
// in one reading. Who puts an object decides who may read it, so that they are passed
// by; but one can as well be the mirror's, and then a log without it only looks shorter.
// So a reader remembers those that may hold more than it has read.
type unread struct {
	branch *unreadObject         // with the greatest number
	heads  map[int]*unreadObject // of each branch, the one of the greatest size
	chunk  *unreadObject         // where the chunk belongs that was looked for last
	choice *unreadObject         // a head that might have led to the choice of another branch
}

// unreadObject is one of them, with the number or the size that its name tells.
type unreadObject struct {
	name string
	at   int64
	err  error
}

func (o *unreadObject) error() error {
	if o == nil {
		return nil
	}
	return fmt.Errorf("%s may not be read, and what it may hold was not read otherwise: %w", o.name, o.err)
}

// larger returns the one with the greater number.
func larger(a, b *unreadObject) *unreadObject {
	if a == nil || b != nil && b.at > a.at {
		return b
	}
	return a
}

// noting returns the target for one reading, which notes what may not be read.
func (t *target) noting() *target {
	return &target{store: t.store, keys: t.keys, report: t.report, unread: &unread{heads: map[int]*unreadObject{}}}
}

// refused reports an error as that of an object that may not be read, and notes that; false
// if it is another error.
func (t *target) refused(name string, err error, note func(*unread)) bool {
	if !errors.Is(err, fs.ErrPermission) {
		return false
	}
	t.report(&SquattedError{name, err})
	if t.unread != nil {
		note(t.unread)
	}
	return true
}

func (t *target) refusedBranch(n int, err error) bool {
	return t.refused(branchName(n), err, func(u *unread) {
		u.branch = larger(u.branch, &unreadObject{branchName(n), int64(n), err})
	})
}

func (t *target) refusedHead(branch int, size int64, name string, err error) bool {
	return t.refused(name, err, func(u *unread) {
		u.heads[branch] = larger(u.heads[branch], &unreadObject{name, size, err})
	})
}

func (t *target) refusedChunk(at int64, name string, err error) bool {
	return t.refused(name, err, func(u *unread) { u.chunk = larger(u.chunk, &unreadObject{name, at, err}) })
}

// unreadHead is an error if a head that may not be read is of a greater size than this.
func (t *target) unreadHead(branch int, size int64) error {
	if t.unread == nil || t.unread.heads[branch] == nil || t.unread.heads[branch].at <= size {
		return nil
	}
	return t.unread.heads[branch].error()
}

// unreadChunk is an error if an object that may not be read stands where the chunk
// belongs that was looked for last.
func (t *target) unreadChunk() error {
	if t.unread == nil {
		return nil
	}
	return t.unread.chunk.error()
}

// unreadChoice notes that a branch was left for a later one, if a head of it that may not
// be read is of a greater size than its newest one: a later successor may have signed it.
func (t *target) unreadChoice(branch int, size int64) {
	if t.unread != nil && t.unreadHead(branch, size) != nil {
		t.unread.choice = t.unread.heads[branch]
	}
}

// unreadBranch is an error if something that may not be read may say that another branch
// than this one is the newest.
func (t *target) unreadBranch(n int) error {
	if t.unread == nil {
		return nil
	}
	if b := t.unread.branch; b != nil && b.at > int64(n) {
		return b.error()
	}
	return t.unread.choice.error()
}
