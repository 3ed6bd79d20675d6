package verifier

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// event is what the fold of a job needs of one.
type event struct {
	ID, Type, Time string
	Reconstructed  *struct{ QueueTime string }
	Stream         struct {
		ID    string
		Seq   int
		After *struct {
			Stream string
			Seq    int
		}
	}
	Job struct {
		ID, State, ExecutionID, ParentID, RootID, RetryOf string
		Attempt                                           int
	}
	CorrelationID, CausationID, RequestID string
	Who                                   struct {
		Principal struct{ ID string }
		OrgID     string
	}
	What struct {
		Action string
		Inputs json.RawMessage
	}
	Data struct {
		Output   json.RawMessage
		Error    *failure
		Line     text
		Existing string
		Decision *struct{ Reason text }
	}

	hash [32]byte
}

// text is a text, or the marker that stands for one.
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	if raw[0] == '"' {
		return json.Unmarshal(raw, (*string)(t))
	}
	var marker struct {
		Kind       string `json:"$jobaudit"`
		Rule, Head string
		Size       int
	}
	err := json.Unmarshal(raw, &marker)
	*t = text("(" + marker.Kind + ": " + marker.Rule + ")")
	if marker.Kind == "truncated" {
		*t = text(fmt.Sprintf("%s… (%d bytes in all)", marker.Head, marker.Size))
	}
	return err
}

// happened is when the event happened.
func (e *event) happened() string {
	if e.Reconstructed != nil && e.Reconstructed.QueueTime != "" {
		return e.Reconstructed.QueueTime
	}
	return e.Time
}

func (e *event) verdict() bool { return e.ID[14] == '8' } // the digit of the version

type failure struct {
	Code        string
	Message     text
	Type, Frame string
}

// Job is a job as it was folded: the fields of the contract and of ours that
// the fold decides. Times are as they stand in the events.
type Job struct {
	ID, State                                string
	CreatedAt, StartedAt, CompletedAt        string
	Output, Inputs                           string
	ErrorCode, ErrorMessage                  string
	Logs                                     []string
	RequestID, UserID, OrgID, Action         string
	CorrelationID, ParentID, RootID, RetryOf string
	Attempt                                  int
	Executions                               []Execution
	Unapplied                                []string // ID and cause
	Incomplete                               bool
}

// Execution is one time that a job was started.
type Execution struct {
	ID, Stream, StartedAt, EndedAt, End string
	Attempt                             int
	Late                                bool
}

// folding is a job as far as its events have been applied.
type folding struct {
	Job
	concluded map[int]bool // executions whose end others concluded
}

// Fold folds the events of one job, given as the lines of its logs, each in the
// log's order.
func Fold(logs ...[][]byte) (Job, error) {
	all, err := readLogs(logs)
	if err != nil {
		return Job{}, err
	}
	j := folding{concluded: map[int]bool{}}
	for _, e := range all {
		j.apply(e)
	}
	return j.Job, nil
}

// readLogs returns the events of logs in one order.
func readLogs(logs [][][]byte) (all []*event, err error) {
	byID := map[string]*event{}
	order := make([][]*event, len(logs))
	for n, log := range logs {
		here := map[string]bool{}
		for _, line := range log {
			e := &event{hash: sha256.Sum256(append([]byte{0}, line...))}
			if err := json.Unmarshal(line, e); err != nil {
				return nil, err
			}
			switch have := byID[e.ID]; {
			case have == nil:
				byID[e.ID] = e
			case have.hash == e.hash:
			case !e.verdict():
				return nil, errors.New("two events with one ID")
			case bytes.Compare(e.hash[:], have.hash[:]) < 0:
				*have = *e
			}
			if !here[e.ID] {
				here[e.ID] = true
				order[n] = append(order[n], byID[e.ID])
			}
		}
	}
	before := followed(byID)
	for n := range order {
		if order[n], err = sortCausally(order[n], before); err != nil {
			return nil, err
		}
	}
	if len(order) == 1 {
		return order[0], nil
	}
	decideOutcomes(order, before)
	return merge(order, before)
}

