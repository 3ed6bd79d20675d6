package delivery

// The room for events that no caller waits for. Of background events the user
// bounds the number. Refusals have a room of their own: without its record a
// refused job would seem to wait for its start.
const (
	maxBackgroundBytes = 16 << 20
	maxReserved        = 10_000
	maxReservedBytes   = 16 << 20
	maxRefusals        = 10_000
	maxRefusalBytes    = 4 << 20
)

// roomShare bounds what one stream takes of a room: so many times what is free. A
// stream alone gets 8/9 of it, two get 8/17 each, and so on: however much the
// others send, there is room for one more (dynamic thresholds: Choudhury and
// Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
const roomShare = 8

// room is a bounded memory: for so many events, of so many bytes together.
type room struct{ events, bytes, maxEvents, maxBytes int }

// usage is what a stream takes of a room.
type usage struct{ events, bytes int }

// take gives a stream room for an event, if there is some.
func (r *room) take(u *usage, size int) bool {
	free, freeBytes := r.maxEvents-r.events, r.maxBytes-r.bytes
	if free < 1 || freeBytes < size || u.events >= roomShare*free || u.bytes >= roomShare*freeBytes {
		return false
	}
	r.add(u, 1, size)
	return true
}

func (r *room) add(u *usage, events, bytes int) {
	r.events += events
	r.bytes += bytes
	u.events += events
	u.bytes += bytes
}

// halfFull reports whether at least half of the room is taken.
func (r *room) halfFull() bool { return 2*r.events >= r.maxEvents || 2*r.bytes >= r.maxBytes }

// roomOf returns the room for an entry, and what its stream takes of it; nil if
// it needs none. What a stream takes of the room for refusals is counted with what it
// takes of the reserved one, as a stream has few of either.
func (q *Queue[R]) roomOf(s *Stream[R], e *Entry[R]) (*room, *usage) {
	switch e.Urgency {
	case Background:
		return &q.background, &s.background
	case Snapshot, Reserved:
		return &q.reserved, &s.reserved
	case JobRefused:
		return &q.refusals, &s.reserved
	}
	return nil, nil
}

// takeRoom reports whether there is room for an entry, which it takes. Entries of the
// stream that have no room stay in memory as long as those behind them: their bytes
// are counted with each of these, once more for each.
func (q *Queue[R]) takeRoom(s *Stream[R], e *Entry[R]) bool {
	r, u := q.roomOf(s, e)
	if r == nil {
		return true
	}
	if e.Urgency == Snapshot && r.halfFull() {
		return false
	}
	size := max(e.bytes(), 1)
	if r != &q.background {
		size += s.roomlessBytes()
	}
	if !r.take(u, size) {
		return false
	}
	e.size = size
	return true
}

// freeRoom gives back what an entry has taken.
func (q *Queue[R]) freeRoom(s *Stream[R], e *Entry[R]) {
	if r, u := q.roomOf(s, e); r != nil && e.size > 0 {
		r.add(u, -1, -e.size)
		e.size = 0
	}
}

// roomlessBytes is the size of what the stream holds outside any room.
func (s *Stream[R]) roomlessBytes() int {
	size := 0
	for i := range s.records {
		if s.batch[i].size == 0 {
			size += s.records[i].Len()
		}
	}
	for i := range s.pending {
		if s.pending[i].size == 0 {
			size += s.pending[i].bytes()
		}
	}
	return size
}
