package filesink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// VerifyOptions are what a verification knows from elsewhere: nothing in a
// log's directory is trusted. The zero value, or nil, compares hashes only.
type VerifyOptions struct {
	// Keys are the verifier keys that may have signed the log, oldest first:
	// one, or one for each log of a line of successors in one directory.
	Keys []note.Verifier
	// Heads are newest heads kept outside the log. One with an empty Origin
	// is of any origin.
	Heads []auditlog.Head
	// Checkpoints are signed heads kept outside the log, as bytes: what
	// anchors hold. They need Keys; one that no key has signed is a finding.
	// Read them before the verification begins, or a log that is being
	// written seems to be behind.
	Checkpoints [][]byte
	// Companions are reports on companion logs, as Verify gives them: logs of
	// acts about this one. Each head of this log that one of them names has to be
	// on its history; another one is a finding. They count for no level. A report
	// without a verified signature, and one that names no head of this log, are
	// errors.
	Companions []Report
	// AcceptLoss are those of the heads above that the log is known not to
	// hold any more, after a crash or a restore. Where an audit.opened event of
	// the log names such a head too, that it is missing is a note and not a
	// finding. The level is [auditlog.Signed] at most then: the log does not
	// agree with every given head.
	AcceptLoss []auditlog.Head
	// ParseAll parses each record in whole, which takes some ten times as long.
	// Without it a record is read as far as the checks need, up to its action.
	ParseAll bool
	// Quick is [auditlog.Options.Quick]: it leaves out signatures that later
	// ones cover. Logs of small batches verify many times as fast.
	Quick bool
	// Progress, if not nil, is called with how many bytes of how many have been read.
	// It is called often, from one goroutine at a time, and must not wait.
	Progress func(done, total int64)
}

// The kinds of findings about what records say, beside those of auditlog about
// the log itself.
const (
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
	// KindForeignFile: a file among the entries that is not the log's but looks
	// as if it were.
	KindForeignFile auditlog.Kind = "foreign_file"
	// KindIndex: an index that the key has signed and that is not that of its
	// segment; as a note, one that no given key has signed, or that is of another
	// state of the segment: nobody uses it.
	KindIndex auditlog.Kind = "wrong_index"
)