// followed returns for each event those that it follows.
func followed(byID map[string]*event) map[*event][]*event {
	streams := map[string][]*event{}
	for _, e := range byID {
		streams[e.Stream.ID] = append(streams[e.Stream.ID], e)
	}
	before := map[*event][]*event{}
	for _, s := range streams {
		slices.SortFunc(s, func(a, b *event) int { return a.Stream.Seq - b.Stream.Seq })
		for i, e := range s[1:] {
			before[e] = append(before[e], s[i])
		}
	}
	for _, e := range byID {
		if cause := byID[e.CausationID]; cause != nil && cause != e {
			before[e] = append(before[e], cause)
		}
		if e.Stream.After == nil {
			continue
		}
		for _, p := range slices.Backward(streams[e.Stream.After.Stream]) {
			if p.Stream.Seq <= e.Stream.After.Seq {
				before[e] = append(before[e], p)
				break
			}
		}
	}
	return before
}

// ErrCircle is the error of events that follow each other in a circle, for which
// the page gives no order.
var ErrCircle = errors.New("events that follow each other in a circle")

// sortCausally takes, again and again, the first event that follows none which
// is still to be taken.
func sortCausally(list []*event, before map[*event][]*event) ([]*event, error) {
	left := slices.Clone(list)
	var sorted []*event
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(e *event) bool {
			return !slices.ContainsFunc(before[e], func(p *event) bool { return slices.Contains(left, p) })
		})
		if i < 0 {
			return nil, ErrCircle
		}
		sorted = append(sorted, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return sorted, nil
}

// decideOutcomes decides between outcomes in different logs: the first of each
// log that ends the job.
func decideOutcomes(logs [][]*event, before map[*event][]*event) {
	previous := map[*event][]*event{}
	var outcomes []*event
	for _, log := range logs {
		ended := false
		for i, e := range log {
			if i > 0 {
				previous[e] = append(previous[e], log[i-1])
			}
			if !ended && isOutcome(e) {
				ended = true
				if !slices.Contains(outcomes, e) {
					outcomes = append(outcomes, e)
				}
			}
		}
	}
	slices.SortFunc(outcomes, func(a, b *event) int {
		return cmp.Or(order(b.verdict(), a.verdict()), cmp.Compare(a.ID, b.ID))
	})
	comesAfter := func(b, a *event) bool {
		seen := map[*event]bool{}
		todo := []*event{b}
		for len(todo) > 0 {
			e := todo[0]
			todo = todo[1:]
			if e == a {
				return true
			}
			if !seen[e] {
				seen[e] = true
				todo = append(append(todo, before[e]...), previous[e]...)
			}
		}
		return false
	}
	for _, winner := range outcomes {
		if slices.ContainsFunc(outcomes, func(other *event) bool { return other != winner && comesAfter(winner, other) }) {
			continue
		}
		for _, e := range outcomes {
			if e != winner && !comesAfter(e, winner) {
				before[e] = append(before[e], winner)
			}
		}
		return
	}
}

func isOutcome(e *event) bool {
	switch e.Type {
	case "job.succeeded", "job.failed", "job.cancelled", "job.denied", "job.deduplicated":
		return terminal(e.Job.State)
	}
	return false
}

// order is negative if b holds and a does not.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// merge makes one list of several.
func merge(logs [][]*event, before map[*event][]*event) ([]*event, error) {
	var merged []*event
	taken := map[*event]bool{}
	ready := func(e *event) bool {
		return !slices.ContainsFunc(before[e], func(p *event) bool { return !taken[p] })
	}
	first := func(a, b *event) int { return cmp.Or(order(a.verdict(), b.verdict()), cmp.Compare(a.ID, b.ID)) }
	for {
		var candidates, rest []*event
		for _, log := range logs {
			left := slices.DeleteFunc(slices.Clone(log), func(e *event) bool { return taken[e] })
			rest = append(rest, left...)
			if len(left) > 0 && ready(left[0]) {
				candidates = append(candidates, left[0])
			}
		}
		if len(rest) == 0 {
			return merged, nil
		}
		if len(candidates) == 0 { // the logs contradict each other
			candidates = slices.DeleteFunc(slices.Clone(rest), func(e *event) bool { return !ready(e) })
		}
		if len(candidates) == 0 {
			return nil, ErrCircle
		}
		next := slices.MinFunc(candidates, first)
		taken[next] = true
		merged = append(merged, next)
	}
}

