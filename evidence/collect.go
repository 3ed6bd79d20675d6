package evidence

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
)

// The bounds of a file, and of a page.
const (
	// MaxEvents is how many events a file holds at most.
	MaxEvents = 50_000
	// MaxPage is how many bytes a page has at most: 64 MiB.
	MaxPage = 64 << 20
	// MaxFile is how many bytes a file has at most, so that its page, which
	// holds it in base64, stays below MaxPage.
	MaxFile = 47 << 20
)

// A TooLargeError says that a scope has more events than a file holds.
type TooLargeError struct{}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("too much for one file, which has at most %d events and %d MiB: choose a narrower scope", MaxEvents, MaxFile>>20)
}

// A Source is one log to be read.
type Source struct {
	// Segments are its lines, as [auditlog.Verify] takes them.
	Segments []auditlog.Segment
	// Head is a durable signed head. Only what it covers is collected.
	Head auditlog.Checkpoint
	// Keys are the log's verifier keys, oldest first; the last one signed Head.
	// VerifierKey is that one's text, for the file to name.
	Keys        []note.Verifier
	VerifierKey string
}

// Options adjust what is collected. The zero value, or nil, gives the defaults.
type Options struct {
	Now time.Time // for the statement; default: the time of the call
	By  string    // likewise the program; default: "jobaudit"
	// Summarize makes a summary, and no error, of a period that has too many
	// events for a file.
	Summarize bool
	// MaxEvents lowers the number of events that a file holds. Default, and most:
	// the constant.
	MaxEvents int
}

// Collect reads the logs from their first line to the head, proves them, and
// returns a file that proves all events of the jobs in the scope, to be checked
// with [Open]; which it does itself before it returns. With the events come,
// equally proven, the redaction policies that they name, the opening of the
// recorders that wrote them, the opening with which each log begins, and acts on these jobs. For a scope that is more
// than one job the logs are read twice.
//
// The error is an [*auditlog.VerifyError] if a log is not what was signed, a
// [*TooLargeError], an [*Error] if what the log holds of the jobs is not
// complete, or says what is missing.
func Collect(ctx context.Context, logs []Source, scope Scope, opts *Options) ([]byte, error) {
	if scope == (Scope{}) {
		return nil, errors.New("evidence: the scope is empty: name a job, a family, a correlation or a period")
	}
	statement, err := begin(logs, scope, opts)
	if err != nil {
		return nil, err
	}
	jobs, err := jobsIn(ctx, logs, scope)
	if err != nil {
		return nil, err
	}
	limit := MaxEvents
	if opts != nil && opts.MaxEvents > 0 {
		limit = min(limit, opts.MaxEvents)
	}
	parts, err := gather(ctx, logs, scope, jobs, limit, nil)
	if _, large := errors.AsType[*TooLargeError](err); large && opts != nil && opts.Summarize && scope.Period() {
		all := newSummarizer(scope)
		if parts, err = gather(ctx, logs, scope, jobs, limit, all); err == nil {
			statement.Summary = all.sum()
		}
	}
	if err != nil {
		return nil, err
	}
	for i, c := range parts {
		statement.Logs[i].Unread = c.unread
	}
	if statement.Summary == nil {
		if statement.Streams = streamsOf(parts); len(statement.Streams) == 0 {
			return nil, errors.New("evidence: the logs hold no such job under their heads")
		}
	}
	return write(statement, parts, logs)
}

// gather reads the logs and keeps the events of the jobs; with a summarizer only
// those that it wants.
func gather(ctx context.Context, logs []Source, scope Scope, jobs map[uuid.UUID]bool, limit int, all *summarizer) (parts []*collector, err error) {
	room := room{events: limit, bytes: MaxFile - reserved}
	for _, source := range logs {
		c := &collector{scope: scope, jobs: jobs, room: &room, all: all, head: source.Head}
		if err := each(ctx, source, c.add); err != nil {
			return nil, err
		}
		if err := c.finish(); err != nil {
			return nil, err
		}
		parts = append(parts, c)
	}
	return parts, nil
}

// reserved is room for the statement and the heads, which are not of events: a stream
// has 60 bytes there.
const reserved = 4 << 20

// room is what all logs may still take.
type room struct {
	events int
	bytes  int64
}

