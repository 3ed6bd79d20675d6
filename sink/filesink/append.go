package filesink

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"golang.org/x/mod/sumdb/tlog"
)

// A request is one Append on its way into a batch.
type request struct {
	items []item
	lines []byte // the items' lines, each with its line feed
	err   error  // its own outcome, where that is not its batch's
}

// requests keeps the memory of requests.
var requests = sync.Pool{New: func() any { return new(request) }}

// An item is a record in a request.
type item struct {
	id, job, correlation uuid.UUID
	time                 int64 // microseconds since 1970
	life                 life  // its offset counts from nowhere
	hash                 tlog.Hash
	from, to             int // in the request's lines, without the line feed
	ownEvent             *ownEvent
	// stored or absent is set once the files were looked at.
	stored, absent bool
}

// newRequest encodes what a batch needs, on the caller's goroutine.
func newRequest(records []jobaudit.Record) (*request, error) {
	r := requests.Get().(*request)
	r.items, r.lines, r.err = r.items[:0], r.lines[:0], nil
	for i := range records {
		record := &records[i]
		from := len(r.lines)
		r.lines = record.AppendTo(r.lines)
		line := r.lines[from:]
		if err := auditlog.CheckLeaf(line); err != nil {
			r.free()
			return nil, &jobaudit.RecordError{ID: record.ID(), Err: err}
		}
		r.items = append(r.items, item{
			life: lifeOfRecord(record, line),
			id:   record.ID(), job: record.JobID(), correlation: correlationOf(line), time: record.Time().UnixMicro(),
			hash: record.Hash(), from: from, to: len(r.lines), ownEvent: ownEventOf(record),
		})
		r.lines = append(r.lines, '\n')
	}
	if int64(len(r.lines)) > maxAppend {
		n := len(r.lines)
		r.free()
		return nil, fmt.Errorf("filesink: an Append of %d bytes, at most %d are possible", n, int64(maxAppend))
	}
	return r, nil
}

// free lets another Append use the request's memory.
func (r *request) free() {
	if cap(r.lines) <= maxBatch {
		requests.Put(r)
	}
}

// Append stores the records, as [jobaudit.AuditSink] says: it returns nil when
// they are durable and under a signed head. Appends that run beside each other
// share one write, one fsync and one signature; the records of one stand next
// to each other.
//
// When ctx ends first the outcome is unknown. An error of the disk is not the
// end: a later Append goes on as soon as the cause is gone, and first stores
// what was under way. After [ErrReplaced] nothing is stored any more.
func (s *Sink) Append(ctx context.Context, records []jobaudit.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(records) == 0 {
		return nil
	}
	r, err := newRequest(records)
	if err != nil {
		return err
	}
	o, err := s.queue.put(r)
	for err == errFull {
		if err = await(ctx, o.taken); err == nil {
			o, err = s.queue.put(r)
		}
	}
	if err == errLookup {
		if err := await(ctx, o.done); err != nil {
			return err // the request is left to the writer, who may have it
		}
		err = cmp.Or(o.err, r.err)
		r.free()
		return err
	}
	r.free()
	if err != nil {
		return err
	}
	if err := await(ctx, o.done); err != nil {
		return err
	}
	return o.err
}

// await waits for a channel to be closed.
func await(ctx context.Context, closed <-chan struct{}) error {
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
