package jobaudit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/causal"
)

// Replay folds the events of one job into the [Job] that they add up to. There
// is no second source of truth.
//
// The records' own order counts, as a reader gives it, but no event is folded
// before one that it follows: by its stream, by the stream that it resumes, or
// by its causation. Times decide nothing. The first outcome wins; what comes
// after it is in [Job.Unapplied]. A record that stands twice counts once; of
// two verdicts under one ID, from different logs, the one with the lower leaf
// hash counts.
//
// One submission says whose job it is: the one that signed Carriers name
// (Event.Who.Proof), if all that name one agree. Else it is the first: in one
// log the one that was stored first, of several logs (package story) one by a
// verified principal before one that is only claimed. Events whose organization,
// action, root or correlation contradict it have no effect and are in
// [Job.Unapplied] as well, as foreign: who controls a queue may use another's
// job ID. So are other submissions, as duplicates.
//
// Without a record the error is [ErrNotFound]. It is an error, too, if the
// records are of several jobs, or if two records that are not verdicts share an
// ID ([ErrConflict]). Of records that the iterator could not read
// ([*UnreadableError]) the Job says where they are; any other error of the
// iterator is returned unchanged.
func Replay(records iter.Seq2[Record, error]) (Job, error) {
	f, err := replay(records)
	return f.job, err
}

func replay(records iter.Seq2[Record, error]) (fold, error) {
	c, err := collect(records)
	if err != nil {
		return fold{}, err
	}
	f := fold{executions: map[uuid.UUID]int{}, concluded: map[uuid.UUID]bool{}}
	order := causal.NewGraph(c.links).Order()
	f.authority = c.authority(order)
	for _, i := range order {
		switch e := &c.events[i]; {
		case f.authority != nil && subjectOf(e) != subjectOf(f.authority):
			f.setAside(e, CauseForeign)
		case e.Type == JobSubmitted && e != f.authority:
			f.setAside(e, CauseDuplicate)
		default:
			f.apply(e)
		}
	}
	f.job.Unreadable = c.unreadable
	return f, nil
}

// subject is what an event says of whose job it is about. An event that differs
// in it from its job's submission is foreign.
type subject struct {
	org, action       string
	root, correlation uuid.UUID
}

func subjectOf(e *Event) subject {
	return subject{e.Who.OrgID, e.What.Action, e.Job.RootID, e.CorrelationID}
}

// authority returns the submission that says whose job it is, nil if there is
// none. An event with a proof names the submission in that stream which agrees
// with it. Where proofs name several, they decide nothing.
func (c *collection) authority(order []int) *Event {
	type place struct {
		stream uuid.UUID
		subject
	}
	submissions := make(map[place]*Event)
	var first, proven *Event
	for _, i := range order {
		e := &c.events[i]
		if e.Type != JobSubmitted {
			continue
		}
		if first == nil {
			first = e
		}
		if at := (place{e.Stream.ID, subjectOf(e)}); submissions[at] == nil {
			submissions[at] = e
		}
	}
	for i := range c.events {
		e := &c.events[i]
		if e.Type == JobSubmitted || e.Who.Proof.Submission == uuid.Nil {
			continue
		}
		named := submissions[place{e.Who.Proof.Submission, subjectOf(e)}]
		if named != nil && proven != nil && named != proven {
			return first
		}
		proven = cmp.Or(named, proven)
	}
	return cmp.Or(proven, first)
}

// maxUnreadable is how many places of unreadable records a Job lists.
const maxUnreadable = 16

// collection is the events of one job, each once.
type collection struct {
	events     []Event
	links      []causal.Event
	byID       map[uuid.UUID]int
	unreadable []string // the places of records that cannot be read
}

