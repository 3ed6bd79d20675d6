package multisink

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"
)

// closeTimeout is how long Close waits for a sink that neither stores anything nor comes
// back.
const closeTimeout = time.Minute

// Close waits for what is under way, sends once more what is kept for sinks that
// are behind, and closes the sinks that are io.Closers, all at once: one that panics or
// does not come back keeps no other from being closed. The error joins theirs
// and names the sinks that lack records, and those that have not come back a minute
// after the last batch that they stored: they are left as they are. One that is slow is
// waited for as long as it stores what is kept for it.
func (s *Sink) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	s.closed = true
	s.mu.Unlock()
	calls := task{name: "a call under way", end: func() error { s.calls.Wait(); return nil }, moved: s.lastMoved}
	var members []task
	for _, m := range s.members {
		members = append(members, task{m.name, m.close, m.lastMoved, m.lack})
	}
	errs := endAll([]task{calls})
	return errors.Join(append(errs, endAll(members)...)...)
}

// task is what Close waits for.
type task struct {
	name  string
	end   func() error
	moved func() time.Time // when a batch was stored last
	lack  func() error     // what is to be said if it does not come back; may be nil
}

// endAll has tasks end beside each other, and returns their errors. Those that have not
// come back, nor moved for closeTimeout, are errors by their names.
func endAll(tasks []task) []error {
	began := time.Now()
	ended := make([]chan error, len(tasks))
	for i, t := range tasks {
		ended[i] = make(chan error, 1)
		go func() {
			err := fmt.Errorf("%s: close: it ended the goroutine", t.name)
			defer func() { ended[i] <- err }()
			err = t.end()
		}()
	}
	errs := make([]error, len(tasks))
	for i, t := range tasks {
		errs[i] = t.wait(ended[i], began)
	}
	return errs
}

// wait waits for the end of a task that began at a time.
func (t *task) wait(ended <-chan error, began time.Time) error {
	for last := began; ; {
		if moved := t.moved(); moved.After(last) {
			last = moved
		}
		late := time.NewTimer(time.Until(last.Add(closeTimeout)))
		select {
		case err := <-ended:
			late.Stop()
			return err
		case <-late.C:
		}
		if t.moved().After(last) {
			continue
		}
		select {
		case err := <-ended:
			return err
		default:
		}
		err := fmt.Errorf("%s has not come back for %v", t.name, closeTimeout)
		if t.lack != nil {
			err = errors.Join(err, t.lack())
		}
		return err
	}
}

// lastMoved returns when a sink stored a batch last.
func (s *Sink) lastMoved() (last time.Time) {
	for _, m := range s.members {
		if moved := m.lastMoved(); moved.After(last) {
			last = moved
		}
	}
	return last
}

func (m *member) lastMoved() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.moved
}

// lack returns which records the sink lacks as far as is known while it has not come
// back, nil if it lacks none.
func (m *member) lack() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lacking != nil || m.givenUp != nil {
		return cmp.Or(m.lacking, m.givenUp)
	}
	held := 0
	for _, b := range m.queue {
		if !b.attempt.failed() {
			held += len(b.records)
		}
	}
	if held == 0 {
		return nil
	}
	return fmt.Errorf("%s lacks records: it has not acknowledged %d", m.name, held)
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
		err := m.append(b.records)
		if err != nil {
			lacking = fmt.Errorf("%s lacks records: %w", m.name, err)
		}
		m.mu.Lock()
		m.answer(b, err)
		m.queue = m.queue[min(1, len(m.queue)):] // it may have been given up meanwhile
		if m.lacking = lacking; lacking == nil {
			m.move(b)
		}
		m.mu.Unlock()
	}
	m.mu.Lock()
	lacking = cmp.Or(lacking, m.givenUp) // as it may have been since
	for _, b := range m.queue {
		m.answer(b, errClosed)
	}
	m.mu.Unlock()
	return errors.Join(lacking, m.closeSink())
}

// answer is tell for a batch that Close has sent, or has not: its caller may wait for it
// still, without a limit. mu is held.
func (m *member) answer(b *batch, err error) {
	if !b.attempt.stands() {
		m.tell(b, err)
	}
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
