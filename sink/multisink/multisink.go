// Package multisink writes each record to several sinks: to all of them, or to
// so many of them as must have it before it counts as stored.
//
//	sink, err := multisink.New(2, local, nearby, far)
//
// acknowledges what two of the three have acknowledged. The third gets it as
// well: what a sink could not take in time is kept in memory, in order, and sent
// to it again. A sink that falls too far behind is given up, and so is one that
// refuses a record which the others took: it keeps what it has, which verifies,
// and gets no more. The log says so, by an audit.degraded event. Make it a copy
// of another before it is opened again.
//
// What is kept in memory is gone when the process is killed. So New compares the newest
// records of all sinks, some twenty thousand, for ten seconds at most. A sink gets what it
// lacks of a process whose records it has, if as many others hold it as are needed and it
// has nothing of the same streams that comes later; one that is empty gets all, if that is
// not too much. Any other that may lack what was acknowledged is read last, until a later
// New finds nothing amiss: one that lacks more, one that was down while a whole process
// ran, one that cannot be read when New is called. An audit.degraded event says so as soon
// as it is certain that the sink lacks something, or when the sink is read.
//
// A gap that is older than the newest records is not seen. To have a sink without it, and
// before a new sink is added: open a new one by itself, and append to it all records of
// one that lacks nothing, in their order.
//
// With as many as there are sinks, nothing is acknowledged that one of them
// lacks.
//
// Each stream has one order in all sinks. Of different streams, a record that had to
// be sent again may stand elsewhere in one sink than in another.
package multisink

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/errtree"
)

// maxBehind is how many records are kept for a sink that is behind.
const maxBehind = 10_000

// timeout is how long a sink has for what is kept for it, and pause how long it
// is left alone after it failed.
const (
	timeout = 5 * time.Second
	pause   = time.Second
)

// Sink writes to several sinks. It is an [jobaudit.AuditReader], which reads
// from the first of them that can be read and has all that was acknowledged;
// from one that may lack something, or was given up, only if no other has. It is safe for
// concurrent use.
type Sink struct {
	need    int
	members []*member

	// order is held while a batch gets its number and goes to all members, so that
	// all have the same order: one that took a batch has those before it.
	order  sync.Mutex
	number uint64

	stored atomic.Uint64 // the highest number of a batch that counts as stored

	mu     sync.Mutex // guards what follows
	report func(error)
	untold []error // what there was to report before anybody listened: at most two of each sink
	closed bool
	calls  sync.WaitGroup // appends and workers
	moved  chan struct{}  // closed when a sink has taken a batch; nil if no reader waits
}

// errClosed is what calls on a Sink return that has been closed.
var errClosed = errors.New("multisink: the sink is closed")

// ErrBehind is what [Sink.Records] yields when no sink that can be read has all
// that was acknowledged, and none has got it within five seconds. Read again later, or
// read one of the sinks itself, which has a part.
var ErrBehind = errors.New("multisink: the sinks that can be read have not taken all that was acknowledged yet: read again later, or read one of them itself")

// ErrIncomplete is what [Sink.Records] yields when no sink can be read that has
// all that was acknowledged, or will have it: those that have it cannot be read, and
// the others were given up. Read the sinks themselves.
var ErrIncomplete = errors.New("multisink: no sink that can be read has all that was acknowledged: read the sinks themselves, and make one that was given up a copy of another before it is opened again")

// New returns a Sink over sinks, of which need must have a record before it
// counts as stored. need is from 1 to their number. The Sink owns them.
func New(need int, sinks ...jobaudit.AuditSink) (*Sink, error) {
	if need < 1 || need > len(sinks) {
		return nil, fmt.Errorf("multisink: %d of %d sinks cannot have a record", need, len(sinks))
	}
	s := &Sink{need: need}
	for i, sink := range sinks {
		if sink == nil {
			return nil, fmt.Errorf("multisink: sink %d is nil", i+1)
		}
		s.members = append(s.members, &member{owner: s, sink: sink, name: fmt.Sprintf("sink %d", i+1)})
	}
	s.compare()
	return s, nil
}

