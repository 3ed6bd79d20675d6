package watchdog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// job is what is kept of a job without an end.
type job struct {
	runs []run
	// startWithin is how long it may wait for a start. 0: not known.
	startWithin time.Duration
	judged      int  // the sweep that judged it last
	taken       bool // a verdict's ID, by a record that could not be read then
}

// run is something that is expected to show itself again: an execution without
// an end, or, with the zero ID, a job that waits for its start. It is what the
// logs say as far as they have been read; what is certain is found out when it
// is due.
type run struct {
	id     uuid.UUID
	origin origin // of the start
	// heartbeatTimeout is how long it may be silent. 0: without limit.
	heartbeatTimeout time.Duration
	// heard are the newest records of each kind that have been read of it in each
	// log, and the newest of any type when the job was judged last. Any other
	// record is a new sign of life.
	heard []heard
	// silent is for how long this watchdog has seen no sign of life, since that
	// moment by its own clock.
	silent time.Duration
	since  time.Time
	// probed is when, in that silence, the log was seen to take records.
	probed time.Time

	due time.Time // for a sign of life, by the records' times; zero: never
	// reported is the time of the newest heartbeat that reported progress, and
	// moved that of the first with as much, both by the worker's clock.
	reported, moved time.Time
	done            int64
	stallReported   bool
}

// origin is what all events of a job have in common. What contradicts it is not
// of this job.
type origin struct {
	org, action       string
	root, correlation uuid.UUID
}

func originOf(e *jobaudit.Event) origin {
	return origin{e.Who.OrgID, e.What.Action, e.Job.RootID, e.CorrelationID}
}

// heard is the newest record of a kind that a log has of a run. A log that knows
// its open jobs yields older ones at each sweep as well: only the last one tells.
type heard struct {
	log  int // anyLog: when the job was judged
	kind heardKind
	id   uuid.UUID
	next uuid.UUID // while the log is being read: the last one so far
}

type heardKind uint8

const (
	heardStart heardKind = iota
	heardHeartbeat
	heardWait // a submission, or what puts off the next start
	heardAny
)

const anyLog = -1

func (j *job) find(id uuid.UUID) *run {
	if i := slices.IndexFunc(j.runs, func(r run) bool { return r.id == id }); i >= 0 {
		return &j.runs[i]
	}
	return nil
}

func (j *job) run(id uuid.UUID) *run {
	if r := j.find(id); r != nil {
		return r
	}
	j.runs = append(j.runs, run{id: id})
	return &j.runs[len(j.runs)-1]
}

func (j *job) remove(id uuid.UUID) {
	j.runs = slices.DeleteFunc(j.runs, func(r run) bool { return r.id == id })
}

// telling are the types of events that tell whether a job lives.
var telling = []jobaudit.EventType{
	jobaudit.JobSubmitted, jobaudit.JobDeduplicated, jobaudit.JobDenied, jobaudit.JobStarted, jobaudit.JobHeartbeat,
	jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled,
	jobaudit.AttemptStarted, jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost,
	jobaudit.AttemptSuperseded, jobaudit.AttemptLate,
}

// read reads what a log has that was not read before. It returns the errors
// that name records which cannot be read.
func (w *Watchdog) read(ctx context.Context, number int) (unreadable []error, err error) {
	log := w.logs[number]
	w.reading = number
	for _, p := range w.passes(ctx, log) {
		more, err := w.readPass(log, p)
		unreadable = append(unreadable, more...)
		if err != nil {
			if log.fast {
				log.after = uuid.Nil // what it knows may be of another log
			}
			return unreadable, err
		}
	}
	return unreadable, nil
}

// A pass reads records of a log.
type pass struct {
	records iter.Seq2[jobaudit.Record, error]
	onward  bool // the next sweep goes on behind what it has read
}

