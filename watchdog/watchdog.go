// Package watchdog finds the jobs whose end was not recorded, and records it, so
// that every job has an end.
//
//	watcher := watchdog.New(recorder, logs, nil)
//	go watcher.Run(ctx)                 // sweeps at intervals, or
//	report, err := watcher.Sweep(ctx)   // at intervals of your own
//
// It reads what workers have recorded and concludes:
//
//   - [Abandoned]: an execution has started, has no end, and has been silent
//     beyond the deadline that its worker announced: the process was killed,
//     crashed, or hangs. The attempt is recorded as lost and the job as failed,
//     with code ABANDONED.
//   - [Lost]: the same, of a job that goes on without the execution: a queue
//     owns its retries, it was started again, or it has ended otherwise. Only
//     the attempt is recorded as lost.
//   - [Expired]: a job was not started in time, or not again after an attempt
//     that was to be repeated. It is recorded as cancelled, with code EXPIRED. See [Options.StartWithin].
//   - [Stalled]: an execution sends heartbeats, but its progress has not moved.
//     That is reported and not recorded: it may yet come to its end. See
//     [Options.StalledAfter].
//
// Each verdict holds its evidence: the newest event, the newest heartbeat, the
// deadline that was missed and the stream of the process that owned the
// execution, which no restart under the same name shares.
//
// # Whom it accuses
//
// A verdict cannot be withdrawn, so a worker that is alive must not be accused.
// The watchdog goes by what it has seen itself, and not by the times in the
// records:
//
//   - It measures silence by its own monotonic clock, from the sweep in which it
//     read the newest sign of life. Workers' clocks may differ as they like.
//   - It concludes when the silence has lasted longer than the deadline and the
//     grace, over sweeps that came in time. When a sweep fails, or is late
//     because the host slept, or is the first one, the wait begins again.
//   - Before that, it records an audit.probed event. If the log does not take
//     it, the wait begins again: a worker that cannot write is as silent as one
//     that is gone. Once it does, there is a grace for what others have kept.
//
// So a verdict comes one deadline, one grace and up to three intervals after the
// last sign of life. If so many jobs are due at once that to read them takes more
// than half an interval, the following sweeps go on with them. [Options.OneShot] concludes from the records' times alone.
//
// # What it must be given
//
// The logs in which the end of a job may be: those that its workers write, the
// sinks they fall back to, and best the watchdog's own, so that it sees what it
// has concluded before. Of a log that cannot be read nothing is known, so no
// verdict is given in that sweep. A record that cannot be read is passed over
// and told.
//
// # What it cannot know
//
// A process that is stopped alone, or that alone is cut off from its sink, for
// longer than its deadline looks like one that is gone. If it comes back, the
// end that it records is kept and shown ([jobaudit.Job.Unapplied]), and changes
// nothing.
//
// # Several at once
//
// Any number of watchdogs may watch the same logs, in one process or in many:
// they write a verdict under the same ID, so that a sink keeps one; of those in
// different logs [jobaudit.Replay] counts one. Anyone can compute that ID. If a
// sink holds a record under it already, the watchdog reads whether the job has
// got its end, and returns an error if it has not.
package watchdog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/errlog"
)

// Options are the optional parts of a [Watchdog]. The zero value, like nil,
// gives the defaults.
type Options struct {
	// Interval is the time between the sweeps of [Watchdog.Run], or between
	// your own calls of [Watchdog.Sweep]. A sweep that begins more than one and
	// a half Interval after the end of the one before concludes nothing and
	// begins to watch from the start; so does one behind a single read or write
	// that took so long. If that goes on, an error says so. Default: 30 s.
	Interval time.Duration
	// Grace is how long beyond a deadline nothing is concluded: room for a
	// heartbeat that is on its way. Default: 30 s. Negative: none.
	Grace time.Duration
	// OneShot lets each sweep conclude from the times in the records alone,
	// also the first: for a process that sweeps once and ends, as from cron.
	// Such a sweep cannot tell a job that is gone from one whose clock is
	// behind, or whose sink or host has been out for longer than its deadline:
	// it may record that a job was abandoned which is alive, and that stands.
	// Set Grace to more than all that, an hour say. Default: only silence that
	// the Watchdog itself has seen counts.
	OneShot bool
	// HeartbeatTimeout is how long an execution may be silent that has announced
	// no deadline, as of a recorder that records no heartbeats. Default: no limit.
	HeartbeatTimeout time.Duration
	// StartWithin says of a submission how long the job may wait for its
	// start, or for the next one after it was put off or an attempt has failed
	// that is to be repeated; zero means no limit. A retry that never comes, as
	// its message was dropped, is found by this alone: without it such a job
	// stays running. Set
	// it only if the watchdog is given every log that may hold the start, and
	// only for jobs that are not meant to wait. Jobs that a queue is known to
	// own never expire: that is for their queue to say. Default: no job
	// expires.
	StartWithin func(submission jobaudit.Event) time.Duration
	// StalledAfter is how long, by its own clock, an execution may send
	// heartbeats without progress. Executions that have never reported any are
	// not judged. Default: no limit.
	StalledAfter time.Duration

	// OnFinding is called with what Run finds. Default: it is logged by
	// slog.Default.
	OnFinding func(context.Context, Finding)
	// OnError is called with the errors of sweeps in Run. Default: slog.Default()
	// is told of their kinds alone, as their texts may quote inputs.
	OnError func(context.Context, error)

	// Now is the clock by which silence is measured. It should be monotonic, as
	// time.Now is; one that jumps makes the watchdog wait longer. Default:
	// time.Now.
	Now func() time.Time
}

