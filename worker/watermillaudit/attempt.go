package watermillaudit

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// recordTimeout is how long the start of an attempt waits to learn what was
// before it, and a message that is going to be nacked for the record of it.
const recordTimeout = 5 * time.Second

// attempt is one delivery of a message to a handler, from its start to the
// acknowledgement, positive or negative.
type attempt struct {
	a        *Audit
	msg      *message.Message
	trail    *jobaudit.Trail
	number   int             // changes only while the handler is running
	singular bool            // its message will not be known again
	handled  context.Context // the message's own, as it was delivered
	local    bool            // handled is the publisher's, and not the Pub/Sub's
	jobCtx   context.Context
	stop     func() error // ends the heartbeats, and jobCtx
	unwatch  func() bool  // nil if handled is not watched
	mark     *string      // of a poison queue, that the message came with
	over     chan struct{}

	mu              sync.Mutex // guards what follows; none of it changes once decided
	idle            bool       // the handler has returned
	err             error      // what it returned
	denied          bool       // the authorization was withdrawn before it was done
	poisoned        error      // why a poison queue has the message, if one has it
	failureRecorded bool       // that the attempt failed is on record
	last            bool       // it failed, and does not come back if it is nacked
	decided         bool       // the attempt's end is on record, or on its way there
	awaiting        bool       // a goroutine waits for the acknowledgement
}

// errNacked is the error of an attempt that gives none.
var errNacked = errors.New("the message was nacked though its handler returned no error: the handler did so, or what it produced could not be published")

// exited reports whether the error is that of a handler that ended its
// goroutine by runtime.Goexit.
func exited(err error) bool {
	coded, ok := errors.AsType[interface {
		error
		JobErrorCode() string
	}](err)
	return ok && coded.JobErrorCode() == string(jobaudit.CodeGoexit)
}

func (at *attempt) start(ctx context.Context) error {
	ref := queueRef(message.SubscribeTopicFromCtx(ctx), at.msg, at.trail.JobID())
	err := queue.WithRef(ref, anywhere(at.trail.JobID()), func(ref jobaudit.Ref) error {
		return at.trail.Start(ctx, jobaudit.Execution{Attempt: at.number, Queue: ref})
	})
	if err != nil && !errors.Is(err, jobaudit.ErrDenied) && !errors.Is(err, jobaudit.ErrClosed) {
		at.trail.Deferring(context.WithoutCancel(ctx), "the start could not be recorded, and the handler was not called")
	}
	return err
}

// again starts another execution of the same delivery: there is middleware
// outside that calls the handler again, such as middleware.Retry. It reports
// false if this attempt has its end already.
func (at *attempt) again(ctx context.Context) (bool, error) {
	at.mu.Lock()
	if at.decided {
		at.mu.Unlock()
		return false, nil
	}
	at.idle = false
	at.mu.Unlock()
	at.number++
	if trail, ok := jobaudit.FromContext(at.msg.Context()); !ok || trail != at.trail {
		at.msg.SetContext(at.trail.Context(at.msg.Context()))
	}
	err := jobaudit.ErrDenied
	if !at.withdrawn() {
		err = at.start(ctx)
	}
	if err != nil {
		at.notBegun(err)
		return true, err
	}
	at.mu.Lock()
	at.failureRecorded = false
	at.mu.Unlock()
	if mark := unmark(at.msg); mark != nil {
		at.mark = mark
	}
	return true, nil
}

// notBegun takes in that an execution was not begun, which is on record.
func (at *attempt) notBegun(err error) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if !at.decided {
		at.idle, at.failureRecorded, at.denied = true, true, refused(err)
		at.await()
	}
}

// withdrawn reports whether the job's authorization was withdrawn.
func (at *attempt) withdrawn() bool {
	return errors.Is(context.Cause(at.jobCtx), jobaudit.ErrDenied)
}

func acked(msg *message.Message) bool  { return isClosed(msg.Acked()) }
func nacked(msg *message.Message) bool { return isClosed(msg.Nacked()) }

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// sentBack reports whether the message has been, or is about to be, delivered
// again because of this attempt.
func (at *attempt) sentBack() bool {
	at.mu.Lock()
	defer at.mu.Unlock()
	return nacked(at.msg) || at.failureRecorded || at.decided
}

// ended waits for the record of the attempt's end, but not without limit: middleware
// outside may hold the message for as long as it likes.
func (at *attempt) ended(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	select {
	case <-at.over:
	case <-ctx.Done():
	}
}

// giveUp records that the Pub/Sub takes the message back before its handler has
// returned: its context, which is the Pub/Sub's, has ended without an
// acknowledgement. It is being closed, or the handler has run for too long. What
// the handler says later does not reach it.
func (at *attempt) giveUp() bool {
	at.mu.Lock()
	if at.decided || at.idle || at.local || !errors.Is(at.handled.Err(), context.Canceled) || acked(at.msg) || nacked(at.msg) {
		at.mu.Unlock()
		return false
	}
	at.decided = true
	at.mu.Unlock()
	at.trail.Deferring(context.Background(), "the Pub/Sub took the message back before its handler had returned")
	at.flush()
	at.finish()
	return true
}