// passes are what is to be read of a log in a sweep, in this order.
func (w *Watchdog) passes(ctx context.Context, log *watched) []pass {
	added := func() pass {
		// With a limit, even where there is none, what comes later stands behind it.
		return pass{log.Records(ctx, jobaudit.Query{After: log.after, Types: telling, Limit: math.MaxInt}), true}
	}
	open, listed := log.AuditReader.(OpenJobs)
	if !listed {
		return []pass{added()}
	}
	runs, ok := log.AuditReader.(OpenRuns)
	switch {
	case ok && w.opts.StartWithin == nil:
		return []pass{{runs.OpenRuns(ctx), false}}
	case ok && log.after != uuid.Nil:
		return []pass{added(), {runs.OpenRuns(ctx), false}}
	}
	return []pass{{open.OpenJobs(ctx), ok}}
}

func (w *Watchdog) readPass(log *watched, p pass) (unreadable []error, err error) {
	arrived := w.swept
	if log.fast {
		arrived = time.Time{} // it may have been read before
	}
	for r, err := range w.looking(p.records) {
		if damage, one := errors.AsType[*jobaudit.UnreadableError](err); one {
			if !log.reported[damage.Place] {
				log.reported[damage.Place] = true
				unreadable = append(unreadable, fmt.Errorf("watchdog: %w", err))
			}
			continue
		}
		if err != nil {
			return unreadable, fmt.Errorf("watchdog: read a log: %w", err)
		}
		e := r.Event()
		w.note(&e, arrived)
		if p.onward {
			log.after = r.ID()
		}
	}
	return unreadable, nil
}

// note takes from an event what it tells about its job's life. arrived, if not
// zero, is a moment by this watchdog's clock at which the event had not been
// recorded: whatever its own clock says, its worker was alive then.
func (w *Watchdog) note(e *jobaudit.Event, arrived time.Time) {
	j, known := w.jobs[e.Job.ID]
	if !known {
		j = &job{}
		w.jobs[e.Job.ID] = j
	}
	defer w.forget(e.Job.ID)
	x := e.Job.ExecutionID
	switch e.Type {
	case jobaudit.JobStarted, jobaudit.AttemptStarted, jobaudit.JobHeartbeat, jobaudit.AttemptLost:
		if x == uuid.Nil {
			return
		}
	}
	switch e.Type {
	case jobaudit.JobSubmitted:
		if j.startWithin = w.startWithin(e); j.startWithin > 0 {
			w.waits(j, e, j.startWithin)
		}
	case jobaudit.JobStarted, jobaudit.AttemptStarted:
		r := j.run(x)
		r.origin = originOf(e)
		w.alive(r, e, arrived, heardStart)
	case jobaudit.JobHeartbeat:
		r := j.run(x)
		if r.contradicts(e) {
			return
		}
		w.alive(r, e, arrived, heardHeartbeat)
		r.progress(e)
	case jobaudit.AttemptLost:
		// Its finder may have stopped before it recorded what becomes of the job.
		r := j.run(x)
		r.due, r.heartbeatTimeout = e.Time, max(r.heartbeatTimeout, 1)
	case jobaudit.AttemptDeferred, jobaudit.AttemptFailed, jobaudit.AttemptSuperseded:
		if x != uuid.Nil {
			j.ended(x, e)
		}
		w.waitsAgain(j, e)
	case jobaudit.AttemptLate:
		j.ended(x, e)
	default:
		if e.Job.State.Terminal() {
			j.ended(uuid.Nil, e)
			j.ended(x, e)
		}
	}
}

// ended drops what has ended. If the event contradicts the start it may be
// forged: then the run stays until it is due, and all records are read.
func (j *job) ended(id uuid.UUID, e *jobaudit.Event) {
	if r := j.find(id); r != nil && !r.contradicts(e) {
		j.remove(id)
	}
}

// contradicts reports whether an event is not of the job that was started.
func (r *run) contradicts(e *jobaudit.Event) bool {
	return r.origin != origin{} && r.origin != originOf(e)
}

// forget drops a job of which nothing is open.
func (w *Watchdog) forget(id uuid.UUID) {
	if j := w.jobs[id]; j != nil && len(j.runs) == 0 {
		delete(w.jobs, id)
	}
}

func (w *Watchdog) startWithin(submission *jobaudit.Event) time.Duration {
	if w.opts.StartWithin == nil || submission.Job.Queue != (jobaudit.Ref{}) {
		return 0
	}
	return max(0, w.opts.StartWithin(*submission))
}