// OpenJobs is implemented by logs that know which of their jobs have no end,
// so that a sweep need not read everything. It is optional.
type OpenJobs interface {
	// OpenJobs iterates over the records of all jobs that have no outcome in
	// this log, and of all executions that have no end, in the order of the
	// log. It may leave out what does not tell whether they live: all but
	// submissions, starts, ends of attempts and the newest heartbeat of each
	// execution. An error is yielded once, with a zero Record, and ends the
	// iteration.
	OpenJobs(ctx context.Context) iter.Seq2[jobaudit.Record, error]
}

// OpenRuns is implemented by logs with OpenJobs that can leave out the jobs of which
// they hold a submission and nothing else. Where the ends of jobs are in other logs
// that is every job there ever was. With it a watchdog reads submissions once, if it
// has [Options.StartWithin], and else not at all. It is optional.
type OpenRuns interface {
	// OpenRuns is OpenJobs without them.
	OpenRuns(ctx context.Context) iter.Seq2[jobaudit.Record, error]
}

// Kind is what a [Finding] says.
type Kind string

// The kinds of findings.
const (
	Abandoned Kind = "abandoned" // the attempt is lost and the job has failed
	Lost      Kind = "lost"      // the attempt is lost, the job goes on or has ended otherwise
	Expired   Kind = "expired"   // the job did not start in time, or not again
	Stalled   Kind = "stalled"   // heartbeats, but no progress
)

// Finding is one thing that a sweep has found.
type Finding struct {
	Kind  Kind
	JobID uuid.UUID
	// ExecutionID is zero for a job that has expired.
	ExecutionID uuid.UUID
	// Since is when it should have shown itself: the deadline that it missed,
	// or when it made progress last.
	Since time.Time
	// Evidence is the start or the submission, the newest record and the newest
	// heartbeat.
	Evidence jobaudit.Verdict
	// Recorded is set if this watchdog has recorded it, and not set if another
	// had before or if it is Stalled.
	Recorded bool
}

// Report is what a sweep has found.
type Report struct {
	Findings []Finding
	// Open counts the executions and the waiting jobs that are watched.
	Open int
	// Postponed counts the jobs that are left to the next sweep, as this one has
	// judged others for half an Interval.
	Postponed int
	// Unreadable are the records that could not be read and were passed over,
	// each reported once: a job may have its end there.
	Unreadable []error
}

// Watchdog watches logs. [New] makes one. It is safe for concurrent use.
type Watchdog struct {
	recorder *jobaudit.Recorder
	opts     Options

	mu     sync.Mutex // of one sweep at a time; guards what follows
	logs   []*watched
	jobs   map[uuid.UUID]*job
	sweeps int
	swept  time.Time // when the last sweep began; zero if it failed
	looked time.Time // when the watchdog was seen to be awake
	// gap is the longest time since the last sweep began in which it was not seen
	// to be awake, if that is too long.
	gap  time.Duration
	late int // how many sweeps in turn have begun too late

	reading int  // the log that is being read
	probing bool // the sweep has to know whether the log takes records
	failed  bool // the sweep has not seen or recorded all that it should
}

// watched is a log and how far it has been read.
type watched struct {
	jobaudit.AuditReader
	fast     bool // it knows its open jobs
	after    uuid.UUID
	reported map[string]bool // the places of unreadable records that were reported
}

// New returns a watchdog over the logs, whose verdicts recorder records. It
// reads nothing yet. The options may be nil.
func New(recorder *jobaudit.Recorder, logs []jobaudit.AuditReader, opts *Options) *Watchdog {
	w := &Watchdog{recorder: recorder, jobs: make(map[uuid.UUID]*job)}
	if opts != nil {
		w.opts = *opts
	}
	if w.opts.Interval <= 0 {
		w.opts.Interval = 30 * time.Second
	}
	if w.opts.Grace == 0 {
		w.opts.Grace = 30 * time.Second
	}
	w.opts.Grace = max(w.opts.Grace, 0)
	if w.opts.Now == nil {
		w.opts.Now = time.Now
	}
	if w.opts.OnFinding == nil {
		w.opts.OnFinding = logFinding
	}
	if w.opts.OnError == nil {
		w.opts.OnError = errlog.Default("job watchdog", errTaken, errSlow, errLate)
	}
	for _, log := range logs {
		_, fast := log.(OpenJobs)
		w.logs = append(w.logs, &watched{AuditReader: log, fast: fast, reported: make(map[string]bool)})
	}
	return w
}

