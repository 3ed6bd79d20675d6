package pgsink

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"golang.org/x/mod/sumdb/tlog"
)

// accepted is one event of the inbox.
type accepted struct {
	n        int64
	position int // in its row
	writer   string
	id       uuid.UUID
	line     []byte

	// What parse makes of it.
	hash   jobaudit.Hash
	own    uuid.UUID // the ID that the line says
	row    []byte    // its fields for COPY, behind the index
	acting []string
	fault  error // why it is no event

	refused string // why it can have no index
}

func (e *accepted) parse() {
	if err := caught(e.read); err != nil {
		e.fault = fmt.Errorf("it cannot be read: %w", err)
	}
}

func (e *accepted) read() error {
	if e.fault = auditlog.CheckLeaf(e.line); e.fault != nil {
		return nil
	}
	e.hash = auditlog.HashLeaf(e.line)
	record, err := jobaudit.ParseRecord(e.line)
	if err != nil {
		e.fault = fmt.Errorf("no event: %w", err)
		return nil
	}
	e.own = record.ID()
	event := record.Event()
	e.acting = actingFor(&event)
	e.row = make([]byte, 0, len(e.line)+512)
	for _, field := range append([]any{id(e.id), e.writer, e.line}, columnsOf(&event)...) {
		e.row = appendField(e.row, field)
	}
	return nil
}

func (e *accepted) inspect(hash []byte, placed bool) (refused string) {
	switch {
	case placed:
		return "the event has a place already"
	case hash == nil:
		return "the event's ID was never accepted"
	case e.hash == jobaudit.Hash{} && e.fault != nil:
		return e.fault.Error()
	case string(hash) != string(e.hash[:]):
		return "the line is not the one that was accepted"
	case e.fault != nil:
		return e.fault.Error()
	case e.own != e.id:
		return "the line is the event of another ID"
	}
	return ""
}

// parsing reads events on all cores, in their order: while the first are on their
// way into the tables, the next are read.
type parsing struct {
	events []accepted
	ready  []chan struct{} // closed when a block is read
	next   atomic.Int64
	wg     sync.WaitGroup
}

// parseBlock is how many events are read at a time.
const parseBlock = 32

func parse(events []accepted) *parsing {
	p := &parsing{events: events, ready: make([]chan struct{}, (len(events)+parseBlock-1)/parseBlock)}
	for i := range p.ready {
		p.ready[i] = make(chan struct{})
	}
	for range min(runtime.GOMAXPROCS(0), len(p.ready)) {
		p.wg.Go(func() {
			for {
				block := int(p.next.Add(1)) - 1
				if block >= len(p.ready) {
					return
				}
				for i := block * parseBlock; i < min((block+1)*parseBlock, len(events)); i++ {
					events[i].parse()
				}
				close(p.ready[block])
			}
		})
	}
	return p
}

// at waits until the event is read.
func (p *parsing) at(i int) *accepted {
	<-p.ready[i/parseBlock]
	return &p.events[i]
}

// growth is what a cycle makes of the log.
type growth struct {
	tree   auditlog.Tree
	head   auditlog.Checkpoint
	line   []byte
	placed int
}