// Append stores records in as many sinks as are needed: see
// [jobaudit.AuditSink]. The error is a definite refusal if so many sinks refuse
// a record that the others would not be enough.
func (s *Sink) Append(ctx context.Context, records []jobaudit.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(records) == 0 {
		return nil
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	s.calls.Add(1)
	s.mu.Unlock()
	defer s.calls.Done()

	a := &attempt{owner: s, done: make(chan struct{}), verdict: len(records) == 1 && records[0].ID().Version() == 8}
	s.order.Lock()
	s.number++
	a.number = s.number
	for _, m := range s.members {
		m.send(&batch{records: slices.Clone(records), attempt: a})
	}
	s.order.Unlock()
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return a.give(ctx.Err())
	}
}

// attempt is one Append on its way to all sinks.
type attempt struct {
	owner  *Sink
	number uint64
	done   chan struct{} // closed when it is decided
	// verdict says that it is of one verdict, whose ID is made from what it is about: that
	// a sink refuses it says that somebody else was first.
	verdict bool

	mu       sync.Mutex // guards what follows, and err until done is closed
	decided  bool
	err      error // of the Append
	stored   int
	refusals []refusal
	failures []error
}

// refusal is a sink that refuses a batch for good, and why.
type refusal struct {
	member *member
	err    error
}

// give decides an attempt that is not decided yet, and returns its answer.
func (a *attempt) give(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.decided {
		a.decided, a.err = true, err
		close(a.done)
	}
	return a.err
}

// failed reports whether the caller of Append sends the records again.
func (a *attempt) failed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.decided && a.err != nil
}

// stands reports whether the records count as stored.
func (a *attempt) stands() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.decided && a.err == nil
}

// answer takes in a sink's answer. It returns the sinks that are to be given up:
// they refuse what the others have taken. They are barred before anybody learns that
// the batch counts as stored: what builds on it must not get there.
func (a *attempt) answer(m *member, err error) (refusals []refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.owner
	switch {
	case err == nil:
		a.stored++
	case definite(err) && !(a.verdict && errtree.Is(err, jobaudit.ErrConflict)):
		a.refusals = append(a.refusals, refusal{m, err})
		fallthrough
	default:
		a.failures = append(a.failures, err)
	}
	if !a.decided && (a.stored >= s.need || len(a.failures) > len(s.members)-s.need) {
		a.decided = true
		if a.stored < s.need {
			a.err = errors.Join(a.failures...)
			if n := len(a.refusals); n > 0 && n <= len(s.members)-s.need { // the others may yet take it
				a.err = errors.New(a.err.Error())
			}
		}
		if a.err == nil {
			a.bar()
			s.nowStored(a.number)
		}
		close(a.done)
	}
	if a.decided && a.err == nil {
		a.bar()
		refusals, a.refusals = a.refusals, nil
	}
	return refusals
}

// bar bars the sinks that refuse what counts as stored; with mu held.
func (a *attempt) bar() {
	for _, r := range a.refusals {
		r.member.barred.CompareAndSwap(nil, &r.err)
	}
}

// nowStored takes in that a batch counts as stored.
func (s *Sink) nowStored(number uint64) {
	for {
		last := s.stored.Load()
		if last >= number || s.stored.CompareAndSwap(last, number) {
			return
		}
	}
}

// Records reads from a sink that has all that was acknowledged before the call. If
// none has, it waits for up to five seconds until one does; the error is
// [ErrBehind], or [ErrIncomplete] if none ever will. After half of that time it takes one
// that has all since [New], but may lack what is older; the log says so.
func (s *Sink) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		reader, err := s.reader(ctx, s.stored.Load())
		if err != nil {
			yield(jobaudit.Record{}, err)
			return
		}
		reader.Records(ctx, q)(yield)
	}
}

