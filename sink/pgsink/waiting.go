package pgsink

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Waiting says how far the sequencer is behind.
type Waiting struct {
	// Oldest is how long the oldest event without a place has waited, by the
	// server's clock; 0 if none waits. In a long transaction of its writer it
	// waits too.
	Oldest time.Duration
	// Size is how many events have a place.
	Size int64

	newest int64 // row of the inbox, 0 for none
	upto   bool  // whether a row up to the one asked for waits
}

// Waiting asks the database how far the sequencer is behind, for probes and
// metrics.
func (s *Sink) Waiting(ctx context.Context) (Waiting, error) { return s.waiting(ctx, 0) }

func (s *Sink) waiting(ctx context.Context, upto int64) (Waiting, error) {
	var w Waiting
	var oldest pgtype.Interval
	err := onConn(ctx, s.pool, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT newest, oldest, upto, size FROM jobaudit.waiting_v1($1)`, upto).
			Scan(&w.newest, &oldest, &w.upto, &w.Size)
	})
	if err != nil {
		return Waiting{}, fmt.Errorf("pgsink: ask what waits: %w", err)
	}
	w.Oldest = time.Duration(oldest.Microseconds)*time.Microsecond + time.Duration(oldest.Days)*24*time.Hour
	return w, nil
}

// Sequenced returns when everything that was accepted before the call has its
// place in the log, under a signed head. It needs a sequencer at work somewhere;
// without one it returns when ctx ends, with ctx's error. Of what this sink has stored and
// still keeps it sends again what is gone, as it does every few seconds, and waits for that
// too; the error is [ErrRefused] if an event that this sink has stored can have no place.
func (s *Sink) Sequenced(ctx context.Context) error {
	for {
		if _, err := s.await(ctx, func(Waiting) bool { return true }); err != nil {
			return err
		}
		sent, err := s.restore(ctx, 0)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if sent == 0 {
			return s.stillRefused(ctx)
		}
	}
}

// await waits until what is accepted now has its place, for as long as more
// says so, and reports whether it has.
func (s *Sink) await(ctx context.Context, more func(Waiting) bool) (bool, error) {
	w, err := s.waiting(ctx, 0)
	if err != nil || w.newest == 0 {
		return err == nil, err
	}
	newest := w.newest
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		s.wakeUp()
		if w, err = s.waiting(ctx, newest); err != nil || !w.upto {
			return err == nil, err
		}
		if !more(w) {
			return false, nil
		}
		if err := sleep(ctx, pause); err != nil {
			return false, err
		}
	}
}

// settle waits until all that is accepted now has its place, or no sequencer
// seems to be at work: not when waiting was in vain before and the log has not
// grown since. It reports whether one is at work, as far as can be seen: then
// what has no place yet will have one.
func (s *Sink) settle(ctx context.Context) (bool, error) {
	deadline := time.Now().Add(s.opts.Settle)
	began, grew := int64(-1), false
	settled, err := s.await(ctx, func(w Waiting) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if began < 0 {
			began = w.Size
		}
		grew = w.Size > began
		if time.Now().After(deadline) {
			if !grew {
				s.stalled = w.Size
			}
			return false
		}
		return s.stalled != w.Size
	})
	return settled || grew, err
}

func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
