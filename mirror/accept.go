package mirror

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/auditlog"
)

// An Acceptance is what an operator says who accepts that a log goes on from
// another history than its mirror's.
type Acceptance struct {
	// By says who accepts, Reason why. Both are recorded in the mirror, and
	// required.
	By, Reason string
}

// ErrNothingToAccept is returned by [Mirror.Accept] when the log goes on from its
// mirror.
var ErrNothingToAccept = errors.New("the log agrees with its mirror: there is nothing to accept")

// Accept begins a new branch in the mirror for a log that was refused and goes on
// as a successor: its newest head must be signed by a key of a later successor
// than any in the branch that the mirror holds. The branch begins at the last
// commit that both have. What the mirror held before stays and is shown; the
// acceptance is recorded beside it. Later passes go on in the new branch.
func (m *Mirror) Accept(ctx context.Context, a Acceptance) (Branch, error) {
	m.pass.Lock()
	defer m.pass.Unlock()
	b, err := m.accept(ctx, a)
	if err != nil {
		return b, fmt.Errorf("mirror: accept: %w", err)
	}
	return b, nil
}

func (m *Mirror) accept(ctx context.Context, a Acceptance) (Branch, error) {
	if a.By == "" || a.Reason == "" {
		return Branch{}, errors.New("say who accepts, and why")
	}
	if err := m.resume(ctx); err != nil {
		return Branch{}, err
	}
	newest, err := m.newestOfLog(ctx)
	if err != nil {
		return Branch{}, err
	}
	if !succeeds(newest.Head().Origin, m.at.claimed.Origin) {
		return Branch{}, fmt.Errorf("the log's newest head is signed by %s: a log that leaves its mirror's history goes on as a successor, with a new key named %s, first",
			newest.Head().Origin, auditlog.SuccessorOrigin(m.at.claimed.Origin))
	}
	size, root, err := m.common(ctx)
	if err != nil {
		return Branch{}, err
	}
	b := Branch{
		Format: branchFormat, Origin: m.origin(), Base: m.branch(), Size: size, Root: root,
		Mirrored: string(m.at.head.Signed()), Log: string(newest.Signed()),
		By: a.By, Reason: a.Reason, Time: time.Now().UTC().Truncate(time.Second),
	}
	for b.Number = b.Base + 1; b.Number <= maxBranch; b.Number++ {
		data, err := b.encode()
		if err != nil {
			return b, err
		}
		err = m.target.store.Put(ctx, branchName(b.Number), data)
		if errors.Is(err, ErrExists) {
			continue
		}
		m.at = nil // the store is read again
		return b, err
	}
	return b, fmt.Errorf("the mirror has %d branches: give another store", maxBranch)
}

// succeeds reports whether an origin is that of a later successor than another: of such
// a log only Accept makes a branch.
func succeeds(origin, other string) bool {
	_, is := auditlog.SplitOrigin(origin)
	_, was := auditlog.SplitOrigin(other)
	return is > was
}

// mayBeAccepted reports whether Accept may have made a branch for a log that is refused:
// the head that contradicts the mirror, or one behind it, is a later successor's.
func (m *Mirror) mayBeAccepted(ctx context.Context, e *RefusedError) bool {
	if e.LogSigned != nil && succeeds(e.Log.Origin, e.Mirrored.Origin) {
		return true
	}
	newest, err := m.newestOfLog(ctx)
	return err == nil && succeeds(newest.Head().Origin, e.Mirrored.Origin)
}

// newestOfLog returns the log's newest durable head.
func (m *Mirror) newestOfLog(ctx context.Context) (c auditlog.Checkpoint, err error) {
	size, err := m.source.Size(ctx)
	if err != nil {
		return c, err
	}
	err = auditlog.ErrNoHead
	for line, lineErr := range m.source.Lines(ctx, max(size-1, 0)) {
		if lineErr != nil {
			return c, lineErr
		}
		if head, headErr := auditlog.CommitHead(line); headErr == nil {
			c, err = openCommit(line, head.Origin, m.opts.Keys)
		}
	}
	if err != nil {
		return c, fmt.Errorf("the log's newest head: %w", err)
	}
	return c, nil
}

// common returns the size and the root at the last commit line that log and
// mirror have in common, by comparing all of their lines.
func (m *Mirror) common(ctx context.Context) (size int64, root tlog.Hash, err error) {
	log, stop := iter.Pull2(m.source.Lines(ctx, 0))
	defer stop()
	empty := auditlog.Tree{}
	root = empty.Root()
	differ := false
	at := &fold{keys: m.opts.Keys}
	_, walkErr := m.target.walk(ctx, m.all, len(m.all)-1, at, -1, func(line []byte, _ int64) bool {
		other, lineErr, ok := log()
		if err = lineErr; err != nil {
			return false
		}
		if differ = !ok || string(other) != string(line); differ {
			return false
		}
		if auditlog.IsCommit(line) {
			if head, headErr := auditlog.CommitHead(line); headErr == nil {
				size, root = head.Size, head.Root
			}
		}
		return true
	})
	switch {
	case err != nil || walkErr != nil:
		return 0, root, errors.Join(err, walkErr)
	case !differ && at.size() < m.at.size():
		return 0, root, &MissingError{m.branch(), at.size(), m.at.size()}
	case !differ:
		return 0, root, ErrNothingToAccept
	}
	return size, root, nil
}