func terminal(state string) bool {
	return state == "success" || state == "failed" || state == "cancelled"
}

// effects is the table of F1: what an event does to a job that is not known
// yet, pending, running, ended. A word is a state, or why nothing changes.
var effects = map[string][4]string{
	"job.submitted":    {"pending", "duplicate", "duplicate", "duplicate"},
	"job.deduplicated": {"cancelled", "cancelled", "illegal", "late"},
	"job.denied":       {"cancelled", "cancelled", "", "late"},
	"job.started":      {"running", "running", "", "late"},
	"attempt.started":  {"running", "running", "", "late"},
	"job.succeeded":    {"illegal", "illegal", "success", "late"},
	"job.failed":       {"illegal", "illegal", "failed", "late"},
	"job.cancelled":    {"cancelled", "cancelled", "cancelled", "late"},
}

func (j *folding) apply(e *event) {
	switch {
	case j.ID == "" && e.Type == "job.submitted":
		j.submit(e)
	case j.ID == "":
		j.submit(e)
		j.State, j.Incomplete = "pending", true
	case e.Type == "job.submitted" && j.Incomplete:
		j.submit(e)
		j.Incomplete = false
		return
	}
	column := map[string]int{"": 0, "pending": 1, "running": 2}
	i, ok := column[j.State]
	if !ok {
		i = 3
	}
	late := false
	switch effect := effects[e.Type][i]; effect {
	case "":
	case "duplicate", "late", "illegal":
		late = effect == "late"
		j.Unapplied = append(j.Unapplied, e.ID+" "+effect)
	default:
		j.enter(e, effect)
	}
	switch e.Type {
	case "job.logged":
		j.Logs = append(j.Logs, string(e.Data.Line))
	case "job.started", "attempt.started":
		j.Attempt = max(j.Attempt, e.Job.Attempt)
		j.Executions = append(j.Executions, Execution{
			ID: e.Job.ExecutionID, Attempt: e.Job.Attempt, Stream: e.Stream.ID, StartedAt: e.happened(), Late: late,
		})
	case "job.succeeded", "job.failed", "job.cancelled", "attempt.failed", "attempt.deferred", "attempt.lost",
		"attempt.superseded", "attempt.late":
		j.end(e)
	}
}

func (j *folding) submit(e *event) {
	j.ID, j.CreatedAt = e.Job.ID, e.happened()
	j.CorrelationID, j.ParentID, j.RootID, j.RetryOf = e.CorrelationID, e.Job.ParentID, e.Job.RootID, e.Job.RetryOf
	j.RequestID, j.UserID, j.OrgID, j.Action = e.RequestID, e.Who.Principal.ID, e.Who.OrgID, e.What.Action
	j.Inputs = string(e.What.Inputs)
}

func (j *folding) enter(e *event, state string) {
	j.State = state
	switch {
	case state == "running":
		j.StartedAt = e.happened()
	case terminal(state):
		j.CompletedAt = e.happened()
		j.Output = string(e.Data.Output)
		switch {
		case e.Type == "job.denied":
			j.ErrorCode = "FORBIDDEN"
			if e.Data.Decision != nil {
				j.ErrorMessage = string(e.Data.Decision.Reason)
			}
		case e.Type == "job.deduplicated":
			j.ErrorCode, j.ErrorMessage = "DUPLICATE", "duplicate of job "+e.Data.Existing
		case e.Data.Error != nil:
			j.ErrorCode, j.ErrorMessage = e.Data.Error.Code, string(e.Data.Error.Message)
		}
	}
}

func (j *folding) end(e *event) {
	i := len(j.Executions) - 1 // the newest start of that ID
	for i >= 0 && j.Executions[i].ID != e.Job.ExecutionID {
		i--
	}
	if i < 0 || e.Job.ExecutionID == "" {
		return
	}
	conclusion := e.Type == "attempt.lost" || e.Type == "attempt.superseded" || e.verdict()
	if x := &j.Executions[i]; x.End == "" || j.concluded[i] && !conclusion {
		x.EndedAt, x.End = e.happened(), e.Type
		j.concluded[i] = conclusion
	}
}
