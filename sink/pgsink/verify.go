package pgsink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
	"golang.org/x/mod/sumdb/note"
)

// VerifyOptions are what a verification knows from elsewhere: nothing in the
// database is trusted. The zero value, or nil, compares hashes only.
type VerifyOptions struct {
	// Keys are the verifier keys that may have signed the log, oldest first.
	Keys []note.Verifier
	// Heads are newest heads kept outside the database. One with an empty
	// Origin is of any origin.
	Heads []auditlog.Head
	// Checkpoints are signed heads kept outside the database, as bytes: what
	// anchors hold. They need Keys; one that no key has signed is a finding.
	Checkpoints [][]byte
	// AcceptLoss are those of the heads above that the log is known not to
	// hold any more, after a failover or a restore. Where a successor's key, which is
	// among Keys, has signed on from before such a head, that it is missing is a note
	// and not a finding. The level is [auditlog.Signed] at most then.
	AcceptLoss []auditlog.Head
	// Quick is [auditlog.Options.Quick].
	Quick bool
	// Companions are reports on companion logs: logs of acts about this one. Each
	// head of this log that one of them names has to be on its history; another one
	// is a finding. They count for no level. A report without a verified signature,
	// and one that names no head of this log, are errors.
	Companions []Companion
	// Progress, if not nil, is told how many events of how many have been
	// read. It must not wait.
	Progress func(done, total int64)
}

// The kinds of findings about the tables, and about what records say, beside
// those of auditlog about the log itself.
const (
	// KindColumns: a column, or a row of acting, that is not what its event
	// says: selections by it would lie.
	KindColumns auditlog.Kind = "column_changed"
	// KindPlanted: an event that was never accepted, or not with these bytes.
	KindPlanted auditlog.Kind = "event_planted"
	// KindLost: an accepted event that is nowhere.
	KindLost auditlog.Kind = "accepted_event_lost"
	// KindSequence: an event whose entry in sequence is missing or another.
	KindSequence auditlog.Kind = "sequence_changed"
	// KindInbox: a waiting event that is not the one that was accepted.
	KindInbox auditlog.Kind = "inbox_changed"
	// KindRefused: an accepted event that could have no place.
	KindRefused auditlog.Kind = "event_refused"
	// KindChain: a commit that does not follow the one before it.
	KindChain auditlog.Kind = "commit_missing"

	// KindRecord: a line that is no record.
	KindRecord = jobcheck.Unparsable
	// KindDuplicate: a record whose ID an earlier one has.
	KindDuplicate = jobcheck.Duplicate
	// KindStream: a record that does not follow the one before it in its
	// stream: a gap in seq, or another prev than that one's hash.
	KindStream = jobcheck.Stream
	// KindResume: a stream that resumes a record by another hash than it has, on
	// the word of a signed Carrier. Without a signature it is [KindDangling].
	KindResume = jobcheck.Resume
)

// The kinds of notes, which are no findings.
const (
	// KindWaiting: events that were accepted before the newest head and have
	// no place: withheld, or their transaction was long.
	KindWaiting auditlog.Kind = "waiting"
	// KindGuard: a trigger, a function, a table's definition or a partition that is
	// not as Migrate made it. What it guards is proven all the same, or found.
	KindGuard auditlog.Kind = "guard_changed"
	// KindHashes: the tree's stored hashes are not those of the log. They are a
	// cache.
	KindHashes auditlog.Kind = "stored_hashes_changed"
	// KindGhost: a start without an end: a job that runs, or a ghost.
	KindGhost = jobcheck.Ghost
	// KindUnapplied: a record that changes nothing in the state that its job is
	// in here: an outcome or a start behind the job's end, a second submission, an
	// outcome without a start, which another log may have.
	KindUnapplied = jobcheck.Unapplied
	// KindForeign: a record that contradicts the submission of its job, as
	// [jobaudit.CauseForeign] has it. Somebody who can write to a queue can cause
	// them: they say nothing against the log.
	KindForeign = jobcheck.Foreign
	// KindDangling: a stream that resumes a record which this log does not
	// hold, or not with that hash. Somebody who can write to a queue can cause them.
	KindDangling = jobcheck.Dangling
)

