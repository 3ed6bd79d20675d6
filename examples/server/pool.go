package main

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// pool is a number of workers and the jobs that they have to do.
type pool struct {
	work  func(context.Context, json.RawMessage) error
	queue chan *job
	busy  sync.WaitGroup

	mu   sync.Mutex // guards what follows
	jobs map[uuid.UUID]*job
}

// job is a job that has not ended.
type job struct {
	trail  *jobaudit.Trail
	inputs json.RawMessage
	stop   context.CancelFunc // nil before it starts
}

func newPool(workers int, work func(context.Context, json.RawMessage) error) *pool {
	p := &pool{work: work, queue: make(chan *job, 100), jobs: make(map[uuid.UUID]*job)}
	for range workers {
		p.busy.Go(func() {
			for j := range p.queue {
				p.run(j)
			}
		})
	}
	return p
}

// dispatch queues a job, once: a client that tries again brings the same ID.
func (p *pool) dispatch(_ context.Context, t *jobaudit.Trail, inputs json.RawMessage) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.jobs[t.JobID()] != nil {
		return nil
	}
	j := &job{trail: t, inputs: inputs}
	select {
	case p.queue <- j:
		p.jobs[t.JobID()] = j
		return nil
	default:
		return errors.New("the queue is full")
	}
}

// cancel takes a job out of the queue, or tells it to stop. There is one process:
// a pending job that it does not know of is nobody's, and does not start.
func (p *pool) cancel(_ context.Context, j jobaudit.Job, _ string) (removed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.jobs[j.ID]
	switch {
	case known == nil && j.State == jobaudit.Running:
		return false, errors.New("it runs elsewhere")
	case known != nil && known.stop != nil:
		known.stop()
		return false, nil
	}
	delete(p.jobs, j.ID)
	return true, nil
}

// run runs a job that was not taken out of the queue. How it ends is in the
// record.
func (p *pool) run(j *job) {
	id := j.trail.JobID()
	p.mu.Lock()
	if p.jobs[id] != j {
		p.mu.Unlock()
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	j.stop = stop
	p.mu.Unlock()
	_ = j.trail.Run(ctx, jobaudit.Execution{}, func(ctx context.Context) error { return p.work(ctx, j.inputs) })
	if ctx.Err() != nil { // it may have been told so before its start was recorded; an end that is there stays
		_ = j.trail.Cancel(context.Background(), "it was told to stop before it started")
	}
	p.mu.Lock()
	delete(p.jobs, id)
	p.mu.Unlock()
}

// stop waits for the jobs. Nothing may be dispatched any more.
func (p *pool) stop() {
	close(p.queue)
	p.busy.Wait()
}
