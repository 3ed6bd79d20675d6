package multisink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// closeTimeout is how long Close waits for a sink that does not come back.
const closeTimeout = time.Minute

// Close waits for what is under way, sends once more what is kept for sinks that
// are behind, and closes the sinks that are io.Closers, all at once: one that panics or
// does not come back keeps no other from being closed. The error joins theirs
// and names the sinks that lack records, and those that have not come back after a
// minute: they are left as they are.
func (s *Sink) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	s.closed = true
	s.mu.Unlock()
	errs := endAll([]string{"a call under way"}, func(int) error { s.calls.Wait(); return nil })
	var names []string
	for _, m := range s.members {
		names = append(names, m.name)
	}
	return errors.Join(append(errs, endAll(names, func(i int) error { return s.members[i].close() })...)...)
}

// endAll has things end beside each other, and returns their errors. Those that have not
// come back after closeTimeout are errors by their names.
func endAll(names []string, end func(i int) error) []error {
	ended := make([]chan error, len(names))
	for i := range names {
		ended[i] = make(chan error, 1)
		go func() {
			err := fmt.Errorf("%s: close: it ended the goroutine", names[i])
			defer func() { ended[i] <- err }()
			err = end(i)
		}()
	}
	late, stop := context.WithTimeout(context.Background(), closeTimeout)
	defer stop()
	errs := make([]error, len(names))
	for i, name := range names {
		select {
		case errs[i] = <-ended[i]:
			continue
		case <-late.Done():
		}
		select {
		case errs[i] = <-ended[i]:
		default:
			errs[i] = fmt.Errorf("%s has not come back after %v", name, closeTimeout)
		}
	}
	return errs
}

func (m *member) close() error {
	m.mu.Lock()
	if m.retry != nil {
		m.retry.Stop()
	}
	m.closing = true
	m.mu.Unlock()
	m.workers.Wait()
	m.mu.Lock()
	lacking := m.givenUp
	m.mu.Unlock()
	for b := m.next(); b != nil && lacking == nil; b = m.next() {
		if err := m.append(b.records); err != nil {
			lacking = fmt.Errorf("%s lacks records: %w", m.name, err)
		}
		m.mu.Lock()
		m.queue = m.queue[min(1, len(m.queue)):] // it may have been given up meanwhile
		if lacking == nil {
			m.taken = b.attempt.number
			m.owner.move()
		}
		m.mu.Unlock()
	}
	return errors.Join(lacking, m.closeSink())
}

// closeSink closes the sink if it can be closed. A panic of it is an error.
func (m *member) closeSink() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: close: it panicked with a %T", m.name, p)
		}
	}()
	if c, ok := m.sink.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
