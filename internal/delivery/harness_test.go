package delivery

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
)

// record is an event that says no more than its place.
type record struct {
	id, stream uuid.UUID
	seq        uint64
	prev, hash tlog.Hash
	size       int
}

func (r record) ID() uuid.UUID   { return r.id }
func (r record) Hash() tlog.Hash { return r.hash }
func (r record) Len() int        { return r.size }

type event struct {
	id   uuid.UUID
	size int
	err  error // why it can have no place
}

func (e *event) ID() uuid.UUID { return e.id }
func (e *event) Size() int     { return e.size }

func (e *event) Place(p Position, room []byte) (record, []byte, error) {
	if e.err != nil {
		return record{}, room, e.err
	}
	r := record{id: e.id, stream: p.Stream, seq: p.Seq, prev: p.Prev, size: e.size}
	r.hash = sha256.Sum256(binary.BigEndian.AppendUint64(append(append([]byte(nil), e.id[:]...), p.Prev[:]...), p.Seq))
	return r, room, nil
}

func newEvent() *event { return &event{id: uuid.New(), size: 500} }

func entryOf(u Urgency) Entry[record] {
	e := Entry[record]{Event: newEvent(), Urgency: u}
	if u >= Admission {
		e.Ack = NewAck()
	}
	return e
}

func lossEvent(Loss) Event[record] { return newEvent() }

// medium is a sink that keeps what it acknowledges and holds the Queue to what
// sinks may expect.
type medium struct {
	testing.TB
	answer func(ctx context.Context, records []record) error // nil: it takes them all

	mu      sync.Mutex
	stored  map[uuid.UUID]record
	streams map[uuid.UUID][]record
	calls   int
	sizes   []int // streams in each call
}

func newMedium(t testing.TB) *medium {
	return &medium{TB: t, stored: map[uuid.UUID]record{}, streams: map[uuid.UUID][]record{}}
}

func (m *medium) Append(ctx context.Context, records []record) error {
	m.mu.Lock()
	m.calls++
	seen := map[uuid.UUID]bool{}
	for _, r := range records {
		seen[r.stream] = true
	}
	m.sizes = append(m.sizes, len(seen))
	answer := m.answer
	m.mu.Unlock()
	if answer != nil {
		if err := answer(ctx, records); err != nil {
			return err
		}
	}
	m.keep(records)
	return nil
}

// heal has the sink take everything from now on, and returns how many calls
// there were.
func (m *medium) heal() (calls int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = nil
	return m.calls
}

// keep stores records, each once. It fails the test if one comes before the one
// that it follows, or with other bytes than the first time.
func (m *medium) keep(records []record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		if have, ok := m.stored[r.id]; ok {
			if have != r {
				m.Errorf("record %s has changed", r.id)
			}
			continue
		}
		m.stored[r.id] = r
		m.streams[r.stream] = append(m.streams[r.stream], r)
	}
}

// gapless fails the test if the records of a stream, in the given media in this
// order, are not one chain.
func gapless(t testing.TB, stream uuid.UUID, media ...*medium) int {
	var all []record
	for _, m := range media {
		m.mu.Lock()
		all = append(all, m.streams[stream]...)
		m.mu.Unlock()
	}
	slices.SortStableFunc(all, func(a, b record) int { return int(a.seq) - int(b.seq) })
	all = slices.CompactFunc(all, func(a, b record) bool { return a == b })
	var prev tlog.Hash
	for i, r := range all {
		if r.seq != uint64(i+1) || r.prev != prev {
			t.Errorf("stream %s: record %d has seq %d, or follows another", stream, i+1, r.seq)
		}
		prev = r.hash
	}
	return len(all)
}

var (
	errRefused = errors.New("refused for good")
	errNo      = errors.New("no answer")
	errClosed  = errors.New("closed")
)

// watcher notes what the owner of a Queue is told.
type watcher struct {
	mu         sync.Mutex
	refused    []string
	failed     int
	failedOver int
	home       int
}

func (w *watcher) options(timeout time.Duration, capacity int) Options[record] {
	locked := func(f func()) {
		w.mu.Lock()
		defer w.mu.Unlock()
		f()
	}
	return Options[record]{
		Timeout: timeout, Capacity: capacity, Closed: errClosed,
		Definite: func(err error) bool { return errors.Is(err, errRefused) },
		Bounded:  func(err error) error { return err },
		Failed:   func(*Stream[record], error) { locked(func() { w.failed++ }) },
		Refused: func(_ *Stream[record], _ uuid.UUID, lost int, err error) {
			locked(func() { w.refused = append(w.refused, fmt.Sprintf("%d lost: %v", lost, err)) })
		},
		FailedOver: func() { locked(func() { w.failedOver++ }) },
		Recovered:  func() { locked(func() { w.home++ }) },
	}
}

func (w *watcher) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.refused)
}

func (w *watcher) failures() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

func newQueue(t testing.TB, main, fallback *medium) (*Queue[record], *watcher) {
	w := &watcher{}
	var spare Sink[record]
	if fallback != nil {
		spare = fallback
	}
	q := New[record](main, spare, w.options(5*time.Second, 10_000))
	t.Cleanup(func() { q.Stop() })
	return q, w
}

func openStream(q *Queue[record]) *Stream[record] { return q.Open(uuid.New(), uuid.New(), nil) }

// store sends an event that a caller waits for, and waits.
func store(t testing.TB, q *Queue[record], s *Stream[record], u Urgency, timeout time.Duration) error {
	t.Helper()
	e := entryOf(u)
	if err := q.Send(s, e); err != nil {
		return err
	}
	return q.Wait(t.Context(), s, e.Ack, timeout)
}

func offer(t testing.TB, q *Queue[record], s *Stream[record], u Urgency) bool {
	t.Helper()
	ok, err := q.Offer(s, entryOf(u))
	require.NoError(t, err)
	return ok
}
