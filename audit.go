package jobaudit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/jsonenc"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// AuditSink stores records. It is the whole contract between recording and
// storage; package sinktest holds implementations to it.
//
//   - nil means that all records are durable on the sink's medium, in this
//     order and next to each other.
//   - An error means that any prefix may have been stored. The caller sends
//     the very same records again, in the same order.
//   - A record whose ID is stored already with the same bytes succeeds and is
//     stored once, however long ago that was. With other bytes it is
//     [ErrConflict].
//   - A record that can never be stored is a [*RecordError]. Nothing behind it
//     in the call is stored.
//   - Append returns when ctx ends, with ctx's error. What it stored by then
//     is unknown.
//
// Append must be safe for concurrent use, must neither change nor keep the
// slice, and must not write records of its own.
//
// A sink that can go on working without giving all that it promises, as when
// heads cannot be kept outside the log, has a method Degraded(report
// func(error)). [Open] calls it with a function that records an audit.degraded
// event. The function does not wait and may be called from any goroutine; the
// sink calls it when the trouble begins, not at each try.
//
// A sink whose Append never waits, neither for a medium nor for another call, has
// a method Immediate() AuditSink that returns the sink itself. Callers that wait
// for a record then call Append on their own goroutine, where that need not go
// through a queue: it costs them less, but Append must not block then, nor end its
// goroutine. A sink around another one does not inherit it.
type AuditSink interface {
	Append(ctx context.Context, records []Record) error
}

// AuditReader is implemented by sinks that can be read.
//
// Readers may have more methods than this one. They are optional:
//
//   - Tail(context.Context, Query) iter.Seq2[Record, error] iterates like
//     Records and then waits and goes on with the records that are stored
//     later, each as soon as it can be read. It ends when q.Limit is reached,
//     when ctx ends, with ctx's error, and when the reader is closed, with an
//     error. To begin with what comes next, set q.After to the newest record's
//     ID. With q.NewestFirst it yields nothing but an error.
//   - Jobs(context.Context, Query) iter.Seq2[Job, error] does what [Jobs] does,
//     which calls it.
type AuditReader interface {
	// Records iterates over the stored records that match q, in the order in
	// which they were accepted, or the reverse if q says so. Each pass reads
	// from the start.
	//
	// A stored record that [ParseRecord] does not accept, and that may be in
	// the selection, is yielded as an error that wraps an [*UnreadableError],
	// with a zero Record; the iteration goes on behind it, and Limit does not
	// count it. Any other error is yielded once, with a zero Record, and ends
	// the iteration.
	//
	// A pass with q.Limit or q.After is one of several: where a record gets its
	// place some time after it was accepted, such a pass yields it when it has
	// one, so that nothing comes to stand before what was read.
	Records(ctx context.Context, q Query) iter.Seq2[Record, error]
}

// Query selects records. The zero Query selects all of them; each field that
// is set narrows the selection.
type Query struct {
	JobID         uuid.UUID
	CorrelationID uuid.UUID
	RootID        uuid.UUID
	PrincipalID   string
	ActingFor     string // the ID of the principal, or of one on whose behalf it acts
	OrgID         string
	Action        string
	Resource      string
	Types         []EventType // any of these
	State         JobState    // the job's state as the record's writer knew it
	ErrorCode     ErrorCode   // of the error that the event gives its job, or its attempt

	// Since and Until bound the time at which events happened: at or after
	// Since, before Until. Events are stored with microseconds, so what the
	// bounds have beyond that is cut off.
	Since time.Time
	Until time.Time

	// After is the event ID of the last record already seen: the selection
	// begins behind it, in the direction of reading. An ID that is not stored
	// is an error.
	After       uuid.UUID
	Limit       int // at most so many records; 0 means all
	NewestFirst bool
}

// Match reports whether a record is in the selection, as far as one record can
// tell: After, Limit and NewestFirst are for the reader to apply. It decodes
// the record only if its ID, type, job and time leave the answer open.
func (q Query) Match(r Record) bool {
	switch {
	case q.JobID != uuid.Nil && q.JobID != r.jobID,
		len(q.Types) > 0 && !slices.Contains(q.Types, r.typ),
		!q.Since.IsZero() && r.time.Before(q.Since.Truncate(time.Microsecond)),
		!q.Until.IsZero() && !r.time.Before(q.Until.Truncate(time.Microsecond)),
		q.CorrelationID != uuid.Nil && !r.mayHold(q.CorrelationID),
		q.RootID != uuid.Nil && !r.mayHold(q.RootID):
		return false
	}
	if q.PrincipalID == "" && q.ActingFor == "" &&
		q.OrgID == "" && q.Action == "" && q.Resource == "" && q.State == "" && q.ErrorCode == "" {
		return q.CorrelationID == uuid.Nil && q.RootID == uuid.Nil || q.matchFamily(r)
	}
	e := r.Event()
	return q.matchEvent(&e)
}

