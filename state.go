package jobaudit

// JobState is where a job is in its life.
type JobState string

// The states of a job. Pending is the first; Success, Failed and Cancelled are
// ends.
const (
	Pending   JobState = "pending"
	Running   JobState = "running"
	Success   JobState = "success"
	Failed    JobState = "failed"
	Cancelled JobState = "cancelled"
)

// Terminal reports whether the state is an end. Nothing leaves it.
func (s JobState) Terminal() bool {
	return s == Success || s == Failed || s == Cancelled
}

// none is the state of a job of which nothing is known.
const none JobState = ""

// effect is what an event does to a job that is in a certain state.
type effect string

const (
	enters    effect = "enters"    // the job goes to another state
	keeps     effect = "keeps"     // the state stays
	executes  effect = "executes"  // the state stays, a further execution begins
	duplicate effect = "duplicate" // a second submission
	late      effect = "late"      // an outcome, or a start, behind the end
	ignored   effect = "ignored"   // nothing changes, and a Trail that knows of the end does not write it
	illegal   effect = "illegal"   // there is no such transition
)

// transition is what an event does in one state.
type transition struct {
	effect effect
	next   JobState
}

// transitions is the table of docs/format.md, F1: for each type of event, what it does to a
// job in each state. Terminal states have a row in common, done: they absorb.
var transitions = map[EventType]struct{ none, pending, running, done transition }{
	JobSubmitted:    {enter(Pending), stay(duplicate), stay(duplicate), stay(duplicate)},
	JobDeduplicated: {enter(Cancelled), enter(Cancelled), stay(illegal), stay(late)},

	JobAuthorized: {stay(keeps), stay(keeps), stay(keeps), stay(keeps)},
	JobLogged:     {stay(keeps), stay(keeps), stay(keeps), stay(keeps)},
	JobSnapshot:   {stay(keeps), stay(keeps), stay(keeps), stay(keeps)},
	JobCorrected:  {stay(keeps), stay(keeps), stay(keeps), stay(keeps)},
	AuditLost:     {stay(keeps), stay(keeps), stay(keeps), stay(keeps)},

	JobDenied: {enter(Cancelled), enter(Cancelled), stay(keeps), stay(late)},

	JobStarted:     {enter(Running), enter(Running), stay(executes), stay(late)},
	AttemptStarted: {enter(Running), enter(Running), stay(executes), stay(late)},

	JobHeartbeat:      {stay(keeps), stay(keeps), stay(keeps), stay(ignored)},
	AttemptFailed:     {stay(keeps), stay(keeps), stay(keeps), stay(ignored)},
	AttemptDeferred:   {stay(keeps), stay(keeps), stay(keeps), stay(ignored)},
	AttemptLost:       {stay(keeps), stay(keeps), stay(keeps), stay(keeps)},
	AttemptSuperseded: {stay(keeps), stay(keeps), stay(keeps), stay(keeps)},
	AttemptLate:       {stay(keeps), stay(keeps), stay(keeps), stay(keeps)},

	JobSucceeded: {stay(illegal), stay(illegal), enter(Success), stay(late)},
	JobFailed:    {stay(illegal), stay(illegal), enter(Failed), stay(late)},
	JobCancelled: {enter(Cancelled), enter(Cancelled), enter(Cancelled), stay(late)},
}

func enter(s JobState) transition { return transition{enters, s} }
func stay(e effect) transition    { return transition{effect: e} }

// step returns what an event of type t does to a job in state s, and the state
// that the job is in then. A type that this version does not know changes
// nothing.
func step(s JobState, t EventType) (effect, JobState) {
	row, ok := transitions[t]
	if !ok {
		return keeps, s
	}
	tr := row.done
	switch s {
	case none:
		tr = row.none
	case Pending:
		tr = row.pending
	case Running:
		tr = row.running
	}
	if tr.effect == enters {
		return enters, tr.next
	}
	return tr.effect, s
}
