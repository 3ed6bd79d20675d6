package asynqaudit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobaudit/jobaudit"
)

// Server is an asynq.Server whose attempts are recorded.
//
// What a handler returns is not what becomes of its task: asynq may have
// retried or archived it already, because its time was up, its lease had
// expired or the server was shut down. So the handler's return is nowhere taken
// for the outcome. That is asynq's write to Redis, which the Server sees pass;
// the error is the one that asynq gave to the ErrorHandler.
//
// A process that dies between that write and its record leaves a job without an
// end: [Inspector.Reconcile] finds it.
type Server struct {
	*asynq.Server
	s *serving
}

// NewServer returns a Server, as asynq.NewServer does.
func (a *Audit) NewServer(r asynq.RedisConnOpt, cfg asynq.Config) *Server {
	c := makeRedisClient(r)
	s := a.NewServerFromRedisClient(c, cfg)
	s.s.disconnect = c.Close
	return s
}

// NewServerFromRedisClient returns a Server, as asynq.NewServerFromRedisClient
// does. It adds a hook to c, which stays the caller's to close.
func (a *Audit) NewServerFromRedisClient(c redis.UniversalClient, cfg asynq.Config) *Server {
	s := a.serving(&cfg)
	s.inspector = asynq.NewInspectorFromRedisClient(c)
	s.presence.redis, s.presence.recorder = c, a.rec.ID()
	c.AddHook(hook(s.see))
	return &Server{asynq.NewServerFromRedisClient(c, cfg), s}
}

// Start is asynq's, with a handler whose attempts are recorded before all that
// the handler's own middleware does.
func (s *Server) Start(h asynq.Handler) error {
	if h == nil {
		return s.Server.Start(nil)
	}
	if err := s.s.presence.announce(context.Background()); err != nil {
		return err
	}
	return s.Server.Start(s.s.middleware(h))
}

// Run is asynq's, as [Server.Start] is.
func (s *Server) Run(h asynq.Handler) error {
	if h == nil {
		return s.Server.Run(nil)
	}
	if err := s.s.presence.announce(context.Background()); err != nil {
		return err
	}
	err := s.Server.Run(s.s.middleware(h))
	s.s.close()
	return err
}

// Shutdown is asynq's. Close the Recorder after it.
func (s *Server) Shutdown() {
	s.Server.Shutdown()
	s.s.close()
}

// serving is one server's part of the adapter.
type serving struct {
	a          *Audit
	user       asynq.ErrorHandler
	isFailure  func(error) bool
	inspector  *asynq.Inspector
	disconnect func() error // nil if the connection is the caller's
	attempts   attempts
	presence   presence
	groups     *grouping      // nil if the server aggregates nothing
	pending    sync.WaitGroup // what is to be on record before the server is down
}

// serving takes the configuration's hooks and puts its own in their place.
func (a *Audit) serving(cfg *asynq.Config) *serving {
	s := &serving{a: a, user: cfg.ErrorHandler, isFailure: cfg.IsFailure}
	s.attempts.by = map[place]*attempt{}
	s.attempts.swept = time.Now()
	if s.isFailure == nil {
		s.isFailure = func(err error) bool { return err != nil }
	}
	if cfg.GroupAggregator != nil {
		s.groups = &grouping{s: s, user: cfg.GroupAggregator, sets: map[string]*aggregation{}}
		cfg.GroupAggregator = s.groups
	}
	cfg.ErrorHandler = asynq.ErrorHandlerFunc(s.handleError)
	cfg.IsFailure = func(err error) bool {
		if _, ok := errors.AsType[*notRunError](err); ok {
			return false
		}
		return s.isFailure(err)
	}
	return s
}

// notRunError is what asynq gets for a task whose handler was not called: it
// is tried again and no attempt is counted.
type notRunError struct{ err error }

func (e *notRunError) Error() string { return "asynqaudit: the task was not run: " + e.err.Error() }
func (e *notRunError) Unwrap() error { return e.err }

