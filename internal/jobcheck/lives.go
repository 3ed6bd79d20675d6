package jobcheck

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// A Life is what an event tells of whether its job lives.
type Life struct {
	Job, Execution uuid.UUID
	// Origin identifies what all events of a job have in common: what has
	// another one is not of this job, even if it says so.
	Origin [8]byte
	Kind   LifeKind
}

// LifeKind is what a Life says. The values are stored in indexes.
type LifeKind uint8

// The kinds of lives.
const (
	NotTelling LifeKind = iota
	TellsSubmission
	TellsStart
	TellsHeartbeat
	TellsEnd     // of the execution
	TellsOutcome // of the job, and of the execution
)

// LifeKindOf reads it off an event's type. For the outcomes it is NotTelling if
// the job's state is not terminal.
func LifeKindOf(typ, state []byte) LifeKind {
	switch jobaudit.EventType(typ) {
	case jobaudit.JobSubmitted:
		return TellsSubmission
	case jobaudit.JobStarted, jobaudit.AttemptStarted:
		return TellsStart
	case jobaudit.JobHeartbeat:
		return TellsHeartbeat
	case jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost, jobaudit.AttemptSuperseded, jobaudit.AttemptLate:
		return TellsEnd
	case jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobDenied, jobaudit.JobDeduplicated:
		if jobaudit.JobState(state).Terminal() {
			return TellsOutcome
		}
	}
	return NotTelling
}

// TellingTypes are the types of events that LifeOf reads.
func TellingTypes() []jobaudit.EventType {
	return []jobaudit.EventType{
		jobaudit.JobSubmitted, jobaudit.JobStarted, jobaudit.AttemptStarted, jobaudit.JobHeartbeat,
		jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost, jobaudit.AttemptSuperseded, jobaudit.AttemptLate,
		jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobDenied, jobaudit.JobDeduplicated,
	}
}

// LifeOf reads what an event line tells. It reads what [jobaudit.ParseRecord]
// accepts, in whatever order its members stand, and of anything else something or
// nothing.
func LifeOf(line []byte) Life {
	if l, ok := LineOf(line); ok {
		return l.Life
	}
	return lifeInAnyOrder(line)
}

