package asynqaudit

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// Task is a task to be enqueued, and the job that it is. [NewTask] makes one.
type Task struct {
	Type    string
	Payload []byte
	// Headers are the caller's own. The adapter adds one, "jobaudit".
	Headers map[string]string
	Options []asynq.Option
	// Submission asks for the job: its principal and trigger are required. Its
	// Action is the task's type, and its Inputs are the payload, unless
	// they are set. Queue is set by the Client.
	Submission jobaudit.Submission
}

// NewTask returns a task, as asynq.NewTask does, and the job that it is.
func NewTask(s jobaudit.Submission, typename string, payload []byte, opts ...asynq.Option) *Task {
	return &Task{Type: typename, Payload: payload, Options: opts, Submission: s}
}

// Client enqueues tasks whose submission is recorded first. It is safe for
// concurrent use.
type Client struct {
	a         *Audit
	redis     redis.UniversalClient
	client    *asynq.Client
	inspector *asynq.Inspector
	shared    bool
}

// NewClient returns a Client, as asynq.NewClient does.
func (a *Audit) NewClient(r asynq.RedisConnOpt) *Client {
	c := a.NewClientFromRedisClient(makeRedisClient(r))
	c.shared = false
	return c
}

// NewClientFromRedisClient returns a Client, as asynq.NewClientFromRedisClient
// does. It adds a hook to c, which stays the caller's to close.
func (a *Audit) NewClientFromRedisClient(c redis.UniversalClient) *Client {
	c.AddHook(hook(noteReach))
	return &Client{
		a: a, redis: c, shared: true,
		client: asynq.NewClientFromRedisClient(c), inspector: asynq.NewInspectorFromRedisClient(c),
	}
}

func makeRedisClient(r asynq.RedisConnOpt) redis.UniversalClient {
	c, ok := r.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		panic(fmt.Sprintf("asynqaudit: unsupported RedisConnOpt type %T", r))
	}
	return c
}

// Close closes the connection to Redis, unless that is the caller's.
func (c *Client) Close() error {
	if c.shared {
		return nil
	}
	return c.redis.Close()
}

// Enqueue records that the job is asked for and, once that is durable, puts its
// task into its queue. Unless the options have one, the task's ID is the job's.
//
// If the submission cannot be recorded, nothing is enqueued; the error is an
// [*jobaudit.AuditError]. If it may be on record all the same, the job is cancelled,
// unless Submission.ID is set: it can be enqueued again then. All other errors are asynq's:
//
//   - asynq.ErrDuplicateTask and asynq.ErrTaskIDConflict: the job is recorded
//     as a duplicate of the one whose task is there. If that is the very same
//     job, because Submission.ID was enqueued before, its task is returned and
//     no error.
//   - If the task cannot have reached its queue, the job is recorded as
//     cancelled. If it may have, it stays pending and [Inspector.Reconcile]
//     tells: call Enqueue again with the same Submission.ID, or let it be.
func (c *Client) Enqueue(ctx context.Context, t *Task, opts ...asynq.Option) (*asynq.TaskInfo, error) {
	all := slices.Concat(t.Options, opts)
	s := t.Submission
	if s.ID == uuid.Nil {
		s.ID = uuid.Must(uuid.NewV7())
	}
	at := placed(all)
	if at.id == "" {
		at.id = s.ID.String()
		all = append(all, asynq.TaskID(at.id))
	}
	s.Queue = at.queueRef()
	if s.Action == "" {
		s.Action = t.Type
	}
	if s.Inputs == nil {
		s.Inputs = inputs(t.Payload)
	}
	trail, err := c.a.rec.Submit(ctx, s)
	if err != nil {
		if t.Submission.ID == uuid.Nil && queue.Unsure(err) { // nobody can ask for it again
			c.a.withdrawals.Cancel(trail, "the task was not enqueued, as its submission could not be recorded in time", c.a.report)
		}
		return nil, err
	}
	headers := make(map[string]string, len(t.Headers)+1)
	maps.Copy(headers, t.Headers)
	headers[header] = trail.Carrier().String()
	var reached reach
	info, err := c.client.EnqueueContext(context.WithValue(ctx, reachKey{}, &reached),
		asynq.NewTaskWithHeaders(t.Type, t.Payload, headers, all...))
	switch {
	case err == nil:
		return info, nil
	case errors.Is(err, asynq.ErrDuplicateTask):
		at.id, _ = c.redis.Get(ctx, uniqueKey(at.queue, t.Type, t.Payload)).Result()
		return c.duplicate(ctx, trail, at, err)
	case errors.Is(err, asynq.ErrTaskIDConflict):
		return c.duplicate(ctx, trail, at, err)
	case reached.never():
		return nil, errors.Join(err, trail.Cancel(ctx, "the task could not be enqueued: "+err.Error()))
	}
	return nil, err
}

// duplicate records that the job's task met another one, at the place.
func (c *Client) duplicate(ctx context.Context, trail *jobaudit.Trail, at place, err error) (*asynq.TaskInfo, error) {
	info, infoErr := c.inspector.GetTaskInfo(at.queue, at.id)
	if infoErr != nil { // it has just gone, or Redis has
		return nil, errors.Join(err, trail.Cancel(ctx, "an equal task was in the queue"))
	}
	existing := taskOf(info).adoptedID()
	if carrier, ok := taskOf(info).carrier(); ok {
		if holder, resumeErr := c.a.rec.Resume(ctx, carrier, nil); resumeErr == nil {
			existing = holder.JobID()
		}
	}
	if existing == trail.JobID() {
		return info, nil
	}
	return nil, errors.Join(err, trail.Deduplicate(ctx, existing))
}

// placed returns where the options put a task. The last one of a kind counts.
func placed(opts []asynq.Option) place {
	at := place{queue: "default"}
	for _, opt := range opts {
		switch opt.Type() {
		case asynq.QueueOpt:
			at.queue, _ = opt.Value().(string)
		case asynq.TaskIDOpt:
			at.id, _ = opt.Value().(string)
		}
	}
	return at
}

// uniqueKey is the key under which asynq keeps the ID of the task that holds
// the uniqueness lock.
func uniqueKey(queue, typename string, payload []byte) string {
	key := "asynq:{" + queue + "}:unique:" + typename + ":"
	if payload == nil {
		return key
	}
	sum := md5.Sum(payload)
	return key + hex.EncodeToString(sum[:])
}

// reach is how far an enqueue came.
type reach struct {
	sent bool  // the script that enqueues was sent
	err  error // and this came of it
}

type reachKey struct{}

func noteReach(ctx context.Context, cmd redis.Cmder, err error) {
	if r, ok := ctx.Value(reachKey{}).(*reach); ok && isScript(cmd) {
		r.sent, r.err = true, err
	}
}

// never reports whether the task cannot have come into its queue: it was not
// sent, or Redis has refused it. After a broken connection it is not known, nor
// after the answers upon which the Redis client tries again.
func (r *reach) never() bool {
	if !r.sent {
		return true
	}
	reply, ok := errors.AsType[redis.Error](r.err)
	return ok && !slices.ContainsFunc([]string{"LOADING ", "READONLY ", "CLUSTERDOWN ", "TRYAGAIN "},
		func(prefix string) bool { return strings.HasPrefix(reply.Error(), prefix) })
}