// The kinds of notes, which are no findings.
const (
	// KindTail: an unacknowledged or damaged tail at the end of the log.
	KindTail auditlog.Kind = "tail"
	// KindRewritten: an interrupted write that was made again in the segment
	// behind. It is ignored, but tools such as jq show it.
	KindRewritten auditlog.Kind = "rewritten"
	// KindRecovery: what an audit.opened record reports of its log: a tail
	// that was set aside, safeguards that were switched off, a predecessor.
	KindRecovery auditlog.Kind = "recovery"
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

// A Finding is one thing that is wrong with a log, or a note, and where. Index
// is the first bad record, and First and End bound its signed batch, as
// [auditlog.Finding] says.
type Finding struct {
	auditlog.Finding
	// EventID and JobID are the record's, if the bytes that are left tell. Of
	// a damaged record, the job is the one that the rest of its stream names.
	EventID uuid.UUID `json:"eventId,omitzero"`
	JobID   uuid.UUID `json:"jobId,omitzero"`
	// Explained says why what looks like a finding is a note.
	Explained string `json:"explained,omitempty"`

	since int64 // the first record that it rests on
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
	// Records, Jobs and Streams count what was read.
	Records, Jobs, Streams int64
	// Ghosts, Unapplied and Dangling count the notes of these kinds.
	Ghosts, Unapplied, Dangling int64
	// Foreign counts those of [KindForeign].
	Foreign int64
	// CompanionOf are the heads of other logs that this one names: it is a
	// companion, whose acts are about them. At most 10,000.
	CompanionOf []auditlog.Head
	// Writing is set if a writer had the log open: then a tail is what it was
	// writing.
	Writing bool
	// Notes are worth knowing and nothing wrong; at most 100 of each kind, the
	// first.
	Notes []Finding
	// Durable is the newest head that is safe to keep, as evidence for later.
	// [auditlog.Report.Head] may be newer: a writer that crashes before it is
	// durable loses it and is not to be accused. It is the zero Head if none
	// is known.
	Durable auditlog.Head
}

// A VerifyError holds what [Verify] found: first about the log, then about
// what the records say, each in the order of the log.
type VerifyError struct {
	// Findings has at least one and at most 2,000 elements.
	Findings []Finding
	// More counts the findings beyond these.
	More int
}

func (e *VerifyError) Error() string {
	if n := len(e.Findings) + e.More; n > 1 {
		return fmt.Sprintf("log not verified: %d findings, the first: %v", n, e.Findings[0])
	}
	return fmt.Sprintf("log not verified: %v", e.Findings[0])
}

// Verify proves the log in a directory: all that [auditlog.Verify] proves, and
// that what the records say agrees. Their streams have no gaps and link to
// their hashes, streams that a signed Carrier has resumed link to what they
// resume, and no ID stands twice. What somebody can cause who only writes to a
// queue is a note, and so is what other logs may explain.
//
// It takes no lock and writes nothing to the directory, so a log may be
// verified while it is written: it is verified as far as it is committed. It
// uses all cores and a bounded amount of memory; of large logs it keeps about
// a tenth of their size in a temporary file (os.TempDir) meanwhile.
//
// The error is a [*VerifyError] when the log was read to its end and something
// in it is wrong. Where a damaged log also makes records disagree, that is a
// note: it helps to see which jobs are concerned. Any other error means that
// the log could not be read; one that wraps [fs.ErrNotExist], that there is no
// log in the directory, though with Heads or Checkpoints that is a finding. A
// log without committed events gives [ErrNothingVerified].
func Verify(ctx context.Context, dir string, opts *VerifyOptions) (Report, error) {
	if opts == nil {
		opts = &VerifyOptions{}
	}
	return verifyOn(ctx, disk.OS{}, dir, opts)
}

func verifyOn(ctx context.Context, on disk.Disk, dir string, opts *VerifyOptions) (Report, error) {
	d, err := on.OpenDir(dir, false)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	defer d.Close()
	v := &verification{ctx: ctx, opts: opts, dir: d}
	if err := v.run(); err != nil {
		return v.report, fmt.Errorf("verify: %w", err)
	}
	if len(v.findings) > 0 {
		return v.report, &VerifyError{Findings: v.findings, More: v.more}
	}
	if v.report.Head.Size == 0 {
		return v.report, fmt.Errorf("verify %s: %w", dir, ErrNothingVerified)
	}
	return v.report, nil
}

// verification is one call of Verify.
type verification struct {
	ctx  context.Context
	opts *VerifyOptions
	dir  disk.Dir

	writing  func() bool // whether a writer has the log open
	files    []segmentFile
	reader   *bufio.Reader // of scan
	heads    []auditlog.Head
	own      []auditlog.Head // the directory's checkpoint, if it is signed
	report   Report
	findings []Finding
	more     int
}

func (v *verification) run() error {
	v.readHeads()
	// Linux takes milliseconds to list its locks, so that goes on meanwhile.
	answer := make(chan bool, 1)
	go func() { answer <- v.dir.Locked(lockFile) }()
	v.writing = sync.OnceValue(func() bool { return <-answer })
	defer func() { v.report.Writing = v.writing() }()
	v.readOwn() // before the files, which are ahead of it
	var companions jobcheck.Companions
	for _, c := range v.opts.Companions {
		companions = append(companions, jobcheck.Companion{Report: c.Report, Of: c.CompanionOf})
	}
	named, err := companions.Heads(v.opts.Keys)
	if err != nil {
		return err
	}
	if v.files, err = v.segmentFiles(); errors.Is(err, fs.ErrNotExist) && len(v.heads) > 0 {
		err = nil // the heads say that there was a log
	}
	if err != nil {
		return err
	}
	checks := jobcheck.New(totalSize(v.files), v.opts.ParseAll)
	defer checks.Close()
	o := auditlog.Options{Keys: v.opts.Keys, Heads: v.heads, Own: slices.Concat(v.own, named), Quick: v.opts.Quick, Inspect: checks.Inspect}
	if tree, err := v.dir.Open(treeFile); err == nil {
		defer tree.Close()
		o.Hints = auditlog.StoredHashes(tree)
	}
	indexes := v.checkIndexes()
	facts := 0 // of the notes
	if len(indexes.files) > 0 {
		facts = indexFacts
		o.Inspect = func(notes, line []byte) []byte { return checks.Inspect(inspectForIndex(notes, line), line) }
	}
	v.report.Report, err = auditlog.Verify(v.ctx, v.segments(), &o, func(l auditlog.Leaf) error {
		indexes.leaf(l, l.Notes[:facts])
		l.Notes = l.Notes[facts:]
		return checks.Leaf(l)
	})
	if damage, ok := errors.AsType[*auditlog.VerifyError](err); ok {
		for _, f := range damage.Findings {
			v.findings = append(v.findings, Finding{Finding: companions.Named(f)})
		}
		v.more += damage.More
	} else if err != nil {
		return err
	}
	v.findings = append(v.findings, indexes.findings(v.findings)...)
	v.report.Notes = append(v.report.Notes, indexes.unused...)
	found, err := checks.Finish(v.ctx)
	if err != nil {
		return err
	}
	v.report.Records, v.report.Jobs, v.report.Streams = found.Records, found.Jobs, found.Streams
	v.report.Ghosts, v.report.Unapplied, v.report.Dangling = found.Ghosts.Total(), found.Unapplied.Total(), found.Dangling.Total()
	v.report.Foreign = found.Foreign.Total()
	v.report.CompanionOf = checks.CompanionOf()
	return v.conclude(checks.Recoveries(), found)
}

// conclude brings what auditlog and the job checks found together.
func (v *verification) conclude(recoveries []jobcheck.Recovery, found *jobcheck.Result) error {
	v.explain(recoveries)
	wrong, more := found.Findings()
	damage := v.findings
	for _, j := range wrong {
		f := findingOf(j)
		if follows(j, damage) {
			f.Explained = "follows from the damage"
			v.report.Notes = append(v.report.Notes, f)
			continue
		}
		v.findings = append(v.findings, f)
	}
	v.more += more
	if err := v.name(); err != nil {
		return err
	}
	for _, r := range recoveries {
		v.report.Notes = append(v.report.Notes, recoveryNote(r))
	}
	for _, notes := range [][]jobcheck.Finding{found.Foreign.First(), found.Unapplied.First(), found.Dangling.First(), found.Ghosts.First()} {
		for _, n := range notes {
			v.report.Notes = append(v.report.Notes, findingOf(n))
		}
	}
	if err := v.noteIgnored(); err != nil {
		return err
	}
	v.noteTail()
	v.setLevel()
	v.setDurable()
	return nil
}

func findingOf(j jobcheck.Finding) Finding {
	return Finding{since: j.Since, EventID: j.Event, JobID: j.Job, Finding: auditlog.Finding{
		Kind: j.Kind, Index: j.Index, First: j.Index, End: j.Index + 1, Commit: -1, Offset: -1,
		Expected: j.Expected, Found: j.Found,
	}}
}

// follows reports whether what the job checks found rests on records in a
// batch that is damaged.
func follows(j jobcheck.Finding, damage []Finding) bool {
	return slices.ContainsFunc(damage, func(d Finding) bool {
		return d.Kind != auditlog.KindTruncated && d.First <= j.Index && j.Since < d.End
	})
}

// setLevel takes the level back if something was found, and gives it where all
// that auditlog found is explained.
func (v *verification) setLevel() {
	level := &v.report.Level
	switch {
	case len(v.findings) > 0:
		*level = auditlog.Unverified
	case *level != auditlog.Unverified || v.report.Head.Size == 0:
	case len(v.opts.Keys) == 0:
		*level = auditlog.Consistent
	default: // a loss was accepted: not every given head agrees
		*level = auditlog.Signed
	}
}

// setDurable says which head is safe to keep: the newest one if the writer, or
// an anchor outside, has it as durable.
func (v *verification) setDurable() {
	head := v.report.Head
	v.report.Durable = v.report.Report.Durable
	for _, h := range slices.Concat(v.own, v.heads) {
		if h.Size == head.Size && len(v.findings) == 0 {
			v.report.Durable = head
		}
	}
}

// readOwn reads the directory's checkpoint. Only one that a given key has
// signed says anything.
func (v *verification) readOwn() {
	signed, err := readAll(v.dir, checkpointFile, maxCheckpoint)
	if err != nil {
		return
	}
	if head, err := openAny(signed, v.opts.Keys); err == nil {
		v.own = append(v.own, head)
	}
}

func (v *verification) noteTail() {
	tail := v.report.Tail
	if tail.Bytes == 0 || v.writing() {
		return
	}
	size := v.report.Head.Size
	v.report.Notes = append(v.report.Notes, Finding{Finding: auditlog.Finding{
		Kind: KindTail, Index: -1, First: size, End: size, Commit: -1, Segment: tail.Segment, Offset: tail.Offset,
		Found: tailText(tail, size),
	}})
}

func tailText(tail auditlog.Tail, size int64) string {
	text := fmt.Sprintf("unacknowledged or damaged tail: %d bytes, %d records", tail.Bytes, tail.Leaves)
	if tail.Torn != nil {
		text += fmt.Sprintf("; it ends with the signed head of size %d, root %s: if that was acknowledged, events %d to %d are lost",
			tail.Torn.Size, tail.Torn.Root, size, tail.Torn.Size-1)
	}
	return text
}

// readHeads gathers the heads to compare with. Of a checkpoint that no key has
// signed it makes a finding.
func (v *verification) readHeads() {
	v.heads = slices.Clone(v.opts.Heads)
	for _, signed := range v.opts.Checkpoints {
		head, err := openAny(signed, v.opts.Keys)
		if err == nil {
			v.heads = append(v.heads, head)
			continue
		}
		f := auditlog.Finding{Kind: auditlog.KindCommit, Index: -1, Commit: -1, Offset: -1,
			Expected: "a checkpoint signed by the given key", Found: err.Error()}
		switch {
		case errors.Is(err, auditlog.ErrOrigin):
			f.Kind = auditlog.KindOrigin
		case errors.Is(err, auditlog.ErrUnknownKey):
			f.Kind = auditlog.KindKey
		case errors.Is(err, auditlog.ErrSignature):
			f.Kind = auditlog.KindSignature
		}
		v.findings = append(v.findings, Finding{Finding: f})
	}
}

// openAny opens a checkpoint with the key that signed it.
func openAny(signed []byte, keys []note.Verifier) (auditlog.Head, error) {
	err := auditlog.ErrUnknownKey
	for _, key := range keys {
		var c auditlog.Checkpoint
		if c, err = auditlog.OpenCheckpoint(signed, key); err == nil {
			return c.Head(), nil
		}
	}
	return auditlog.Head{}, fmt.Errorf("outside checkpoint: %w", err)
}

// segments gives auditlog the files, and counts the bytes read.
func (v *verification) segments() []auditlog.Segment {
	progress := v.opts.Progress
	var done int64
	total := totalSize(v.files)
	segments := make([]auditlog.Segment, 0, len(v.files))
	for _, file := range v.files {
		segments = append(segments, auditlog.Segment{Name: file.name, First: file.first, Open: func() (io.ReadCloser, error) {
			f, err := file.open(v.dir)
			if err != nil || progress == nil {
				return f, err
			}
			return &meter{ReadCloser: f, read: func(n int) {
				done += int64(n)
				progress(min(done, total), total)
			}}, nil
		}})
	}
	return segments
}

// meter counts what is read.
type meter struct {
	io.ReadCloser
	read func(n int)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.read(n)
	return n, err
}
