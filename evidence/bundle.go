package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/story"
)

const (
	fileHeader  = "jobaudit.evidence/v1"
	proofHeader = "c2sp.org/tlog-proof@v1"
	sumPrefix   = "sha256 "
)

// between ends a block: an empty line.
var between = []byte("\n\n")

// ErrFormat means that the bytes are no file of evidence of this version.
var ErrFormat = errors.New("no file of evidence")

// IsFile reports whether the text begins like a file of evidence.
func IsFile(text []byte) bool { return bytes.HasPrefix(text, []byte(fileHeader+"\n")) }

// A Bundle is what a file of evidence proves. It comes from [Open] only, so that
// it is never unchecked.
type Bundle struct {
	Statement Statement
	Logs      []Log
	// Notes say in plain sentences what the evidence leaves open.
	Notes []string
}

// A Log is what a Bundle holds of one log.
type Log struct {
	Checkpoint auditlog.Checkpoint
	Proofs     []auditlog.Proof  // in the log's order
	Records    []jobaudit.Record // those that the proofs prove
	// Companion says that the log is one about another, by its name or its first event, or
	// may be: it is one of several, and its first event is not here. Of a job it only
	// corrects: its key is not there to say how the job ended.
	Companion bool
}

// companion tells it by the log's name and its first event. Later ones its key can write as
// it likes.
func (l Log) companion(several bool) bool {
	if name, _ := auditlog.SplitOrigin(l.Checkpoint.Head().Origin); strings.HasSuffix(name, "/acts") {
		return true
	}
	if len(l.Proofs) == 0 || l.Proofs[0].Index() != 0 {
		return several
	}
	return l.Records[0].Event().Data.CompanionOf.Origin != ""
}

// counts reports whether an event of the log says something about its job.
func (l Log) counts(r jobaudit.Record) bool {
	return !l.Companion || r.JobID() == uuid.Nil || r.Type() == jobaudit.JobCorrected
}

// A Problem is one thing that is wrong with a file of evidence.
type Problem struct {
	// Log is the log's origin, as far as it is known.
	Log string `json:"log,omitempty"`
	// Number counts the proofs in the file from 1; 0 if it is about none of them.
	Number int `json:"number,omitempty"`
	// EventID is the event's, as the bytes at hand say.
	EventID uuid.UUID `json:"eventId,omitzero"`
	What    string    `json:"what"`
}

// String returns the problem in one line, for people.
func (p Problem) String() string {
	where := ""
	if p.Number > 0 {
		where = fmt.Sprintf("proof %d", p.Number)
		if p.EventID != uuid.Nil {
			where += ", event " + p.EventID.String()
		}
		where += ": "
	}
	return where + p.What
}

// An Error says what is wrong with a file of evidence.
type Error struct {
	// Problems has at least one and at most 100 elements.
	Problems []Problem
	// More counts those beyond.
	More int
}

func (e *Error) Error() string {
	if n := len(e.Problems) + e.More; n > 1 {
		return fmt.Sprintf("not proven: %d problems, the first: %v", n, e.Problems[0])
	}
	return fmt.Sprintf("not proven: %v", e.Problems[0])
}

func (e *Error) add(p Problem) {
	if len(e.Problems) < 100 {
		e.Problems = append(e.Problems, p)
	} else {
		e.More++
	}
}

// assemble joins the blocks of a file, and adds the hash over them.
func assemble(s Statement, blocks [][]byte) ([]byte, error) {
	statement, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	first := append([]byte(fileHeader+"\n"), statement...)
	text := append(bytes.Join(append([][]byte{first}, blocks...), between), between...)
	text = addSum(text)
	if len(text) > MaxFile {
		return nil, &TooLargeError{}
	}
	return text, nil
}

// WithoutActs returns a file of evidence without the acts on records for which leave
// returns true, as for a reader who may not know who else has looked; and without the
// openings of recorders that no other event of the file names, but those with which the
// logs begin. A summary says that they had no room. Nothing is checked; what was proven in
// the file is proven in the one that it returns.
func WithoutActs(file []byte, leave func(jobaudit.Event) bool) ([]byte, error) {
	blocks := bytes.Split(file, between)
	if !IsFile(file) || len(blocks) < 2 {
		return nil, fmt.Errorf("evidence: %w", ErrFormat)
	}
	blocks = blocks[:len(blocks)-1]
	var kept [][]byte
	openings, named, left := map[int]string{}, map[string]bool{}, 0
	for _, block := range blocks {
		if bytes.HasPrefix(block, []byte(proofHeader)) {
			e, err := eventIn(block)
			if err != nil {
				return nil, err
			}
			switch e.Type {
			case jobaudit.AuditRead, jobaudit.AuditReviewed, jobaudit.AuditRequested, jobaudit.AuditErased:
				if leave(e) {
					left++
					continue
				}
				named[e.Where.Instance] = true
			case jobaudit.AuditOpened:
				if !bytes.Contains(block, []byte("\nindex 0\n")) {
					openings[len(kept)] = e.Where.Instance
				}
			case jobaudit.AuditPolicy:
			default:
				named[e.Where.Instance] = true
			}
		}
		kept = append(kept, block)
	}
	if err := leftOut(kept, left); err != nil {
		return nil, err
	}
	text := make([]byte, 0, len(file))
	for i, block := range kept {
		if instance, opening := openings[i]; !opening || named[instance] {
			text = append(append(text, block...), between...)
		}
	}
	return addSum(text), nil
}