// waits notes that a job has been submitted or put off, and how long it may
// wait for its start.
func (w *Watchdog) waits(j *job, e *jobaudit.Event, within time.Duration) {
	r := j.run(uuid.Nil)
	if r.contradicts(e) {
		return
	}
	r.origin, r.heartbeatTimeout, r.due = originOf(e), within, e.Time.Add(within)
	w.hears(r, e.ID, heardWait)
}

// waitsAgain notes that a job waits for its next start, if nothing else of it runs.
// How long it may, its submission says: if that has not been read, the job is
// to be judged.
func (w *Watchdog) waitsAgain(j *job, e *jobaudit.Event) {
	if w.opts.StartWithin == nil || e.Job.Queue != (jobaudit.Ref{}) {
		return
	}
	within := max(j.startWithin, 1)
	if r := j.find(uuid.Nil); r != nil {
		within = r.heartbeatTimeout
	}
	w.waits(j, e, within)
}

// alive notes a sign of life.
func (w *Watchdog) alive(r *run, e *jobaudit.Event, arrived time.Time, kind heardKind) {
	w.hears(r, e.ID, kind)
	heartbeatTimeout := w.heartbeatTimeout(e)
	if heartbeatTimeout <= 0 {
		return
	}
	r.heartbeatTimeout = heartbeatTimeout
	r.due = latest(r.due, e.Time.Add(heartbeatTimeout))
	if !arrived.IsZero() {
		r.due = latest(r.due, arrived.Add(heartbeatTimeout))
	}
}

// hears notes that the log that is being read has a record of a run.
func (w *Watchdog) hears(r *run, id uuid.UUID, kind heardKind) {
	for i := range r.heard {
		if h := &r.heard[i]; h.log == w.reading && h.kind == kind {
			h.next = id
			return
		}
	}
	r.heard = append(r.heard, heard{log: w.reading, kind: kind, next: id})
}

// settle notes what the logs have told last of each run, when all have been read. If
// that is a new record, the silence has ended. A job waits for no start while it
// runs; and what may be silent for ever, and stands no more in the logs that know
// what is open, is over.
func (w *Watchdog) settle() {
	for id, j := range w.jobs {
		if len(j.runs) > 1 {
			j.remove(uuid.Nil)
		}
		j.runs = slices.DeleteFunc(j.runs, func(r run) bool { return r.heartbeatTimeout == 0 && w.over(&r) })
		for i := range j.runs {
			w.hearLast(&j.runs[i])
		}
		w.forget(id)
	}
}

// over reports whether a run that is listed is so no more.
func (w *Watchdog) over(r *run) bool {
	return w.isListed(r) && !slices.ContainsFunc(r.heard, func(h heard) bool { return h.next != uuid.Nil })
}

// isListed reports whether only logs that know what is open have told of a run.
func (w *Watchdog) isListed(r *run) bool {
	return !slices.ContainsFunc(r.heard, func(h heard) bool { return h.log != anyLog && !w.logs[h.log].fast })
}

func (w *Watchdog) hearLast(r *run) {
	for i := range r.heard {
		h := &r.heard[i]
		if h.next == uuid.Nil {
			continue
		}
		if !r.hasHeard(h.next) {
			w.listen(r)
		}
		h.id, h.next = h.next, uuid.Nil
	}
}

func (r *run) hasHeard(id uuid.UUID) bool {
	return slices.ContainsFunc(r.heard, func(h heard) bool { return h.id == id })
}

// hear notes the newest record of a run that is judged. If it is a new one, the
// silence has ended.
func (w *Watchdog) hear(r *run, id uuid.UUID) {
	if !r.hasHeard(id) {
		w.listen(r)
	}
	for i := range r.heard {
		if r.heard[i].log == anyLog {
			r.heard[i].id = id
			return
		}
	}
	r.heard = append(r.heard, heard{log: anyLog, kind: heardAny, id: id})
}

// listen begins to wait for the next sign of life.
func (w *Watchdog) listen(r *run) {
	r.silent, r.since, r.probed = 0, w.opts.Now(), time.Time{}
}

