package jobaudit

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/internal/errtree"
)

// homecoming brings records from the fallback home to the sink.
type homecoming struct {
	rec    *Recorder
	reader AuditReader // the fallback; nil if there is none
	ctx    context.Context
	cancel context.CancelFunc
	turn   chan struct{} // holds one value while no goroutine reads the fallback

	// The goroutine that reads the fallback has these:
	after uuid.UUID // the newest record that was read

	mu      sync.Mutex // guards what follows
	running sync.WaitGroup
	active  bool        // a goroutine is at work
	again   bool        // and is to read once more
	timer   *time.Timer // until the next try
	stopped bool
	came    uint64 // records that the fallback took here and that were read
	refused uint64 // records that were read, and that the sink refused
}

func (h *homecoming) init(r *Recorder) {
	h.rec = r
	h.reader, _ = r.opts.Fallback.(AuditReader)
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.turn = make(chan struct{}, 1)
	h.turn <- struct{}{}
}

// wake brings home what the fallback holds, in the background: the sink seems to
// take records.
func (h *homecoming) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.again = true
	if h.reader == nil || h.stopped || h.active {
		return
	}
	h.active = true
	h.running.Go(h.work)
}

// later is wake after a while: the fallback has taken what the sink did not.
func (h *homecoming) later() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped || h.timer != nil {
		return
	}
	h.timer = time.AfterFunc(h.rec.opts.OutcomeTimeout, func() {
		h.mu.Lock()
		h.timer = nil
		h.mu.Unlock()
		h.wake()
	})
}

func (h *homecoming) work() {
	for {
		h.mu.Lock()
		if !h.again || h.stopped {
			h.active = false
			h.mu.Unlock()
			return
		}
		h.again = false
		h.mu.Unlock()
		err := h.bring(h.ctx, false)
		if err == nil || h.ctx.Err() != nil {
			continue
		}
		h.rec.reportLater("drain", uuid.Nil, err)
		if !definite(err) {
			h.later()
		}
	}
}

// stop ends what runs in the background, and waits for it.
func (h *homecoming) stop() {
	h.mu.Lock()
	h.stopped = true
	if h.timer != nil {
		h.timer.Stop()
	}
	h.mu.Unlock()
	h.cancel()
	h.running.Wait()
}

// missing is how many of the records that the fallback took have not been read.
func (h *homecoming) missing(taken uint64) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return taken - min(h.came, taken) + h.refused
}

// bring sends what the fallback holds to the sink: what is new, or, with all,
// also what the sink has refused.
func (h *homecoming) bring(ctx context.Context, all bool) error {
	select {
	case <-h.turn:
		defer func() { h.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	taken := h.rec.queue.Stats().Fallback
	trip := trip{home: h}
	h.mu.Lock()
	if h.forgetful() {
		trip.due = h.refused // they are read again
		h.after, h.refused = uuid.Nil, 0
	} else if all && h.refused > 0 {
		h.after, h.refused, trip.again = uuid.Nil, 0, true
	}
	trip.due += taken - min(h.came, taken)
	h.mu.Unlock()
	for record, err := range h.reader.Records(ctx, Query{After: h.after}) {
		if err != nil {
			if _, one := errtree.Find[*UnreadableError](err); one {
				trip.leave(err)
				continue
			}
			return err
		}
		if bytes.Compare(record.id[:6], h.rec.incarnation[:6]) >= 0 { // the milliseconds of a UUIDv7: it is this process's
			trip.read++
		}
		trip.batch = append(trip.batch, record)
		if len(trip.batch) == delivery.MaxBatchRecords {
			if err := trip.send(ctx); err != nil {
				return err
			}
		}
	}
	if err := trip.send(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.came = max(h.came, taken+trip.ahead())
	h.refused += trip.left
	return trip.refused
}

// trip is one pass over the fallback.
type trip struct {
	home    *homecoming
	batch   []Record
	left    uint64
	refused error // why they are left

	read, due uint64 // of this process's records: read, and expected to be
	again     bool   // what has come home is read again
}

// ahead is how many were read that the fallback had taken and were not yet counted
// as taken.
func (p *trip) ahead() uint64 {
	if p.again || p.read < p.due {
		return 0
	}
	return p.read - p.due
}

// send sends a batch, one record at a time if the sink refuses it, and lets the
// fallback forget what has come home.
func (p *trip) send(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	home := p.batch
	err := p.append(ctx, p.batch)
	if definite(err) {
		home, err = nil, nil
		for _, record := range p.batch {
			switch one := p.append(ctx, []Record{record}); {
			case definite(one):
				p.leave(one)
			case one != nil:
				return one
			default:
				home = append(home, record)
			}
		}
	}
	if err != nil {
		return err
	}
	newest := p.batch[len(p.batch)-1].ID()
	p.batch = p.batch[:0:0]
	p.home.after = newest
	if !p.home.forgetful() || len(home) == 0 {
		return nil
	}
	ids := make([]uuid.UUID, len(home))
	for i, record := range home {
		ids[i] = record.ID()
	}
	return p.home.reader.(forgetter).Forget(ctx, ids)
}

// forgetter is implemented by fallbacks that can forget records.
type forgetter interface {
	Forget(ctx context.Context, ids []uuid.UUID) error
}

// forgetful reports whether the fallback can forget. It is read from its
// beginning then, which is what is left.
func (h *homecoming) forgetful() bool {
	_, ok := h.reader.(forgetter)
	return ok
}

// leave notes a record that stays behind. Of the reasons, some are kept.
func (p *trip) leave(err error) {
	if p.left++; p.left <= errtree.Max/2 {
		p.refused = errors.Join(p.refused, err)
	}
}

func (p *trip) append(ctx context.Context, records []Record) error {
	r := p.home.rec
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	return r.queue.Append(ctx, r.sink, records)
}

// Drain brings home to the sink what the fallback took, in its order and by its
// IDs, so that what is there already is not stored again. The Recorder does so
// by itself; Drain waits for it, and tries again what the sink has refused: that
// stays behind, and the error names it.
func (r *Recorder) Drain(ctx context.Context) error {
	if err := r.opened("drain"); err != nil {
		return err
	}
	if r.home.reader == nil {
		return nil
	}
	if err := r.home.bring(ctx, true); err != nil {
		return &AuditError{Op: "drain", Err: err}
	}
	return nil
}