// A Finding is one thing that is wrong with a log, or a note, and where.
type Finding struct {
	auditlog.Finding
	// EventID and JobID are the record's, if known.
	EventID uuid.UUID `json:"eventId,omitzero"`
	JobID   uuid.UUID `json:"jobId,omitzero"`
	// Explained says why what looks like a finding is a note.
	Explained string `json:"explained,omitempty"`
}

// String returns the finding in one line, for people.
func (f Finding) String() string {
	s := f.Finding.String()
	if f.JobID != uuid.Nil {
		s += ", job " + f.JobID.String()
	}
	if f.EventID != uuid.Nil {
		s += ", event " + f.EventID.String()
	}
	if f.Explained != "" {
		s += " (" + f.Explained + ")"
	}
	return s
}

// A Report says what was verified.
type Report struct {
	// Report is what is known of the log itself. Level is
	// [auditlog.Unverified] whenever there is a finding of any kind.
	auditlog.Report
	// Records counts the events read, Waiting those that have no place yet:
	// nothing signs for them.
	Records, Waiting int64
	// Jobs and Streams count what the events are of, and Ghosts, Unapplied,
	// Dangling and Foreign the notes of these kinds.
	Jobs, Streams                        int64
	Ghosts, Unapplied, Dangling, Foreign int64
	// CompanionOf are the heads of other logs that this one names: it is a
	// companion, whose acts are about them. At most 10,000.
	CompanionOf []auditlog.Head
	// Notes are worth knowing and nothing wrong; of each kind about records at
	// most 100, the first.
	Notes []Finding
}

// A Companion is what the verification of a companion log reported, of a directory or
// of a database: its Report and its CompanionOf.
type Companion struct {
	auditlog.Report
	CompanionOf []auditlog.Head
}

// A VerifyError holds what [Verify] found.
type VerifyError struct {
	// Findings has at least one and at most 2,000 elements, More counts the
	// others.
	Findings []Finding
	More     int
}

const maxFindings = 2000

func (e *VerifyError) Error() string {
	if n := len(e.Findings) + e.More; n > 1 {
		return fmt.Sprintf("log not verified: %d findings, the first: %v", n, e.Findings[0])
	}
	return fmt.Sprintf("log not verified: %v", e.Findings[0])
}

// ErrFiltered is returned by [Verify] when row-level security may hide rows
// from the user that it connects as: it would accuse an untouched log.
var ErrFiltered = errors.New("row-level security is active for this user: verify as one that sees every row")

// ErrNothingVerified is what [Verify] returns of a log that holds no committed event: there
// was nothing to compare, so nothing is proven. An emptied log looks like one that was never
// written; a head kept outside tells them apart.
var ErrNothingVerified = errors.New("the log holds no committed event: nothing was verified")

// Verify proves the log in a database: all that [auditlog.Verify] proves of its
// events and commits; that what the events say agrees: their streams have no
// gaps and link to their hashes, resumed streams link to what they resume, and
// no ID stands twice; that every event that was accepted is in it or waits, and
// nothing else is; and that selections tell the truth. The user needs the
// reader's role.
//
// The log may be written meanwhile: it is verified up to the head that is the
// newest at the beginning. No transaction stays open for longer than a page.
// Of large logs it keeps about a tenth of their size in a temporary file
// (os.TempDir) meanwhile.
//
// The error is a [*VerifyError] when everything was read and something is
// wrong. Any other error means that not everything could be read; what was found in
// the rest is joined to it as a *VerifyError.
func Verify(ctx context.Context, connString string, opts *VerifyOptions) (Report, error) {
	if opts == nil {
		opts = &VerifyOptions{}
	}
	pool, err := newPool(ctx, connString, &Options{Pooled: true, standby: true}, 4) // it may be a pooler's
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	defer pool.Close()
	v := &verification{ctx: ctx, db: pool, opts: opts}
	err = v.run()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // said once
		}
		err = fmt.Errorf("verify: %w", err)
		v.report.Level = auditlog.Unverified
	}
	if len(v.findings) > 0 {
		found := &VerifyError{Findings: v.findings, More: v.more}
		if err == nil {
			return v.report, found
		}
		return v.report, errors.Join(found, err)
	}
	if err == nil && v.report.Head.Size == 0 {
		return v.report, fmt.Errorf("verify: %w", ErrNothingVerified)
	}
	return v.report, err
}

