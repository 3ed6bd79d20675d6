package asynqaudit

import (
	"context"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// hook is called for every command that a Redis client has run, with what came of
// it. It implements redis.Hook.
type hook func(ctx context.Context, cmd redis.Cmder, err error)

func (hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		h(ctx, cmd, err)
		return err
	}
}

func (hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// isScript reports whether the command runs a script. All that asynq does to a
// task is one script each.
func isScript(cmd redis.Cmder) bool {
	name := cmd.Name()
	return name == "evalsha" || name == "eval"
}

// fate is what asynq has done with a task that was active.
type fate string

const (
	removed   fate = "removed"   // it succeeded, or was revoked
	completed fate = "completed" // it succeeded, and is retained
	requeued  fate = "requeued"  // it goes back as it was
	retried   fate = "retried"
	archived  fate = "archived"
)

// matches reports whether a task in the state may have come there by this fate.
func (f fate) matches(state asynq.TaskState) bool {
	switch state {
	case asynq.TaskStateCompleted:
		return f == completed
	case asynq.TaskStateArchived:
		return f == archived
	case asynq.TaskStateRetry:
		return f == retried
	case asynq.TaskStatePending:
		return f == retried || f == requeued
	}
	return false
}

// verdict is asynq's own word on an attempt: the one write to Redis by which it
// moves the task out of the active ones. There is no other place at which
// asynq says what became of a task that succeeded; what its handler returned is
// not it, see [Server].
type verdict struct {
	place
	fate    fate
	counted bool // as a failed attempt, of a retried one
}

// verdictOf reads a verdict from the script that carries it out, by the keys
// that the script is to change: asynq's layout of its data in Redis, which
// servers and clients of different releases share. The arguments begin with the
// task's ID.
//
//	Done            active lease t:ID processed…
//	MarkAsComplete  active lease completed t:ID …
//	Requeue         active lease pending t:ID
//	Retry           t:ID active lease retry …
//	Archive         t:ID active lease archived …
func verdictOf(cmd redis.Cmder) (verdict, bool) {
	args := cmd.Args()
	if !isScript(cmd) || len(args) < 4 {
		return verdict{}, false
	}
	n, ok := args[2].(int)
	if !ok || n < 3 || len(args) < 3+n+1 {
		return verdict{}, false
	}
	keys, args := args[3:3+n], args[3+n:]
	id, ok := args[0].(string)
	if !ok {
		return verdict{}, false
	}
	key := func(i int) string {
		if i >= len(keys) {
			return ""
		}
		s, _ := keys[i].(string)
		return s
	}
	prefix, ok := strings.CutSuffix(key(0), "active")
	if !ok {
		prefix, ok = strings.CutSuffix(key(1), "active")
	}
	queue, isQueue := queueOf(prefix)
	if !ok || !isQueue {
		return verdict{}, false
	}
	v := verdict{place: place{queue, id}}
	task := prefix + "t:" + id
	switch {
	case key(0) == prefix+"active" && key(1) == prefix+"lease" && key(2) == task:
		v.fate = removed
	case key(0) == prefix+"active" && key(2) == prefix+"completed" && key(3) == task:
		v.fate = completed
	case key(0) == prefix+"active" && key(2) == prefix+"pending" && key(3) == task:
		v.fate = requeued
	case key(0) == task && key(3) == prefix+"retry":
		v.fate = retried
		if len(args) > 4 {
			v.counted, _ = args[4].(bool)
		}
	case key(0) == task && key(3) == prefix+"archived":
		v.fate = archived
	default:
		return verdict{}, false
	}
	return v, true
}

// queueOf returns the queue whose keys begin with the prefix.
func queueOf(prefix string) (string, bool) {
	rest, begins := strings.CutPrefix(prefix, "asynq:{")
	queue, ends := strings.CutSuffix(rest, "}:")
	return queue, begins && ends
}
