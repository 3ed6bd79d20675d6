package filesink

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jobaudit/jobaudit/auditlog"
)

// continues reports whether this open makes the log a successor's: then damage
// in what the predecessor wrote is evidence and no reason to refuse. Once the
// new key has signed anything it is the log's own, and no longer excused.
func (o *opening) continues() bool {
	if o.opts.Predecessor == nil {
		return false
	}
	for i := range o.repairs {
		if o.repairs[i].own {
			return false
		}
	}
	return o.head.IsZero() || o.head.Head().Origin != o.key.Name()
}

// checkTails looks at what follows the newest good commit line: a tail that was
// acknowledged is damage and not for this program to put aside.
func (o *opening) checkTails() error {
	var torn *auditlog.Head
	for i := range o.repairs {
		m := &o.repairs[i]
		again, err := o.begunAgain(m)
		if err != nil {
			return err
		}
		if again {
			m.bytes = 0 // all of it stands in the segment before
			continue
		}
		if err := o.inspectTail(m); err != nil {
			return err
		}
		reason := m.tail.Damage
		switch {
		case m.behind:
			reason = "a signed batch does not agree with its entries, and later ones were signed"
		case m.size == 0 && m.first != o.head.Head().Size:
			reason = fmt.Sprintf("it begins at event %d, but the log before it ends at %d: a batch that was acknowledged is missing", m.first, o.head.Head().Size)
		case reason != "":
		case torn != nil && m.tail.Head != nil && *torn != *m.tail.Head:
			reason = "another signed head is torn in the file behind it: one of them was acknowledged"
		case m.tail.Head != nil && !m.tail.Zeros:
			reason = fmt.Sprintf("its entries do not lead to the signed head of size %d behind them, and no sector of theirs is missing, as one is where a write was interrupted: they were changed, or the file system shows old content where sectors were lost", m.tail.Head.Size)
		}
		if reason != "" && !o.continues() {
			return o.damaged(m, reason)
		}
		if m.tail.Head != nil {
			torn = m.tail.Head
		}
	}
	return nil
}

// begunAgain reports whether a segment is what a writer left that had failed to write
// a batch behind the segment before, was about to write it again here, and was killed.
// If the first write is there after all, the log ends with it: its signed head may
// have been seen.
func (o *opening) begunAgain(m *repair) (bool, error) {
	before := &o.repairs[len(o.repairs)-1] // the one that the head is in
	if m.size > 0 || before.size == 0 || m.first <= before.first || m.first >= o.head.Head().Size {
		return false, nil
	}
	f, err := o.dir.Open(segmentPath(before.first))
	if err != nil {
		return false, err
	}
	defer f.Close()
	batch := int64(-1) // where the one begins that is to be written again
	for l, err := range forward(f, 0, before.size) {
		if err != nil {
			return false, err
		}
		if !auditlog.IsCommit(l.bytes) {
			continue
		}
		if head, err := auditlog.CommitHead(l.bytes); err == nil && head.Size == m.first {
			batch = l.end()
			break
		}
	}
	if batch < 0 {
		return false, nil
	}
	written := func() io.Reader { return ctxReader{o.ctx, io.NewSectionReader(f, batch, before.bytes-batch)} }
	tail, err := auditlog.InspectTail(written(), batch, m.first, o.keys())
	if err != nil || tail.Damage != "" {
		return false, err
	}
	next, err := o.dir.Open(segmentPath(m.first))
	if err != nil {
		return false, err
	}
	defer next.Close()
	again, err := auditlog.CompareRewrite(written(), io.NewSectionReader(next, 0, m.bytes))
	return again == auditlog.RewriteUnfinished, err
}

// A ctxReader ends with its context.
type ctxReader struct {
	ctx context.Context
	io.Reader
}

func (r ctxReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

func (o *opening) inspectTail(m *repair) error {
	if m.bytes == m.size {
		return nil
	}
	f, err := o.dir.Open(segmentPath(m.first))
	if err != nil {
		return err
	}
	tail := ctxReader{o.ctx, io.NewSectionReader(f, m.size, m.bytes-m.size)}
	m.tail, err = auditlog.InspectTail(tail, m.size, o.head.Head().Size, o.keys())
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", segmentPath(m.first), err)
	}
	return nil
}

