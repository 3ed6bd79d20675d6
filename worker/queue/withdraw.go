package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit"
)

// maxWithdrawals is how many withdrawals of an adapter wait for the sink at the same time,
// tellWithdrawals how often those are told of for which there was no room, and
// withdrawalPause how long one waits before it asks again whether it is stored.
const (
	maxWithdrawals  = 64
	tellWithdrawals = time.Minute
	withdrawalPause = time.Second
)

// ErrNotWithdrawn means that jobs which are not in their queue may be on record, and that
// their ends are not: the sink takes nothing, and so many ends wait for it already.
// Where the adapter compares its queue with the logs, that ends them.
var ErrNotWithdrawn = errors.New("the ends of jobs that may be on record, and will not run, were not recorded: too many wait for the sink")

// Unsure reports whether it is not known if a submission is on record that was answered
// with an error. One that was refused for what it says is not.
func Unsure(err error) bool {
	_, field := errors.AsType[*jobaudit.FieldError](err)
	return err != nil && !field && !errors.Is(err, jobaudit.ErrNoPolicy) && !errors.Is(err, jobaudit.ErrClosed)
}

// Withdrawals end jobs in the background that are not put into their queue because their
// submissions could not be recorded in time: they may be on record all the same, and
// nobody would ever run them. The caller does not wait for the sink once more. While
// the sink takes nothing, 64 of them are kept. Others are dropped, counted, and told
// of once a minute: [ErrNotWithdrawn]. The zero value is ready; an adapter has one. It
// is safe for concurrent use.
type Withdrawals struct {
	mu       sync.Mutex
	running  int
	dropped  int       // and not told of yet
	reported time.Time // when the last ones were
}

// Cancel cancels a job. See Record.
func (w *Withdrawals) Cancel(trail *jobaudit.Trail, reason string, report func(context.Context, error)) {
	w.Record(trail, report, func(ctx context.Context) error { return trail.Cancel(ctx, reason) })
}

// Record calls end, which records the job's end, in the background. A nil Trail has no
// job on record, and one whose submission was never sent has none either. report gets
// the error; after the Recorder's Close nothing is recorded.
func (w *Withdrawals) Record(trail *jobaudit.Trail, report func(context.Context, error), end func(context.Context) error) {
	if trail == nil {
		return
	}
	ctx := context.Background()
	if !w.enter() {
		w.tell(ctx, report, false)
		return
	}
	go func() {
		defer func() { w.tell(ctx, report, w.leave()) }()
		err := end(ctx)
		if err != nil && !errors.Is(err, jobaudit.ErrTransition) {
			report(ctx, err)
		}
		for errors.Is(err, context.DeadlineExceeded) { // it is kept for the sink as long: so is its room here
			<-time.After(withdrawalPause)
			err = trail.Flush(ctx)
		}
	}()
}

// enter takes room for one, if there is any.
func (w *Withdrawals) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == maxWithdrawals {
		w.dropped++
		return false
	}
	w.running++
	return true
}

// leave gives the room back. It reports whether that was the last one.
func (w *Withdrawals) leave() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	return w.running == 0
}

// tell reports what was dropped, if it is time, or if nothing waits any more.
func (w *Withdrawals) tell(ctx context.Context, report func(context.Context, error), over bool) {
	w.mu.Lock()
	n := w.dropped
	if n == 0 || !over && !w.reported.IsZero() && time.Since(w.reported) < tellWithdrawals {
		w.mu.Unlock()
		return
	}
	w.dropped, w.reported = 0, time.Now()
	w.mu.Unlock()
	report(ctx, fmt.Errorf("%d of them: %w", n, ErrNotWithdrawn))
}
