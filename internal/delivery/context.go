package delivery

import (
	"context"
	"sync"
	"time"
)

// callContext is the context of one call of Append. Most sinks ask it no more
// than whether it has ended, if that: what makes its channel, a timer above all,
// is made when it is asked for.
type callContext struct {
	parent   context.Context
	deadline time.Time

	mu     sync.Mutex // guards what follows
	made   context.Context
	cancel context.CancelFunc
	ended  bool
}

func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *callContext) Done() <-chan struct{} { return c.make().Done() }

func (c *callContext) Err() error {
	c.mu.Lock()
	asked := c.made != nil || c.ended
	c.mu.Unlock()
	if !asked && c.parent.Err() == nil && time.Now().Before(c.deadline) {
		return nil
	}
	return c.make().Err()
}

// Value lets a context that is derived from this one find the one that is made,
// so that it ends with it without a goroutine that waits for that.
func (c *callContext) Value(key any) any {
	c.mu.Lock()
	made := c.made
	c.mu.Unlock()
	if made != nil {
		return made.Value(key)
	}
	return c.parent.Value(key)
}

func (c *callContext) make() context.Context {
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
