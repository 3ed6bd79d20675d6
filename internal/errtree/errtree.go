// Package errtree looks at errors of unknown origin, as [errors.Is] and
// [errors.As] would, in bounded time: an error may wrap itself.
package errtree

import (
	"context"
	"fmt"
	"io"
	"os"
	"reflect"
	"syscall"
)

// Max is how many errors of a tree are looked at. An error may unwrap to
// itself, or to more errors than could be visited in time.
const Max = 100

// Visit calls f for err and what it wraps, as errors.Is would, until f returns
// false, and for at most Max errors. It reports whether those were all.
func Visit(err error, f func(error) bool) (all bool) {
	left := Max
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

// Find is errors.AsType for errors of unknown origin.
func Find[E error](err error) (found E, ok bool) {
	Visit(err, func(err error) bool {
		found, ok = err.(E)
		return !ok
	})
	return found, ok
}

// Is is errors.Is for errors of unknown origin. A panic of the error's own
// methods goes on.
func Is(err, target error) (is bool) {
	Visit(err, func(err error) bool {
		is = reflect.TypeOf(err).Comparable() && err == target
		if m, ok := err.(interface{ Is(error) bool }); ok && !is {
			is = m.Is(target)
		}
		return !is
	})
	return is
}

// Bounded returns an error whose tree can be walked in bounded time: err itself,
// or one with its text.
func Bounded(err error) error {
	if Visit(err, func(error) bool { return true }) {
		return err
	}
	return fmt.Errorf("%s (an error that wraps more than %d, or itself)", err.Error(), Max)
}

// Usable is [Bounded] for an error whose methods may panic, as those of a nil pointer:
// of such a one it says what it is, and no more.
func Usable(err error) (usable error) {
	defer func() {
		if recover() != nil {
			usable = Own(fmt.Sprintf("an error of type %T, whose methods panic", err))
		}
	}()
	Visit(err, func(err error) bool {
		_ = err.Error()
		if m, ok := err.(interface{ Is(error) bool }); ok {
			m.Is(context.Canceled)
		}
		if m, ok := err.(interface{ As(any) bool }); ok {
			m.As(new(*unused))
		}
		return true
	})
	return Bounded(err)
}

// unused is an error that there is none of.
type unused struct{ error }

// Own is an error of ours, whose text quotes nothing.
type Own string

func (e Own) Error() string { return string(e) }

// Panic is the error of a function that panicked with a value, of which it tells the kind
// alone.
func Panic(function string, value any) error {
	return Own(fmt.Sprintf("%s panicked with a %T", function, value))
}

// Kinds says of err and what it wraps what they are, and not what they say: the text of
// an error of unknown origin may quote content. Of [Own], those that the system or a
// context makes, and those that say knows (it may be nil, and returns "" for others), it is
// what they say.
func Kinds(err error, say func(error) string) (kinds string) {
	defer func() {
		if recover() != nil {
			kinds += ": an error whose methods panic"
		}
	}()
	Visit(err, func(err error) bool {
		if kinds != "" {
			kinds += ": "
		}
		said := ""
		if say != nil {
			said = say(err)
		}
		switch err.(type) {
		case syscall.Errno, Own:
			said = err.Error()
		}
		for _, known := range []error{context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, os.ErrDeadlineExceeded} {
			if reflect.TypeOf(err).Comparable() && err == known {
				said = known.Error()
			}
		}
		if said == "" {
			said = fmt.Sprintf("%T", err)
		}
		kinds += said
		return len(kinds) < 1000
	})
	return kinds
}