// place gives the events their indexes and writes all that follows from it. The
// transaction is still open when it returns.
func (s *Sequencer) place(ctx context.Context, tx pgx.Tx, events []accepted, rows []int64) (growth, error) {
	p := parse(events) // while the database looks them up, and takes those before
	defer p.wg.Wait()
	g := growth{tree: s.tree, head: s.head, line: s.line}
	known, err := lookUp(ctx, tx, events)
	if err != nil {
		return g, err
	}
	prev := g.tree.Size()
	c := &copying{parsing: p, known: known, seen: make(map[uuid.UUID]bool, len(events)), tree: &g.tree}
	// In PostgreSQL's binary format: one field after the other, and nothing else
	// for the reader to find out.
	err = copyBinary(ctx, tx, "events", columnNames, c)
	if err != nil {
		return g, err
	}
	batch := &pgx.Batch{}
	for _, e := range c.refused {
		batch.Queue(`INSERT INTO jobaudit.refused (n, position, id, line, writer, reason) VALUES ($1, $2, $3, $4, $5, $6)`,
			e.n, e.position, eventID(e.id), e.line, e.writer, strings.ToValidUTF8(column(e.refused), "\ufffd"))
	}
	if g.placed = int(g.tree.Size() - prev); g.placed > 0 {
		if err := copyRest(ctx, tx, c); err != nil {
			return g, err
		}
		if g.head, err = s.sign(ctx, &g.tree); err != nil {
			return g, err
		}
		if err := s.at("signed"); err != nil {
			return g, err
		}
		g.line = auditlog.AppendCommit(nil, g.head)
		// A log that was cut back may have kept rows of this number: the last one counts.
		batch.Queue(`INSERT INTO jobaudit.hashes (first, h) VALUES ($1, $2)`, tlog.StoredHashCount(prev), c.stored)
		batch.Queue(`INSERT INTO jobaudit.commits (size, prev, line) VALUES ($1, $2, $3)`, g.tree.Size(), prev, g.line)
	}
	batch.Queue(`DELETE FROM jobaudit.inbox WHERE n = ANY ($1)`, rows)
	return g, tx.SendBatch(ctx, batch).Close()
}

// sign signs the tree's head, while a leader may pause. The signature is valid: a signer
// that works elsewhere may fail in any way.
func (s *Sequencer) sign(ctx context.Context, tree *auditlog.Tree) (auditlog.Checkpoint, error) {
	head, err := tree.Sign(s.signer.Within(ctx, s.opts.leadFor))
	if err != nil {
		return head, fmt.Errorf("sign the head of size %d: %w", tree.Size(), err)
	}
	return head, nil
}

// eventID is an event's ID, which may be zero where a writer broke the rules.
func eventID(u uuid.UUID) pgtype.UUID { return pgtype.UUID{Bytes: u, Valid: true} }

// knownEvent is what the tables say of an event.
type knownEvent struct {
	hash   []byte // nil: its ID was never accepted
	placed bool
}

func lookUp(ctx context.Context, tx pgx.Tx, events []accepted) ([]knownEvent, error) {
	ids := make([]pgtype.UUID, len(events))
	for i := range events {
		ids[i] = eventID(events[i].id)
	}
	found, err := tx.Query(ctx, `
		SELECT i.hash, q.id IS NOT NULL FROM unnest($1::uuid[]) WITH ORDINALITY a(id, o)
		LEFT JOIN jobaudit.ids i ON i.id = a.id LEFT JOIN jobaudit.sequence q ON q.id = a.id ORDER BY o`, ids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, func(row pgx.CollectableRow) (k knownEvent, err error) {
		return k, row.Scan(&k.hash, &k.placed)
	})
}

// copying is the text of a COPY of the events that can have an index, which it
// decides of one after the other. A writer's mistake must not stop the log.
type copying struct {
	*parsing
	known []knownEvent
	seen  map[uuid.UUID]bool
	tree  *auditlog.Tree

	i       int // the next event
	good    []*accepted
	refused []*accepted
	stored  []byte // hashes
}

// next appends what comes next, nothing at the end.
func (c *copying) next(dst []byte) []byte {
	for c.i < len(c.events) {
		e, known := c.at(c.i), c.known[c.i]
		c.i++
		if e.refused = e.inspect(known.hash, known.placed || c.seen[e.id]); e.refused != "" {
			c.refused = append(c.refused, e)
			continue
		}
		c.seen[e.id] = true
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(columnNames)))
		dst = append(appendField(dst, c.tree.Size()), e.row...)
		e.row = nil
		c.stored = c.tree.Append(c.stored, e.hash)
		c.good = append(c.good, e)
		return dst
	}
	return dst
}

