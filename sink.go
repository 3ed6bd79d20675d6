package jobaudit

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"
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
type AuditSink interface {
	Append(ctx context.Context, records []Record) error
}

// AuditReader is implemented by sinks that can be read.
type AuditReader interface {
	// Records iterates over the stored records that match q, in the order in
	// which they were accepted, or the reverse if q says so. Each pass reads
	// anew. An error is yielded once, with a zero Record, and ends the
	// iteration.
	Records(ctx context.Context, q Query) iter.Seq2[Record, error]
}

// Query selects records. The zero Query selects all of them; each field that
// is set narrows the selection.
type Query struct {
	JobID         uuid.UUID
	CorrelationID uuid.UUID
	RootID        uuid.UUID
	PrincipalID   string
	OrgID         string
	Action        string
	Types         []EventType // any of these
	State         JobState    // the job's state as its writer knew it
	Since         time.Time   // at or after this moment
	Until         time.Time   // before this moment

	// After is the event ID of the last record already seen: the selection
	// begins behind it, in the direction of reading. An ID that is not stored
	// is an error.
	After       uuid.UUID
	Limit       int // at most so many records; 0 means all
	NewestFirst bool
}

// Match reports whether an event is in the selection, as far as one event can
// tell: After, Limit and NewestFirst are for the reader to apply.
func (q Query) Match(e Event) bool {
	switch {
	case q.JobID != uuid.Nil && q.JobID != e.Job.ID,
		q.CorrelationID != uuid.Nil && q.CorrelationID != e.CorrelationID,
		q.RootID != uuid.Nil && q.RootID != e.Job.RootID,
		q.PrincipalID != "" && q.PrincipalID != e.Who.Principal.ID,
		q.OrgID != "" && q.OrgID != e.Who.OrgID,
		q.Action != "" && q.Action != e.What.Action,
		len(q.Types) > 0 && !slices.Contains(q.Types, e.Type),
		q.State != "" && q.State != e.Job.State,
		!q.Since.IsZero() && e.Time.Before(q.Since),
		!q.Until.IsZero() && !e.Time.Before(q.Until):
		return false
	}
	return true
}

// Recovery is what a single-writer sink found when it was opened. Such a sink
// has a method Recovery() Recovery, and [Open] stores the report in the
// audit.opened event.
type Recovery struct {
	// Incarnation is the previous writer's, and Closed whether it closed.
	Incarnation uuid.UUID
	Closed      bool
	// Head is the log's newest signed head at the open, and Anchor the newest
	// head known outside the log.
	Head, Anchor *Head
	// TornBytes counts the bytes found behind the last commit, which were
	// never acknowledged. TornHeads are the validly signed heads in them.
	TornBytes  int64
	TornSHA256 Hash
	TornHeads  []Head
	// Predecessor is set on a successor log: the origin of the log before it,
	// whose heads Head and Anchor then are.
	Predecessor string
	// Overrides name the safeguards that an option switched off for this open.
	Overrides []string
	// Policies are the digests of the redaction policies that the log holds
	// already. They are not stored again.
	Policies []Hash
}

// Head is the size of a log, in records, and the root of its tree.
type Head struct {
	Size int64
	Root Hash
}
