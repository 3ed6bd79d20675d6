package jobaudit

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/internal/errtree"
)

// drainer sends to the sink what the fallback took.
type drainer struct {
	rec    *Recorder
	reader AuditReader // the fallback; nil if there is none
	ctx    context.Context
	cancel context.CancelFunc
	turn   chan struct{} // holds one value while no goroutine reads the fallback

	// The goroutine that reads the fallback has these:
	after uuid.UUID // the newest record that was read
	// held are the streams of which a record stays behind. All later ones stay behind
	// with it, until it is tried again: the log would have a gap, and never be without.
	held map[uuid.UUID]bool

	mu      sync.Mutex // guards what follows
	running sync.WaitGroup
	active  bool        // a goroutine is at work
	again   bool        // and is to read once more
	timer   *time.Timer // until the next try
	stopped bool
	seen    uint64 // records that the fallback took here and that were read
	refused uint64 // records that stay in the fallback: refused by the sink, or unreadable
	// rereads says that the fallback is read again, from its beginning, until a pass gets
	// to the end: one that fails leaves the rest to the next. met are those records that
	// stay behind of what was read so; they become refused then.
	rereads bool
	met     uint64
	// trailing is how many of what is counted stand behind the last record that can be
	// read: the next pass meets them again.
	trailing uint64
}

func (d *drainer) init(r *Recorder) {
	d.rec = r
	d.reader, _ = r.opts.Fallback.(AuditReader)
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.turn = make(chan struct{}, 1)
	d.turn <- struct{}{}
}

// wake sends what the fallback holds, in the background: the sink seems to take
// records.
func (d *drainer) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.again = true
	if d.reader == nil || d.stopped || d.active {
		return
	}
	d.active = true
	d.running.Go(d.work)
}

// later is wake after a while: the fallback has taken what the sink did not.
func (d *drainer) later() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || d.timer != nil {
		return
	}
	d.timer = time.AfterFunc(d.rec.opts.OutcomeTimeout, func() {
		d.mu.Lock()
		d.timer = nil
		d.mu.Unlock()
		d.wake()
	})
}

func (d *drainer) work() {
	for {
		d.mu.Lock()
		if !d.again || d.stopped {
			d.active = false
			d.mu.Unlock()
			return
		}
		d.again = false
		d.mu.Unlock()
		before := d.leftBehind()
		left, err := d.drain(d.ctx, false)
		switch {
		case err == nil || d.ctx.Err() != nil:
		case !left:
			d.rec.reportLater("drain", uuid.Nil, err)
			if !definite(err) {
				d.later()
			}
		case d.leftBehind() != before || d.forgetful():
			d.rec.reportLater("drain", uuid.Nil, err)
		}
	}
}

// stop ends what runs in the background, and waits for it, but no longer than a
// call may take: the fallback may not hear that its context has ended.
func (d *drainer) stop() {
	d.mu.Lock()
	d.stopped = true
	if d.timer != nil {
		d.timer.Stop()
	}
	d.mu.Unlock()
	d.cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.running.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(d.rec.opts.Timeout):
	}
}

// missing is how many of the records that the fallback took have not been read.
func (d *drainer) missing(taken uint64) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return taken - min(d.seen, taken) + d.refused
}

// leftBehind is how many records stay in the fallback.
func (d *drainer) leftBehind() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused
}

// rereading reports whether a pass has begun to read the fallback again and has failed.
func (d *drainer) rereading() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rereads && !d.forgetful()
}

// drain sends what the fallback holds to the sink: what is new, or, with all,
// also what the sink has refused. left says that all of it was read, and that the
// error is about records that stay there: trying again changes nothing.
//
// The fallback is foreign code, as its errors are: it has a goroutine of its own, which
// it may end, and a panic of it is an error.
func (d *drainer) drain(ctx context.Context, all bool) (left bool, err error) {
	select {
	case <-d.turn:
		defer func() { d.turn <- struct{}{} }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	err = errFallbackExit
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				left, err = false, errtree.Panic("the fallback", p)
			}
		}()
		all, failed := d.pass(ctx, all)
		if failed != nil {
			failed = errtree.Bounded(failed)
			// What will be asked of the error later must not panic there.
			_, _ = definite(failed), failed.Error()
		}
		left, err = all, failed
	}()
	<-ended
	return left, err
}

