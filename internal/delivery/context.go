package delivery

import (
	"context"
	"sync"
	"time"
)

// callContext is the context of one call of Append. Most sinks ask it no more than
// whether it has ended, if that: its timer and its channel are made by the first Done.
type callContext struct {
	parent   context.Context
	deadline time.Time

	mu     sync.Mutex // guards what follows
	made   context.Context
	cancel context.CancelFunc
	ended  bool
}

func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *callContext) Done() <-chan struct{} { return c.inner().Done() }

func (c *callContext) Err() error {
	c.mu.Lock()
	asked := c.made != nil || c.ended
	c.mu.Unlock()
	if !asked && c.parent.Err() == nil && time.Now().Before(c.deadline) {
		return nil
	}
	return c.inner().Err()
}

// Value asks the context that was made, if there is one: package context finds by it
// the parent of a derived one, which then ends with it without a goroutine.
func (c *callContext) Value(key any) any {
	c.mu.Lock()
	made := c.made
	c.mu.Unlock()
	if made != nil {
		return made.Value(key)
	}
	return c.parent.Value(key)
}

func (c *callContext) inner() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil {
		c.made, c.cancel = context.WithDeadline(c.parent, c.deadline)
		if c.ended {
			c.cancel()
		}
	}
	return c.made
}

// end ends the context, as its call has returned.
func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}