// begin makes the statement, as far as it is known before the logs are read.
func begin(logs []Source, scope Scope, opts *Options) (s Statement, err error) {
	s = Statement{Scope: scope, Streams: []Stream{}, Made: time.Now(), By: "jobaudit"}
	if opts != nil && !opts.Now.IsZero() {
		s.Made = opts.Now
	}
	if opts != nil && opts.By != "" {
		s.By = opts.By
	}
	s.Made = s.Made.UTC().Truncate(time.Second)
	s.Scope.Since, s.Scope.Until = s.Scope.Since.UTC(), s.Scope.Until.UTC()
	seen := map[string]bool{}
	for _, source := range logs {
		origin := source.Head.Head().Origin
		if origin == "" || len(source.Keys) == 0 {
			return s, errors.New("evidence: a log needs a head and its keys")
		}
		if seen[origin] {
			return s, fmt.Errorf("evidence: the log %s is given twice", origin)
		}
		seen[origin] = true
		s.Logs = append(s.Logs, LogStatement{Origin: origin, Key: source.VerifierKey})
	}
	if len(logs) == 0 {
		return s, errors.New("evidence: there is no log to read")
	}
	return s, nil
}

// each hands over the leaves under the head, which are proven if it returns nil.
func each(ctx context.Context, source Source, do func(auditlog.Leaf) error) error {
	head := source.Head.Head()
	_, err := auditlog.Verify(ctx, source.Segments, &auditlog.Options{Keys: source.Keys, Heads: []auditlog.Head{head}, Quick: true},
		func(leaf auditlog.Leaf) error {
			if leaf.Index >= head.Size {
				return nil
			}
			return do(leaf)
		})
	return err
}