const errFallbackExit = errtree.Own("the fallback ended its goroutine")

// pass is drain in the goroutine that reads the fallback.
func (d *drainer) pass(ctx context.Context, all bool) (left bool, err error) {
	taken := d.rec.queue.Stats().Fallback
	pass := drainPass{drainer: d}
	pass.begin(taken, all)
	for record, err := range d.reader.Records(ctx, Query{After: d.after}) {
		if ctx.Err() != nil { // which the reader may not hear
			return false, ctx.Err()
		}
		if err != nil {
			if _, one := errtree.Find[*UnreadableError](err); one {
				pass.leave(err)
				pass.trailing++
				continue
			}
			return false, err
		}
		pass.trailing = 0
		if bytes.Compare(record.id[:6], d.rec.incarnation[:6]) >= 0 { // the milliseconds of a UUIDv7: it is this process's
			pass.read++
		}
		pass.batch = append(pass.batch, record)
		if len(pass.batch) == delivery.MaxBatchRecords {
			if err := pass.send(ctx); err != nil {
				return false, err
			}
		}
	}
	if err := pass.send(ctx); err != nil {
		return false, err
	}
	pass.end(taken)
	return true, pass.refused
}

// drainPass is one pass over the fallback.
type drainPass struct {
	drainer  *drainer
	batch    []Record
	left     uint64 // records that stay behind and are not counted yet
	refused  error  // why some stay behind
	trailing uint64 // of all that stay behind, those since the last record that can be read
	named    int    // in refused

	follows bool               // refused says that some stay behind others
	holds   map[uuid.UUID]bool // the streams that the batch which is being sent adds to held

	read, due uint64 // of this process's records: read, and expected to be
	again     bool   // what the sink has is read again
}

// begin says where the pass begins, and what it is to read.
func (p *drainPass) begin(taken uint64, all bool) {
	d := p.drainer
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.forgetful():
		p.due = d.refused // they are read again
		d.fromTheBeginning()
	case d.rereads:
		p.again = true
	case all && d.refused > 0:
		d.fromTheBeginning()
		p.again = true
	}
	p.due += taken - min(d.seen, taken)
}

// fromTheBeginning has the fallback read again; with the lock held.
func (d *drainer) fromTheBeginning() {
	d.after, d.held = uuid.Nil, nil
	d.met, d.trailing, d.rereads = 0, 0, true
}

// end notes that the pass has got to the end.
func (p *drainPass) end(taken uint64) {
	d := p.drainer
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = max(d.seen, taken+p.ahead())
	p.count(p.left - d.trailing)
	if d.trailing = p.left; d.rereads {
		d.refused, d.met, d.rereads = d.met, 0, false
	}
}

// count counts records that stay behind; with the lock held.
func (p *drainPass) count(n uint64) {
	if p.drainer.rereads {
		p.drainer.met += n
	} else {
		p.drainer.refused += n
	}
}

// ahead is how many were read that the fallback had taken and were not yet counted
// as taken.
func (p *drainPass) ahead() uint64 {
	if p.again || p.read < p.due {
		return 0
	}
	return p.read - p.due
}