func logFinding(ctx context.Context, f Finding) {
	slog.Default().LogAttrs(ctx, slog.LevelWarn, "job "+string(f.Kind),
		slog.String("job", f.JobID.String()), slog.String("execution", f.ExecutionID.String()), slog.Time("since", f.Since))
}

// Run sweeps at once and then at every interval, until ctx ends, whose error it
// returns. A sweep that fails, or that passes over records which cannot be read,
// is reported to OnError.
func (w *Watchdog) Run(ctx context.Context) error {
	ticker := time.NewTicker(w.opts.Interval)
	defer ticker.Stop()
	for {
		report, err := w.Sweep(ctx)
		for _, f := range report.Findings {
			w.opts.OnFinding(ctx, f)
		}
		for _, unreadable := range report.Unreadable {
			w.opts.OnError(ctx, unreadable)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			w.opts.OnError(ctx, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// Sweep reads what is new in the logs, and concludes what there is to conclude.
// The first sweep of a Watchdog reads the logs from their beginning; of what
// they hold only the jobs without an end are kept in memory. It concludes
// nothing, unless the Watchdog is OneShot: call Sweep at every interval.
//
// If a log cannot be read nothing is concluded, and what was silent is waited
// for from the next sweep on. If a verdict cannot be recorded, the report holds
// the other findings, and it is tried again after another such wait.
func (w *Watchdog) Sweep(ctx context.Context) (Report, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.opts.Now()
	first := w.swept.IsZero()
	w.pass(now)
	w.gap, w.failed = 0, false
	w.sweeps++
	var report Report
	for i := range w.logs {
		unreadable, err := w.read(ctx, i)
		report.Unreadable = append(report.Unreadable, unreadable...)
		if err != nil {
			w.swept = time.Time{}
			return report, err
		}
	}
	w.settle()
	w.swept = now
	errs := w.judgeDue(ctx, now, &report)
	if err := w.probe(ctx); err != nil {
		errs = append(errs, w.failure(err))
	}
	w.look()
	if w.failed || ctx.Err() != nil {
		w.swept = time.Time{}
	}
	for _, j := range w.jobs {
		report.Open += len(j.runs)
		if r := j.find(uuid.Nil); r != nil && r.heartbeatTimeout == 0 {
			report.Open-- // it may wait for ever
		}
	}
	return report, errors.Join(append(errs, w.tooLate(first))...)
}

// judgeDue judges what is due, for half an interval at most: what is new in the
// logs must be read as well, however much there is to judge.
func (w *Watchdog) judgeDue(ctx context.Context, now time.Time, report *Report) (errs []error) {
	due := w.due(now)
	begun := w.opts.Now()
	for i, id := range due {
		findings, err := w.judge(ctx, id, now)
		report.Findings = append(report.Findings, findings...)
		errs = append(errs, err)
		if ctx.Err() != nil || !w.opts.OneShot && w.looked.Sub(begun) >= w.opts.Interval/2 {
			report.Postponed = len(due) - 1 - i
			break
		}
	}
	return errs
}

var (
	errSlow = errors.New("one read or write took longer than one and a half Interval: the watchdog cannot tell that from sleep, " +
		"so this sweep concludes no more and the wait begins again; set a longer Interval")
	errLate = errors.New("sweeps come later than one and a half Interval, so nothing is concluded: " +
		"sweep at every Interval, or set a longer one")
)

// tooLate says why nothing will be concluded as long as it goes on like this. That a
// host slept once, or that the first reading is long, is no reason.
func (w *Watchdog) tooLate(first bool) error {
	switch {
	case w.opts.OneShot:
	case w.gap > 0 && !first:
		return fmt.Errorf("watchdog: %w", errSlow)
	case w.late > 1:
		return fmt.Errorf("watchdog: %w", errLate)
	}
	return nil
}

// probe finds out whether the log takes records, if anything is about to be
// concluded: a worker that cannot write is as silent as one that is gone. What
// the log was closed to until then comes into it before the grace is over.
func (w *Watchdog) probe(ctx context.Context) error {
	if !w.probing {
		return nil
	}
	w.probing = false
	if err := w.recorder.Probe(ctx); err != nil {
		return err
	}
	now := w.opts.Now()
	for _, j := range w.jobs {
		for i := range j.runs {
			if r := &j.runs[i]; r.probed.IsZero() && w.quiet(r, now) {
				r.probed = now
			}
		}
	}
	return nil
}
