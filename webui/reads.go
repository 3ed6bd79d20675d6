package webui

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit"
)

// readsWindow is the time in which the same reads by one viewer are one event, and
// maxReads how many of them are counted at a time.
const (
	readsWindow = 5 * time.Minute
	maxReads    = 10_000
)

// reads records who looked at what. The first look is on record before the page is
// shown. Those of the next five minutes are counted; the count goes with the first
// look after them, or is recorded by close.
type reads struct {
	record func(context.Context, jobaudit.Act) error // nil: nothing is recorded

	mu   sync.Mutex
	open map[string]*look
}

// look are the same reads of one viewer.
type look struct {
	act   jobaudit.Act
	until time.Time
	count int // since the one that was recorded
}

// note returns once the look is on record, or counted with one that is.
func (s *reads) note(ctx context.Context, v Viewer, scope jobaudit.Query) error {
	if s.record == nil {
		return nil
	}
	key, err := json.Marshal([]any{v.Kind, v.ID, v.OrgID, scope})
	if err != nil {
		return err
	}
	now := time.Now()
	s.mu.Lock()
	l := s.open[string(key)]
	if l != nil && now.Before(l.until) {
		l.count++
		s.mu.Unlock()
		return nil
	}
	count := 1
	if l != nil {
		count += l.count
		delete(s.open, string(key))
	}
	ended := s.ended(now)
	s.mu.Unlock()
	for _, l := range ended {
		s.counted(ctx, l)
	}
	act := jobaudit.Act{Type: jobaudit.AuditRead, Principal: v.Principal, OrgID: v.OrgID, Reason: "looked at in the pages of webui",
		Scope: scope, Data: map[string]any{"count": count}}
	if err := s.record(ctx, act); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[string]*look)
	}
	if len(s.open) < maxReads {
		s.open[string(key)] = &look{act: act, until: now.Add(readsWindow)}
	}
	return nil
}

// ended takes out those whose time is over. The lock is held.
func (s *reads) ended(now time.Time) (list []*look) {
	for key, l := range s.open {
		if now.After(l.until) {
			delete(s.open, key)
			list = append(list, l)
		}
	}
	return list
}

// counted records the reads that followed a recorded one. The recorder's OnError
// hears of an error, too.
func (s *reads) counted(ctx context.Context, l *look) {
	if l.count == 0 {
		return
	}
	l.act.Data = map[string]any{"count": l.count}
	_ = s.record(context.WithoutCancel(ctx), l.act)
}

func (s *reads) close() {
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for _, l := range open {
		s.counted(context.Background(), l)
	}
}
