package export

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Target takes events. [NewWriter], [NewSyslog] and [NewOTLP] make some.
type Target interface {
	// Send returns nil when the target has taken all of the records. After any
	// error it may have taken some of them; they are sent again. A
	// [*RefusedError] says that it is the events that are at fault, and not the
	// way to the target. Send may be called from several goroutines, if several
	// logs are sent to one target.
	Send(ctx context.Context, records []jobaudit.Record) error
}

// RefusedError says that a target was reached and did not take all events: no
// success, though it may have taken most of them.
type RefusedError struct {
	ID       uuid.UUID // the event, once it is known to be this one
	Rejected int64     // how many, as far as the target says; 0 if it does not
	Reason   string    // what the target says
}

func (e *RefusedError) Error() string {
	what := "events"
	if e.Rejected > 0 {
		what = fmt.Sprintf("%d events", e.Rejected)
	}
	if e.ID != uuid.Nil {
		what = "event " + e.ID.String()
	}
	return fmt.Sprintf("export: the target refused %s: %s", what, e.Reason)
}

// ForwardOptions are the optional parts of [Forward]. The zero value, like nil,
// gives the defaults.
type ForwardOptions struct {
	// Batch is how many events are sent at once, at most, and how many are kept
	// beside those. Default: 256.
	Batch int
	// Timeout is how long one Send may take. Default: 30 s.
	Timeout time.Duration
	// Pause is the longest time between two tries; the first is a second, and each
	// is twice the one before. Default: 30 s.
	Pause time.Duration
	// Once ends Forward at the first error, instead of trying again.
	Once bool
	// OnSent is called after each batch that the target has taken. An error ends
	// Forward.
	OnSent func(Progress) error
	// OnError is called with each error of the target.
	OnError func(Progress, error)
	// Now is the clock that Lag is measured by. Default: time.Now.
	Now func() time.Time
}

// Progress is how far a [Forward] has come.
type Progress struct {
	Sent uint64    // events that the target has taken
	Last uuid.UUID // the newest of them; the zero UUID if there is none
	// Lag is how old the oldest event is that waits for the target; where none
	// waits, how old the newest one was when it was taken. By the clocks of who
	// recorded it and of who sends.
	Lag time.Duration
}

// Forward sends records to a target, each at least once and in their order, until
// they end, which is no error, or ctx does. It reads ahead by a batch and no
// further, so a target that is down holds up nothing but this export: the log is
// not written by it, and is read on from where it stands.
//
// While the target fails Forward tries again. Where it refuses a batch it sends
// half of it, until the event that is refused stands alone: that one is tried again
// too, as leaving it out would be a gap that nobody sees. To go on without it, start
// behind its ID.
//
// records gets a context that ends when Forward does.
func Forward(ctx context.Context, t Target, records func(context.Context) iter.Seq2[jobaudit.Record, error], opts *ForwardOptions) (Progress, error) {
	f := &forwarder{target: t, opts: opts.withDefaults()}
	f.size = f.opts.Batch
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read := make(chan jobaudit.Record, f.opts.Batch)
	failed := make(chan error, 1) // holds how reading ended, once read is closed
	go func() {
		defer close(read)
		failed <- pump(ctx, records(ctx), read)
	}()
	err := f.run(ctx, read)
	cancel()
	for range read { // until the reader is gone
	}
	if reading := <-failed; err == nil {
		err = reading
	}
	return f.progress, err
}

// pump moves records to the channel.
func pump(ctx context.Context, records iter.Seq2[jobaudit.Record, error], to chan<- jobaudit.Record) error {
	for r, err := range records {
		if err != nil {
			return fmt.Errorf("export: read: %w", err)
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (o *ForwardOptions) withDefaults() ForwardOptions {
	var opts ForwardOptions
	if o != nil {
		opts = *o
	}
	if opts.Batch <= 0 {
		opts.Batch = 256
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.Pause <= 0 {
		opts.Pause = 30 * time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return opts
}

type forwarder struct {
	target   Target
	opts     ForwardOptions
	progress Progress
	waiting  []jobaudit.Record // read and not taken by the target, oldest first
	size     int               // how many are sent at once: less than a batch after a refusal
	pause    time.Duration
}

// run sends until the channel is closed and all of it is taken, or ctx ends.
func (f *forwarder) run(ctx context.Context, read <-chan jobaudit.Record) error {
	for {
		if len(f.waiting) == 0 {
			select {
			case r, ok := <-read:
				if !ok {
					return nil
				}
				f.waiting = append(f.waiting, r)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		f.fill(read)
		if err := f.send(ctx); err != nil {
			return err
		}
	}
}

// fill takes what is there already, up to a batch.
func (f *forwarder) fill(read <-chan jobaudit.Record) {
	for len(f.waiting) < f.opts.Batch {
		select {
		case r, ok := <-read:
			if !ok {
				return
			}
			f.waiting = append(f.waiting, r)
		default:
			return
		}
	}
}

// send sends the oldest events, and waits if that fails. An error ends Forward.
func (f *forwarder) send(ctx context.Context) error {
	batch := f.waiting[:min(f.size, len(f.waiting))]
	sending, cancel := context.WithTimeout(ctx, f.opts.Timeout)
	err := f.target.Send(sending, batch)
	cancel()
	if err == nil {
		return f.sent(batch)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.progress.Lag = f.opts.Now().Sub(batch[0].Time())
	refused, isRefused := errors.AsType[*RefusedError](err)
	if isRefused && len(batch) == 1 {
		refused.ID = batch[0].ID()
	}
	if f.opts.OnError != nil {
		f.opts.OnError(f.progress, err)
	}
	if isRefused && len(batch) > 1 {
		f.size = len(batch) / 2
		return nil
	}
	if f.opts.Once {
		return err
	}
	f.pause = min(max(2*f.pause, time.Second), f.opts.Pause)
	select {
	case <-time.After(f.pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *forwarder) sent(batch []jobaudit.Record) error {
	newest := batch[len(batch)-1]
	f.progress.Sent += uint64(len(batch))
	f.progress.Last = newest.ID()
	f.progress.Lag = f.opts.Now().Sub(newest.Time())
	f.waiting = f.waiting[:copy(f.waiting, f.waiting[len(batch):])]
	f.size, f.pause = min(2*f.size, f.opts.Batch), 0
	if f.opts.OnSent == nil {
		return nil
	}
	return f.opts.OnSent(f.progress)
}
