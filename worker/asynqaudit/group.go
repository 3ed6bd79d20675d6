package asynqaudit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// grouping records what becomes of tasks that asynq makes one of. asynq reads
// them as a set, has the aggregator make one task of them, enqueues that and
// deletes the set. If it does not come as far as that, the tasks go back into
// their group. So their jobs end when the set is seen to be deleted.
type grouping struct {
	s    *serving
	user asynq.GroupAggregator

	mu   sync.Mutex
	sets map[string]*aggregation // by asynq's key of the set
}

// aggregation is a set of tasks on its way to become one.
type aggregation struct {
	read    time.Time
	content string // what asynq read, headers included
	members []*jobaudit.Trail
	into    string // what the tasks have become, once it is known
}

// setLife is longer than asynq gives a set before it takes it apart.
const setLife = 10 * time.Minute

// see is called for every command that the server has run.
func (g *grouping) see(ctx context.Context, cmd redis.Cmder) {
	key, deleted := setOf(cmd)
	if key == "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !deleted {
		g.noteSet(key, cmd)
		return
	}
	if set := g.sets[key]; set != nil && set.into != "" {
		g.s.pending.Go(func() { g.end(context.WithoutCancel(ctx), set) })
	}
	delete(g.sets, key)
}

// noteSet notes what asynq has read. mu is held.
func (g *grouping) noteSet(key string, cmd redis.Cmder) {
	for other, set := range g.sets {
		if time.Since(set.read) > setLife {
			delete(g.sets, other)
		}
	}
	if reply, ok := cmd.(*redis.Cmd); ok {
		g.sets[key] = &aggregation{read: time.Now(), content: fmt.Sprint(reply.Val())}
	}
}

// setOf returns the key of the set that the command reads or deletes, by the
// keys that the script is to change:
//
//	ReadAggregationSet    g:GROUP:SET                   | prefix of tasks
//	DeleteAggregationSet  g:GROUP:SET aggregation_sets  | prefix of tasks
func setOf(cmd redis.Cmder) (key string, deleted bool) {
	args := cmd.Args()
	if !isScript(cmd) || len(args) < 5 {
		return "", false
	}
	n, _ := args[2].(int)
	if n != len(args)-4 || n != 1 && n != 2 {
		return "", false
	}
	key, _ = args[3].(string)
	tasks, _ := args[len(args)-1].(string)
	prefix, ok := strings.CutSuffix(tasks, "t:")
	if _, isQueue := queueOf(prefix); !ok || !isQueue || !strings.HasPrefix(key, prefix+"g:") {
		return "", false
	}
	return key, n == 2 && args[4] == prefix+"aggregation_sets"
}

// Aggregate is called by asynq. The task that the user's aggregator makes is
// submitted as a job before asynq enqueues it.
func (g *grouping) Aggregate(group string, tasks []*asynq.Task) *asynq.Task {
	ctx := context.Background()
	carriers, members := g.members(ctx, tasks)
	whole := g.user.Aggregate(group, tasks)
	if whole == nil {
		return nil
	}
	into := "a task of type " + whole.Type()
	delete(whole.Headers(), header) // if it is a member's
	if whole.Headers() != nil {
		reason := fmt.Sprintf("asynq made one task of %d in group %s", len(tasks), group)
		if trail, err := g.submit(ctx, whole, members, reason); err != nil {
			g.s.a.report(ctx, err)
		} else {
			into = "job " + trail.JobID().String()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, set := range g.sets {
		if set.into == "" && slices.ContainsFunc(carriers, func(c string) bool { return strings.Contains(set.content, c) }) {
			set.members, set.into = members, into
		}
	}
	return whole
}

// members returns what the headers of tasks hold, and opens the Trails of their
// jobs. Tasks that carry none are left out: the reconciler finds them gone.
func (g *grouping) members(ctx context.Context, tasks []*asynq.Task) (carriers []string, trails []*jobaudit.Trail) {
	for _, t := range tasks {
		carrier, ok := (task{headers: t.Headers()}).carrier()
		if !ok {
			continue
		}
		trail, err := g.s.a.rec.Resume(ctx, carrier, inputs(t.Payload()))
		if err != nil {
			g.s.a.report(ctx, err)
			continue
		}
		carriers, trails = append(carriers, t.Headers()[header]), append(trails, trail)
	}
	return carriers, trails
}

// submit records that one task is asked for in the place of others.
func (g *grouping) submit(ctx context.Context, whole *asynq.Task, members []*jobaudit.Trail, reason string) (*jobaudit.Trail, error) {
	s := jobaudit.Submission{
		ID: uuid.Must(uuid.NewV7()), Action: whole.Type(), Inputs: inputs(whole.Payload()), Principal: g.s.a.opts.Service,
		Trigger: jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: reason},
	}
	s.Queue = anywhere(s.ID)
	if err := g.inherit(ctx, &s, members); err != nil {
		return nil, err
	}
	trail, err := g.s.a.rec.Submit(ctx, s)
	if err != nil {
		if queue.Unsure(err) { // the task does not carry it
			g.s.a.withdrawals.Cancel(trail, "its submission could not be recorded in time", g.s.a.report)
		}
		return nil, err
	}
	whole.Headers()[header] = trail.Carrier().String()
	for some := range slices.Chunk(members, 20) {
		ids := make([]string, len(some))
		for i, m := range some {
			ids[i] = m.JobID().String()
		}
		trail.Log(ctx, "aggregated from jobs "+strings.Join(ids, ", "))
	}
	return trail, nil
}

// inherit gives a job that stands for others what the log says of them: on
// whose behalf each was asked for, and the tenant and the correlation, if all
// have the same.
func (g *grouping) inherit(ctx context.Context, s *jobaudit.Submission, members []*jobaudit.Trail) error {
	tenants, correlations := map[string]bool{}, map[uuid.UUID]bool{}
	for _, m := range members {
		past, err := g.s.a.logs.Past(ctx, m.JobID())
		if err != nil {
			return err
		}
		if past.Known {
			e := past.First.Event()
			tenants[e.Who.OrgID], correlations[e.CorrelationID] = true, true
			if !slices.Contains(s.OnBehalfOf, e.Who.Principal) {
				s.OnBehalfOf = append(s.OnBehalfOf, e.Who.Principal)
			}
		}
	}
	s.OrgID, s.CorrelationID = only(tenants), only(correlations)
	return nil
}

// only returns the one element of a set, the zero value if there are others.
func only[T comparable](set map[T]bool) (one T) {
	if len(set) == 1 {
		for one = range set {
		}
	}
	return one
}

// end records what became of the tasks of a set.
func (g *grouping) end(ctx context.Context, set *aggregation) {
	for _, trail := range set.members {
		g.s.a.report(ctx, trail.Cancel(ctx, "aggregated into "+set.into))
	}
}
