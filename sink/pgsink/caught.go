package pgsink

import (
	"errors"
	"fmt"
)

var errGoexit = errors.New("it ended its goroutine")

// caught makes an error of a panic: what no caller's goroutine waits for would end the process
// with it, and the jobs that run there.
func caught(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panicked with a %T", p) // and no text of it, which may be anything
		}
	}()
	return f()
}

// apart is caught in a goroutine of its own: one that f ends, by runtime.Goexit, is an error too.
func apart(f func() error) error {
	err := errGoexit
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = caught(f)
	}()
	<-ended
	return err
}