func (s *serving) middleware(next asynq.Handler) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		at, err := s.begin(ctx, t)
		if err != nil {
			return err
		}
		jobCtx, stop := at.trail.KeepAlive(ctx)
		returned := false
		defer func() {
			if returned {
				return
			}
			if err := stop(); err != nil { // catching it would make asynq name this package as its place
				at.mu.Lock()
				at.unwound = err
				at.mu.Unlock()
			}
			at.returned(ctx, "did not return: it panicked, or ended its goroutine,")
		}()
		err = next.ProcessTask(jobCtx, t)
		returned = true
		denied := errors.Is(context.Cause(jobCtx), jobaudit.ErrDenied)
		_ = stop()
		if err == nil {
			at.returned(ctx, "returned without an error")
		} else {
			at.returned(ctx, "returned an error")
		}
		if denied {
			return fmt.Errorf("%w: %w", asynq.RevokeTask, jobaudit.ErrDenied)
		}
		return err
	})
}

// begin records that an attempt starts. Its error is what the middleware
// returns: the task must not run.
func (s *serving) begin(ctx context.Context, t *asynq.Task) (*attempt, error) {
	tk := task{typ: t.Type(), payload: t.Payload(), headers: t.Headers()}
	tk.queue, _ = asynq.GetQueueName(ctx)
	tk.id, _ = asynq.GetTaskID(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	at := &attempt{a: s.a, place: tk.place, number: retried + 1, ctx: ctx, over: make(chan struct{})}
	s.a.report(ctx, s.presence.refresh(context.WithoutCancel(ctx)))
	before, dead := s.attempts.put(at)
	for _, other := range dead {
		s.pending.Go(func() { s.resolve(ctx, other) })
	}
	if before != nil {
		before.abandon(ctx, errRedelivered)
		select {
		case <-before.over: // or its end would seem to be this one's
		case <-ctx.Done():
		}
	}
	trail, err := s.a.trail(ctx, tk)
	if err != nil {
		return nil, &notRunError{err}
	}
	at.mu.Lock()
	at.trail = trail
	at.mu.Unlock()
	return at, s.start(ctx, at)
}

// start records the start. The last attempt that a task has is not given back,
// since asynq would archive it: there it tries again until the task's time is
// up.
func (s *serving) start(ctx context.Context, at *attempt) error {
	retried := at.number - 1
	last, _ := asynq.GetMaxRetry(ctx)
	if retried > 0 {
		if past, err := s.a.logs.Past(ctx, at.trail.JobID()); err != nil {
			s.a.report(ctx, err)
		} else if past.Known && !past.Job.State.Terminal() {
			s.a.report(ctx, at.trail.Observe(past.Job))
		}
	}
	for {
		err := at.record(ctx, at.trail)
		switch {
		case err == nil:
			at.mu.Lock()
			at.started = true
			at.mu.Unlock()
			return nil
		case errors.Is(err, jobaudit.ErrDenied):
			return at.denied(err)
		case errors.Is(err, jobaudit.ErrClosed), retried < last:
			return &notRunError{err}
		}
		select {
		case <-ctx.Done():
			return &notRunError{err}
		case <-time.After(time.Second):
		}
	}
}

// denied returns what asynq gets for a job that may not run. A refusal is no
// attempt: the task leaves its queue, or is asked about again.
func (at *attempt) denied(err error) error {
	at.mu.Lock()
	defer at.mu.Unlock()
	at.settled = true
	if refusal, ok := errors.AsType[*jobaudit.AuditError](err); ok && refusal.AskAgain() {
		return &notRunError{err}
	}
	return fmt.Errorf("%w: %w", asynq.RevokeTask, err)
}

// handleError is called by asynq with every attempt that did not succeed, just
// before asynq acts on it, and with tasks that asynq does not give to any handler
// because their deadline has passed.
func (s *serving) handleError(ctx context.Context, t *asynq.Task, err error) {
	var p place
	p.queue, _ = asynq.GetQueueName(ctx)
	p.id, _ = asynq.GetTaskID(ctx)
	at := s.attempts.get(p)
	if at == nil || at.hasEnd() { // an attempt that did not come as far as the handler
		var beginErr error
		if at, beginErr = s.begin(context.WithoutCancel(ctx), t); beginErr != nil {
			s.a.report(ctx, beginErr)
		} else {
			at.trail.Log(ctx, "the handler was not called: "+err.Error())
		}
		at = s.attempts.get(p)
	}
	if at != nil {
		at.tell(err)
		if errors.Is(err, asynq.ErrLeaseExpired) { // asynq writes nothing then
			at.abandon(ctx, err)
			s.attempts.remove(at)
		}
		if trail := at.known().trail; trail != nil {
			ctx = trail.Context(ctx)
		}
	}
	if s.user != nil {
		s.user.HandleError(ctx, t, err)
	}
}

// see is called for every command that the server has sent to Redis.
func (s *serving) see(ctx context.Context, cmd redis.Cmder, err error) {
	if s.groups != nil && err == nil {
		s.groups.see(ctx, cmd)
	}
	v, ok := verdictOf(cmd)
	if !ok {
		return
	}
	at := s.attempts.get(v.place)
	if at == nil {
		return
	}
	if err == nil {
		s.conclude(ctx, at, v)
		return
	}
	reply, answered := errors.AsType[redis.Error](err)
	if answered && reply.Error() != notFound {
		return // the script is not known yet, or Redis refuses all
	}
	at.intend(v)
	if answered {
		s.resolve(ctx, at)
	}
}

// conclude records a verdict. The attempt is forgotten when that is done.
func (s *serving) conclude(ctx context.Context, at *attempt, v verdict) {
	at.conclude(ctx, v, &s.pending, func() { s.attempts.remove(at) })
}

// notFound is what asynq's scripts answer if the task is not active.
const notFound = "NOT FOUND"

// resolve ends an attempt of which no write was seen to succeed. asynq writes
// only while it holds the task's lease, and no other process moves the task
// meanwhile. So if the task is now where asynq was about to put it, a write was
// done whose answer got lost; the Redis client then sent it again, for which
// the task was not found. Otherwise asynq has lost its verdict: it keeps writes
// that failed, but for a context that has ended, and the task's lease expires.
func (s *serving) resolve(ctx context.Context, at *attempt) {
	v, intended := at.intention()
	if !intended {
		at.abandon(ctx, errNoVerdict)
		s.attempts.remove(at)
		return
	}
	info, gone, err := s.lookUp(at.place)
	switch {
	case err != nil: // it is not known yet; the reconciler finds out
		s.a.report(ctx, err)
		s.attempts.remove(at)
	case gone && v.fate == removed, !gone && v.fate.matches(info.State):
		s.conclude(ctx, at, v)
	default:
		at.abandon(ctx, errNoVerdict)
		s.attempts.remove(at)
	}
}

// How often a task is looked for if Redis does not answer, and how long it is
// waited in between. After an outage the Redis client repeats its last error
// for up to a second before it dials again.
const (
	lookups     = 5
	lookupPause = 500 * time.Millisecond
)

func (s *serving) lookUp(p place) (info *asynq.TaskInfo, gone bool, err error) {
	for range lookups {
		info, err = s.inspector.GetTaskInfo(p.queue, p.id)
		if err == nil || isGone(err) {
			return info, err != nil, nil
		}
		time.Sleep(lookupPause)
	}
	return nil, false, err
}

// isGone reports whether asynq says that it has no such task.
func isGone(err error) bool {
	return errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound)
}

// close ends the attempts on which asynq, now that it has shut down, will never
// say anything.
func (s *serving) close() {
	for _, at := range s.attempts.clear() {
		s.pending.Go(func() { s.resolve(context.Background(), at) })
	}
	s.pending.Wait()
	if s.disconnect != nil {
		s.a.report(context.Background(), s.disconnect())
		s.disconnect = nil
	}
}
