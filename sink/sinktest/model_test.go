package sinktest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// disk is a medium for the sinks of these tests. Its unit of writing is one
// record.
type disk struct {
	mu      sync.Mutex
	rows    []jobaudit.Record
	junk    [][]byte // what lies there besides
	healthy int      // writes until the failure; negative: no failure
	hung    chan struct{}
	changed chan struct{}        // closed by the next write; nil while nobody waits
	broken  map[uuid.UUID][]byte // lines that damage has put in the place of records
}

var errDisk = errors.New("the disk failed")

func newDisk() *disk { return &disk{healthy: -1} }

// write stores a record. It waits while the disk hangs, until ctx ends.
func (d *disk) write(ctx context.Context, r jobaudit.Record) error {
	d.mu.Lock()
	hung := d.hung
	d.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.healthy == 0 {
		return errDisk
	}
	d.healthy = max(d.healthy-1, -1)
	d.rows = append(d.rows, r)
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
	return nil
}

// change returns a channel that the next write closes.
func (d *disk) change() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.changed
}

func (d *disk) all() []jobaudit.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.rows)
}

func (d *disk) replace(rows []jobaudit.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows = rows
}

func (d *disk) damage(_ context.Context, r jobaudit.Record, line []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken == nil {
		d.broken = make(map[uuid.UUID][]byte)
	}
	d.broken[r.ID()] = line
	return nil
}

// line returns the bytes of a row as they are now.
func (d *disk) line(r jobaudit.Record) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if line, broken := d.broken[r.ID()]; broken {
		return line
	}
	return r.Bytes()
}

func (d *disk) hang() (heal func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hung := make(chan struct{})
	d.hung = hung
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.hung = nil
		close(hung)
	}
}

func (d *disk) fail(healthy int) (heal func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.healthy = healthy
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.healthy = -1
	}
}

func (d *disk) bytes(context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, r := range d.all() {
			if !yield(r.Bytes(), nil) {
				return
			}
		}
		for _, b := range d.junk {
			if !yield(b, nil) {
				return
			}
		}
	}
}

// bug is what is wrong with a model. The empty bug is a good sink.
type bug string

// model is a sink over a disk that keeps the whole contract, except for its
// bug.
type model struct {
	disk *disk
	bug  bug
	stop <-chan struct{} // ends what the bug leaves behind

	turn   chan struct{} // a lock that can be waited for with a context
	closed chan struct{}
	known  map[uuid.UUID]jobaudit.Hash
	kept   [][]jobaudit.Record // caller's slices, or what was acknowledged too early
}

func open(d *disk, b bug, stop <-chan struct{}) *model {
	m := &model{
		disk: d, bug: b, stop: stop,
		turn: make(chan struct{}, 1), closed: make(chan struct{}),
		known: make(map[uuid.UUID]jobaudit.Hash),
	}
	switch b {
	case "is volatile":
		d.replace(nil)
	case "forgets IDs at the open":
		return m
	case "leaves a goroutine behind":
		go func() { <-stop }()
	}
	for _, r := range d.all() {
		m.known[r.ID()] = r.Hash()
	}
	return m
}

// medium returns a Medium with models that have the bug.
func medium(b bug, stop <-chan struct{}) sinktest.Medium {
	d := newDisk()
	return sinktest.Medium{
		Open:  func(context.Context) (jobaudit.AuditSink, error) { return open(d, b, stop), nil },
		Bytes: d.bytes, Hang: d.hang, Fail: d.fail, Replace: d.damage,
		Prove: func(_ context.Context, _ jobaudit.AuditSink, r jobaudit.Record) error {
			if b == "proves anything" || slices.ContainsFunc(d.all(), func(s jobaudit.Record) bool { return s.Hash() == r.Hash() }) {
				return nil
			}
			return errors.New("not in the log")
		},
	}
}

func (m *model) Append(ctx context.Context, records []jobaudit.Record) error {
	err := m.append(ctx, records)
	switch {
	case m.bug == "hides the context's error" && ctx.Err() != nil:
		return errors.New("could not write")
	case m.bug == "refuses what the disk refused" && errors.Is(err, errDisk):
		return &jobaudit.RecordError{ID: records[0].ID(), Err: err}
	case m.bug == "gives the bare conflict" && errors.Is(err, jobaudit.ErrConflict):
		return jobaudit.ErrConflict
	case m.bug == "names no record" && errors.Is(err, jobaudit.ErrConflict):
		return &jobaudit.RecordError{Err: jobaudit.ErrConflict}
	}
	return err
}

