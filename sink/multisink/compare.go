package multisink

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// How many of a sink's newest records are compared: few, and if these differ, so many
// that all that is kept for a sink that is behind is among them.
const (
	fewCompared  = 512
	mostCompared = 2 * maxBehind
)

// tail is the newest records of a member, the newest first.
type tail struct {
	records []jobaudit.Record
	ids     map[uuid.UUID]bool
	whole   bool // these are all that it has
	err     error

	instances map[string]bool // of the processes that have written these; made by knows
}

// compare finds the members that lack what others hold: what was kept for them when the
// process was killed is gone. What counts as stored is sent to them, before all that
// comes; one that lacks more than can be sent is given up. One that lacks what may have
// counted as stored is read last.
func (s *Sink) compare() {
	if len(s.members) == 1 {
		return
	}
	tails := readTails(s.members, fewCompared)
	if alike(tails) {
		return
	}
	tails = readTails(s.members, mostCompared)
	s.number = 1 // of what is sent now: the others have it
	s.stored.Store(1)
	for i, m := range s.members {
		m.taken = 1
		switch t := tails[i]; {
		case t == nil:
			m.doubtful = true
		case t.err != nil:
			m.doubtful, m.uncompared = true, true
		default:
			m.mu.Lock()
			s.catchUp(m, tails, i)
			m.start()
			m.mu.Unlock()
		}
	}
}

// compareLate compares a member that was down when the others were compared, before it
// gets anything. One that still cannot be read gets what it takes, and is read last.
func (s *Sink) compareLate(m *member) {
	m.mu.Lock()
	uncompared := m.uncompared
	m.mu.Unlock()
	if !uncompared || readTails([]*member{m}, 1)[0].err != nil {
		return
	}
	tails := readTails(s.members, mostCompared)
	own := slices.Index(s.members, m)
	if tails[own].err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.uncompared = false
	if m.givenUp == nil {
		s.catchUp(m, tails, own)
	}
}

// catchUp compares one member with the others, and puts what it lacks at the head of its
// queue. Its mu is held.
func (s *Sink) catchUp(m *member, tails []*tail, own int) {
	unknown := 0
	for _, t := range tails {
		if t == nil || t.err != nil {
			unknown++
		}
	}
	var lacks []jobaudit.Record
	listed := map[uuid.UUID]bool{}
	for i, t := range tails {
		if i == own || t == nil || t.err != nil {
			continue
		}
		before := len(lacks)
		for _, r := range slices.Backward(t.records) {
			if tails[own].ids[r.ID()] || listed[r.ID()] {
				continue
			}
			copies := holders(tails, r.ID())
			switch {
			case copies >= s.need && s.need > 1, copies+unknown >= s.need && tails[own].knows(r):
				lacks = append(lacks, r)
				listed[r.ID()] = true
			case copies+unknown+1 >= s.need: // it may have been stored here, too, and counted
				if !m.doubtful { // readers may look at it by now
					m.doubtful = true
				}
			}
		}
		if len(lacks) > before && !t.whole && !t.meets(tails[own]) {
			m.taken = 0
			m.end(fmt.Errorf("it lacks more than the newest %d records of %s", len(t.records), s.members[i].name))
			return
		}
	}
	if len(lacks) == 0 {
		return
	}
	m.taken = 0
	var first []*batch
	for part := range slices.Chunk(lacks, catchUpBatch) {
		first = append(first, &batch{records: part, attempt: &attempt{owner: s, decided: true}, answered: true})
	}
	first[len(first)-1].attempt.number = 1
	m.queue = append(first, m.queue...)
}

// catchUpBatch is how many records a member gets at once of what it lacks.
const catchUpBatch = 256

// knows reports whether the tail has a record of the same process: where too few others
// are known to hold a record, it may be of a process that writes there alone.
func (t *tail) knows(r jobaudit.Record) bool {
	if t.instances == nil {
		t.instances = map[string]bool{}
		for _, own := range t.records {
			t.instances[own.Event().Where.Instance] = true
		}
	}
	return t.instances[r.Event().Where.Instance]
}

// meets reports whether the other has what is oldest here: it lacks no more than this.
// Some records may stand elsewhere in one sink than in another.
func (t *tail) meets(other *tail) bool {
	oldest := t.records[max(len(t.records)-fewCompared, 0):]
	return slices.ContainsFunc(oldest, func(r jobaudit.Record) bool { return other.ids[r.ID()] })
}

func holders(tails []*tail, id uuid.UUID) (n int) {
	for _, t := range tails {
		if t != nil && t.err == nil && t.ids[id] {
			n++
		}
	}
	return n
}

// alike reports whether each member has the newest records of each other, as far as
// they can be read.
func alike(tails []*tail) bool {
	for i, t := range tails {
		if t == nil {
			continue
		}
		if t.err != nil {
			return false
		}
		newest := t.records[:min(len(t.records), fewCompared/2)]
		for j, other := range tails {
			if i == j || other == nil || other.err != nil {
				continue
			}
			if slices.ContainsFunc(newest, func(r jobaudit.Record) bool { return !other.ids[r.ID()] }) {
				return false
			}
		}
	}
	return true
}

// readTails reads the newest records of members, all at once; nil for those that are no
// readers.
func readTails(members []*member, most int) []*tail {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	late := time.NewTimer(timeout)
	defer late.Stop()
	answers := make([]chan *tail, len(members))
	for i, m := range members {
		reader, ok := m.sink.(jobaudit.AuditReader)
		if !ok {
			continue
		}
		answers[i] = make(chan *tail, 1)
		go func() {
			t := &tail{err: errGoexit}
			defer func() {
				if p := recover(); p != nil {
					t = &tail{err: fmt.Errorf("it panicked with a %T", p)}
				}
				answers[i] <- t
			}()
			t = readTail(ctx, reader, most)
		}()
	}
	tails := make([]*tail, len(members))
	for i, answer := range answers {
		if answer == nil {
			continue
		}
		select {
		case tails[i] = <-answer:
		case <-late.C: // it may not hear that its time is over
			late.Reset(0)
			tails[i] = &tail{err: context.DeadlineExceeded}
		}
	}
	return tails
}

func readTail(ctx context.Context, reader jobaudit.AuditReader, most int) *tail {
	t := &tail{ids: map[uuid.UUID]bool{}}
	for r, err := range reader.Records(ctx, jobaudit.Query{NewestFirst: true, Limit: most}) {
		if err != nil {
			return &tail{err: err}
		}
		t.records = append(t.records, r)
		t.ids[r.ID()] = true
	}
	t.whole = len(t.records) < most
	return t
}
