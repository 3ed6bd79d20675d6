package jobaudit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/internal/errtree"
)

// SetOutput gives the job's output: what the action's policy keeps of it is
// stored with [Trail.Succeed]. It is read before SetOutput returns.
func (t *Trail) SetOutput(v any) {
	if t.opened("") != nil {
		return
	}
	c := t.sanitizer.output(v)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.output = &c
}

// SetImpact says in words what the job has changed, as in "1,000 records
// updated". It is stored with the outcome.
func (t *Trail) SetImpact(s string) {
	if t.opened("") != nil {
		return
	}
	impact := t.textOf(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.impact = impact
}

// Succeed records that the job has succeeded.
func (t *Trail) Succeed(ctx context.Context) error {
	if err := t.opened("succeed"); err != nil {
		return err
	}
	return t.end(ctx, "succeed", JobSucceeded, ending{})
}

// Fail records that the job has failed, for good. What is stored of the error is
// its code, which its method JobErrorCode() string may give, its type, and its
// message. If the message must not be stored, because it holds a secret or what
// the policy removed from the inputs, the text of an error in its chain stays
// that has a method JobErrorText() string: a constant of the program, as
// [ConstantError] makes.
func (t *Trail) Fail(ctx context.Context, err error) error {
	if err := t.opened("fail"); err != nil {
		return err
	}
	data := t.errorData(err)
	return t.end(ctx, "fail", JobFailed, ending{err: data, also: func() { t.failure = data.message }})
}

// Cancel records that the job was cancelled. If it was revoked, by [Trail.Deny]
// while it ran, the record says so.
func (t *Trail) Cancel(ctx context.Context, reason string) error {
	if err := t.opened("cancel"); err != nil {
		return err
	}
	return t.cancelled(ctx, nil, reason)
}

func (t *Trail) cancelled(ctx context.Context, by *envelope, reason string) error {
	data := &errorData{code: CodeCancelled, message: t.sanitizer.text(reason)}
	return t.end(ctx, "cancel", JobCancelled, ending{err: data, by: by, also: func() {
		if t.revoked {
			data.code = CodeForbidden
		}
	}})
}

// Skip records that the job was passed over: its scheduler decided that it does
// not run, as when the run before it has not ended.
func (t *Trail) Skip(ctx context.Context, reason string) error {
	if err := t.opened("skip"); err != nil {
		return err
	}
	data := &errorData{code: CodeSkipped, message: t.sanitizer.text(reason)}
	return t.end(ctx, "skip", JobCancelled, ending{err: data})
}

// ending is what an outcome says beyond what the Trail knows.
type ending struct {
	err  *errorData
	by   *envelope
	also func() // called with mu held, if it is not nil
}

// end records an outcome.
func (t *Trail) end(ctx context.Context, op string, typ EventType, e ending) error {
	t.mu.Lock()
	if t.ended == typ && t.endedBy == op {
		same := sameActor(t.endedWho, e.by)
		t.mu.Unlock()
		if !same {
			return t.fail(op, fmt.Errorf("the record names somebody else who did it: %w", ErrTransition))
		}
		return t.fail(op, t.waitStored(ctx, nil))
	}
	if t.rec.closed.Load() {
		t.mu.Unlock()
		return t.fail(op, ErrClosed)
	}
	d, err := t.advance(typ)
	if err != nil {
		t.mu.Unlock()
		return t.fail(op, err)
	}
	t.ended, t.endedBy, t.open = typ, op, false
	t.endedWho = e.by
	t.count()
	if e.also != nil {
		e.also()
	}
	d.data.impact, d.data.affected, d.data.err, d.by = t.impact, t.affected, e.err, e.by
	if typ == JobSucceeded && t.output != nil {
		d.data.output = t.output.json
		if t.output.redaction != nil {
			d.redaction = t.output.redaction
		}
	}
	missing := t.snapshotsAtEnd(&d)
	err = t.fail(op, t.unlockAndStore(ctx, &d))
	if missing != nil {
		t.report(context.WithoutCancel(ctx), "snapshot", missing)
	}
	return err
}

// sameActor reports whether two outcomes name the same principal; nil is the job's own.
func sameActor(a, b *envelope) bool {
	if a == nil || b == nil {
		return a == b
	}
	return bytes.Equal(a.origin, b.origin)
}

// unlockAndStore sends an event and waits, through retries, until it is
// stored.
func (t *Trail) unlockAndStore(ctx context.Context, d *draft) error {
	e := t.encode(d, delivery.Outcome)
	e.Ack = t.newAck()
	c, err := t.rec.queue.SendDirect(t.stream, e)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	t.rec.queue.Make(c)
	return t.waitStored(ctx, e.Ack)
}

// waitStored waits for an acknowledgement, or for all that the stream holds, up to the
// recorder's own deadline, and then turns to the fallback sink.
func (t *Trail) waitStored(ctx context.Context, ack *delivery.Ack) error {
	if ack == nil {
		return t.flush(context.Background(), t.rec.opts.OutcomeTimeout)
	}
	err := t.rec.queue.Wait(context.Background(), t.stream, ack, t.rec.opts.OutcomeTimeout)
	if errors.Is(err, context.DeadlineExceeded) && t.rec.queue.FailOver(t.stream) {
		t.report(context.WithoutCancel(ctx), "store", fmt.Errorf("turning to the fallback sink: %w", err))
		err = t.rec.queue.Wait(context.Background(), t.stream, ack, t.rec.opts.Timeout)
	}
	return err
}

// Correct adds to an event of the job what was found out later. It is possible
// in every state.
func (t *Trail) Correct(ctx context.Context, c Correction) error {
	if err := t.opened("correct"); err != nil {
		return err
	}
	switch {
	case t.rec.closed.Load():
		return t.fail("correct", ErrClosed)
	case c.Of == uuid.Nil:
		return t.fail("correct", &FieldError{Field: "data.correction.of", Problem: "is required"})
	}
	if err := cmp.Or(checkID("data.correction.of", c.Of), checkStrings(given{"data.correction.reason", c.Reason})); err != nil {
		return t.fail("correct", err)
	}
	var by *envelope
	if c.By != (Principal{}) {
		var err error
		if by, err = t.by(c.By, c.Reason); err != nil {
			return t.fail("correct", err)
		}
	}
	data := &correctionData{of: c.Of, reversal: c.Reversal, reason: t.sanitizer.text(c.Reason)}
	var value content
	if c.Value != nil {
		value = t.sanitizer.output(c.Value)
		data.value = value.json
	}
	t.mu.Lock()
	d, err := t.advance(JobCorrected)
	if err != nil {
		t.mu.Unlock()
		return t.fail("correct", err)
	}
	d.data.correction, d.by = data, by
	if value.redaction != nil {
		d.redaction = value.redaction
	}
	return t.fail("correct", t.unlockAndStore(ctx, &d))
}

// Flush returns once all that the Trail has recorded is durable, or with an
// error when ctx ends or the recorder's OutcomeTimeout has passed.
func (t *Trail) Flush(ctx context.Context) error {
	if err := t.opened("flush"); err != nil {
		return err
	}
	return t.fail("flush", t.flush(ctx, t.rec.opts.OutcomeTimeout))
}

func (t *Trail) flush(ctx context.Context, timeout time.Duration) error {
	ack, err := t.rec.queue.Flush(t.stream)
	if ack == nil || err != nil {
		return err
	}
	return t.rec.queue.Wait(ctx, t.stream, ack, timeout)
}

// coded is implemented by errors that bring their code.
type coded interface {
	error
	JobErrorCode() string
}

// vouching is implemented by errors that hold a text which is a constant of
// the program, and so no secret.
type vouching interface {
	error
	JobErrorText() string
}

// errorData says of an error what may be stored: its code and type, and its
// message as far as that may be stored.
func (t *Trail) errorData(err error) *errorData {
	if err == nil {
		return &errorData{code: CodeError, message: t.sanitizer.text("no error was given")}
	}
	// In a goroutine of its own: one that the error's methods end is not the job's,
	// whose outcome is still to be recorded.
	told := make(chan *errorData, 1)
	go func() {
		data := &errorData{code: CodeError, message: text{dropped: "error_panic"}}
		defer func() {
			_ = recover() // they may panic, too
			told <- data
		}()
		data.message = message(t.sanitizer, err)
		data.code = errorCode(t.sanitizer, err)
		if u, ok := errtree.Find[*unwinding](err); ok { // the type of a panic's value is not known
			data.frame = u.frame
			return
		}
		data.typ = errorType(err)
	}()
	return <-told
}

// message is what may be stored of an error's text.
func message(d *sanitizer, err error) (passed text) {
	defer func() {
		if p := recover(); p != nil {
			passed = text{dropped: "error_panic"}
		}
	}()
	passed = d.text(err.Error())
	if passed.dropped != "" {
		if constant, ok := constantText(d, err); ok {
			return constant
		}
	}
	return passed
}

func errorCode(d *sanitizer, err error) ErrorCode {
	if own, ok := errtree.Find[coded](err); ok {
		if code := own.JobErrorCode(); code != "" && checkStrings(given{"data.error.code", code}) == nil && d.text(code).dropped == "" {
			return ErrorCode(code)
		}
	}
	switch {
	case errtree.Is(err, context.DeadlineExceeded):
		return CodeTimeout
	case errtree.Is(err, context.Canceled):
		return CodeCancelled
	}
	return CodeError
}

// errorType is the type of the first error in the chain that is more than a
// wrapper of the standard library's.
func errorType(err error) (typ string) {
	errtree.Visit(err, func(err error) bool {
		typ = reflect.TypeOf(err).String()
		_, ok := err.(vouching)
		return ok || typ == "*fmt.wrapError"
	})
	return typ
}

// constantText returns the first constant text in an error's chain. That it is a
// constant is its program's word, so it is scanned all the same.
func constantText(d *sanitizer, err error) (text, bool) {
	if err, ok := errtree.Find[vouching](err); ok {
		return d.text(err.JobErrorText()), true
	}
	return text{}, false
}

// panicMessage is the constant text of an error that was panicked with, if it
// has one. No other text of a panic's value is stored.
func panicMessage(d *sanitizer, p any) (message text) {
	message = d.text("panic")
	defer func() { _ = recover() }() // the error's own methods may panic
	if err, ok := p.(error); ok {
		if constant, ok := constantText(d, err); ok {
			return constant
		}
	}
	return message
}

// unwinding is the error of a function that does not return: it panics, or its
// goroutine ends by runtime.Goexit. It does not hold the panic's value, which
// may be a secret.
type unwinding struct {
	code  ErrorCode
	frame string // the function, file and line that panicked
}

func (u *unwinding) Error() string {
	if u.code == CodeGoexit {
		return goexitMessage
	}
	return "panic"
}

// JobErrorCode returns PANIC or GOEXIT.
func (u *unwinding) JobErrorCode() string { return string(u.code) }

const goexitMessage = "the goroutine ended by runtime.Goexit"

// standing looks at the goroutine's stack. It returns the newest panic or
// runtime.Goexit that runs deferred functions now, nil if there is none, and
// how many there are.
func standing() (newest *unwinding, depth int) {
	pcs := make([]uintptr, 64)
	n := runtime.Callers(2, pcs)
	for n == len(pcs) {
		pcs = make([]uintptr, 2*len(pcs))
		n = runtime.Callers(2, pcs)
	}
	frames := runtime.CallersFrames(pcs[:n])
	for more := n > 0; more; {
		var f runtime.Frame
		f, more = frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			depth++
			newest = cmp.Or(newest, &unwinding{code: CodePanic})
		case f.Function == "runtime.Goexit":
			depth++
			newest = cmp.Or(newest, &unwinding{code: CodeGoexit})
		case newest != nil && newest.code == CodePanic && newest.frame == "" && !strings.HasPrefix(f.Function, "runtime."):
			newest.frame = fmt.Sprintf("%s %s:%d", f.Function, path.Base(f.File), f.Line)
		}
	}
	return newest, depth
}