// copyRest writes on whose behalf the events were, and their places.
func copyRest(ctx context.Context, tx pgx.Tx, c *copying) error {
	first := c.tree.Size() - int64(len(c.good))
	var acting, sequence rowsOf
	for i, e := range c.good {
		for _, principal := range e.acting {
			acting = append(acting, []any{principal, first + int64(i)})
		}
		sequence = append(sequence, []any{id(e.id), first + int64(i)})
	}
	if len(acting) > 0 {
		if err := copyBinary(ctx, tx, "acting", []string{"principal", "idx"}, &acting); err != nil {
			return err
		}
	}
	return copyBinary(ctx, tx, "sequence", []string{"id", "idx"}, &sequence)
}

// rowsOf are rows for a COPY.
type rowsOf [][]any

func (r *rowsOf) next(dst []byte) []byte {
	if len(*r) == 0 {
		return dst
	}
	row := (*r)[0]
	*r = (*r)[1:]
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(row)))
	for _, field := range row {
		dst = appendField(dst, field)
	}
	return dst
}

// copyBinary copies rows into a table.
func copyBinary(ctx context.Context, tx pgx.Tx, table string, columns []string, rows interface{ next(dst []byte) []byte }) error {
	// The header: a signature, no flags, no extension.
	r := &copyReader{rows: rows, buf: []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")}
	defer r.stop()
	_, err := tx.Conn().PgConn().CopyFrom(ctx, r, `COPY jobaudit.`+table+` (`+strings.Join(columns, ", ")+`) FROM STDIN (FORMAT binary)`)
	return err
}

// copyReader reads rows in the binary format of COPY.
type copyReader struct {
	mu      sync.Mutex // guards what follows
	rows    interface{ next(dst []byte) []byte }
	buf     []byte
	at      int // up to which buf was read
	end     bool
	stopped bool
}

// stop ends reading. CopyFrom reads in a goroutine of its own, which it does not
// wait for where the connection has ended, and the rows are others' by then.
func (r *copyReader) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
}

func (r *copyReader) Read(p []byte) (n int, err error) {
	err = caught(func() (err error) { // in that goroutine
		n, err = r.read(p)
		return err
	})
	return n, err
}

func (r *copyReader) read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return 0, io.ErrClosedPipe
	}
	for len(r.buf)-r.at < len(p) && !r.end {
		r.buf = append(r.buf[:0], r.buf[r.at:]...)
		r.at = 0
		n := len(r.buf)
		if r.buf = r.rows.next(r.buf); len(r.buf) == n {
			r.buf, r.end = append(r.buf, 0xff, 0xff), true
		}
	}
	if r.at == len(r.buf) {
		return 0, io.EOF
	}
	n := copy(p, r.buf[r.at:])
	r.at += n
	return n, nil
}

// year2000 is where PostgreSQL begins to count, in microseconds since 1970.
const year2000 int64 = 946_684_800_000_000

// appendField appends a field as COPY has it: its length, and its bytes.
func appendField(dst []byte, field any) []byte {
	switch f := field.(type) {
	case int64:
		return binary.BigEndian.AppendUint64(append(dst, 0, 0, 0, 8), uint64(f))
	case pgtype.UUID:
		if !f.Valid {
			return append(dst, 0xff, 0xff, 0xff, 0xff)
		}
		return append(append(dst, 0, 0, 0, 16), f.Bytes[:]...)
	case pgtype.Text:
		if !f.Valid {
			return append(dst, 0xff, 0xff, 0xff, 0xff)
		}
		return append(binary.BigEndian.AppendUint32(dst, uint32(len(f.String))), f.String...)
	case string:
		return append(binary.BigEndian.AppendUint32(dst, uint32(len(f))), f...)
	case []byte:
		return append(binary.BigEndian.AppendUint32(dst, uint32(len(f))), f...)
	case time.Time:
		return binary.BigEndian.AppendUint64(append(dst, 0, 0, 0, 8), uint64(f.UnixMicro()-year2000))
	}
	panic(fmt.Sprintf("no field of a table: %T", field))
}
