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
	off                  uint32 // of its line in the segment
}

// A notice is what the log remembers of one of the recorder's own events.
type notice struct {
	typ    jobaudit.EventType
	stream uuid.UUID
	policy jobaudit.Hash
}

// noticeOf returns nil for an event that nothing is remembered of.
func noticeOf(r *jobaudit.Record) *notice {
	switch r.Type() {
	case jobaudit.AuditOpened, jobaudit.AuditClosed, jobaudit.AuditPolicy:
		return newNotice(r)
	}
	return nil
}

// newNotice is apart from noticeOf, as it needs much more of the stack.
//
//go:noinline
func newNotice(r *jobaudit.Record) *notice {
	e := r.Event()
	return &notice{typ: e.Type, stream: e.Stream.ID, policy: sha256.Sum256(e.Data.Policy)}
}

// noticeIn is noticeOf for a line of the log.
func noticeIn(p peeked, line []byte) *notice {
	if !strings.HasPrefix(string(p.typ), "audit.") {
		return nil
	}
	r, err := jobaudit.ParseRecord(line)
	if err != nil {
		return nil // of a later version; what is not understood is not remembered
	}
	return noticeOf(&r)
}

// parent returns the directory of a name.
func parent(name string) string { return path.Dir(name) }

// createAnew makes a file in place of one that may lie there, as another file:
// whoever has the old one open keeps it.
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
