package filesink

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
)

// A life is what an event tells of whether its job lives. Those of a segment
// that still matter at its end are a table of its index, for OpenJobs.
type life struct {
	job, execution uuid.UUID
	// origin identifies what all events of a job have in common: what has
	// another one is not of this job, even if it says so.
	origin [8]byte
	off    uint32 // of its line in the segment
	kind   lifeKind
}

type lifeKind uint8

const (
	notTelling lifeKind = iota
	tellsSubmission
	tellsStart
	tellsHeartbeat
	tellsEnd     // the execution
	tellsOutcome // of the job, and of the execution
)

// kindOf reads it off an event's type. For the outcomes it is notTelling if the
// job's state is not terminal.
func kindOf(typ, state []byte) lifeKind {
	switch jobaudit.EventType(typ) {
	case jobaudit.JobSubmitted:
		return tellsSubmission
	case jobaudit.JobStarted, jobaudit.AttemptStarted:
		return tellsStart
	case jobaudit.JobHeartbeat:
		return tellsHeartbeat
	case jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost, jobaudit.AttemptSuperseded, jobaudit.AttemptLate:
		return tellsEnd
	case jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobDenied, jobaudit.JobDeduplicated:
		if jobaudit.JobState(state).Terminal() {
			return tellsOutcome
		}
	}
	return notTelling
}

// lifeOf reads what an event line tells. Like readLineHeader it reads what
// [jobaudit.ParseRecord] accepts, in whatever order its members stand, and of
// anything else something or nothing.
func lifeOf(line []byte, off uint32) life {
	l := life{off: off}
	var typ, state, root, correlation, org, action []byte
	missing := 5
	members(line, func(name, value []byte) bool {
		switch string(name) {
		case "type":
			typ = bytes.Trim(value, `"`)
			if kindOf(typ, []byte(jobaudit.Success)) == notTelling {
				return false
			}
		case "job":
			state, root = l.takeJob(value)
		case "correlationId":
			correlation = value
		case "who":
			org = member(value, "orgId")
		case "what":
			action = member(value, "action")
		default:
			return true
		}
		missing--
		return missing > 0
	})
	if l.job == uuid.Nil {
		return life{off: off}
	}
	if l.kind = kindOf(typ, state); l.kind != notTelling {
		// None of them holds a line feed.
		sum := sha256.Sum256(bytes.Join([][]byte{org, action, root, correlation}, []byte("\n")))
		copy(l.origin[:], sum[:])
	}
	return l
}

// takeJob takes what is needed of an event's job, and returns its state and root.
func (l *life) takeJob(job []byte) (state, root []byte) {
	members(job, func(name, value []byte) bool {
		switch string(name) {
		case "id":
			l.job = parseID(value)
		case "state":
			state = bytes.Trim(value, `"`)
		case "executionId":
			l.execution = parseID(value)
		case "rootId":
			root = value
		}
		return true
	})
	return state, root
}

// lifeOfRecord is lifeOf for a record, whose type is known.
func lifeOfRecord(r *jobaudit.Record, line []byte) life {
	if kindOf([]byte(r.Type()), []byte(jobaudit.Success)) == notTelling {
		return life{}
	}
	return lifeOf(line, 0)
}

// member returns a member of a JSON object.
func member(object []byte, name string) (value []byte) {
	members(object, func(n, v []byte) bool {
		if string(n) == name {
			value = v
		}
		return value == nil
	})
	return value
}

// A storedLife is a life and the segment in which it is.
type storedLife struct {
	life
	segment int64 // its first index
}

// A livesFold finds out which jobs have no outcome, or an execution without an
// end. It takes lives in the order of the log.
type livesFold struct {
	// part: it begins in the middle of a log, so that it keeps the ends of what
	// may have begun before.
	part bool
	jobs map[uuid.UUID]*openJob
	done map[uuid.UUID]bool // of a part: jobs that it saw begin and end
}

func newLivesFold(part bool) *livesFold {
	f := &livesFold{part: part, jobs: make(map[uuid.UUID]*openJob)}
	if part {
		f.done = make(map[uuid.UUID]bool)
	}
	return f
}

