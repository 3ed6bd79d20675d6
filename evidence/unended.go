package evidence

import (
	"hash/maphash"
	"slices"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Unended finds the starts of jobs that have no end, and the jobs that have none. It is
// told all events of a log, in the log's order, and keeps some 300 bytes for each job. As
// for [jobaudit.Replay], an event that contradicts its job's submission is foreign and
// ends nothing: who writes to a queue can make one. The zero value knows no event. It is
// not safe for concurrent use.
type Unended struct {
	jobs map[uuid.UUID]*life
	seed maphash.Seed
	// Of all jobs together, as one that somebody forges may have as many as events:
	subjects    map[subjectOf]int  // their numbers within a job
	submissions map[submitted]int  // the same, from 1 on
	claims      map[submitted]bool // what proofs name, of submissions that have not been seen
}

// life is what is known of one job.
type life struct {
	known       []byte // of each subject: bits of started and ended
	submissions int
	first       int // subject of the first submission
	proven      int // number of the submission that proofs name
	named       int // its subject
	disputed    bool
	facts       []fact // what is not settled
	settled     int    // how many there were when it was looked for last
}

const started, ended byte = 1, 2

// subjectOf is whose job an event says that it is, as a fingerprint.
type subjectOf struct {
	job   uuid.UUID
	print uint64
}

// submitted is a submission's stream and subject.
type submitted struct {
	job, stream uuid.UUID
	subject     int
}

// A fact is a start or an end.
type fact struct {
	subject          int
	kind             factKind
	event, execution uuid.UUID
}

type factKind byte

const (
	isStart factKind = iota
	isEnd            // of an execution
	isOver           // the job's end: none of its executions is waited for
)

type subject struct {
	org, action       string
	root, correlation uuid.UUID
}

// Add takes the next event.
func (u *Unended) Add(e jobaudit.Event) {
	if e.Job.ID == uuid.Nil {
		return
	}
	if u.jobs == nil {
		u.jobs, u.seed = map[uuid.UUID]*life{}, maphash.MakeSeed()
		u.subjects, u.submissions, u.claims = map[subjectOf]int{}, map[submitted]int{}, map[submitted]bool{}
	}
	l := u.jobs[e.Job.ID]
	if l == nil {
		l = &life{}
		u.jobs[e.Job.ID] = l
	}
	about := subjectOf{e.Job.ID, maphash.Comparable(u.seed, subject{e.Who.OrgID, e.What.Action, e.Job.RootID, e.CorrelationID})}
	s, seen := u.subjects[about]
	if !seen {
		s = len(l.known)
		u.subjects[about], l.known = s, append(l.known, 0)
	}
	u.claim(l, e, s)
	switch e.Type {
	case jobaudit.JobStarted, jobaudit.AttemptStarted:
		l.known[s] |= started
		l.facts = append(l.facts, fact{s, isStart, e.ID, e.Job.ExecutionID})
	case jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled:
		l.known[s] |= ended
		l.add(fact{s, isOver, e.ID, uuid.Nil})
	case jobaudit.JobDenied, jobaudit.JobDeduplicated:
		if terminal(e.Job.State) {
			l.known[s] |= ended
		}
	case jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost, jobaudit.AttemptSuperseded, jobaudit.AttemptLate:
		l.add(fact{s, isEnd, e.ID, e.Job.ExecutionID})
	}
}

// claim notes which submission is the job's, by an event of a subject.
func (u *Unended) claim(l *life, e jobaudit.Event, s int) {
	switch {
	case e.Type == jobaudit.JobSubmitted:
		one := submitted{e.Job.ID, e.Stream.ID, s}
		if u.submissions[one] > 0 {
			return
		}
		if l.submissions++; l.submissions == 1 {
			l.first = s
		}
		u.submissions[one] = l.submissions
		if u.claims[one] {
			l.prove(l.submissions, s)
		}
	case e.Who.Proof.Submission != uuid.Nil:
		one := submitted{e.Job.ID, e.Who.Proof.Submission, s}
		if n := u.submissions[one]; n > 0 {
			l.prove(n, s)
		} else {
			u.claims[one] = true
		}
	}
}

func (l *life) prove(n, subject int) {
	l.disputed = l.disputed || l.proven > 0 && l.proven != n
	l.proven, l.named = n, subject
}

// add keeps an end, and only what may still matter: while all events agree, what has ended
// is settled.
func (l *life) add(f fact) {
	switch {
	case len(l.known) > 1:
		l.facts = append(l.facts, f)
	case f.kind == isOver:
		l.facts, l.settled = nil, 0
	default:
		if l.facts = append(l.facts, f); len(l.facts) >= 2*l.settled+8 { // not at each
			l.facts = settle(l.facts)
			l.settled = len(l.facts)
		}
	}
}

// settle leaves the starts that no end follows.
func settle(facts []fact) (open []fact) {
	over, gone := 0, make([]bool, len(facts))
	starts := map[uuid.UUID][]int{} // by execution
	for i, f := range facts {
		switch f.kind {
		case isStart:
			starts[f.execution] = append(starts[f.execution], i)
		case isOver:
			over, starts = i+1, map[uuid.UUID][]int{}
		case isEnd: // of several starts of an execution it ends the newest
			gone[i] = true
			if of := starts[f.execution]; len(of) > 0 {
				gone[of[len(of)-1]] = true
				starts[f.execution] = of[:len(of)-1]
			}
		}
	}
	for i, f := range facts[over:] {
		if !gone[over+i] {
			open = append(open, f)
		}
	}
	return open
}

// own returns whether events of a subject are the job's.
func (l *life) own(subject int) bool {
	switch {
	case l.submissions == 0:
		return true
	case l.proven > 0 && !l.disputed:
		return subject == l.named
	}
	return subject == l.first
}

// state returns the bits of a job.
func (l *life) state() (bits byte) {
	for s, b := range l.known {
		if l.own(s) {
			bits |= b
		}
	}
	return bits
}

// Starts returns the events that are starts without an end. Where a job has ended, none
// of its executions is waited for.
func (u *Unended) Starts() map[uuid.UUID]bool {
	starts := map[uuid.UUID]bool{}
	for _, l := range u.jobs {
		own := slices.DeleteFunc(slices.Clone(l.facts), func(f fact) bool { return !l.own(f.subject) })
		for _, f := range settle(own) {
			starts[f.event] = true
		}
	}
	return starts
}

// Ended reports whether a job has an end: one that was submitted or has started may have
// none.
func (u *Unended) Ended(job uuid.UUID) bool {
	l := u.jobs[job]
	return l != nil && l.state()&ended != 0
}

// Jobs counts the jobs that have a start and no end.
func (u *Unended) Jobs() (n int64) {
	for _, l := range u.jobs {
		if l.state() == started {
			n++
		}
	}
	return n
}
