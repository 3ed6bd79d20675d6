package filesink

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// An entry is what memory holds of an event in the live segment.
type entry struct {
	id, job, correlation uuid.UUID
	time                 int64  // when it happened, in microseconds since 1970
	off                  uint32 // of its line in the segment
}

// An ownEvent is what the log remembers of one of the recorder's own events.
type ownEvent struct {
	typ    jobaudit.EventType
	stream uuid.UUID
	policy jobaudit.Hash
}

// ownEventOf returns nil for an event that nothing is remembered of.
func ownEventOf(r *jobaudit.Record) *ownEvent {
	switch r.Type() {
	case jobaudit.AuditOpened, jobaudit.AuditClosed, jobaudit.AuditPolicy:
		return newOwnEvent(r)
	}
	return nil
}

// newOwnEvent is apart from ownEventOf, as it needs much more of the stack.
//
//go:noinline
func newOwnEvent(r *jobaudit.Record) *ownEvent {
	e := r.Event()
	return &ownEvent{typ: e.Type, stream: e.Stream.ID, policy: sha256.Sum256(e.Data.Policy)}
}

// ownEventIn is ownEventOf for a line of the log.
func ownEventIn(p lineHeader, line []byte) *ownEvent {
	if !strings.HasPrefix(string(p.typ), "audit.") {
		return nil
	}
	r, err := jobaudit.ParseRecord(line)
	if err != nil {
		return nil // of a later version; what is not understood is not remembered
	}
	return ownEventOf(&r)
}

// parent returns the directory of a name.
func parent(name string) string { return path.Dir(name) }

// createAnew makes a file in place of one that may lie there, as another file:
// a process that has the old one open keeps it.
func createAnew(dir disk.Dir, name string) (disk.File, error) {
	f, err := dir.Create(name, false)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	if err := dir.Remove(name); err != nil {
		return nil, err
	}
	return dir.Create(name, false)
}
