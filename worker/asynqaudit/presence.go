package asynqaudit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// recordersKey is where servers with the adapter say in Redis that they work on
// tasks: a sorted set of the IDs of their recorders, by the Unix time in seconds
// at which each was last seen there. A process that reconciles finds out by it whether
// the logs of all of them were given.
const recordersKey = "jobaudit:recorders"

const (
	presenceInterval = time.Minute          // between two announcements of a server at work
	presenceLife     = 400 * 24 * time.Hour // for which one is kept
	presenceSlack    = time.Hour            // by which clocks may differ
)

// presence announces that a server works.
type presence struct {
	redis    redis.UniversalClient
	recorder uuid.UUID

	mu   sync.Mutex // guards last
	last time.Time
}

func (p *presence) announce(ctx context.Context) error {
	now := time.Now()
	err := p.redis.ZAdd(ctx, recordersKey, redis.Z{Score: float64(now.Unix()), Member: p.recorder.String()}).Err()
	if err == nil {
		err = p.redis.ZRemRangeByScore(ctx, recordersKey, "-inf", fmt.Sprint(now.Add(-presenceLife).Unix())).Err()
	}
	if err != nil {
		return fmt.Errorf("asynqaudit: announcing the server's recorder in Redis: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = now
	return nil
}

// refresh announces it again, now and then.
func (p *presence) refresh(ctx context.Context) error {
	p.mu.Lock()
	due := time.Since(p.last) >= presenceInterval
	if due {
		p.last = time.Now() // one of those who start tasks does it
	}
	p.mu.Unlock()
	if !due {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return p.announce(ctx)
}

// unseen returns when a recorder whose log is not among those given was last
// seen at work; the zero time if there is none.
func (a *Audit) unseen(ctx context.Context, c redis.UniversalClient) (newest time.Time, err error) {
	recorders, err := c.ZRangeWithScores(ctx, recordersKey, 0, -1).Result()
	if err != nil {
		return newest, err
	}
	for _, z := range recorders {
		id, err := uuid.Parse(fmt.Sprint(z.Member))
		if err != nil {
			continue // it is not ours
		}
		held, err := a.logs.Holds(ctx, id)
		if err != nil {
			return newest, err
		}
		if at := time.Unix(int64(z.Score), 0); !held && at.After(newest) {
			newest = at
		}
	}
	return newest, nil
}