// jobsIn returns the jobs in the scope.
func jobsIn(ctx context.Context, logs []Source, scope Scope) (map[uuid.UUID]bool, error) {
	if scope == (Scope{JobID: scope.JobID}) {
		return map[uuid.UUID]bool{scope.JobID: true}, nil
	}
	jobs := map[uuid.UUID]bool{}
	q := scope.query()
	for _, source := range logs {
		err := each(ctx, source, func(leaf auditlog.Leaf) error {
			if r, err := jobaudit.ParseRecord(leaf.Bytes); err == nil && r.JobID() != uuid.Nil && q.Match(r) {
				jobs[r.JobID()] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// An entry is a leaf that is kept, with its proof.
type entry struct {
	index  int64
	record jobaudit.Record
	path   tlog.RecordProof
	// maybe says that it is kept only if one of the jobs' events needs it.
	maybe bool
}

// A node is a complete subtree.
type node struct {
	hash tlog.Hash
	size int64
	kept []int // which entries are in it
}

// A collector keeps leaves of one log, and builds their proofs while the log is
// read: whenever two subtrees become one, the hash of each is the next step in
// the proofs of the entries in the other.
type collector struct {
	scope   Scope
	jobs    map[uuid.UUID]bool
	head    auditlog.Checkpoint
	room    *room
	all     *summarizer // may be nil
	entries []entry
	stack   []node
	unread  int64
}

func (c *collector) add(leaf auditlog.Leaf) error {
	n := node{hash: leaf.Hash, size: 1}
	keep, maybe, r := c.wants(leaf.Bytes)
	if keep {
		c.room.events--
		c.room.bytes -= c.cost(r)
		if c.room.events < 0 || c.room.bytes < 0 {
			if c.all == nil {
				return &TooLargeError{}
			}
			c.room.events, c.room.bytes = c.room.events+1, c.room.bytes+c.cost(r)
			c.all.Left++ // a smaller one may still fit
			keep = false
		}
	}
	if keep || maybe {
		n.kept = []int{len(c.entries)}
		c.entries = append(c.entries, entry{index: leaf.Index, record: r, maybe: !keep})
	}
	for len(c.stack) > 0 && c.stack[len(c.stack)-1].size == n.size {
		n = c.join(c.stack[len(c.stack)-1], n)
		c.stack = c.stack[:len(c.stack)-1]
	}
	c.stack = append(c.stack, n)
	return nil
}

// cost is how many bytes an event takes in a file, with its proof.
func (c *collector) cost(r jobaudit.Record) int64 {
	return int64(base64.StdEncoding.EncodedLen(r.Len()) + 64 + 45*bits.Len64(uint64(c.head.Head().Size)))
}

func (c *collector) join(left, right node) node {
	for _, i := range left.kept {
		c.entries[i].path = append(c.entries[i].path, right.hash)
	}
	for _, i := range right.kept {
		c.entries[i].path = append(c.entries[i].path, left.hash)
	}
	return node{hash: tlog.NodeHash(left.hash, right.hash), size: left.size + right.size, kept: append(left.kept, right.kept...)}
}

var schemaPrefix = []byte(`{"schemaVersion":`)

// wants says whether a line is an event of the jobs, or may be needed with them.
func (c *collector) wants(line []byte) (keep, maybe bool, r jobaudit.Record) {
	if !bytes.HasPrefix(line, schemaPrefix) {
		c.unread++
		return false, false, r
	}
	id := c.scope.JobID
	if id != uuid.Nil && !bytes.Contains(line, []byte(id.String())) &&
		!bytes.Contains(line, []byte(`"type":"audit.opened"`)) && !bytes.Contains(line, []byte(`"type":"audit.policy"`)) {
		return false, false, r
	}
	r, err := jobaudit.ParseRecord(bytes.Clone(line))
	if err != nil {
		c.unread++
		return false, false, r
	}
	if r.JobID() != uuid.Nil && c.jobs[r.JobID()] || r.JobID() == uuid.Nil && c.scope.during(r) {
		return c.all == nil || c.all.add(r), false, r
	}
	if c.all != nil {
		return false, false, r
	}
	switch r.Type() {
	case jobaudit.AuditOpened, jobaudit.AuditPolicy:
		return false, true, r
	case jobaudit.AuditRead, jobaudit.AuditReviewed, jobaudit.AuditRequested, jobaudit.AuditErased:
		return c.jobs[r.Event().Data.Act.Scope.JobID], false, r
	}
	return false, false, r
}

// finish completes the proofs, and leaves out what no event needs.
func (c *collector) finish() error {
	for len(c.stack) > 1 {
		last := len(c.stack) - 1
		c.stack = append(c.stack[:last-1], c.join(c.stack[last-1], c.stack[last]))
	}
	h := c.head.Head()
	if len(c.stack) == 0 || c.stack[0].size != h.Size || c.stack[0].hash != h.Root {
		return fmt.Errorf("evidence: the log was read and does not lead to its head %v", h)
	}
	openings, policies := map[string]int{}, map[tlog.Hash]int{}
	need := func(at int, ok bool) {
		if ok && c.entries[at].maybe {
			c.entries[at].maybe = false
			c.room.events--
			c.room.bytes -= c.cost(c.entries[at].record)
		}
	}
	if len(c.entries) > 0 && c.entries[0].index == 0 {
		need(0, true) // it tells whether the log is another's companion
	}
	for i := range c.entries {
		e := c.entries[i].record.Event()
		switch {
		case e.Type == jobaudit.AuditOpened:
			openings[e.Where.Instance] = i
		case e.Type == jobaudit.AuditPolicy:
			policies[digest(e.Data.Policy)] = i
		}
		if c.entries[i].maybe {
			continue
		}
		at, ok := openings[e.Where.Instance]
		need(at, ok)
		if e.What.Redaction != nil {
			at, ok := policies[e.What.Redaction.Digest]
			need(at, ok)
		}
	}
	if c.room.events < 0 || c.room.bytes < 0 {
		return &TooLargeError{}
	}
	return nil
}

// streamsOf lists the streams of jobs in all parts.
func streamsOf(parts []*collector) []Stream {
	at := map[uuid.UUID]int{}
	list := []Stream{}
	for _, c := range parts {
		for _, e := range c.entries {
			if e.record.JobID() != uuid.Nil && !e.maybe {
				list = count(list, at, e.record.Event())
			}
		}
	}
	return list
}

// count moves a stream's end to an event, if it is behind it.
func count(list []Stream, at map[uuid.UUID]int, e jobaudit.Event) []Stream {
	i, ok := at[e.Stream.ID]
	if !ok {
		i = len(list)
		at[e.Stream.ID] = i
		list = append(list, Stream{ID: e.Stream.ID})
	}
	list[i].Last = max(list[i].Last, e.Stream.Seq)
	return list
}

// write writes the file, and reads it as a check of both.
func write(s Statement, parts []*collector, logs []Source) ([]byte, error) {
	var blocks [][]byte
	var keys []note.Verifier
	for i, c := range parts {
		keys = append(keys, logs[i].Keys...)
		blocks = append(blocks, bytes.TrimSuffix(c.head.Signed(), []byte("\n")))
		for _, e := range c.entries {
			if !e.maybe {
				blocks = append(blocks, e.block())
			}
		}
	}
	text, err := assemble(s, blocks)
	if err != nil {
		return nil, err
	}
	if _, err := Open(text, keys); err != nil {
		return nil, err
	}
	return text, nil
}

// block is a tlog-proof without its checkpoint, which all of a log share.
func (e entry) block() []byte {
	b := append([]byte(nil), proofHeader...)
	b = append(b, "\nextra "...)
	b = base64.StdEncoding.AppendEncode(b, e.record.Bytes())
	b = append(b, "\nindex "...)
	b = strconv.AppendInt(b, e.index, 10)
	for _, h := range e.path {
		b = append(b, '\n')
		b = base64.StdEncoding.AppendEncode(b, h[:])
	}
	return b
}