// reader returns a sink that has all that counts as stored up to a batch.
func (s *Sink) reader(ctx context.Context, stored uint64) (jobaudit.AuditReader, error) {
	late := time.NewTimer(timeout / 2)
	defer late.Stop()
	for halves := 0; ; {
		moved := s.nextMove() // before the look, so that none is missed
		var last, doubtful *member
		waits, sure := false, false
		for _, m := range s.members {
			reader, ok := m.sink.(jobaudit.AuditReader)
			if !ok {
				continue
			}
			has, goesOn := m.has(stored)
			switch {
			case has && goesOn && m.gap == nil:
				return reader, nil
			case has && goesOn && doubtful == nil:
				doubtful = m
			case has && !goesOn && last == nil:
				last = m
			}
			waits = waits || goesOn
			sure = sure || goesOn && m.gap == nil
		}
		switch {
		case doubtful != nil && (halves > 0 || !sure): // a sure one will have it, but callers have their limits
			return doubtful.readLast(), nil
		case last != nil:
			return last.readLast(), nil
		case !waits:
			return nil, ErrIncomplete
		case halves == 2:
			return nil, ErrBehind
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late.C:
			halves++
			late.Reset(timeout / 2)
		}
	}
}

// nextMove returns a channel that is closed when a sink has taken a batch or was
// given up.
func (s *Sink) nextMove() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moved == nil {
		s.moved = make(chan struct{})
	}
	return s.moved
}

func (s *Sink) move() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}

// Degraded is for [jobaudit.Open]: report is called when a sink is given up, and
// with what the sinks themselves report.
func (s *Sink) Degraded(report func(error)) {
	s.mu.Lock()
	s.report = report
	untold := s.untold
	s.untold = nil
	s.mu.Unlock()
	for _, err := range untold {
		report(err)
	}
	for _, m := range s.members {
		if weak, ok := m.sink.(interface{ Degraded(func(error)) }); ok {
			weak.Degraded(func(err error) { report(fmt.Errorf("%s: %w", m.name, err)) })
		}
	}
}

func (s *Sink) degraded(err error) {
	s.mu.Lock()
	report := s.report
	if report == nil {
		s.untold = append(s.untold, err)
	}
	s.mu.Unlock()
	if report != nil {
		report(err)
	}
}

// member is one of the sinks: a FIFO queue of batches with one worker.
type member struct {
	owner *Sink
	sink  jobaudit.AuditSink
	name  string

	mu      sync.Mutex // guards what follows
	queue   []*batch
	taken   uint64    // the number of the newest batch that it took
	moved   time.Time // when that was
	working bool
	closing bool
	workers sync.WaitGroup
	givenUp error // why it gets no more
	lacking error // why it did not get all when it was closed
	retry   *time.Timer
	failing error // of the newest try, until the next one

	barred atomic.Pointer[error] // why it is to be given up, before it is

	gap     error     // why it is read last: what it lacks, or may lack, from before New, which alone sets it
	gapOnce sync.Once // reports it
}

// batch is an Append on its way to one sink.
type batch struct {
	records  []jobaudit.Record
	attempt  *attempt
	answered bool // how the first try ended
	missed   bool // it is of what the sink lacked at New
}

func (m *member) tell(b *batch, err error) {
	if b.answered {
		return
	}
	b.answered = true
	for _, r := range b.attempt.answer(m, err) {
		go r.member.giveUp(r.err)
	}
}

// has reports whether the sink has all that counts as stored up to a batch, and
// whether it gets more.
func (m *member) has(number uint64) (has, goesOn bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken >= number && m.barred.Load() == nil, m.givenUp == nil && m.barred.Load() == nil
}

// send puts a batch behind all that the sink has not taken yet.
func (m *member) send(b *batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.obey()
	m.prune()
	held := 0
	for _, waiting := range m.queue {
		if !waiting.missed && !waiting.attempt.failed() { // as the batch under way may have
			held += len(waiting.records)
		}
	}
	if m.givenUp == nil && held > 0 && held+len(b.records) > maxBehind {
		m.end(fmt.Errorf("more than %d records behind", maxBehind))
	}
	if m.givenUp != nil {
		m.tell(b, m.givenUp)
		return
	}
	m.queue = append(m.queue, b)
	if m.failing != nil { // it is left alone until the next try, and nobody waits for that
		m.tell(b, m.failing)
		return
	}
	m.start()
}