// returned takes in how the handler ended. That it failed is on record before
// the message is nacked, which others may be given at once then.
func (at *attempt) returned(err error, denied bool) {
	at.giveUp()
	taken := at.remark()
	failed := err != nil && !acked(at.msg)
	last := failed && at.final(err)
	at.mu.Lock()
	if at.decided {
		at.mu.Unlock()
		how := "returned"
		if err != nil {
			how = "returned an error"
		}
		at.trail.Log(context.WithoutCancel(at.handled), "the handler "+how+" after its attempt had ended")
		return
	}
	at.idle, at.err, at.denied, at.poisoned, at.failureRecorded, at.last = true, err, denied, taken, failed && !last, last
	at.mu.Unlock()
	if failed && !last {
		at.trail.Retrying(context.Background(), at.because())
		at.flush()
	}
	if exited(err) { // the router does not notice, and acknowledges nothing
		at.conclude()
		return
	}
	at.mu.Lock()
	defer at.mu.Unlock()
	at.await()
}

// await sees to it that a goroutine waits for the acknowledgement, which the
// router sends when the outermost middleware has returned and what was produced
// is published. mu is held.
func (at *attempt) await() {
	if at.awaiting {
		return
	}
	at.awaiting = true
	go func() {
		select {
		case <-at.msg.Acked():
		case <-at.msg.Nacked():
		}
		at.conclude()
	}()
}

// conclude records what becomes of the job, once, unless the handler has been
// called again.
func (at *attempt) conclude() {
	at.mu.Lock()
	at.awaiting = false
	if at.decided || !at.idle {
		at.mu.Unlock()
		return
	}
	at.decided = true
	at.mu.Unlock()
	defer at.finish()
	ctx, err := context.Background(), at.because()
	gone := acked(at.msg)
	switch {
	case at.denied:
		at.a.report(ctx, at.trail.Cancel(ctx, "authorization was withdrawn"))
	case gone && at.err == nil && at.poisoned != nil:
		at.a.report(ctx, at.trail.Fail(ctx, at.poisoned))
	case gone && at.err == nil:
		at.a.report(ctx, at.trail.Succeed(ctx))
	case gone:
		at.a.report(ctx, at.trail.Fail(ctx, err))
	case at.failureRecorded:
	case at.last, at.err == nil && at.final(errNacked):
		at.a.report(ctx, at.trail.Fail(ctx, err))
	default:
		at.trail.Retrying(ctx, err)
		at.flush()
	}
}

// final reports whether the message will not be known again once it is nacked.
func (at *attempt) final(err error) (final bool) {
	defer func() {
		if p := recover(); p != nil {
			at.a.report(context.Background(), fmt.Errorf("watermillaudit: Options.Final panicked with a %T", p))
		}
	}()
	return at.singular || at.a.opts.Final(at.msg, at.number, err)
}

// flush waits for what was recorded of the attempt's end.
func (at *attempt) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	at.a.report(ctx, at.trail.Flush(ctx))
}

func (at *attempt) finish() {
	_ = at.stop()
	if at.unwatch != nil {
		at.unwatch()
	}
	at.a.remove(at)
	close(at.over)
}

// because is the error that the record gives: never a panic's value.
func (at *attempt) because() error {
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.err == nil {
		return errNacked
	}
	if p, ok := errors.AsType[middleware.RecoveredPanicError](at.err); ok {
		return &panicked{frameIn(p.Stacktrace)}
	}
	return at.err
}

// A middleware.PoisonQueue acks a message that failed. It marks the message
// before it publishes it elsewhere, with four entries of the metadata. A message
// that has been in a poison queue comes with such marks; one of them, which
// no process reads, is taken off while its handler runs, to see whether it is set
// again.

// unmark takes the mark off, and returns it.
func unmark(msg *message.Message) *string {
	mark, ok := msg.Metadata[middleware.PoisonedSubscriberKey]
	if !ok {
		return nil
	}
	delete(msg.Metadata, middleware.PoisonedSubscriberKey)
	return &mark
}

// remark returns why a poison queue has taken the message, or puts the mark back
// that was taken off.
func (at *attempt) remark() error {
	if _, ok := at.msg.Metadata[middleware.PoisonedSubscriberKey]; ok {
		return poisonError(at.msg)
	}
	if at.mark != nil {
		at.msg.Metadata.Set(middleware.PoisonedSubscriberKey, *at.mark)
	}
	return nil
}

// poisonError is the error for which a message went to a poison queue.
func poisonError(msg *message.Message) error {
	reason := msg.Metadata.Get(middleware.ReasonForPoisonedKey)
	if _, stack, ok := strings.Cut(reason, "stacktrace: \n"); ok && strings.Contains(reason, "panic occurred: ") {
		return &panicked{frameIn(stack)} // the text before holds the panic's value
	}
	return &poisoned{reason}
}

// poisoned is an error that a poison queue has kept the text of.
type poisoned struct{ reason string }

func (p *poisoned) Error() string { return p.reason }

// panicked is a panic without its value, which may hold anything.
type panicked struct{ frame string }

func (p *panicked) Error() string {
	if p.frame == "" {
		return "panic"
	}
	return "panic in " + p.frame
}

// JobErrorCode gives the code of a panic.
func (*panicked) JobErrorCode() string { return string(jobaudit.CodePanic) }

// frameIn finds the place of a panic in the text of a stack, as debug.Stack
// writes it: a line for the function, and one for the file, behind those of the
// panic itself.
func frameIn(stack string) string {
	lines := strings.Split(stack, "\n")
	panicking := false
	for i := 0; i+1 < len(lines); i++ {
		file, ok := strings.CutPrefix(lines[i+1], "\t")
		if !ok {
			continue
		}
		function := lines[i]
		if end := strings.LastIndexByte(function, '('); end > 0 {
			function = function[:end] // without the arguments
		}
		switch {
		case function == "panic":
			panicking = true
		case panicking && !strings.HasPrefix(function, "runtime."):
			file, _, _ = strings.Cut(file, " ")
			return function + " " + path.Base(file)
		}
	}
	return ""
}
