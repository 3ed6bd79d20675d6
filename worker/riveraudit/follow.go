package riveraudit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit/worker/queue"
)

// Lister reads River's table. A *river.Client of any driver is one.
type Lister interface {
	JobList(ctx context.Context, params *river.JobListParams) (*river.JobListResult, error)
}

// Client is what [Audit.Follow] needs of River. A *river.Client of any driver is one.
type Client interface {
	Lister
	SubscribeConfig(config *river.SubscribeConfig) (<-chan *river.Event, func())
}

// FollowOptions are the optional parts of a Follower. The zero value, like nil,
// gives the defaults.
type FollowOptions struct {
	// Sweep is how often River is asked about jobs that ran here and whose
	// verdict did not arrive: its subscriptions drop events when they are slow.
	// Default: 5 s.
	Sweep time.Duration
	// Every is how often the whole table is reconciled with the log. Default:
	// never; call [Audit.Reconcile] where it suits.
	Every time.Duration
	// Reconcile are the options of that.
	Reconcile *queue.ReconcileOptions
	// Writers is how many outcomes may wait for the sink at the same time. It
	// stores those that wait together in one batch. Default: 256.
	Writers int
}

// Follower records the outcomes of the jobs that a client runs. [Audit.Follow]
// starts one and Stop ends it. What it cannot record is given to OnError, and
// tried again at the next sweep.
type Follower struct {
	audit  *Audit
	client Client
	opts   FollowOptions
	events <-chan *river.Event
	cancel func() // of the subscription
	halt   context.CancelFunc
	work   sync.WaitGroup // on events
	sweeps sync.WaitGroup
}

// Follow begins to record the outcomes of the jobs that client runs, as River
// commits them. Call it before client.Start, and again if the client is started
// again. It goes on until Stop, whatever becomes of ctx, whose values it keeps.
func (a *Audit) Follow(ctx context.Context, client Client, opts *FollowOptions) *Follower {
	f := &Follower{audit: a, client: client}
	if opts != nil {
		f.opts = *opts
	}
	f.opts.Sweep = cmp.Or(f.opts.Sweep, 5*time.Second)
	f.opts.Writers = cmp.Or(f.opts.Writers, 256)
	ctx, f.halt = context.WithCancel(context.WithoutCancel(ctx))
	f.events, f.cancel = client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: 50_000,
		Kinds: []river.EventKind{
			river.EventKindJobCancelled, river.EventKindJobCompleted, river.EventKindJobFailed,
			river.EventKindJobInterrupted, river.EventKindJobSnoozed,
		},
	})
	for range f.opts.Writers {
		f.work.Go(func() { f.follow(ctx) })
	}
	f.sweeps.Go(func() { f.every(ctx, f.opts.Sweep, func() { f.report(ctx, f.sweep(ctx, f.opts.Sweep)) }) })
	if f.opts.Every > 0 {
		f.sweeps.Go(func() {
			f.every(ctx, f.opts.Every, func() {
				_, err := f.audit.Reconcile(ctx, f.client, f.opts.Reconcile)
				f.report(ctx, err)
			})
		})
	}
	return f
}

// Stop records the outcomes that are still owed and returns when that is done
// or ctx ends. Call it after client.Stop, while the client's database is still
// open, and before the recorder is closed. The error says what is missing:
// reconciling finds it.
func (f *Follower) Stop(ctx context.Context) error {
	f.cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.work.Wait()
		f.halt()
		f.sweeps.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		f.halt()
		return context.Cause(ctx)
	}
	return f.sweep(ctx, 0)
}

// follow records what the subscription tells, until it ends.
func (f *Follower) follow(ctx context.Context) {
	for e := range f.events {
		if e.Job == nil {
			continue
		}
		ours, err := f.audit.verdict(ctx, e.Job)
		if !ours && ended(e.Job) && !f.audit.logs.None() {
			err = f.audit.compare(ctx, e.Job, &comparison{})
		}
		f.report(ctx, err)
	}
}

// ended reports whether River is done with a job.
func ended(job *rivertype.JobRow) bool { return outcome(job.State) != "" }

func (f *Follower) every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

// page is how many jobs are asked for at a time; River allows 10,000.
const page = 1000

// maxFailures is how many jobs an error of a sweep names.
const maxFailures = 16

// maxProbes is how many probes of the sink a sweep makes.
const maxProbes = 16

// sweep asks River about the jobs that returned here some time ago and whose
// verdict is not recorded. One that cannot be recorded holds up no other, but a sink
// that takes nothing ends it: each further job would only wait as long.
func (f *Follower) sweep(ctx context.Context, within time.Duration) error {
	var failed []error
	probed := 0
	// fails notes an error, and reports whether the sweep ends. A deadline does not tell
	// whether the sink takes nothing or not this job's record alone: a probe does, which
	// is an event of the log, so of these there are few.
	fails := func(id int64, err error) bool {
		if err != nil && len(failed) < maxFailures {
			failed = append(failed, fmt.Errorf("job %d: %w", id, err))
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || probed == maxProbes {
			return ctx.Err() != nil
		}
		probed++
		return f.audit.rec.Probe(ctx) != nil
	}
	for ids := range slices.Chunk(f.audit.waiting(within), page) {
		list, err := f.client.JobList(ctx, river.NewJobListParams().IDs(ids...).First(len(ids)))
		if err != nil {
			return errors.Join(append(failed, fmt.Errorf("asking River about %d jobs: %w", len(ids), err))...)
		}
		there := make(map[int64]bool, len(ids))
		for _, job := range list.Jobs {
			there[job.ID] = true
			if _, err := f.audit.verdict(ctx, job); fails(job.ID, err) {
				return errors.Join(failed...)
			}
		}
		for _, id := range ids {
			if there[id] {
				continue
			}
			if fails(id, f.audit.gone(ctx, id)) {
				return errors.Join(failed...)
			}
		}
	}
	return errors.Join(failed...)
}

func (f *Follower) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		f.audit.report(ctx, err)
	}
}
