package evidence

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// check compares the statement with the events, all of which are proven.
func (b *Bundle) check(problems *Error) {
	if len(b.Statement.Logs) != len(b.Logs) {
		problems.add(Problem{What: fmt.Sprintf("the statement names %d logs, and there are %d", len(b.Statement.Logs), len(b.Logs))})
		return
	}
	for i, l := range b.Logs {
		if origin := l.Checkpoint.Head().Origin; origin != b.Statement.Logs[i].Origin {
			problems.add(Problem{Log: origin, What: fmt.Sprintf("the statement calls the log %q", b.Statement.Logs[i].Origin)})
		}
	}
	if b.Statement.Summary != nil {
		if !b.Statement.Scope.Period() || len(b.Statement.Streams) > 0 {
			problems.add(Problem{What: "the statement has a summary, and is not about a period: all events of its jobs must be here"})
		}
		b.checkBeside(problems)
		return
	}
	b.checkStreams(problems)
	b.checkScope(problems)
}

// checkBeside requires of what stands beside a summary that it can stand there: a job
// that is told from its beginning would look whole.
func (b *Bundle) checkBeside(problems *Error) {
	number := 0
	for _, l := range b.Logs {
		for _, r := range l.Records {
			number++
			if !b.Statement.Scope.beside(r) {
				problems.add(Problem{Number: number, EventID: r.ID(), What: "the statement has a summary, beside which no such event stands: " + string(r.Type())})
			}
		}
	}
	if !b.Statement.Summary.says(number) {
		problems.add(Problem{What: fmt.Sprintf("the statement has a summary, which counts more or fewer events that a reviewer looks for than the %d here, and those that it says had no room", number)})
	}
}

// A position is where an event stands in the file, and its place in its stream.
type position struct {
	number int
	record jobaudit.Record
}

// checkStreams requires each stream from its first event to the last one that
// the statement names, without a gap and linked by hashes.
func (b *Bundle) checkStreams(problems *Error) {
	var list []Stream
	at := map[uuid.UUID]int{}
	events := map[uuid.UUID][]position{}
	number := 0
	for _, l := range b.Logs {
		for _, r := range l.Records {
			number++
			if r.JobID() == uuid.Nil {
				continue
			}
			e := r.Event()
			list = count(list, at, e)
			events[e.Stream.ID] = append(events[e.Stream.ID], position{number, r})
		}
	}
	if !slices.Equal(list, b.Statement.Streams) {
		problems.add(Problem{What: unequal(list, b.Statement.Streams)})
	}
	for _, s := range list {
		checkStream(events[s.ID], problems)
	}
}

func checkStream(events []position, problems *Error) {
	slices.SortStableFunc(events, func(a, b position) int {
		return int(int64(a.record.Event().Stream.Seq) - int64(b.record.Event().Stream.Seq))
	})
	var before jobaudit.Record
	seq := uint64(0)
	for _, p := range events {
		e := p.record.Event()
		switch {
		case e.Stream.Seq == seq && p.record.Hash() == before.Hash():
			continue // the same event, from another log
		case e.Stream.Seq != seq+1:
			problems.add(Problem{Number: p.number, EventID: e.ID, What: fmt.Sprintf("number %d of stream %s follows number %d: events are missing", e.Stream.Seq, e.Stream.ID, seq)})
		case seq > 0 && e.Stream.Prev != before.Hash():
			problems.add(Problem{Number: p.number, EventID: e.ID, What: fmt.Sprintf("number %d of stream %s follows another event than the one that is here", e.Stream.Seq, e.Stream.ID)})
		}
		before, seq = p.record, e.Stream.Seq
	}
}

func unequal(found, stated []Stream) string {
	in := func(list []Stream, id uuid.UUID) (Stream, bool) {
		i := slices.IndexFunc(list, func(s Stream) bool { return s.ID == id })
		if i < 0 {
			return Stream{}, false
		}
		return list[i], true
	}
	for _, s := range stated {
		f, ok := in(found, s.ID)
		if !ok {
			return fmt.Sprintf("no event of stream %s is here, and the statement names it", s.ID)
		}
		if f.Last != s.Last {
			return fmt.Sprintf("stream %s ends with number %d here, and with %d by the statement", s.ID, f.Last, s.Last)
		}
	}
	for _, f := range found {
		if _, ok := in(stated, f.ID); !ok {
			return fmt.Sprintf("the statement does not name stream %s, of which events are here", f.ID)
		}
	}
	return "the statement names the streams in another order"
}

// checkScope requires that each job has an event for which it is in the scope.
func (b *Bundle) checkScope(problems *Error) {
	q := b.Statement.Scope.query()
	in, first, order := map[uuid.UUID]bool{}, map[uuid.UUID]int{}, []uuid.UUID{}
	number := 0
	for _, l := range b.Logs {
		for _, r := range l.Records {
			number++
			if id := r.JobID(); id != uuid.Nil {
				in[id] = in[id] || q.Match(r)
				if first[id] == 0 {
					first[id], order = number, append(order, id)
				}
			}
		}
	}
	for _, id := range order {
		if !in[id] {
			problems.add(Problem{Number: first[id], What: fmt.Sprintf("job %s is not one that the statement is about", id)})
		}
	}
}

// note says what the evidence leaves open.
func (b *Bundle) note() {
	if b.Statement.Summary != nil {
		b.Notes = append(b.Notes, "The jobs are not complete here: what else happened to them, and how they ended, does not stand in this file.")
		return
	}
	streams := map[uuid.UUID]bool{}
	for _, s := range b.Statement.Streams {
		streams[s.ID] = true
	}
	var unended Unended
	var jobs []uuid.UUID
	for _, l := range b.Logs {
		aside := 0
		for _, r := range l.Records {
			e := r.Event()
			if !l.counts(r) {
				aside++
			}
			if after := e.Stream.After.Stream; e.Job.ID != uuid.Nil && after != uuid.Nil && !streams[after] && len(b.Notes) < 20 {
				streams[after] = true // said once
				b.Notes = append(b.Notes, fmt.Sprintf("A stream resumes stream %s, which is not here: another log may hold it.", after))
			}
			if e.Job.ID == uuid.Nil || !l.counts(r) {
				continue
			}
			if unended.jobs[e.Job.ID] == nil {
				jobs = append(jobs, e.Job.ID)
			}
			unended.Add(e)
		}
		if aside > 0 && len(b.Notes) < 20 {
			b.Notes = append(b.Notes, fmt.Sprintf("%d events of jobs in the log %s do not count: it is the companion of another, or its first event is not here.", aside, l.Checkpoint.Head().Origin))
		}
	}
	for _, id := range jobs {
		if !unended.Ended(id) && len(b.Notes) < 20 {
			b.Notes = append(b.Notes, fmt.Sprintf("Job %s has no end here: it runs, or was lost, or its end is not under this head.", id))
		}
	}
	for _, l := range b.Statement.Logs {
		if l.Unread > 0 && len(b.Notes) < 20 {
			b.Notes = append(b.Notes, fmt.Sprintf("%d lines of the log %s could not be read as events.", l.Unread, l.Origin))
		}
	}
}

func terminal(s jobaudit.JobState) bool {
	return s == jobaudit.Success || s == jobaudit.Failed || s == jobaudit.Cancelled
}