// leftOut adds to a file's summary, if it has one, so many events that had no room.
func leftOut(blocks [][]byte, n int) error {
	if n == 0 {
		return nil
	}
	s, err := parseStatement(bytes.TrimPrefix(blocks[0], []byte(fileHeader+"\n")))
	if err != nil || s.Summary == nil {
		return err
	}
	s.Summary.Left += int64(n)
	line, err := json.Marshal(s)
	blocks[0] = append([]byte(fileHeader+"\n"), line...)
	return err
}

// eventIn returns the event of a proof, which is not checked.
func eventIn(block []byte) (jobaudit.Event, error) {
	_, extra, _ := bytes.Cut(block, []byte("\nextra "))
	extra, _, _ = bytes.Cut(extra, []byte("\n"))
	line, err := base64.StdEncoding.DecodeString(string(extra))
	if err != nil {
		return jobaudit.Event{}, fmt.Errorf("evidence: %w: %w", ErrFormat, err)
	}
	r, err := jobaudit.ParseRecord(line)
	if err != nil {
		return jobaudit.Event{}, fmt.Errorf("evidence: %w", err)
	}
	return r.Event(), nil
}

// addSum adds the hash over a file to it.
func addSum(text []byte) []byte {
	sum := digest(text)
	text = append(text, sumPrefix...)
	text = base64.StdEncoding.AppendEncode(text, sum[:])
	return append(text, '\n')
}

func digest(text []byte) tlog.Hash { return sha256.Sum256(text) }

// Open checks a file of evidence with the verifier keys of its logs, and
// nothing else at hand: each event is under a head that a key signed, each
// stream is there from its first event to the last that the statement names,
// and all are of the jobs that it is about. The error is an [*Error] that names
// each event with which something is wrong, or [ErrFormat].
func Open(text []byte, keys []note.Verifier) (*Bundle, error) {
	if len(text) > MaxFile || !IsFile(text) {
		return nil, fmt.Errorf("evidence: %w", ErrFormat)
	}
	blocks := bytes.Split(text, between)
	problems := &Error{}
	b := &Bundle{}
	var err error
	if b.Statement, err = parseStatement(bytes.TrimPrefix(blocks[0], []byte(fileHeader+"\n"))); err != nil {
		problems.add(Problem{What: err.Error()})
	}
	last := blocks[len(blocks)-1]
	covered := len(text) - len(last)
	sum := digest(text[:covered])
	sumAgrees := len(blocks) > 1 && string(last) == sumPrefix+base64.StdEncoding.EncodeToString(sum[:])+"\n"
	blocks = blocks[1:max(1, len(blocks)-1)]
	b.read(blocks, keys, problems)
	if len(problems.Problems) == 0 {
		b.check(problems)
	}
	if len(problems.Problems) == 0 && !sumAgrees {
		problems.add(Problem{What: "the hash over the whole file does not agree: the statement at its beginning, or the hash at its end, was changed"})
	}
	if len(problems.Problems) > 0 {
		return nil, fmt.Errorf("evidence: %w", problems)
	}
	for i := range b.Logs {
		b.Logs[i].Companion = b.Logs[i].companion(len(b.Logs) > 1 && b.Statement.Summary == nil)
	}
	b.note()
	return b, nil
}

// maxHead bounds a signed head, in bytes: each proof is read with it, and it may hold
// signatures of others that nobody checks.
const maxHead = 16 << 10

// signature begins the second block of a signed head.
var signature = []byte("— ")

// read takes the blocks apart and proves each event.
func (b *Bundle) read(blocks [][]byte, keys []note.Verifier, problems *Error) {
	number, heads := 0, 0
	var signed []byte
	var key note.Verifier
	for i := 0; i < len(blocks); i++ {
		switch {
		case bytes.HasPrefix(blocks[i], []byte(proofHeader)):
			number++
			if key != nil {
				b.prove(number, blocks[i], signed, key, problems)
			} else if heads == 0 {
				heads++ // said once
				problems.add(Problem{Number: number, EventID: idIn(blocks[i]), What: "no signed head stands before it"})
			}
		case i+1 < len(blocks) && bytes.HasPrefix(blocks[i+1], signature):
			signed = append(bytes.Join(blocks[i:i+2], between), '\n')
			key = b.head(signed, keys, problems)
			heads++
			i++
		case bytes.Contains(blocks[i], []byte("\nextra ")):
			number++
			problems.add(Problem{Number: number, EventID: idIn(blocks[i]), What: "it is no proof: its first line was changed"})
		default:
			key, heads = nil, heads+1
			problems.add(Problem{What: fmt.Sprintf("behind proof %d stands what is neither a proof nor a signed head", number)})
		}
	}
	if heads == 0 {
		problems.add(Problem{What: "there is no signed head"})
	}
}

