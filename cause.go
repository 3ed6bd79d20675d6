package jobaudit

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"reflect"
	"runtime"
	"strings"
)

// maxErrors is how many errors of a tree are looked at. An error may unwrap to
// itself, or to more errors than could be visited in time.
const maxErrors = 100

// visit calls f for err and what it wraps, as errors.Is would, until f returns
// false, and for at most maxErrors errors. It reports whether those were all.
func visit(err error, f func(error) bool) (all bool) {
	left := maxErrors
	var walk func(err error) bool
	walk = func(err error) bool {
		for err != nil {
			if left--; left < 0 || !f(err) {
				return false
			}
			switch wrapper := err.(type) {
			case interface{ Unwrap() error }:
				err = wrapper.Unwrap()
			case interface{ Unwrap() []error }:
				for _, inner := range wrapper.Unwrap() {
					if !walk(inner) {
						return false
					}
				}
				return true
			default:
				return true
			}
		}
		return true
	}
	walk(err)
	return left >= 0
}

// find is errors.AsType for errors of unknown origin.
func find[E error](err error) (found E, ok bool) {
	visit(err, func(err error) bool {
		found, ok = err.(E)
		return !ok
	})
	return found, ok
}

// isOne is errors.Is for errors of unknown origin. A panic of the error's own
// methods goes on.
func isOne(err, target error) (is bool) {
	visit(err, func(err error) bool {
		is = reflect.TypeOf(err).Comparable() && err == target
		if m, ok := err.(interface{ Is(error) bool }); ok && !is {
			is = m.Is(target)
		}
		return !is
	})
	return is
}

// bounded returns an error whose tree can be walked in bounded time: err itself,
// or one with its text.
func bounded(err error) error {
	if visit(err, func(error) bool { return true }) {
		return err
	}
	return fmt.Errorf("%s (an error that wraps more than %d, or itself)", err.Error(), maxErrors)
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
func (t *Trail) errorData(err error) (data *errorData) {
	data = &errorData{code: CodeError}
	if err == nil {
		data.message = t.sanitizer.text("no error was given")
		return data
	}
	data.message = message(t.sanitizer, err)
	defer func() { _ = recover() }() // the error's own methods may panic
	data.code = errorCode(t.sanitizer, err)
	if u, ok := find[*unwinding](err); ok { // the type of a panic's value is not known
		data.frame = u.frame
		return data
	}
	data.typ = errorType(err)
	return data
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
	if own, ok := find[coded](err); ok {
		if code := own.JobErrorCode(); code != "" && checkStrings(given{"data.error.code", code}) == nil && d.text(code).dropped == "" {
			return ErrorCode(code)
		}
	}
	switch {
	case isOne(err, context.DeadlineExceeded):
		return CodeTimeout
	case isOne(err, context.Canceled):
		return CodeCancelled
	}
	return CodeError
}

// errorType is the type of the first error in the chain that is more than a
// wrapper of the standard library's.
func errorType(err error) (typ string) {
	visit(err, func(err error) bool {
		typ = reflect.TypeOf(err).String()
		_, ok := err.(vouching)
		return ok || typ == "*fmt.wrapError"
	})
	return typ
}

// constantText returns the first constant text in an error's chain. That it is a
// constant is its program's word, so it is scanned all the same.
func constantText(d *sanitizer, err error) (text, bool) {
	if err, ok := find[vouching](err); ok {
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
