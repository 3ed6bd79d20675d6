package webui

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

// A job may have more events than fit into memory, and anybody may look at it: so a
// page keeps some of them, and goes through no more than so many, of each log. A record
// has up to 48,000 bytes: so both their number and their bytes are bounded.
const (
	mostRead    = 500_000
	mostChanges = 5_000   // that are kept of those which change a job
	mostBytes   = 4 << 20 // of the first, of the newest, and of those which change a job, each
)

// changes are the types of events that change a job, or say whose it is. Others are
// kept only where they are shown.
var changes = []jobaudit.EventType{
	jobaudit.JobSubmitted, jobaudit.JobDeduplicated, jobaudit.JobAuthorized, jobaudit.JobDenied, jobaudit.JobStarted,
	jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobCorrected, jobaudit.AttemptStarted,
	jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost, jobaudit.AttemptSuperseded, jobaudit.AttemptLate,
}

// part is which of a job's events are wanted, of each log that has some.
type part struct {
	from  int // those from the one of this number on,
	shown int // so many at most: half of them are the newest if from is 0
	read  int // the most that are gone through
}

// excerpt is those of a job's records that its page is made of.
type excerpt struct {
	records []jobaudit.Record // the wanted ones, and those that change the job
	wanted  map[uuid.UUID]bool
	counts  map[jobaudit.EventType]int // of all
	total   int
	next    int  // the number of the first event that is wanted no more, -1: there is none
	cut     bool // there are more than were gone through, or that change the job
	unread  bool // not all were gone through
	foreign bool // there are some of an organization that the viewer may not know of
	broken  []error
}

// tell reads a job as far as the viewer may know of it. A job of one organization may
// have events of another: who knows its ID can write some.
func (u *UI) tell(ctx context.Context, v *Viewer, id uuid.UUID, p part) (*excerpt, error) {
	t := &excerpt{wanted: map[uuid.UUID]bool{}, counts: map[jobaudit.EventType]int{}, next: -1}
	var logs [][]jobaudit.Record
	for i := range u.logs {
		s := selection{excerpt: t, part: p, viewer: v}
		if err := s.read(u.logs[i].Reader.Records(ctx, jobaudit.Query{JobID: id})); err != nil {
			return t, err
		}
		if t.cut {
			if err := s.newest(u.logs[i].Reader.Records(ctx, jobaudit.Query{JobID: id, NewestFirst: true})); err != nil {
				return t, err
			}
		}
		logs = append(logs, s.kept)
	}
	var err error
	t.records, err = merged(logs)
	return t, err
}

