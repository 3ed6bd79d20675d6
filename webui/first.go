package webui

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// What the list goes on to read behind a page, and how far apart clocks may be, to tell
// whether a submission is its job's first event.
const (
	mostBehind = 500
	apart      = time.Second
)

// look is a job that was considered for the list.
type look struct {
	submission jobaudit.Event
	at         int  // its place among the events that were gone through
	folded     bool // of the events that were met, and not of those that were looked up
	row        row
	wanted     bool
}

// first tells which submissions are the first event of their job. Only then are the
// events that are newer all of them: a job may be submitted once more, by anybody who knows
// its ID, and a lost submission may be written late.
type first struct {
	place   map[uuid.UUID]int  // of each job's last event that was met
	times   []time.Time        // at which the events' IDs were made, in the order in which they were met
	earlier map[uuid.UUID]bool // of jobs whose submission was met: whether events before it were
}

// pass takes the next event, which is an earlier one.
func (f *first) pass(r jobaudit.Record) {
	if id := r.JobID(); id != uuid.Nil {
		f.place[id] = len(f.times)
		if _, met := f.earlier[id]; met || r.Type() == jobaudit.JobSubmitted {
			f.earlier[id] = met
		}
	}
	f.times = append(f.times, madeAt(r.ID()))
}

// lookOn reads on behind the page, as far as events may be of the time of its jobs.
func (f *feed) lookOn(looks []look) error {
	if len(f.heads) != 1 || len(looks) == 0 {
		return nil
	}
	for range mostBehind {
		r, err, ok := f.heads[0].pull()
		if _, one := errors.AsType[*jobaudit.UnreadableError](err); one && ok {
			continue
		}
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		f.pass(r)
	}
	for i := len(f.times) - 2; i >= 0; i-- { // each is the latest from there back, now
		if f.times[i+1].After(f.times[i]) {
			f.times[i] = f.times[i+1]
		}
	}
	return nil
}

// isFirst reports whether a submission is its job's first event: the job's ID was made
// together with the event's, no event before it is later, and none near it is of the job.
func (f *feed) isFirst(l *look) bool {
	job, event := madeAt(l.submission.Job.ID), madeAt(l.submission.ID)
	return !job.IsZero() && !event.IsZero() && !f.earlier[l.submission.Job.ID] &&
		event.Sub(job).Abs() <= apart && f.times[l.at].Sub(event) <= apart
}

// madeAt is when an ID was made, if it says that.
func madeAt(id uuid.UUID) time.Time {
	if id.Version() != 7 {
		return time.Time{}
	}
	return time.Unix(id.Time().UnixTime())
}