// head begins a log.
func (b *Bundle) head(signed []byte, keys []note.Verifier, problems *Error) note.Verifier {
	err := auditlog.ErrUnknownKey
	if len(signed) > maxHead {
		err, keys = fmt.Errorf("%w: it is larger than %d KiB", auditlog.ErrFormat, maxHead>>10), nil
	}
	for _, key := range keys {
		c, e := auditlog.OpenCheckpoint(signed, key)
		if e == nil {
			b.Logs = append(b.Logs, Log{Checkpoint: c})
			return &remembering{Verifier: key}
		}
		if !errors.Is(e, auditlog.ErrOrigin) {
			err = e
		}
	}
	origin, _, _ := bytes.Cut(signed, []byte("\n"))
	problems.add(Problem{Log: string(origin), What: fmt.Sprintf("signed head of the log %q: %v", origin, err)})
	return nil
}

// prove adds an event to the newest log.
func (b *Bundle) prove(number int, block, signed []byte, key note.Verifier, problems *Error) {
	l := &b.Logs[len(b.Logs)-1]
	origin := l.Checkpoint.Head().Origin
	wrong := func(format string, args ...any) {
		problems.add(Problem{Log: origin, Number: number, EventID: idIn(block), What: fmt.Sprintf(format, args...)})
	}
	proof, err := auditlog.OpenProof(bytes.Join([][]byte{block, signed}, between), key)
	if err != nil {
		wrong("%v", err)
		return
	}
	r, err := jobaudit.ParseRecord(proof.Leaf())
	if err != nil {
		wrong("it is in the log and no event: %v", err)
		return
	}
	if n := len(l.Proofs); n > 0 && l.Proofs[n-1].Index() >= proof.Index() {
		wrong("index %d stands behind index %d", proof.Index(), l.Proofs[n-1].Index())
		return
	}
	l.Proofs, l.Records = append(l.Proofs, proof), append(l.Records, r)
}

// idPattern finds the ID at the beginning of an event's line.
var idPattern = regexp.MustCompile(`"id":"([0-9a-f-]{36})"`)

// idIn returns the ID that a proof's event seems to have, for people to look for.
func idIn(block []byte) uuid.UUID {
	_, extra, _ := bytes.Cut(block, []byte("\nextra "))
	extra, _, _ = bytes.Cut(extra, []byte("\n"))
	extra = extra[:min(len(extra), 400)/4*4]
	line := make([]byte, base64.StdEncoding.DecodedLen(len(extra)))
	n, _ := base64.StdEncoding.Decode(line, extra)
	if m := idPattern.FindSubmatch(line[:n]); m != nil {
		if id, err := uuid.ParseBytes(m[1]); err == nil {
			return id
		}
	}
	return uuid.Nil
}

// remembering checks a signature once: all proofs of a log share their head.
type remembering struct {
	note.Verifier
	msg, sig []byte
}

func (v *remembering) Verify(msg, sig []byte) bool {
	if v.msg != nil && bytes.Equal(msg, v.msg) && bytes.Equal(sig, v.sig) {
		return true
	}
	if !v.Verifier.Verify(msg, sig) {
		return false
	}
	v.msg, v.sig = bytes.Clone(msg), bytes.Clone(sig)
	return true
}

// Records iterates over the events of all logs, as [story.Merge] puts them in
// order.
func (b *Bundle) Records() iter.Seq2[jobaudit.Record, error] {
	return b.records(func(Log, jobaudit.Record) bool { return true })
}

func (b *Bundle) records(want func(Log, jobaudit.Record) bool) iter.Seq2[jobaudit.Record, error] {
	var logs []iter.Seq2[jobaudit.Record, error]
	for _, l := range b.Logs {
		logs = append(logs, func(yield func(jobaudit.Record, error) bool) {
			for _, r := range l.Records {
				if want(l, r) && !yield(r, nil) {
					return
				}
			}
		})
	}
	if len(logs) == 1 {
		return logs[0]
	}
	return story.Merge(logs...)
}

// Job iterates over the events of one job, in that order: those that count, for
// [jobaudit.Replay]. Of those in a companion only corrections do.
func (b *Bundle) Job(id uuid.UUID) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for r, err := range b.records(Log.counts) {
			if (err != nil || r.JobID() == id) && !yield(r, err) {
				return
			}
		}
	}
}

// Proof returns the proof of one event, as a C2SP tlog-proof; false if the
// bundle does not hold it.
func (b *Bundle) Proof(event uuid.UUID) (auditlog.Proof, bool) {
	for _, l := range b.Logs {
		for i, r := range l.Records {
			if r.ID() == event {
				return l.Proofs[i], true
			}
		}
	}
	return auditlog.Proof{}, false
}
