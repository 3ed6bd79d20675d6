package story

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Tree prints the jobs that the records are of, each below the job that
// submitted it, with its action and resource, state, duration and error. The
// duration is that from start to end. Children stand in the order of their
// first record. A job whose parent is not among the records stands at the top
// and names it; so does one that has more than 60 above it, where it stands. Records of no job are passed over. A job whose records contradict
// each other ([jobaudit.ErrConflict]) has that in place of a state. Records that
// cannot be read are told at the end.
//
// The error is any other of the iterator's, or the writer's.
func Tree(w io.Writer, records iter.Seq2[jobaudit.Record, error]) error {
	f := forest{
		jobs: make(map[uuid.UUID]jobaudit.Job), names: make(map[uuid.UUID]string),
		children: make(map[uuid.UUID][]uuid.UUID), printed: make(map[uuid.UUID]bool),
		contradictory: make(map[uuid.UUID]error),
	}
	if err := f.plant(records); err != nil {
		return err
	}
	f.out = bufio.NewWriter(w)
	if len(f.order) == 0 {
		fmt.Fprintln(f.out, "no jobs")
	}
	for _, id := range f.order {
		if _, known := f.jobs[f.jobs[id].ParentID]; !known {
			f.print(id)
		}
	}
	// Jobs that are each other's ancestors have no top: forged ones.
	for _, id := range f.order {
		f.print(id)
	}
	tellUnreadable(f.out, f.unreadable)
	return f.out.Flush()
}

// forest is all jobs and who made whom.
type forest struct {
	out      *bufio.Writer
	order    []uuid.UUID
	jobs     map[uuid.UUID]jobaudit.Job
	names    map[uuid.UUID]string // what each does, and on what
	children map[uuid.UUID][]uuid.UUID
	printed  map[uuid.UUID]bool

	contradictory map[uuid.UUID]error // why a job cannot be told
	unreadable    []error
}

// plant reads the records.
func (f *forest) plant(records iter.Seq2[jobaudit.Record, error]) error {
	byJob := make(map[uuid.UUID][]jobaudit.Record)
	for r, err := range records {
		if _, one := errors.AsType[*jobaudit.UnreadableError](err); one {
			f.unreadable = append(f.unreadable, err)
			continue
		}
		if err != nil {
			return err
		}
		id := r.JobID()
		if id == uuid.Nil {
			continue
		}
		if byJob[id] == nil {
			f.order = append(f.order, id)
			e := r.Event()
			f.names[id] = what(&e)
		}
		byJob[id] = append(byJob[id], r)
	}
	for _, id := range f.order {
		job, err := jobaudit.Replay(each(byJob[id]))
		if err != nil { // about this job; the others can be told
			job = jobaudit.Job{ID: id, ParentID: byJob[id][0].Event().Job.ParentID}
			f.contradictory[id] = err
		}
		f.jobs[id] = job
		f.children[job.ParentID] = append(f.children[job.ParentID], id)
	}
	return nil
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

// deepest is how many jobs above it a line shows. Those of jobs further below stand
// beside each other and name their parents: ancestry is what programs say, and a chain
// of a million would be lines of a million characters.
const deepest = 60

// place is a job's line that is to be printed.
type place struct {
	id            uuid.UUID
	branch, trunk string // what leads to it, and to the lines below it
	depth         int
}

// print prints a job and those below it.
func (f *forest) print(top uuid.UUID) {
	for stack := []place{{id: top}}; len(stack) > 0; {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if f.printed[p.id] {
			continue
		}
		f.printed[p.id] = true
		f.line(p)
		below := f.children[p.id]
		for i := range below {
			child := place{below[len(below)-1-i], p.trunk + "├─ ", p.trunk + "│  ", p.depth + 1}
			switch {
			case child.depth > deepest:
				child.branch, child.trunk = p.trunk, p.trunk
			case i == 0: // the last of them
				child.branch, child.trunk = p.trunk+"└─ ", p.trunk+"   "
			}
			stack = append(stack, child)
		}
	}
}

func (f *forest) line(p place) {
	job, note := f.jobs[p.id], ""
	if _, known := f.jobs[job.ParentID]; (!known || p.depth > deepest) && job.ParentID != uuid.Nil {
		note = "child of " + job.ParentID.String()
	}
	if err := f.contradictory[p.id]; err != nil {
		fmt.Fprintln(f.out, p.branch+list("  ", "? "+f.names[p.id], plain(err.Error()), note, p.id.String()))
		return
	}
	fmt.Fprintln(f.out, p.branch+list("  ", Sign(job.State)+" "+f.names[p.id],
		string(job.State), duration(job), attempts(job), failure(job.Error), note, p.id.String()))
}

// Sign is the sign of a state, one character: what did not succeed differs in shape, not
// in colour alone.
func Sign(s jobaudit.JobState) string {
	switch s {
	case jobaudit.Success:
		return "✓"
	case jobaudit.Failed:
		return "✗"
	case jobaudit.Cancelled:
		return "⊘"
	case jobaudit.Running:
		return "▸"
	case jobaudit.Pending:
		return "·"
	}
	return "?"
}

func duration(job jobaudit.Job) string {
	switch {
	case job.StartedAt.IsZero():
		return ""
	case job.CompletedAt.IsZero():
		return "since " + clock(job.StartedAt)
	default:
		return job.CompletedAt.Sub(job.StartedAt).Round(time.Microsecond).String()
	}
}

// attempts says what is unusual about how often the job ran.
func attempts(job jobaudit.Job) string {
	var late int
	for _, u := range job.Unapplied {
		if u.Cause == jobaudit.CauseLate {
			late++
		}
	}
	runs, lates := "", ""
	if n := len(job.Executions); n > 1 {
		runs = fmt.Sprint(n, " executions")
	}
	if late > 0 {
		lates = fmt.Sprint(late, " late events")
	}
	return list(", ", runs, lates)
}