func (m *model) append(ctx context.Context, records []jobaudit.Record) error {
	if m.bug == "does not heed a context" {
		ctx = context.WithoutCancel(ctx)
	}
	if m.bug == "heeds no context once it writes" && ctx.Err() == nil {
		ctx = context.WithoutCancel(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.turn }()
	if m.bug != "takes records after Close" {
		select {
		case <-m.closed:
			return errors.New("closed")
		default:
		}
	}
	switch m.bug {
	case "keeps the caller's slice":
		m.kept = append(m.kept, records)
		return nil
	case "acknowledges what it has not written":
		m.kept = append(m.kept, slices.Clone(records))
		return nil
	case "notes down contexts":
		m.disk.junk = append(m.disk.junk, fmt.Append(nil, ctx))
	case "changes the caller's slice":
		err := m.store(ctx, records)
		slices.Reverse(records)
		return err
	case "stores a batch backwards":
		records = slices.Clone(records)
		slices.Reverse(records)
	case "writes the end of a batch first":
		return m.storeEndFirst(ctx, records)
	}
	return m.store(ctx, records)
}

func (m *model) store(ctx context.Context, records []jobaudit.Record) error {
	var late error
	for _, r := range records {
		write, err := m.admit(r)
		if err == nil && write {
			err = m.write(ctx, r)
		}
		switch {
		case err == nil:
		case m.bug == "stores what stands behind a refused record":
			late = err
		case m.bug == "swallows write errors" && errors.Is(err, errDisk):
		default:
			return err
		}
		if m.bug == "lets batches mix" {
			<-m.turn
			runtime.Gosched()
			m.turn <- struct{}{}
		}
	}
	return late
}

// storeEndFirst leaves the right order behind, unless a write fails.
func (m *model) storeEndFirst(ctx context.Context, records []jobaudit.Record) error {
	last := len(records) - 1
	if err := m.store(ctx, slices.Concat(records[last:], records[:last])); err != nil {
		return err
	}
	rows := m.disk.all()
	end := slices.IndexFunc(rows, func(r jobaudit.Record) bool { return r.ID() == records[last].ID() })
	m.disk.replace(append(slices.Delete(rows, end, end+1), records[last]))
	return nil
}

// admit says whether a record has to be written.
func (m *model) admit(r jobaudit.Record) (bool, error) {
	if r.Len() == 0 {
		switch m.bug {
		case "passes over a malformed record":
			return false, nil
		case "panics at a malformed record":
			panic(r.Bytes()[0])
		}
		return false, &jobaudit.RecordError{Err: errors.New("empty")}
	}
	hash, stored := m.known[r.ID()]
	switch {
	case !stored, m.bug == "stores a retry again":
		return true, nil
	case m.bug == "takes a retry for a conflict":
	case hash == r.Hash(), m.bug == "does nothing on a conflict":
		return false, nil
	case m.bug == "overwrites on a conflict":
		rows := m.disk.all()
		rows[slices.IndexFunc(rows, func(s jobaudit.Record) bool { return s.ID() == r.ID() })] = r
		m.disk.replace(rows)
		return false, nil
	}
	return false, &jobaudit.RecordError{ID: r.ID(), Err: jobaudit.ErrConflict}
}

func (m *model) write(ctx context.Context, r jobaudit.Record) error {
	if m.bug == "knows IDs that it could not write" {
		m.known[r.ID()] = r.Hash()
	}
	if m.bug == "samples log lines" && r.Type() == jobaudit.JobLogged {
		return nil
	}
	if err := m.disk.write(ctx, r); err != nil {
		return err
	}
	m.known[r.ID()] = r.Hash()
	return nil
}

func (m *model) Close() error {
	if m.bug == "cannot be closed twice at a time" {
		return errors.New("busy")
	}
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	close(m.closed)
	return m.flush()
}

// flush writes what was acknowledged without being written. The caller has the
// turn.
func (m *model) flush() error {
	kept := m.kept
	m.kept = nil
	if m.bug == "acknowledges what it has not written" {
		kept = kept[:max(len(kept)-1, 0)] // the last batch is lost
	}
	for _, batch := range kept {
		if err := m.store(context.Background(), batch); err != nil {
			return err
		}
	}
	return nil
}

func (m *model) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	passes := 0
	return func(yield func(jobaudit.Record, error) bool) {
		passes++
		if m.bug == "can be read once" && passes > 1 {
			return
		}
		m.turn <- struct{}{}
		if m.bug == "keeps the caller's slice" {
			_ = m.flush()
		}
		if m.bug == "holds its lock while it yields" {
			defer func() { <-m.turn }()
		} else {
			<-m.turn
		}
		m.pass(ctx, q, yield)
	}
}