func collect(records iter.Seq2[Record, error]) (*collection, error) {
	c := &collection{byID: map[uuid.UUID]int{}}
	for r, err := range records {
		if damage, ok := errors.AsType[*UnreadableError](err); ok {
			if len(c.unreadable) < maxUnreadable {
				c.unreadable = append(c.unreadable, damage.Place)
			}
			continue
		}
		if err == nil {
			err = c.add(r)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(c.events) == 0 {
		return nil, ErrNotFound
	}
	return c, nil
}

func (c *collection) add(r Record) error {
	if r.jobID == uuid.Nil {
		return fmt.Errorf("record %s concerns no job", r.id)
	}
	if len(c.events) > 0 && r.jobID != c.events[0].Job.ID {
		return fmt.Errorf("records of two jobs, %s and %s", c.events[0].Job.ID, r.jobID)
	}
	at, again := c.byID[r.id]
	switch {
	case !again:
		e := r.Event()
		c.byID[r.id] = len(c.events)
		c.events, c.links = append(c.events, e), append(c.links, links(&e, r.hash))
	case c.links[at].Hash == r.hash:
	case r.id.Version() != 8:
		return &RecordError{ID: r.id, Err: ErrConflict}
	case bytes.Compare(r.hash[:], c.links[at].Hash[:]) < 0: // of two verdicts, the one that counts
		c.events[at] = r.Event()
		c.links[at] = links(&c.events[at], r.hash)
	}
	return nil
}

// links are what an event's place among others depends on.
func links(e *Event, hash Hash) causal.Event {
	l := causal.Event{
		ID: e.ID, Hash: hash, Stream: e.Stream.ID, Seq: e.Stream.Seq, Prev: e.Stream.Prev, Cause: e.CausationID,
	}
	l.Resumes.Stream, l.Resumes.Seq, l.Resumes.Hash = e.Stream.After.Stream, e.Stream.After.Seq, e.Stream.After.Hash
	return l
}

// fold is a job as far as its events have been applied.
type fold struct {
	job        Job
	begun      bool
	authority  *Event    // the submission that says whose job it is, if there is one
	submission uuid.UUID // the ID of the event that submitted the job, once it has been met
	// executions holds where in the job the execution of an ID stands.
	executions map[uuid.UUID]int
	// concluded holds the executions whose end others concluded: by a verdict,
	// or because the job was started again.
	concluded map[uuid.UUID]bool
}

func (f *fold) apply(e *Event) {
	if !f.begun {
		f.begin(e)
	} else if e.Type == JobSubmitted && f.job.Incomplete {
		f.submit(e)
		return
	}
	effect, next := step(f.job.State, e.Type)
	switch effect {
	case enters:
		f.enter(e, next)
	case duplicate, late, illegal:
		f.setAside(e, Cause(effect))
	}
	switch e.Type {
	case JobLogged:
		f.job.Logs = append(f.job.Logs, e.Data.Line)
	case JobStarted, AttemptStarted:
		f.start(e, effect)
	case JobHeartbeat, JobSubmitted:
	default:
		f.end(e)
	}
}

// begin takes from the first event what all events of a job have in common.
func (f *fold) begin(e *Event) {
	f.begun = true
	f.job = Job{ID: e.Job.ID, State: none, Logs: []string{}, Unapplied: f.job.Unapplied}
	f.submit(e)
	if e.Type != JobSubmitted {
		f.job.State = Pending
		f.job.Incomplete = true
		f.submission = uuid.Nil
	}
}

// submit takes what the submission says. Other events only repeat it.
func (f *fold) submit(e *Event) {
	f.job.CreatedAt = happened(e)
	f.job.CorrelationID = e.CorrelationID
	f.job.ParentID, f.job.RootID, f.job.RetryOf = e.Job.ParentID, e.Job.RootID, e.Job.RetryOf
	f.job.Metadata = JobMetadata{
		RequestID: e.RequestID, UserID: e.Who.Principal.ID, OrgID: e.Who.OrgID,
		Action: e.What.Action, Inputs: e.What.Inputs,
	}
	f.job.Incomplete = false
	f.submission = e.ID
}

// happened is when what the event records took place: what was read from a
// queue's own table later did so when that says.
func happened(e *Event) time.Time {
	if !e.QueueTime.IsZero() {
		return e.QueueTime
	}
	return e.Time
}

func (f *fold) enter(e *Event, next JobState) {
	f.job.State = next
	if next == Running {
		f.job.StartedAt = happened(e)
	}
	if !next.Terminal() {
		return
	}
	f.job.CompletedAt = happened(e)
	f.job.Output = e.Data.Output
	f.job.Error = errorOf(e)
}

func (f *fold) setAside(e *Event, why Cause) {
	u := UnappliedEvent{EventID: e.ID, Type: e.Type, Time: e.Time, Cause: why, Error: errorOf(e)}
	if why == CauseDuplicate && !bytes.Equal(e.What.Inputs, f.authority.What.Inputs) {
		u.Inputs = e.What.Inputs
	}
	f.job.Unapplied = append(f.job.Unapplied, u)
}

func (f *fold) start(e *Event, effect effect) {
	f.job.Attempt = max(f.job.Attempt, e.Job.Attempt)
	if e.Job.ExecutionID != uuid.Nil {
		f.executions[e.Job.ExecutionID] = len(f.job.Executions)
	}
	f.job.Executions = append(f.job.Executions, JobExecution{
		ID: e.Job.ExecutionID, Attempt: e.Job.Attempt, Stream: e.Stream.ID,
		StartedAt: happened(e), Late: effect == late,
	})
}

// end closes the execution that the event ends, if it ends one. What the
// worker itself says of its end takes the place of what others concluded.
func (f *fold) end(e *Event) {
	switch e.Type {
	case JobSucceeded, JobFailed, JobCancelled, AttemptFailed, AttemptDeferred, AttemptLost, AttemptSuperseded, AttemptLate:
	default:
		return
	}
	conclusion := e.Type == AttemptLost || e.Type == AttemptSuperseded || e.ID.Version() == 8
	i, ok := f.executions[e.Job.ExecutionID]
	if !ok {
		return
	}
	if x := &f.job.Executions[i]; x.End == "" || f.concluded[x.ID] && !conclusion {
		x.EndedAt, x.End = happened(e), e.Type
		f.concluded[x.ID] = conclusion
	}
}

// Jobs iterates over the jobs of a log, each as [Replay] folds it, the one that
// was submitted last first. It holds one job in memory at a time. A reader that
// has a method Jobs(context.Context, Query) iter.Seq2[Job, error], as a
// database may, is asked instead, and gives the same answer.
//
// The query selects by the job's submission, with these exceptions:
//
//   - State and ErrorCode are those of the folded job, as they are now;
//   - After is the ID of the last job already seen, and Limit counts jobs;
//   - NewestFirst makes no difference, and Types must be empty.
//
// A job whose submission is not in this log is not among them.
//
// An error that is about one job, such as [ErrConflict], is yielded with a Job
// that has its ID and nothing else; the iteration goes on. It also goes on
// behind a record that cannot be read ([*UnreadableError]), which is yielded
// with the zero Job. Any other error of the reader is yielded with the zero Job
// and ends the iteration.
func Jobs(ctx context.Context, reader AuditReader, q Query) iter.Seq2[Job, error] {
	if own, ok := reader.(interface {
		Jobs(context.Context, Query) iter.Seq2[Job, error]
	}); ok {
		return own.Jobs(ctx, q)
	}
	return func(yield func(Job, error) bool) {
		l := jobList{ctx: ctx, reader: reader, query: q}
		if err := l.each(yield); err != nil {
			yield(Job{}, err)
		}
	}
}

// jobList is one iteration over jobs.
type jobList struct {
	ctx    context.Context
	reader AuditReader
	query  Query
	failed error // the reader's, while a job was read
}

// each yields the jobs. The error is one that ends the iteration.
func (l *jobList) each(yield func(Job, error) bool) error {
	q, err := l.submissions()
	if err != nil {
		return err
	}
	n := 0
	for r, err := range l.reader.Records(l.ctx, q) {
		if unreadable(err) {
			if !yield(Job{}, err) {
				return nil
			}
			continue
		}
		if err != nil {
			return err
		}
		job, submission, err := l.fold(r.jobID)
		switch {
		case l.failed != nil:
			return l.failed
		case err != nil:
			job = Job{ID: r.jobID}
		case submission != r.id, // another submission of the job decides where it stands
			l.query.State != "" && l.query.State != job.State,
			l.query.ErrorCode != "" && (job.Error == nil || job.Error.Code != l.query.ErrorCode):
			continue
		}
		if n++; !yield(job, err) || n == l.query.Limit {
			return nil
		}
	}
	return nil
}

// submissions returns the query for the submissions of the jobs.
func (l *jobList) submissions() (Query, error) {
	q := l.query
	if len(q.Types) > 0 {
		return q, &FieldError{Field: "Query.Types", Problem: "selects events; leave it empty to select jobs"}
	}
	if q.After != uuid.Nil {
		_, submission, err := l.fold(q.After)
		if err == nil && submission == uuid.Nil {
			err = ErrNotFound
		}
		if err != nil {
			return q, fmt.Errorf("read on behind job %s: %w", q.After, err)
		}
		q.After = submission
	}
	q.Types, q.NewestFirst, q.Limit = []EventType{JobSubmitted}, true, 0
	q.State, q.ErrorCode = "", ""
	return q, nil
}

// fold returns a job and the ID of the event that submitted it.
func (l *jobList) fold(id uuid.UUID) (Job, uuid.UUID, error) {
	f, err := replay(func(yield func(Record, error) bool) {
		for r, err := range l.reader.Records(l.ctx, Query{JobID: id}) {
			if err != nil && !unreadable(err) {
				l.failed = err
			}
			if !yield(r, err) {
				return
			}
		}
	})
	return f.job, f.submission, err
}

// unreadable reports whether a reader's error is about one record only.
func unreadable(err error) bool {
	_, ok := errors.AsType[*UnreadableError](err)
	return ok
}
