package evidence

import (
	"cmp"
	"slices"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// A Summary says what happened in a period that has more events than a file
// holds. It is the word of the person who made the file. Beside it the file
// proves events that a reviewer looks for first, as far as there is room: failures,
// denials, cancellations, corrections, losses, and acts on records.
type Summary struct {
	Events int64 `json:"events"` // of the jobs in the scope, and of the audit itself in the period
	Jobs   int64 `json:"jobs"`
	// Types counts the events by type.
	Types map[jobaudit.EventType]int64 `json:"types"`
	// Unended counts jobs that have a start and no end under these heads.
	Unended int64 `json:"unended"`
	// Gaps counts events that do not follow the one before in their stream.
	Gaps int64 `json:"gaps"`
	// Who counts the jobs by principal and action, and Withheld the events of
	// which something was withheld by the policy: the most frequent, at most 200.
	Who      []Count `json:"who"`
	Withheld []Count `json:"withheld"`
	// Left counts events that a reviewer looks for and that had no room.
	Left int64 `json:"left"`
}

// A Count is how often something was there.
type Count struct {
	Name string `json:"name"`
	N    int64  `json:"n"`
}

// The bounds of what stands beside a summary.
const (
	maxNotable = 10_000
	maxNames   = 200
)

// notable are the types of events that stand beside a summary.
var notable = map[jobaudit.EventType]bool{
	jobaudit.JobFailed: true, jobaudit.JobDenied: true, jobaudit.JobCancelled: true, jobaudit.JobCorrected: true,
	jobaudit.AttemptLost: true, jobaudit.AttemptSuperseded: true, jobaudit.AuditLost: true, jobaudit.AuditDegraded: true,
	jobaudit.AuditErased: true, jobaudit.AuditRead: true, jobaudit.AuditReviewed: true, jobaudit.AuditRequested: true,
}

// says reports whether so many events stand beside the summary by its own numbers: one that
// is cut from a file is missing then.
func (s *Summary) says(beside int) bool {
	if s.Left < 0 {
		return false
	}
	for t := range notable {
		if s.Types[t] < 0 {
			return false
		}
		beside -= int(s.Types[t])
	}
	return int64(beside)+s.Left == 0
}

// A summarizer counts what all logs hold.
type summarizer struct {
	Summary
	unended       Unended
	seqs          map[uuid.UUID]uint64
	who, withheld map[string]int64
	kept          int
	scope         Scope
}

func newSummarizer(scope Scope) *summarizer {
	return &summarizer{scope: scope, Summary: Summary{Types: map[jobaudit.EventType]int64{}},
		seqs: map[uuid.UUID]uint64{}, who: map[string]int64{}, withheld: map[string]int64{}}
}

// add counts an event and reports whether it is to stand beside the summary.
func (s *summarizer) add(r jobaudit.Record) (keep bool) {
	e := r.Event()
	s.Events++
	s.Types[e.Type]++
	if e.Job.ID != uuid.Nil {
		s.job(e)
	}
	if x := e.What.Redaction; x != nil && (len(x.Removed) > 0 || len(x.Hits) > 0 || x.RemovedCount > 0 ||
		x.Outcome != jobaudit.RedactionKept && x.Outcome != jobaudit.RedactionPassedThrough) {
		name := "no policy"
		if x.Policy != "" {
			name = x.Policy + " " + x.Version
		}
		s.withheld[name]++
	}
	switch {
	case !notable[e.Type]:
		return false
	case !s.scope.beside(r): // an event of this job's ID with another action
		s.Left++
		return false
	case s.kept == maxNotable:
		s.Left++
		return false
	}
	s.kept++
	return true
}

func (s *summarizer) job(e jobaudit.Event) {
	if s.unended.jobs[e.Job.ID] == nil {
		s.who[string(e.Who.Principal.Kind)+" "+e.Who.Principal.ID+": "+e.What.Action]++
	}
	s.unended.Add(e)
	if s.seqs[e.Stream.ID]+1 != e.Stream.Seq {
		s.Gaps++
	}
	s.seqs[e.Stream.ID] = e.Stream.Seq
}

// sum completes the summary.
func (s *summarizer) sum() *Summary {
	s.Jobs, s.Unended = int64(len(s.unended.jobs)), s.unended.Jobs()
	s.Who, s.Withheld = most(s.who), most(s.withheld)
	return &s.Summary
}

// most lists the most frequent names.
func most(counts map[string]int64) []Count {
	list := make([]Count, 0, len(counts))
	for name, n := range counts {
		list = append(list, Count{name, n})
	}
	slices.SortFunc(list, func(a, b Count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
	return list[:min(len(list), maxNames)]
}
