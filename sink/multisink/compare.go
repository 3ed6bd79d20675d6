package multisink

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// How many of a sink's newest records are compared: few, and if these differ, so many
// that all that is kept for a sink that is behind is among them.
const (
	fewCompared  = 512
	mostCompared = 2 * maxBehind
)

// catchUpBatch is how many records a member gets at once of what it lacks.
const catchUpBatch = 256

// Why a member is read last.
var (
	errUncompared = errors.New("it could not be read when the sinks were compared, and may lack records that were acknowledged before")
	errMayLack    = errors.New("it may lack records that were acknowledged: others have some that it has not")
	errLacks      = errors.New("it lacks records that were acknowledged, more than can be sent to it now: put a copy of another in its place")
)

// tail is the newest records of a member, the newest first.
type tail struct {
	records []jobaudit.Record
	ids     map[uuid.UUID]bool
	whole   bool // these are all that it has
	err     error

	instances map[string]bool      // of the processes that have written these; made by index
	seqs      map[uuid.UUID]uint64 // the highest of each stream; made by index
}

// compare finds the members that lack what others hold: what was kept for them when the
// process was killed is gone. What counts as stored is sent to them, before all that
// comes, where it can be. Others that may lack something are read last. Nothing is compared
// later: appends would have to wait for it.
func (s *Sink) compare() {
	if len(s.members) == 1 {
		return
	}
	tails := make([]*tail, len(s.members))
	s.readTails(tails, fewCompared)
	if !alike(tails) {
		s.readTails(tails, mostCompared)
		s.number = 1 // of what is sent now: the others have it
		s.stored.Store(1)
		for i, m := range s.members {
			m.taken = 1
			if tails[i].known() {
				s.catchUp(m, tails, i)
			}
		}
	}
	for i, t := range tails {
		if t != nil && t.err != nil {
			s.members[i].gap = errUncompared
		}
	}
	for _, m := range s.members {
		if m.gap == errLacks {
			m.reportGap()
		}
		m.mu.Lock()
		m.start()
		m.mu.Unlock()
	}
}

// reportGap reports once that the member lacks something, or may.
func (m *member) reportGap() {
	if m.gap != nil {
		m.gapOnce.Do(func() { m.owner.degraded(fmt.Errorf("%s is read last: %w", m.name, m.gap)) })
	}
}

// readLast returns the member's reader, and says if it may lack something.
func (m *member) readLast() jobaudit.AuditReader {
	go m.reportGap()
	return m.sink.(jobaudit.AuditReader)
}

// catchUp compares one member with the others, and puts what it lacks into its queue.
func (s *Sink) catchUp(m *member, tails []*tail, own int) {
	mine := tails[own]
	unknown := 0
	for _, t := range tails {
		if !t.known() {
			unknown++
		}
	}
	var lacks []jobaudit.Record
	listed := map[uuid.UUID]bool{}
	for i, t := range tails {
		if i == own || !t.known() {
			continue
		}
		before := len(lacks)
		for _, r := range slices.Backward(t.records) {
			if mine.ids[r.ID()] || listed[r.ID()] || !mine.reaches(r) {
				continue
			}
			copies := holders(tails, r.ID())
			if copies+unknown+1 < s.need { // it was never acknowledged
				continue
			}
			its, follows := mine.place(r)
			its = its && copies+unknown >= s.need || len(mine.records) == 0 && copies >= s.need && s.need > 1
			switch {
			case its && follows:
				lacks = append(lacks, r)
				listed[r.ID()] = true
			case its:
				m.gap = errLacks
			case m.gap == nil: // it may be of those who do not write here
				m.gap = errMayLack
			}
		}
		if len(lacks) > before && !t.whole && !t.meets(mine) {
			m.gap = errLacks
			return
		}
	}
	if len(lacks) == 0 {
		return
	}
	m.taken = 0
	for part := range slices.Chunk(lacks, catchUpBatch) {
		m.queue = append(m.queue, &batch{records: part, attempt: &attempt{owner: s, decided: true}, answered: true, missed: true})
	}
	m.queue[len(m.queue)-1].attempt.number = 1
}

// known reports whether the member could be read.
func (t *tail) known() bool { return t != nil && t.err == nil }

// reaches reports whether the tail reaches back to a record: what is older may be there,
// where others write as well.
func (t *tail) reaches(r jobaudit.Record) bool {
	return t.whole || !r.Time().Before(t.records[len(t.records)-1].Time())
}

// place reports whether the tail has a record of the same process, for others may hold
// what is written to them alone, and whether it has none of the same stream that comes later.
func (t *tail) place(r jobaudit.Record) (known, follows bool) {
	if t.instances == nil {
		t.index()
	}
	e := r.Event()
	return t.instances[e.Where.Instance], t.seqs[e.Stream.ID] < e.Stream.Seq
}

func (t *tail) index() {
	t.instances, t.seqs = map[string]bool{}, map[uuid.UUID]uint64{}
	for _, r := range t.records {
		e := r.Event()
		t.instances[e.Where.Instance] = true
		t.seqs[e.Stream.ID] = max(t.seqs[e.Stream.ID], e.Stream.Seq)
	}
}

// meets reports whether the other has what is oldest here: it lacks no more than this.
// Some records may stand elsewhere in one sink than in another.
func (t *tail) meets(other *tail) bool {
	oldest := t.records[max(len(t.records)-fewCompared, 0):]
	return slices.ContainsFunc(oldest, func(r jobaudit.Record) bool { return other.ids[r.ID()] })
}

func holders(tails []*tail, id uuid.UUID) (n int) {
	for _, t := range tails {
		if t.known() && t.ids[id] {
			n++
		}
	}
	return n
}

// alike reports whether each member has the newest records of each other, as far as
// they can be read.
func alike(tails []*tail) bool {
	for i, t := range tails {
		if !t.known() {
			continue
		}
		newest := t.records[:min(len(t.records), fewCompared/2)]
		for j, other := range tails {
			if i == j || !other.known() {
				continue
			}
			if other.whole && !t.whole || slices.ContainsFunc(newest, func(r jobaudit.Record) bool { return !other.ids[r.ID()] }) {
				return false
			}
		}
	}
	return true
}

// readTails reads the newest records of the members, all at once, but for those that
// could not be read before. Those that are no readers have no tail.
func (s *Sink) readTails(tails []*tail, most int) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	answers := make([]chan *tail, len(tails))
	for i, m := range s.members {
		reader, ok := m.sink.(jobaudit.AuditReader)
		if !ok || tails[i] != nil && tails[i].err != nil {
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
	for i, answer := range answers {
		if answer == nil {
			continue
		}
		select { // one that has answered is not late because one before it is
		case tails[i] = <-answer:
			continue
		default:
		}
		select {
		case tails[i] = <-answer:
		case <-ctx.Done(): // it may not hear that its time is over
			tails[i] = &tail{err: ctx.Err()}
		}
	}
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