// verification is one call of Verify.
type verification struct {
	ctx  context.Context
	db   *pool // auditlog reads lines and hints at once
	opts *VerifyOptions

	size   int64     // of the newest head at the beginning
	at     time.Time // when it was committed
	heads  []auditlog.Head
	report Report

	mu       sync.Mutex
	findings []Finding
	more     int
}

func (v *verification) run() error {
	if err := v.refuseFilters(); err != nil {
		return err
	}
	var at *time.Time
	err := v.db.QueryRow(v.ctx, `SELECT coalesce(max(size), 0), max(at) FILTER (WHERE isfinite(at)) FROM jobaudit.commits`).Scan(&v.size, &at)
	if err != nil {
		return err
	}
	if at != nil {
		v.at = *at
	}
	v.readHeads()
	// What one of them cannot read keeps the others from nothing.
	err = errors.Join(v.verifyLog(), v.explain(), v.reconcile())
	v.setLevel()
	return errors.Join(err, v.name())
}

// readHeads gathers the heads to compare with.
func (v *verification) readHeads() {
	v.heads = slices.Clone(v.opts.Heads)
	for _, signed := range v.opts.Checkpoints {
		err := auditlog.ErrUnknownKey
		for _, key := range v.opts.Keys {
			var c auditlog.Checkpoint
			if c, err = auditlog.OpenCheckpoint(signed, key); err == nil {
				v.heads = append(v.heads, c.Head())
				break
			}
		}
		if err == nil {
			continue
		}
		f := auditlog.Finding{Kind: auditlog.KindCommit, Index: -1, Commit: -1, Offset: -1,
			Expected: "an outside checkpoint that is signed by the given key", Found: err.Error()}
		switch {
		case errors.Is(err, auditlog.ErrOrigin):
			f.Kind = auditlog.KindOrigin
		case errors.Is(err, auditlog.ErrUnknownKey):
			f.Kind = auditlog.KindKey
		case errors.Is(err, auditlog.ErrSignature):
			f.Kind = auditlog.KindSignature
		}
		v.find(Finding{Finding: f})
	}
}

func (v *verification) find(f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f.Expected, f.Found = shortened(f.Expected), shortened(f.Found)
	if len(v.findings) == maxFindings {
		v.more++
		return
	}
	v.findings = append(v.findings, f)
}

// shortened bounds what a finding quotes.
func shortened(s string) string {
	if len(s) <= 2000 {
		return s
	}
	return strings.ToValidUTF8(s[:2000], "") + "…"
}

func (v *verification) note(kind auditlog.Kind, format string, args ...any) {
	v.report.Notes = append(v.report.Notes, Finding{Finding: auditlog.Finding{
		Kind: kind, Index: -1, First: v.size, End: v.size, Commit: -1, Offset: -1, Found: fmt.Sprintf(format, args...),
	}})
}

// refuseFilters makes sure that every row is seen.
func (v *verification) refuseFilters() error {
	rows, err := v.db.Query(v.ctx, `
		SELECT relname::text FROM pg_class WHERE relnamespace = 'jobaudit'::regnamespace AND relkind IN ('r', 'p')
			AND row_security_active(oid) ORDER BY 1`)
	if err != nil {
		return err
	}
	filtered, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if len(filtered) > 0 {
		return fmt.Errorf("%w: %v", ErrFiltered, filtered)
	}
	return nil
}