// obey gives the sink up if it is barred. mu is held.
func (m *member) obey() {
	if why := m.barred.Load(); why != nil {
		m.end(*why)
	}
}

// start sets a worker to work, unless one is. mu is held.
func (m *member) start() {
	if m.working || m.closing || len(m.queue) == 0 {
		return
	}
	m.working = true
	m.workers.Go(m.work)
}

// giveUp ends the sink's part.
func (m *member) giveUp(why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(why)
}

// end is giveUp for who holds mu.
func (m *member) end(why error) {
	if m.givenUp != nil {
		return
	}
	m.givenUp = fmt.Errorf("%s is given up: %v", m.name, why) // no refusal of what comes now
	for _, b := range m.queue {
		m.tell(b, m.givenUp)
	}
	m.queue = nil
	m.owner.move()
	go m.owner.degraded(m.givenUp)
}

// prune drops what its callers send again, or have given up, but for the batch that
// is under way. mu is held.
func (m *member) prune() {
	first := 0
	if m.working {
		first = min(1, len(m.queue))
	}
	rest := slices.DeleteFunc(m.queue[first:], func(b *batch) bool { return b.attempt.failed() })
	m.queue = m.queue[:first+len(rest)]
}

// next returns the oldest batch that is still to be sent, nil if there is none.
func (m *member) next() *batch {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.working = false
	m.obey()
	m.prune()
	if len(m.queue) == 0 {
		return nil
	}
	m.working = true
	return m.queue[0]
}

// more is next for a worker: what is left when the sink closes is Close's.
func (m *member) more() *batch {
	m.mu.Lock()
	if m.closing {
		m.working = false
		m.mu.Unlock()
		return nil
	}
	m.mu.Unlock()
	return m.next()
}

// work sends one batch after the other until none is left or one fails.
func (m *member) work() {
	for b := m.more(); b != nil; b = m.more() {
		if !m.took(b, m.append(b.records)) {
			return
		}
	}
}

// took takes in what became of the oldest batch, and reports whether the worker
// goes on.
func (m *member) took(b *batch, err error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell(b, err)
	m.obey()
	if m.givenUp != nil {
		m.working = false
		return false
	}
	if err != nil && b.attempt.verdict && errtree.Is(err, jobaudit.ErrConflict) { // it has one, which is as good
		err = nil
	}
	if err == nil || b.attempt.failed() || definite(err) && !b.attempt.stands() {
		m.queue = m.queue[1:]
		if err == nil {
			m.move(b)
		}
		return true
	}
	m.working = false
	if definite(err) {
		m.end(err)
		return false
	}
	for _, waiting := range m.queue { // they may have enough others
		m.tell(waiting, err)
	}
	m.failing = err
	m.retry = time.AfterFunc(pause, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.failing = nil
		m.start()
	})
	return false
}

// move takes in that the sink has stored a batch. mu is held.
func (m *member) move(b *batch) {
	m.taken, m.moved = b.attempt.number, time.Now()
	m.owner.move()
}

// append calls the sink. A panic of it, or of its error's methods, is an error, and so is
// the end of its goroutine: it has one of its own.
func (m *member) append(records []jobaudit.Record) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := error(errGoexit)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("it panicked with a %T", p)
			}
		}()
		answer := m.sink.Append(ctx, slices.Clone(records))
		if answer != nil {
			answer = errtree.Bounded(answer)
			// What will be asked of the error later must not panic there.
			_, _ = definite(answer), answer.Error()
		}
		err = answer
	}()
	<-ended
	if err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	return nil
}

// errGoexit is the answer of a sink that gave none.
var errGoexit = errors.New("it ended its goroutine")

func definite(err error) bool {
	_, refused := errtree.Find[*jobaudit.RecordError](err)
	return refused || errtree.Is(err, jobaudit.ErrConflict)
}
