package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
)

var _ jobaudit.AuditReader = (*Reader)(nil)

// Records iterates over the mirrored records that match, as
// [jobaudit.AuditReader] says, so that who reads logs reads their mirrors as well:
// the watchdog, the reconcilers, a story of several logs. It reads all lines from
// After on; with NewestFirst it reads them from the first on, and holds what it is
// to yield. A line that is no record is a [*jobaudit.UnreadableError], behind
// which reading goes on. Events that are missing are a [*MissingError], as in
// [Reader.Lines].
//
// Each pass reads the branch that is the newest when it begins, if none was asked
// for. Who reads on behind a record gets, from a branch that has left its history, all
// records behind the last that both have.
func (r *Reader) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		now, err := r.look(ctx)
		if err != nil {
			yield(jobaudit.Record{}, err)
			return
		}
		p := recordPass{Reader: now, query: q, yield: yield, key: &passKey{}}
		err = p.read(ctx)
		if err == nil && !p.ended && p.left() {
			var elsewhere bool
			if p.from, elsewhere, err = now.elsewhere(ctx, q.After); elsewhere {
				p.begun = true
				err = p.read(ctx)
			}
		}
		if err == nil && !p.ended {
			err = ctx.Err()
		}
		if err == nil && !p.ended && q.After != uuid.Nil && !p.begun {
			err = fmt.Errorf("mirror: there is no record %s, to read on behind", q.After)
		}
		switch {
		case err != nil && !p.ended:
			yield(jobaudit.Record{}, err)
		case err == nil && q.NewestFirst:
			p.reverse()
		}
	}
}

// lastRead are the records that were yielded last by each of the newest passes: who asks
// for what is behind one, as somebody does who asks at intervals, need not wait until all
// before it is read. There are several, as others may read in between.
type lastRead struct {
	sync.Mutex
	passes [64]readTo
	next   int
}

// readTo is how far one pass has come.
type readTo struct {
	pass   *passKey
	id     uuid.UUID
	index  int64
	branch int
}

// passKey tells passes apart. It holds nothing of them.
type passKey struct{ _ byte }

// at returns where a record is if it is one that a pass yielded last, else 0.
func (l *lastRead) at(id uuid.UUID) (index int64, branch int) {
	l.Lock()
	defer l.Unlock()
	for _, to := range l.passes {
		if to.id == id {
			return to.index, to.branch
		}
	}
	return 0, 0
}

func (l *lastRead) set(p *recordPass, id uuid.UUID, index int64, branch int) {
	if p.query.JobID != uuid.Nil && p.query.After == uuid.Nil {
		return // who looks at one job does not go on from there
	}
	l.Lock()
	defer l.Unlock()
	for i := range l.passes { // at its place, or at that of the one which it goes on from
		if to := &l.passes[i]; to.pass == p.key || p.query.After != uuid.Nil && to.id == p.query.After {
			*to = readTo{p.key, id, index, branch}
			return
		}
	}
	l.passes[l.next] = readTo{p.key, id, index, branch}
	l.next = (l.next + 1) % len(l.passes)
}

// common returns up to which size two branches have the same events.
func common(all []Branch, one, other int) int64 {
	reach := map[int]int64{}
	for b, size := all[indexOf(all, one)], int64(maxSize); ; b = all[indexOf(all, b.Base)] {
		reach[b.Number] = size
		if b.Base == 0 {
			break
		}
		size = min(size, b.Size)
	}
	for b, size := all[indexOf(all, other)], int64(maxSize); ; b = all[indexOf(all, b.Base)] {
		if up, ok := reach[b.Number]; ok {
			return min(up, size)
		}
		if b.Base == 0 {
			return 0
		}
		size = min(size, b.Size)
	}
}

// recordPass goes once over the records that match a query.
type recordPass struct {
	*Reader
	query   jobaudit.Query
	yield   func(jobaudit.Record, error) bool
	key     *passKey
	begun   bool  // the record to read on behind was met
	from    int64 // where to read on if begun is set before
	yielded int
	ended   bool // no more is wanted
	held    []heldRecord
}