// An openJob is what is known of a job that is not over.
type openJob struct {
	lives      []storedLife
	outcome    bool
	mixed      bool // of several origins: only who reads all of it can tell which counts
	running    int
	runs       map[uuid.UUID]bool // executions, and whether they run
	heartbeats map[heartbeatKey]int
}

// heartbeatKey is of what only the newest heartbeat is kept.
type heartbeatKey struct {
	execution uuid.UUID
	origin    [8]byte
}

// add takes the next life. Whatever is not certain keeps a job: too much costs a
// look at it, too little would hide a job that has gone.
func (f *livesFold) add(l storedLife) {
	j := f.jobs[l.job]
	if j == nil {
		if !f.part && l.kind >= tellsEnd || l.kind == tellsHeartbeat && f.done[l.job] {
			return // of a job that is over
		}
		j = &openJob{runs: make(map[uuid.UUID]bool), outcome: f.done[l.job]}
		f.jobs[l.job] = j
	}
	if len(j.lives) > 0 && l.origin != j.lives[0].origin {
		j.mixed = true
	}
	if !j.take(l) {
		return
	}
	if j.outcome && !j.mixed && j.running == 0 {
		f.close(l.job, j)
	}
}

// take adds a life to its job. It returns false for a heartbeat, which ends
// nothing.
func (j *openJob) take(l storedLife) bool {
	runs, known := j.runs[l.execution]
	switch l.kind {
	case tellsHeartbeat:
		if known && !runs && !j.mixed {
			return false // of an execution that has ended
		}
		j.run(l.execution)
		of := heartbeatKey{l.execution, l.origin}
		if at, ok := j.heartbeats[of]; ok {
			j.lives[at] = l
			return false
		}
		if j.heartbeats == nil {
			j.heartbeats = make(map[heartbeatKey]int)
		}
		j.heartbeats[of] = len(j.lives)
		j.lives = append(j.lives, l)
		return false
	case tellsStart:
		j.run(l.execution)
	case tellsOutcome, tellsEnd:
		j.outcome = j.outcome || l.kind == tellsOutcome
		if runs {
			j.running--
		}
		j.runs[l.execution] = false
	}
	j.lives = append(j.lives, l)
	return true
}

func (j *openJob) run(execution uuid.UUID) {
	if _, known := j.runs[execution]; known || execution == uuid.Nil {
		return
	}
	j.runs[execution] = true
	j.running++
}

// close lets go of a job that is over. Of one that may have begun before this
// part its ends are kept.
func (f *livesFold) close(id uuid.UUID, j *openJob) {
	if !f.part || j.lives[0].kind == tellsSubmission {
		delete(f.jobs, id)
		if f.part {
			f.done[id] = true
		}
		return
	}
	j.lives = slices.DeleteFunc(j.lives, func(l storedLife) bool { return l.kind < tellsEnd })
	j.heartbeats = nil
}

// lives returns what is kept, in the order of the log.
func (f *livesFold) lives() (all []storedLife) {
	for _, j := range f.jobs {
		all = append(all, j.lives...)
	}
	slices.SortFunc(all, func(a, b storedLife) int {
		return cmp.Or(cmp.Compare(a.segment, b.segment), cmp.Compare(a.off, b.off))
	})
	return all
}

// lastingLives returns what of a segment's lives matters at its end.
func lastingLives(lives []life) []life {
	f := newLivesFold(true)
	for _, l := range lives {
		f.add(storedLife{life: l})
	}
	return f.lasting()
}

// lasting is lives for a fold of one segment.
func (f *livesFold) lasting() (lasting []life) {
	for _, l := range f.lives() {
		lasting = append(lasting, l.life)
	}
	return lasting
}

// lifeSize is the size in bytes of a life in an index.
const (
	lifeSize     = 48
	livesPerPage = pageSize / lifeSize
)

func appendLife(dst []byte, l life) []byte {
	dst = append(append(append(dst, l.job[:]...), l.execution[:]...), l.origin[:]...)
	return append(binary.LittleEndian.AppendUint32(dst, l.off), byte(l.kind), 0, 0, 0)
}

func readLife(b []byte) (l life) {
	copy(l.job[:], b)
	copy(l.execution[:], b[16:])
	copy(l.origin[:], b[32:])
	l.off, l.kind = binary.LittleEndian.Uint32(b[40:]), lifeKind(b[44])
	return l
}