// damaged refuses a log for what a segment of it shows.
func (o *opening) damaged(m *repair, reason string) error {
	err := o.refuse(o.head.Head(), fmt.Errorf("%w: %s: %s; nothing was moved or cut. %s",
		ErrDamaged, segmentPath(m.first), reason, o.asSuccessor()))
	if refusal, ok := errors.AsType[*RefusedError](err); ok && m.tail.Head != nil && refusal.Anchor == "" {
		refusal.Anchor, refusal.Outside = segmentPath(m.first), *m.tail.Head
	}
	return err
}

// Each refusal says how to go on. asSuccessor is for a log that has lost its end,
// putBack for one with damage that a tree cannot grow over, itsKey for one of
// another key.
const (
	putBack     = "Verify says what is there. Put the file back from a copy (jobaudit copy makes them). " + withoutCopy
	withoutCopy = "Without one, keep this directory as evidence and begin a new log in another, with a new key"
)

func (o *opening) asSuccessor() string {
	return "Verify says what is there. To go on without what is lost, " + successorOf(o.key.Name(), o.head.Head().Origin) + ": the log continues as a successor"
}

// successorOf says which keys are wanted to go on after the log of an origin, in a
// directory whose newest entries are of the log found there, if any.
func successorOf(origin, found string) string {
	text := fmt.Sprintf("give a new key, named %s, and as Options.Predecessor the verifier key of %s", auditlog.SuccessorOrigin(origin), origin)
	if later(origin, found) {
		text += fmt.Sprintf("; as Options.Earlier those before it, back to %s, whose entries are the newest here", found)
	}
	return text
}

// itsKey says which keys are wanted for a log whose newest entries are of an origin that
// none of the given keys has.
func (o *opening) itsKey(origin string) string {
	own := o.key.Name()
	if !later(own, origin) {
		return fmt.Sprintf("Give the key that the log was written with, %s (jobaudit key prints the name in a key's file); if that was given up or lost, %s", origin, successorOf(origin, ""))
	}
	first, number := auditlog.SplitOrigin(own)
	before := first
	if number > 2 {
		before = fmt.Sprintf("%s/s%d", first, number-1)
	}
	text := fmt.Sprintf("The newest entries are of %s, which %s is to continue: give the verifier key of %s as Options.Predecessor", origin, own, before)
	if before != origin {
		text += fmt.Sprintf(", and those before it, back to %s, as Options.Earlier", origin)
	}
	return text
}

// checkCheckpoint compares the log with the head that its writer last knew to
// be durable. Unlike the caches this one is signed, and says that events were
// there.
func (o *opening) checkCheckpoint() error {
	signed, err := readAll(o.dir, checkpointFile, maxCheckpoint)
	if err != nil || o.continues() {
		return nil // it need not be there
	}
	c, err := auditlog.OpenCheckpoint(signed, o.key.verifier)
	if err != nil {
		return nil // of a predecessor, or of no known key
	}
	log := o.base.Head()
	if c.Head().Size > log.Size {
		return &RefusedError{
			Dir: o.path, Log: log, Anchor: checkpointFile, Outside: c.Head(),
			Err: fmt.Errorf("%w: events %d to %d were durable and are missing. A copy that was made while the log was written may lack them: copy it again with jobaudit copy. %s",
				ErrDamaged, log.Size, c.Head().Size-1, o.asSuccessor()),
		}
	}
	return o.consistent(checkpointFile, c)
}

// consistent refuses a log that does not lead on from a head of its own.
func (o *opening) consistent(name string, c auditlog.Checkpoint) error {
	_, err := auditlog.ProveConsistency(c, o.base, o.cache.hashes())
	if err != nil && !o.rebuilt {
		// The hashes are a cache: they are computed again before a finding is reported.
		if err := o.rebuild(o.base); err != nil {
			return err
		}
		_, err = auditlog.ProveConsistency(c, o.base, o.cache.hashes())
	}
	if _, wrong := errors.AsType[*auditlog.HeadError](err); wrong {
		return &RefusedError{Dir: o.path, Log: o.base.Head(), Anchor: name, Outside: c.Head(), Err: fmt.Errorf("%w. %s", err, o.asSuccessor())}
	}
	return err
}