// verifyLog hands the events and commits to auditlog.Verify as the lines of
// segments.
func (v *verification) verifyLog() error {
	borders, err := v.borders()
	if err != nil {
		return err
	}
	var segments []auditlog.Segment
	for i, first := range borders[:len(borders)-1] {
		end := borders[i+1]
		segments = append(segments, auditlog.Segment{
			Name: fmt.Sprintf("events %d-%d", first, end-1), First: first,
			Open: func() (io.ReadCloser, error) { return &lines{v: v, next: first, end: end}, nil },
		})
	}
	var companions jobcheck.Companions
	for _, c := range v.opts.Companions {
		companions = append(companions, jobcheck.Companion{Report: c.Report, Of: c.CompanionOf})
	}
	named, err := companions.Heads(v.opts.Keys)
	if err != nil {
		return err
	}
	checks := jobcheck.New(min(v.size, math.MaxInt64/averageLine)*averageLine, true) // as selections tell the truth, each event is parsed in any case
	defer checks.Close()
	o := auditlog.Options{Keys: v.opts.Keys, Heads: v.heads, Own: named, Quick: v.opts.Quick, Inspect: checks.Inspect}
	if v.size > 0 {
		o.Hints = storedHashes{v.ctx, v.db}
	}
	hashes := &hashCheck{v: v}
	v.report.Report, err = auditlog.Verify(v.ctx, segments, &o, func(l auditlog.Leaf) error {
		if err := hashes.leaf(l.Hash); err != nil {
			return err
		}
		return checks.Leaf(l)
	})
	var damage auditlog.VerifyError
	if e, ok := errors.AsType[*auditlog.VerifyError](err); ok {
		damage = *e
	} else if err != nil {
		return err
	}
	for _, f := range damage.Findings {
		v.find(Finding{Finding: companions.Named(f)})
	}
	if tail := v.report.Tail; tail.Bytes > 0 && len(damage.Findings) == 0 {
		// In a file an interrupted write leaves such an end. A commit of a database is whole.
		v.find(Finding{Finding: auditlog.Finding{
			Kind: auditlog.KindCommit, Index: -1, First: v.report.Head.Size, End: v.size, Commit: v.report.Commits - 1, Offset: -1,
			Expected: "a head that the log's key has signed", Found: fmt.Sprintf("commit %d, which is none", v.size),
		}})
	}
	v.more += damage.More
	hashes.finish(len(damage.Findings) > 0)
	said, err := checks.Finish(v.ctx)
	if err != nil {
		return err
	}
	v.report.CompanionOf = checks.CompanionOf()
	v.records(said, damage.Findings)
	return nil
}

// averageLine is about how long an event is.
const averageLine = 900

// maxSize is how long a log can be (docs/format.md, F6).
const maxSize = 1 << 53

// segmentSize is about how many events one segment has.
const segmentSize = 1 << 17

// borders returns where segments begin, and the end: sizes of commits, as no
// batch spans two segments.
func (v *verification) borders() ([]int64, error) {
	rows, err := v.db.Query(v.ctx, `SELECT max(size) FROM jobaudit.commits WHERE size > 0 AND size <= $1 GROUP BY size / $2 ORDER BY 1`, min(v.size, maxSize), int64(segmentSize))
	if err != nil {
		return nil, err
	}
	sizes, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return append([]int64{0}, sizes...), err
}

// lines reads the lines of one segment: events and, where they were committed,
// commit lines. It also checks each event's row against its line.
type lines struct {
	v         *verification
	next, end int64
	commits   []commit // of the page
	buffer    bytes.Buffer
	done      bool
}

type commit struct {
	size int64
	line []byte
}

// verifyPage is how many indexes one page covers.
const verifyPage = 1024

func (l *lines) Read(p []byte) (int, error) {
	for l.buffer.Len() == 0 {
		if l.done {
			return 0, io.EOF
		}
		if err := l.fill(); err != nil {
			return 0, err
		}
	}
	return l.buffer.Read(p)
}

// Close implements io.Closer.
func (l *lines) Close() error { return nil }

// fill reads the next page.
func (l *lines) fill() error {
	end := l.next + min(verifyPage, l.end-l.next)
	rows, err := l.v.db.Query(l.v.ctx, `SELECT size, `+boundedLine+` FROM jobaudit.commits WHERE size > $1 AND size <= $2 ORDER BY size`, l.next, end)
	if err != nil {
		return err
	}
	l.commits, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c commit, err error) { return c, row.Scan(&c.size, &c.line) })
	if err != nil {
		return err
	}
	events, err := l.v.readPage(l.next, end)
	if err != nil {
		return err
	}
	for i := range events {
		l.writeCommits(events[i].idx)
		l.buffer.Write(events[i].line)
		l.buffer.WriteByte('\n')
	}
	l.writeCommits(end)
	if len(events) == 0 && end < l.end { // a gap may be as long as numbers reach
		if end, err = nextLine(l.v.ctx, l.v.db, end, l.end); err != nil {
			return err
		}
	}
	l.next = end
	l.done = end == l.end
	if l.v.opts.Progress != nil {
		l.v.opts.Progress(end, l.v.size)
	}
	return nil
}

// writeCommits writes the commit lines of sizes up to idx.
func (l *lines) writeCommits(idx int64) {
	for len(l.commits) > 0 && l.commits[0].size <= idx {
		l.buffer.Write(l.commits[0].line)
		l.buffer.WriteByte('\n')
		l.commits = l.commits[1:]
	}
}
