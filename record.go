package jobaudit

import (
	"fmt"
	"slices"
	"time"

	"crypto/sha256"

	"github.com/google/uuid"
)

// Record is one event as it is stored: bytes that never change, and their
// RFC 6962 leaf hash. It is minted by a Recorder, or read back by
// [ParseRecord]; nothing else makes one. The zero Record is empty. A Record
// may be copied and used from several goroutines.
type Record struct {
	leaf  []byte // 0x00, then the line: what RFC 6962 hashes; never written to
	hash  Hash
	id    uuid.UUID
	jobID uuid.UUID
	typ   EventType
	time  time.Time
}

// ParseRecord reads a record's line, without its line feed. It accepts what a
// Recorder of this major version may have written and nothing that two readers
// could understand differently: no duplicate names, no names in other case, no
// invalid UTF-8. Unknown fields are kept in the bytes and otherwise ignored.
// The error is a [*RecordError]. The line is copied.
func ParseRecord(line []byte) (Record, error) {
	e, err := parseEvent(line)
	if err != nil {
		return Record{}, &RecordError{ID: e.ID, Err: err}
	}
	leaf := make([]byte, 1+len(line))
	copy(leaf[1:], line)
	return Record{leaf: leaf, hash: sha256.Sum256(leaf), id: e.ID, jobID: e.Job.ID, typ: e.Type, time: e.Time}, nil
}

// Bytes returns a copy of the event's line, without a line feed.
func (r Record) Bytes() []byte { return r.AppendTo(nil) }

// AppendTo appends the event's line, without a line feed, to dst.
func (r Record) AppendTo(dst []byte) []byte {
	if len(r.leaf) == 0 {
		return dst
	}
	return append(slices.Grow(dst, len(r.leaf)), r.leaf[1:]...)
}

// Len returns the number of bytes of the event's line.
func (r Record) Len() int { return max(len(r.leaf)-1, 0) }

// Hash returns the RFC 6962 leaf hash: SHA-256 of a zero byte and the line.
func (r Record) Hash() Hash { return r.hash }

// ID returns the event's ID, under which every sink stores it once.
func (r Record) ID() uuid.UUID { return r.id }

// JobID returns the job's ID, the zero UUID if the event concerns no job.
func (r Record) JobID() uuid.UUID { return r.jobID }

// Type returns the event's type.
func (r Record) Type() EventType { return r.typ }

// Time returns when it happened, by its recorder's clock.
func (r Record) Time() time.Time { return r.time }

// Event decodes the record. It reads the whole line at each call.
func (r Record) Event() Event {
	if len(r.leaf) == 0 {
		return Event{}
	}
	e, _ := decodeEvent(r.leaf[1:]) // it parsed when the record was made
	return e
}

// String returns type, ID and job for people to read, never content.
func (r Record) String() string {
	return fmt.Sprintf("%s %s job %s", r.typ, r.id, r.jobID)
}