func (m *model) pass(ctx context.Context, q jobaudit.Query, yield func(jobaudit.Record, error) bool) {
	rows, err := m.selected(q)
	if err != nil {
		if yield(jobaudit.Record{}, err) && m.bug == "yields an error twice" {
			yield(jobaudit.Record{}, err)
		}
		return
	}
	n := 0
	for _, r := range rows {
		if m.bug != "is read on after a cancellation" && ctx.Err() != nil {
			break
		}
		if q.Limit > 0 && n == q.Limit {
			return
		}
		r, err := m.parse(r)
		if r.Len() == 0 && err == nil {
			continue
		}
		if !yield(r, err) && m.bug != "cannot be left" || err != nil && m.bug == "stops at an unreadable record" {
			return
		}
		if err == nil || m.bug == "counts unreadable records" {
			n++
		}
	}
	if err := ctx.Err(); err != nil && m.bug != "is read on after a cancellation" {
		yield(jobaudit.Record{}, err)
	}
}

// parse reads a row. It returns neither a record nor an error for a row that is
// passed over.
func (m *model) parse(row jobaudit.Record) (jobaudit.Record, error) {
	r, err := jobaudit.ParseRecord(m.disk.line(row))
	switch {
	case err == nil && m.bug == "encodes again":
		return compacted(r), nil
	case err == nil:
		return r, nil
	case m.bug == "passes over an unreadable record":
		return jobaudit.Record{}, nil
	case m.bug == "gives an unreadable record's plain error":
		return jobaudit.Record{}, err
	case m.bug == "does not say where an unreadable record is":
		return jobaudit.Record{}, &jobaudit.UnreadableError{Err: err}
	}
	return jobaudit.Record{}, &jobaudit.UnreadableError{Place: row.ID().String(), Err: err}
}

func (m *model) selected(q jobaudit.Query) ([]jobaudit.Record, error) {
	rows := m.disk.all()
	if m.bug == "reads in the order of IDs" {
		slices.SortFunc(rows, func(a, b jobaudit.Record) int { return strings.Compare(a.ID().String(), b.ID().String()) })
	}
	if q.NewestFirst {
		slices.Reverse(rows)
	}
	if q.After != uuid.Nil {
		at := slices.IndexFunc(rows, func(r jobaudit.Record) bool { return r.ID() == q.After })
		if at < 0 && m.bug != "reads from the start behind an unknown ID" {
			return nil, errors.New("unknown ID")
		}
		if m.bug == "reads the record again that was seen" {
			at--
		}
		rows = rows[at+1:]
	}
	if m.bug == "applies the limit before the filter" && q.Limit > 0 {
		rows = rows[:min(q.Limit, len(rows))]
	}
	switch m.bug {
	case "does not select by root":
		q.RootID = uuid.Nil
	case "does not select by those acted for":
		q.PrincipalID, q.ActingFor = q.ActingFor, ""
	}
	return slices.DeleteFunc(rows, func(r jobaudit.Record) bool { return !q.Match(r) }), nil
}

// Jobs is what [jobaudit.Jobs] makes of the records.
func (m *model) Jobs(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Job, error] {
	if m.bug == "selects jobs by any event" && q.State != "" {
		q.State = ""
	}
	all := jobaudit.Jobs(ctx, struct{ jobaudit.AuditReader }{m}, q)
	if m.bug != "lists the oldest job first" {
		return all
	}
	return func(yield func(jobaudit.Job, error) bool) {
		var jobs []jobaudit.Job
		for job, err := range all {
			if err != nil {
				yield(job, err)
				return
			}
			jobs = append(jobs, job)
		}
		for _, job := range slices.Backward(jobs) {
			if !yield(job, nil) {
				return
			}
		}
	}
}

func (m *model) Tail(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		if q.NewestFirst && m.bug != "tails backwards" {
			yield(jobaudit.Record{}, errors.New("cannot be tailed backwards"))
			return
		}
		for {
			change, wanted := m.disk.change(), true
			m.pass(ctx, q, func(r jobaudit.Record, err error) bool {
				_, unreadable := errors.AsType[*jobaudit.UnreadableError](err)
				wanted = yield(r, err) && (err == nil || unreadable)
				if wanted && err == nil {
					q.Limit--
					q.After = r.ID()
					wanted = q.Limit != 0 || m.bug == "tails on behind the limit"
				}
				return wanted
			})
			if !wanted || m.bug == "does not wait for records to come" {
				return
			}
			select {
			case <-change:
			case <-m.closed:
				if m.bug == "tails on after Close" {
					<-ctx.Done()
				}
				yield(jobaudit.Record{}, errors.New("closed"))
				return
			case <-ctx.Done():
				yield(jobaudit.Record{}, ctx.Err())
				return
			}
		}
	}
}

// compacted is the record after a decoder and an encoder.
func compacted(r jobaudit.Record) jobaudit.Record {
	var b bytes.Buffer
	if json.Compact(&b, r.Bytes()) != nil {
		return r
	}
	again, err := jobaudit.ParseRecord(b.Bytes())
	if err != nil {
		return r
	}
	return again
}
