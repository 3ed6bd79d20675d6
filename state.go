package jobaudit

// JobState is where a job is in its life.
type JobState string

// The states of a job.
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

// effect is what an event does to a job in a state.
type effect string

const (
	enters    effect = "enters"    // the job goes to the row's next state
	keeps     effect = "keeps"     // the state stays
	executes  effect = "executes"  // the state stays; a further execution begins
	duplicate effect = "duplicate" // a second submission
	late      effect = "late"      // an outcome or a start behind the end
	illegal   effect = "illegal"   // there is no such transition
)
