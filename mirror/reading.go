package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jobaudit/jobaudit/auditlog"
)

// reading reads the log's next chunk and proves it.
type reading struct {
	*Mirror
	ctx context.Context

	agreed bool // the log has the mirrored head
	absent bool // the log has no commit line of the mirrored size
	at     fold // all that was read
	good   fold // at the newest good commit line
	data   []byte
	end    int // of the data up to that
}

// read reads batches until a chunk is full or the log ends. What it leaves in
// data is good; the error is about what follows.
func (r *reading) read() error {
	err := r.lines()
	r.data = r.data[:r.end]
	return err
}

func (r *reading) lines() error {
	start := r.Mirror.at.size()
	index := max(start-1, 0)
	for line, err := range r.source.Lines(r.ctx, index) {
		if err != nil {
			return fmt.Errorf("mirror: the log: %w", err)
		}
		commit := auditlog.IsCommit(line)
		if index < start && !commit { // the last leaf that is mirrored
			index++
			continue
		}
		if !r.agreed && !r.absent {
			if commit && start > 0 && r.size() == start {
				if err := r.compare(line); err != nil {
					return err
				}
				r.agreed = true
				continue
			}
			r.agreed = start == 0
			r.absent = start > 0
		}
		r.data = append(append(r.data, line...), '\n')
		if !commit {
			if err := r.at.leaf(line); err != nil {
				return fmt.Errorf("mirror: the log: %w", err)
			}
			continue
		}
		if err := r.at.commit(line); err != nil {
			return r.judge(line, err)
		}
		r.agreed = true // by its root, which covers what is mirrored
		r.good, r.end = r.at, len(r.data)
		if r.end >= r.opts.ChunkSize {
			return nil
		}
	}
	r.agreed = r.agreed || start == 0
	return nil
}

func (r *reading) size() int64 { return r.at.size() }

// compare compares the log's commit line of the mirrored size with the mirrored
// head.
func (r *reading) compare(line []byte) error {
	head, err := auditlog.CommitHead(line)
	if err != nil {
		return fmt.Errorf("mirror: the log: %w", err)
	}
	if head == r.good.claimed {
		return nil
	}
	c, err := openCommit(line, head.Origin, r.opts.Keys)
	if err != nil {
		return r.refuse(head, nil, fmt.Errorf("%w: at the mirrored size it has a commit line that no given key has signed: %w", ErrForked, err))
	}
	if head.Size == r.good.claimed.Size && head.Root == r.good.claimed.Root {
		return nil
	}
	return r.refuse(head, c.Signed(), ErrForked)
}

// judge says what is wrong with a commit line that is not good.
func (r *reading) judge(line []byte, err error) error {
	if !errors.Is(err, errRoot) {
		return fmt.Errorf("mirror: the log, behind size %d: %w", r.good.size(), err)
	}
	head, headErr := auditlog.CommitHead(line)
	c, openErr := openCommit(line, head.Origin, r.opts.Keys)
	if headErr != nil || openErr != nil {
		return fmt.Errorf("mirror: the log: %w", errors.Join(headErr, openErr))
	}
	switch {
	case r.absent && r.good.size() == r.Mirror.at.size():
		err = fmt.Errorf("%w, or is damaged: it has no commit of size %d", ErrForked, r.good.size())
	default:
		err = fmt.Errorf("%w: events from %d on: %w", ErrDamaged, r.good.size(), err)
	}
	return r.refuse(head, c.Signed(), err)
}

func (m *Mirror) refuse(log auditlog.Head, signed []byte, err error) error {
	e := &RefusedError{Mirrored: m.at.claimed, Log: log, LogSigned: signed, Err: err}
	if !m.at.head.IsZero() {
		e.MirroredSigned = m.at.head.Signed()
	}
	return e
}

// shrunken refuses a log that is shorter than its mirror.
func (m *Mirror) shrunken(ctx context.Context, size int64) error {
	m.agreed = false
	head, signed := auditlog.Head{Size: size}, []byte(nil)
	var newest []byte
	for line, err := range m.source.Lines(ctx, max(size-1, 0)) {
		if err != nil {
			return fmt.Errorf("mirror: the log: %w", err)
		}
		if auditlog.IsCommit(line) {
			newest = bytes.Clone(line)
		}
	}
	if claimed, err := auditlog.CommitHead(newest); err == nil {
		head = claimed
		if c, err := openCommit(newest, head.Origin, m.opts.Keys); err == nil {
			signed = c.Signed()
		}
	}
	return m.refuse(head, signed, ErrShrunken)
}