// pass counts the time since the last sweep as silence, as none of it has been
// heard of yet. Not more than the time between sweeps counts, or than the last one
// took: what is more the watchdog itself may have spent asleep. If it has missed a
// sweep, or could not read, it has not seen what happened meanwhile, and waits from
// now on.
func (w *Watchdog) pass(now time.Time) {
	most := max(w.opts.Interval, w.looked.Sub(w.swept))
	if w.look() > 0 {
		w.late++
	} else {
		w.late = 0
	}
	seen := !w.swept.IsZero() && w.gap == 0
	for _, j := range w.jobs {
		for i := range j.runs {
			r := &j.runs[i]
			switch {
			case !seen:
				w.listen(r)
			case now.After(r.since):
				r.silent += min(now.Sub(latest(r.since, w.swept)), most)
			}
		}
	}
}

// look notes that the watchdog is awake. It is called at every sweep and, within
// one, at every step that may take time: between two looks the host may have slept,
// and if that is long it is kept as a gap, and returned.
func (w *Watchdog) look() (gap time.Duration) {
	now := w.opts.Now()
	elapsed := now.Sub(w.looked)
	if !w.looked.IsZero() && (elapsed < 0 || elapsed > w.opts.Interval+w.opts.Interval/2) {
		gap = max(elapsed, 1)
		w.gap = max(w.gap, gap)
	}
	w.looked = now
	return gap
}

// looking iterates over a log's records and looks at the clock.
func (w *Watchdog) looking(records iter.Seq2[jobaudit.Record, error]) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		defer w.look()
		for r, err := range records {
			w.look()
			if !yield(r, err) {
				return
			}
		}
	}
}

// heartbeatTimeout is how long an execution may be silent after a start or a
// heartbeat: as long as it has announced itself, if it has.
func (w *Watchdog) heartbeatTimeout(e *jobaudit.Event) time.Duration {
	if announced := e.Data.Heartbeat.Deadline.Sub(e.Time); !e.Data.Heartbeat.Deadline.IsZero() && announced > 0 {
		return announced
	}
	return w.opts.HeartbeatTimeout
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// progress notes what a heartbeat reports of progress.
func (r *run) progress(e *jobaudit.Event) {
	p := e.Data.Heartbeat.Progress
	if p == nil {
		return
	}
	if r.moved.IsZero() || p.Done != r.done {
		r.moved, r.done, r.stallReported = e.Time, p.Done, false
	}
	r.reported = latest(r.reported, e.Time)
}

// stalled reports whether the execution has sent heartbeats without progress
// for too long, and that has not been reported.
func (w *Watchdog) stalled(r *run) bool {
	return w.opts.StalledAfter > 0 && !r.stallReported && !r.moved.IsZero() && r.reported.Sub(r.moved) >= w.opts.StalledAfter
}

// quiet reports whether a run has been silent for longer than it may be, so
// that all that the logs hold of it is to be read.
func (w *Watchdog) quiet(r *run, now time.Time) bool {
	if w.opts.OneShot {
		return w.gone(r, now)
	}
	return r.heartbeatTimeout > 0 && r.silent > r.heartbeatTimeout
}

// gone reports whether a run has been silent for so long that its worker is taken
// to be gone.
func (w *Watchdog) gone(r *run, now time.Time) bool {
	if w.opts.OneShot {
		return !r.due.IsZero() && now.After(r.due.Add(w.opts.Grace))
	}
	return w.gap == 0 && r.heartbeatTimeout > 0 && r.silent > r.heartbeatTimeout+w.opts.Grace &&
		!r.probed.IsZero() && now.Sub(r.probed) >= w.opts.Grace
}

// due returns the jobs to be judged, those first that were judged least lately.
func (w *Watchdog) due(now time.Time) []uuid.UUID {
	var ids []uuid.UUID
	for id, j := range w.jobs {
		if slices.ContainsFunc(j.runs, func(r run) bool { return w.tells(&r, now) || w.stalled(&r) }) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int {
		return cmp.Or(cmp.Compare(w.jobs[a].judged, w.jobs[b].judged), bytes.Compare(a[:], b[:]))
	})
	return ids
}

// tells reports whether reading all that the logs hold of a run tells something
// new: not while it has been silent for too long and the grace is not over.
func (w *Watchdog) tells(r *run, now time.Time) bool {
	return w.quiet(r, now) && (r.probed.IsZero() || w.gone(r, now))
}