func lifeInAnyOrder(line []byte) Life {
	var l Life
	var typ, state, root, correlation, org, action []byte
	missing := 5
	for name, value := range jsonscan.Members(line) {
		switch string(name) {
		case "type":
			typ = bytes.Trim(value, `"`)
			if LifeKindOf(typ, []byte(jobaudit.Success)) == NotTelling {
				return Life{}
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
			continue
		}
		if missing--; missing == 0 {
			break
		}
	}
	if l.Job == uuid.Nil {
		return Life{}
	}
	if l.Kind = LifeKindOf(typ, state); l.Kind == NotTelling {
		return Life{}
	}
	l.Origin = originOf(org, action, root, correlation)
	return l
}

// originOf takes the members as the line has them. None of them holds a line feed.
func originOf(org, action, root, correlation []byte) (origin [8]byte) {
	var buf [512]byte // more only where an org or an action is long
	text := append(buf[:0], org...)
	for _, value := range [...][]byte{action, root, correlation} {
		text = append(append(text, '\n'), value...)
	}
	sum := sha256.Sum256(text)
	copy(origin[:], sum[:])
	return origin
}

// A Line is what indexes hold of an event.
type Line struct {
	ID, Job, Correlation uuid.UUID
	Type, Time           []byte
	Life                 Life
}

// LineOf reads a job's event that begins exactly as an encoder writes it. It returns
// false for anything else.
func LineOf(line []byte) (l Line, ok bool) {
	var f lineFacts
	if !scanLine(line, &f) || f.job == (ident{}) {
		return Line{}, false
	}
	at := func(left, n int) []byte { return line[len(line)-left:][:n] }
	quoted := func(left int) []byte { // with its quotation marks
		text := line[len(line)-left-1:]
		return text[:bytes.IndexByte(text[1:], '"')+2]
	}
	front := &codes[f.typ]
	l.ID, l.Job, l.Correlation = f.id.uuid(), f.job.uuid(), f.subject.correlation.uuid()
	l.Type = at(f.left.time+len(front.front), len(front.typ))
	l.Time = at(f.left.time, len("2006-01-02T15:04:05.000000Z"))
	state, _, _ := bytes.Cut(at(f.left.job-idSize-len(`","state":"`), len(`cancelled"`)), []byte(`"`))
	if kind := LifeKindOf(l.Type, state); kind != NotTelling {
		l.Life = Life{Job: l.Job, Execution: f.execution.uuid(), Kind: kind,
			Origin: originOf(quoted(f.left.org), quoted(f.left.action), quoted(f.left.root), quoted(f.left.correlation))}
	}
	return l, true
}

// takeJob takes what is needed of an event's job, and returns its state and root.
func (l *Life) takeJob(job []byte) (state, root []byte) {
	for name, value := range jsonscan.Members(job) {
		switch string(name) {
		case "id":
			l.Job = parseID(value)
		case "state":
			state = bytes.Trim(value, `"`)
		case "executionId":
			l.Execution = parseID(value)
		case "rootId":
			root = value
		}
	}
	return state, root
}

// member returns a member of a JSON object.
func member(object []byte, name string) []byte {
	for n, value := range jsonscan.Members(object) {
		if string(n) == name {
			return value
		}
	}
	return nil
}

func parseID(quoted []byte) uuid.UUID {
	if len(quoted) != 38 {
		return uuid.Nil
	}
	id, err := uuid.ParseBytes(quoted[1:37])
	if err != nil {
		return uuid.Nil
	}
	return id
}

// A PlacedLife is a life and where in the log it is. Part and Off order it.
type PlacedLife struct {
	Life
	Part int64
	Off  uint32
}

// Lives finds out which jobs have no outcome, or an execution without an end. It
// takes lives in the order of the log.
type Lives struct {
	// part: it begins in the middle of a log, so that it keeps the ends of what
	// may have begun before.
	part bool
	jobs map[uuid.UUID]*openJob
	// submitted are the jobs of which there is a submission and nothing else: in a
	// log whose jobs run elsewhere, all that it ever had.
	submitted map[uuid.UUID]PlacedLife
	done      map[uuid.UUID]bool // of a part: jobs that it saw begin and end
}

// NewLives returns one that begins with a log, or in the middle of it.
func NewLives(part bool) *Lives {
	f := &Lives{part: part, jobs: make(map[uuid.UUID]*openJob), submitted: make(map[uuid.UUID]PlacedLife)}
	if part {
		f.done = make(map[uuid.UUID]bool)
	}
	return f
}

// Clone copies what further lives may change.
func (f *Lives) Clone() *Lives {
	next := &Lives{part: f.part, jobs: make(map[uuid.UUID]*openJob, len(f.jobs)), submitted: maps.Clone(f.submitted), done: maps.Clone(f.done)}
	for id, j := range f.jobs {
		k := *j
		k.lives, k.runs, k.heartbeats = slices.Clone(j.lives), maps.Clone(j.runs), maps.Clone(j.heartbeats)
		next.jobs[id] = &k
	}
	return next
}

// An openJob is what is known of a job that is not over.
type openJob struct {
	lives      []PlacedLife
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

// Add takes the next life. Whatever is not certain keeps a job: too much costs a
// look at it, too little would hide a job that has gone.
func (f *Lives) Add(l PlacedLife) {
	j := f.jobs[l.Job]
	first, again := f.submitted[l.Job]
	switch {
	case j == nil && again:
		delete(f.submitted, l.Job)
		j = &openJob{runs: make(map[uuid.UUID]bool), lives: []PlacedLife{first}}
		f.jobs[l.Job] = j
	case j == nil && l.Kind == TellsSubmission && !f.done[l.Job]:
		f.submitted[l.Job] = l
		return
	case j == nil:
		if !f.part && l.Kind >= TellsEnd || l.Kind == TellsHeartbeat && f.done[l.Job] {
			return // of a job that is over
		}
		j = &openJob{runs: make(map[uuid.UUID]bool), outcome: f.done[l.Job]}
		f.jobs[l.Job] = j
	}
	if len(j.lives) > 0 && l.Origin != j.lives[0].Origin {
		j.mixed = true
	}
	if !j.take(l) {
		return
	}
	if j.outcome && !j.mixed && j.running == 0 {
		f.close(l.Job, j)
	}
}

// take adds a life to its job. It returns false for a heartbeat, which ends
// nothing.
func (j *openJob) take(l PlacedLife) bool {
	runs, known := j.runs[l.Execution]
	switch l.Kind {
	case TellsHeartbeat:
		if known && !runs && !j.mixed {
			return false // of an execution that has ended
		}
		j.run(l.Execution)
		of := heartbeatKey{l.Execution, l.Origin}
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
	case TellsStart:
		j.run(l.Execution)
	case TellsOutcome, TellsEnd:
		j.outcome = j.outcome || l.Kind == TellsOutcome
		if runs {
			j.running--
		}
		j.runs[l.Execution] = false
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
func (f *Lives) close(id uuid.UUID, j *openJob) {
	if !f.part || j.lives[0].Kind == TellsSubmission {
		delete(f.jobs, id)
		if f.part {
			f.done[id] = true
		}
		return
	}
	j.lives = slices.DeleteFunc(j.lives, func(l PlacedLife) bool { return l.Kind < TellsEnd })
	j.heartbeats = nil
}

// Open returns what is kept, in the order of the log.
func (f *Lives) Open() []PlacedLife {
	return f.list(slices.Collect(maps.Values(f.submitted)))
}

// OpenRuns is Open without the jobs that have been submitted and nothing else.
func (f *Lives) OpenRuns() []PlacedLife { return f.list(nil) }

func (f *Lives) list(all []PlacedLife) []PlacedLife {
	for _, j := range f.jobs {
		all = append(all, j.lives...)
	}
	slices.SortFunc(all, func(a, b PlacedLife) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Off, b.Off))
	})
	return all
}