// send sends a batch, one record at a time if the sink refuses it, and lets the
// fallback forget what the sink has.
func (p *drainPass) send(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	p.holds = nil
	stored := p.free()
	err := p.append(ctx, stored)
	if definite(err) {
		stored, err = p.sendEach(ctx, stored)
	}
	if err != nil {
		return err
	}
	newest := p.batch[len(p.batch)-1].ID()
	p.batch = p.batch[:0:0]
	p.passed(newest)
	if !p.drainer.forgetful() || len(stored) == 0 {
		return nil
	}
	ids := make([]uuid.UUID, len(stored))
	for i, record := range stored {
		ids[i] = record.ID()
	}
	return p.drainer.reader.(forgetter).Forget(ctx, ids)
}

// free returns the records of the batch that may go: those of streams of which none stays
// behind.
func (p *drainPass) free() []Record {
	if len(p.drainer.held) == 0 {
		return p.batch
	}
	records := make([]Record, 0, len(p.batch))
	for _, record := range p.batch {
		if stream := record.Event().Stream.ID; p.drainer.held[stream] {
			p.leaveBehind()
		} else {
			records = append(records, record)
		}
	}
	return records
}

// errStaysBehind is why records stay in the fallback that the sink might take.
const errStaysBehind = errtree.Own("a record stays in the fallback behind one of its stream that the sink has refused")

// leaveBehind is leave for a record that follows one of its stream. The reason is told once.
func (p *drainPass) leaveBehind() {
	p.left++
	if !p.follows {
		p.follows = true
		p.refused = errors.Join(p.refused, errStaysBehind)
	}
}

// sendEach sends records one by one, and returns those that the sink has.
func (p *drainPass) sendEach(ctx context.Context, records []Record) (stored []Record, err error) {
	for _, record := range records {
		stream := record.Event().Stream.ID
		if p.holds[stream] {
			p.leaveBehind()
			continue
		}
		switch err := p.append(ctx, []Record{record}); {
		case definite(err):
			if p.holds == nil {
				p.holds = map[uuid.UUID]bool{}
			}
			p.holds[stream] = true
			p.leave(err)
		case err != nil:
			return nil, err
		default:
			stored = append(stored, record)
		}
	}
	return stored, nil
}

// passed notes that what stands up to a record need not be read again.
func (p *drainPass) passed(newest uuid.UUID) {
	d := p.drainer
	d.after = newest
	if d.held == nil {
		d.held = p.holds
	} else {
		maps.Copy(d.held, p.holds)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p.count(p.left - p.trailing - d.trailing)
	p.left, d.trailing = p.trailing, 0
}

// forgetter is implemented by fallbacks that can forget records.
type forgetter interface {
	Forget(ctx context.Context, ids []uuid.UUID) error
}

// forgetful reports whether the fallback can forget. It is read from its
// beginning then, which is what is left.
func (d *drainer) forgetful() bool {
	_, ok := d.reader.(forgetter)
	return ok
}

// leave notes a record that stays behind. Of the reasons, some are kept.
func (p *drainPass) leave(err error) {
	p.left++
	if p.named++; p.named <= errtree.Max/2 {
		p.refused = errors.Join(p.refused, err)
	}
}

func (p *drainPass) append(ctx context.Context, records []Record) error {
	r := p.drainer.rec
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	return r.queue.CallSink(ctx, r.sink, records)
}

// Drain sends to the sink what the fallback took, in its order and by its
// IDs, so that what is there already is not stored again. The Recorder does so
// by itself; Drain waits for it, and tries again what the sink has refused: that
// stays behind, with what follows it in its stream, and the error names it.
func (r *Recorder) Drain(ctx context.Context) error {
	if err := r.opened("drain"); err != nil {
		return err
	}
	if r.closed.Load() {
		return &AuditError{Op: "drain", Err: ErrClosed}
	}
	if r.drainer.reader == nil {
		return nil
	}
	resumes := r.drainer.rereading()
	left, err := r.drainer.drain(ctx, true)
	if resumes && left && r.drainer.leftBehind() > 0 { // also what the pass before this one has read
		_, err = r.drainer.drain(ctx, true)
	}
	if err != nil {
		return &AuditError{Op: "drain", Err: err}
	}
	return nil
}