// merged puts what logs hold into one order.
func merged(logs [][]jobaudit.Record) (all []jobaudit.Record, err error) {
	if len(logs) == 1 {
		return logs[0], nil
	}
	var sequences []iter.Seq2[jobaudit.Record, error]
	for _, records := range logs {
		sequences = append(sequences, each(records))
	}
	for r, err := range story.Merge(sequences...) {
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// selection is what is kept of one log's records of a job.
type selection struct {
	*excerpt
	part
	viewer  *Viewer
	kept    []jobaudit.Record
	last    queue // the newest
	n       int   // of those that were offered
	end     int   // the number behind the first that are wanted
	first   int   // bytes of these
	full    bool  // no more of these are wanted
	changed int   // of those that are kept as they change the job
	bytes   int   // of these
}

// queue holds records, the oldest first.
type queue struct {
	list  []jobaudit.Record
	bytes int
}

func (q *queue) push(r jobaudit.Record) {
	q.list, q.bytes = append(q.list, r), q.bytes+r.Len()
}

func (q *queue) pop() jobaudit.Record {
	r := q.list[0]
	q.list[0] = jobaudit.Record{} // or the array would hold it
	q.list, q.bytes = q.list[1:], q.bytes-r.Len()
	return r
}

// read goes through a log's records of the job.
func (s *selection) read(all iter.Seq2[jobaudit.Record, error]) error {
	gone := 0
	for r, err := range all {
		if gone++; gone > s.part.read {
			s.cut, s.unread = true, true
			break
		}
		if _, one := errors.AsType[*jobaudit.UnreadableError](err); one {
			s.broken = append(s.broken, err)
			s.broken = s.broken[:min(len(s.broken), 16)]
			continue
		}
		if err != nil {
			return err
		}
		if !s.viewer.AllOrgs && r.Event().Who.OrgID != s.viewer.OrgID {
			s.foreign = true
			continue
		}
		s.total++
		s.counts[r.Type()]++
		s.offer(r)
	}
	for _, r := range s.last.list {
		s.kept, s.wanted[r.ID()] = append(s.kept, r), true
	}
	if s.n > s.end+len(s.last.list) && s.n > s.from && (s.next < 0 || s.end < s.next) {
		s.next = s.end
	}
	return nil
}

// offer keeps a record if it is wanted, or changes the job.
func (s *selection) offer(r jobaudit.Record) {
	at, first := s.n, s.shown
	if s.from == 0 {
		first = s.shown / 2
	}
	s.n++
	if at >= s.from && !s.full {
		if s.full = at >= s.from+first || at > s.from && s.first+r.Len() > mostBytes; !s.full {
			s.first, s.end = s.first+r.Len(), at+1
			s.kept, s.wanted[r.ID()] = append(s.kept, r), true
			return
		}
	}
	if s.from > 0 {
		s.change(r)
		return
	}
	for s.last.push(r); len(s.last.list) > first || len(s.last.list) > 1 && s.last.bytes > mostBytes; {
		s.change(s.last.pop())
	}
}

// change keeps a record that is not wanted, if it changes the job.
func (s *selection) change(r jobaudit.Record) {
	if !slices.Contains(changes, r.Type()) {
		return
	}
	if s.changed == mostChanges || s.bytes+r.Len() > mostBytes {
		s.cut = true
		return
	}
	s.changed, s.bytes = s.changed+1, s.bytes+r.Len()
	s.kept = append(s.kept, r)
}

// newest reads those behind what was gone through, from the end: so a page tells how
// a job stands now, however long it is.
func (s *selection) newest(all iter.Seq2[jobaudit.Record, error]) error {
	known := make(map[uuid.UUID]bool, len(s.kept))
	for _, r := range s.kept {
		known[r.ID()] = true
	}
	var list []jobaudit.Record
	gone, bytes := 0, 0
	for r, err := range all {
		if gone++; gone > s.shown/2 || err == nil && known[r.ID()] {
			break
		}
		if bytes += r.Len(); bytes > mostBytes {
			break
		}
		if _, one := errors.AsType[*jobaudit.UnreadableError](err); one {
			continue
		}
		if err != nil {
			return err
		}
		if s.viewer.AllOrgs || r.Event().Who.OrgID == s.viewer.OrgID {
			list = append(list, r)
			s.wanted[r.ID()] = s.from == 0
		}
	}
	slices.Reverse(list)
	s.kept = append(s.kept, list...)
	return nil
}

// fold returns what the records add up to, without lines that were left out.
func (t *excerpt) fold() (jobaudit.Job, error) {
	return jobaudit.Replay(func(yield func(jobaudit.Record, error) bool) {
		for _, r := range t.records {
			if !yield(r, nil) {
				return
			}
		}
		for _, err := range t.broken {
			if !yield(jobaudit.Record{}, err) {
				return
			}
		}
	})
}

func each(records []jobaudit.Record) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// newestOf goes through the newest events of a log, no more than most of them, for
// those of some types: logs have no index of types. A record that cannot be read is
// given to do as an error. It reports whether there are earlier events.
func newestOf(ctx context.Context, log jobaudit.AuditReader, q jobaudit.Query, most int, types []jobaudit.EventType, do func(jobaudit.Record, error)) (cut bool, err error) {
	q.NewestFirst = true
	n := 0
	for rec, err := range log.Records(ctx, q) {
		if n++; n > most {
			return true, nil
		}
		if _, one := errors.AsType[*jobaudit.UnreadableError](err); !one && err != nil {
			return false, err
		}
		if err != nil || slices.Contains(types, rec.Type()) {
			do(rec, err)
		}
	}
	return false, nil
}

// Bounds of a tree.
const (
	mostFamily        = 500 // jobs
	mostFamilyRecords = 20_000
	mostFamilyBytes   = 8 << 20 // of all logs together
)

// familyRecords reads what changes the jobs below a root. They are looked up by their
// correlation, of which logs have an index. The jobs' order is that of the records.
func (u *UI) familyRecords(ctx context.Context, v *Viewer, root, correlation uuid.UUID) (byJob map[uuid.UUID][]jobaudit.Record, order []uuid.UUID, more bool, err error) {
	q := jobaudit.Query{RootID: root, CorrelationID: correlation, Types: changes}
	var logs [][]jobaudit.Record
	bytes := 0
	for i := range u.logs {
		var kept []jobaudit.Record
		for rec, err := range u.logs[i].Reader.Records(ctx, q) {
			if _, one := errors.AsType[*jobaudit.UnreadableError](err); one {
				continue
			}
			if err != nil {
				return nil, nil, false, err
			}
			if rec.JobID() == uuid.Nil || !v.AllOrgs && rec.Event().Who.OrgID != v.OrgID {
				continue
			}
			if len(kept) == mostFamilyRecords || bytes+rec.Len() > mostFamilyBytes {
				more = true
				break
			}
			kept, bytes = append(kept, rec), bytes+rec.Len()
		}
		logs = append(logs, kept)
	}
	all, err := merged(logs)
	byJob = map[uuid.UUID][]jobaudit.Record{}
	for _, rec := range all {
		id := rec.JobID()
		if byJob[id] == nil {
			if len(order) == mostFamily {
				more = true
				continue
			}
			order = append(order, id)
		}
		byJob[id] = append(byJob[id], rec)
	}
	return byJob, order, more, err
}

// correlationOf is what the family of a job is looked up by.
func correlationOf(p *jobPage) uuid.UUID {
	return cmp.Or(p.Job.CorrelationID, p.First.CorrelationID)
}