type heldRecord struct {
	jobaudit.Record
	err error
}

func (p *recordPass) read(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	index := p.begin()
	for line, err := range p.Lines(ctx, index) {
		if err != nil {
			return err
		}
		if auditlog.IsCommit(line) {
			continue
		}
		more, err := p.line(line, index)
		if !more || err != nil {
			return err
		}
		index++
	}
	return nil
}

// begin returns the index from which on there is something to read.
func (p *recordPass) begin() int64 {
	if p.begun {
		return p.from
	}
	if p.query.NewestFirst || p.query.After == uuid.Nil {
		return 0
	}
	index, branch := p.last.at(p.query.After)
	if branch == 0 || branch == p.Branch().Number {
		return index
	}
	both := common(p.all, branch, p.Branch().Number)
	p.begun = index >= both // the record is not in this branch
	return min(index, both)
}

// left reports whether the record to read on behind may be in a branch that the
// newest one has left: it is not in that, and no branch was asked for.
func (p *recordPass) left() bool {
	return p.query.After != uuid.Nil && !p.begun && !p.query.NewestFirst && p.branch == 0
}

// elsewhere looks for a record in the other branches, and returns from which index on
// this one has other events than the one that holds it. What may not be read is an error
// only if the record is nowhere else.
func (r *Reader) elsewhere(ctx context.Context, id uuid.UUID) (from int64, found bool, err error) {
	var unread error
	for n := len(r.all) - 1; n >= 0; n-- {
		if n == r.n {
			continue
		}
		other := &Reader{target: r.target, branch: r.all[n].Number, all: r.all, n: n, last: &lastRead{}}
		for line, err := range other.Lines(ctx, other.Branch().Size) {
			if _, lacks := errors.AsType[*MissingError](err); lacks {
				break
			}
			if errors.Is(err, fs.ErrPermission) {
				unread = err
				break
			}
			if err != nil {
				return 0, false, err
			}
			if !bytes.Contains(line, []byte(id.String())) {
				continue
			}
			if record, err := jobaudit.ParseRecord(line); err == nil && record.ID() == id {
				return common(r.all, other.Branch().Number, r.Branch().Number), true, nil
			}
		}
	}
	return 0, false, unread
}

// line takes one event. It reports whether there is to be more.
func (p *recordPass) line(line []byte, index int64) (more bool, err error) {
	r, err := jobaudit.ParseRecord(line)
	if err != nil {
		err = fmt.Errorf("mirror: %w", &jobaudit.UnreadableError{Place: fmt.Sprintf("event %d of branch %d", index, p.Branch().Number), Err: err})
	} else if p.query.After != uuid.Nil && !p.begun && r.ID() == p.query.After {
		p.begun = true
		return !p.query.NewestFirst, nil
	}
	skipped := p.query.After != uuid.Nil && !p.begun && !p.query.NewestFirst
	if skipped || err == nil && !p.query.Match(r) {
		return true, nil
	}
	if p.query.NewestFirst {
		p.hold(heldRecord{r, err})
		return true, nil
	}
	if !p.yield(r, err) {
		p.ended = true
		return false, nil
	}
	if err == nil {
		p.last.set(p, r.ID(), index, p.Branch().Number)
		p.yielded++
	}
	p.ended = p.query.Limit > 0 && p.yielded == p.query.Limit
	return !p.ended, nil
}

// hold keeps as many of the newest records as are wanted.
func (p *recordPass) hold(r heldRecord) {
	p.held = append(p.held, r)
	if r.err != nil {
		return
	}
	if p.yielded++; p.query.Limit > 0 && p.yielded > p.query.Limit {
		first := slices.IndexFunc(p.held, func(h heldRecord) bool { return h.err == nil })
		p.held = slices.Delete(p.held, 0, first+1)
		p.yielded--
	}
}

func (p *recordPass) reverse() {
	for _, h := range slices.Backward(p.held) {
		if !p.yield(h.Record, h.err) {
			return
		}
	}
}