// matchFamily decides by the two IDs alone: a story is read record by record, and all
// else in them is decoded later.
func (q Query) matchFamily(r Record) bool {
	var correlation, root uuid.UUID
	for name, value := range jsonscan.Members(r.leaf[1:]) {
		switch string(name) {
		case "correlationId":
			correlation, _ = fields.ParseUUID(jsonscan.Unquote(value))
		case "job":
			for name, value := range jsonscan.Members(value) {
				if string(name) == "rootId" {
					root, _ = fields.ParseUUID(jsonscan.Unquote(value))
				}
			}
		}
	}
	return (q.CorrelationID == uuid.Nil || q.CorrelationID == correlation) && (q.RootID == uuid.Nil || q.RootID == root)
}

// matchEvent is what Match has to decode the record for.
func (q Query) matchEvent(e *Event) bool {
	switch {
	case q.CorrelationID != uuid.Nil && q.CorrelationID != e.CorrelationID,
		q.RootID != uuid.Nil && q.RootID != e.Job.RootID,
		q.PrincipalID != "" && q.PrincipalID != e.Who.Principal.ID,
		q.ActingFor != "" && !actsFor(e, q.ActingFor),
		q.OrgID != "" && q.OrgID != e.Who.OrgID,
		q.Action != "" && q.Action != e.What.Action,
		q.Resource != "" && q.Resource != e.What.Resource,
		q.State != "" && q.State != e.Job.State:
		return false
	}
	if q.ErrorCode == "" {
		return true
	}
	detail := errorOf(e)
	return detail != nil && detail.Code == q.ErrorCode
}

// actsFor reports whether the event's principal has the ID or acts on behalf
// of one who has. Those that the event had no room for are not found.
func actsFor(e *Event, id string) bool {
	return e.Who.Principal.ID == id ||
		slices.ContainsFunc(e.Who.OnBehalfOf, func(p Principal) bool { return p.ID == id })
}

// Recovery is what a single-writer sink found when it was opened. Such a sink
// has a method Recovery() Recovery, and [Open] stores the report in the
// audit.opened event. One around other sinks, of which none need be such a sink, has
// Recovery() (Recovery, bool) instead, which reports whether there is one.
type Recovery struct {
	// Incarnation is the previous writer's, and Closed whether it closed.
	Incarnation uuid.UUID
	Closed      bool
	// Head is the log's newest signed head at the open: its size in records and
	// the root of its tree. Anchor is the newest head known outside the log.
	Head, Anchor *tlog.Tree
	// TornBytes counts the bytes found behind the last commit, which were
	// never acknowledged. TornHeads are the validly signed heads in them, and, where a
	// sink writes several logs, what the predecessors of the others had at last.
	TornBytes  int64
	TornSHA256 Hash
	TornHeads  []tlog.Tree
	// TornFiles name the files that keep these bytes, in the log's storage.
	TornFiles []string
	// Predecessor is set on a successor log: the origin of the log before it,
	// whose heads Head and Anchor then are.
	Predecessor string
	// Overrides name the safeguards that an option switched off for this open.
	Overrides []string
	// Warnings name what is unwise about where the log, its key and its heads
	// are kept.
	Warnings []string
	// Policies are the digests of the redaction policies that the log holds
	// already. They are not stored again.
	Policies []Hash
}

// Record is one event as it is stored: bytes that never change, and their
// RFC 6962 leaf hash. It is made by a Recorder, or read back by
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

// mayHold reports whether the line can hold an ID, which is much cheaper to
// find out than what it says. Our own events spell an ID in one way; in those
// of others its letters may be escaped.
func (r Record) mayHold(id uuid.UUID) bool {
	var buf [38]byte
	return bytes.Contains(r.leaf, jsonenc.AppendUUID(buf[:0], id)) || bytes.Contains(r.leaf, []byte(`\u`))
}

// String returns type, ID and job for people to read, never content.
func (r Record) String() string {
	return fmt.Sprintf("%s %s job %s", r.typ, r.id, r.jobID)
}
