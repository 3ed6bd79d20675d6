package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// sharedLog is a log in a directory that many short programs write to, each of
// which holds it only while it appends: a log has one writer at a time, and a job of hours must not
// keep the others out. They wait for each other in a queue that the system keeps.
type sharedLog struct {
	dir, keyPath, name string
	where              jobaudit.Source
	recovery           jobaudit.Recovery
	key                *filesink.Key // as it was when the log was first opened
}

// openShared opens the log once, so that what is wrong with it is known, and brings
// into it what others could not. That does not keep a program from running.
func openShared(ctx context.Context, x *execution, where jobaudit.Source, report func(error)) (*sharedLog, error) {
	l := &sharedLog{dir: x.dir, keyPath: x.key, name: x.name, where: where}
	err := l.hold(ctx, func(s *filesink.Sink) error {
		l.recovery = s.Recovery()
		_, err := drainSpool(ctx, x.spool, l.key, s)
		if err = errors.Join(err, leftBefore(x.spool, l.key)); err != nil {
			report(err) // at once, as each kind is told once
		}
		return nil
	})
	return l, err
}

// Recovery is what the first open found, for the recorder's first event.
func (l *sharedLog) Recovery() jobaudit.Recovery { return l.recovery }

// Append opens the log, appends and closes it.
func (l *sharedLog) Append(ctx context.Context, records []jobaudit.Record) error {
	return l.hold(ctx, func(s *filesink.Sink) error {
		if err := l.report(ctx, s); err != nil {
			return err
		}
		return s.Append(ctx, records)
	})
}

// report records what another program left behind that was killed meanwhile: a
// recorder says such a thing when it opens a log, and this one did before.
func (l *sharedLog) report(ctx context.Context, s *filesink.Sink) error {
	found := s.Recovery()
	if found.TornBytes == 0 && len(found.TornFiles) == 0 || found.TornSHA256 == l.recovery.TornSHA256 {
		return nil
	}
	r, err := jobaudit.Open(ctx, s, l.where, nil)
	if err != nil {
		return err
	}
	return r.Close(ctx)
}

// retryLocked is how often a log is tried that a program holds which does not
// queue, as a service that writes to the same directory.
const retryLocked = 20 * time.Millisecond

// hold waits for its turn, opens the log, calls do, and closes it.
func (l *sharedLog) hold(ctx context.Context, do func(*filesink.Sink) error) error {
	release, err := queue(ctx, l.dir+".queue")
	if err != nil {
		return fmt.Errorf("wait for the log in %s: %w", l.dir, err)
	}
	defer release()
	key, err := filesink.LoadOrCreateKey(l.dir, l.keyPath, l.name)
	if err != nil {
		return err
	}
	if l.key == nil {
		l.key = key
	}
	for {
		s, err := filesink.Open(ctx, l.dir, key, &filesink.Options{OnError: func(error) {}})
		if errors.Is(err, filesink.ErrLocked) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w all the time that exec waited: another program writes to %s; give exec a directory of its own", err, l.dir)
			case <-time.After(retryLocked):
				continue
			}
		}
		if err != nil {
			return err
		}
		err = do(s)
		if closeErr := s.Close(); err != nil {
			err = errors.Join(err, closeErr)
		}
		return err // what was appended is durable, whatever Close says
	}
}

// quiet keeps the warnings of the log's storage off the program's standard error:
// the audit.opened event has them.
func quiet() { slog.SetDefault(slog.New(slog.DiscardHandler)) }
