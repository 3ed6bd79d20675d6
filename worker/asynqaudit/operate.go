package asynqaudit

import (
	"context"
	"fmt"

	"github.com/jobaudit/jobaudit"
)

// PauseQueue has no more tasks of the queue started.
func (i *Inspector) PauseQueue(ctx context.Context, by jobaudit.Submission, queue string) error {
	return i.act(ctx, by, "asynq-queue-pause", "asynq queue "+queue, func(context.Context, *jobaudit.Trail) error {
		return i.Inspector.PauseQueue(queue)
	})
}

// UnpauseQueue has tasks of a paused queue started again.
func (i *Inspector) UnpauseQueue(ctx context.Context, by jobaudit.Submission, queue string) error {
	return i.act(ctx, by, "asynq-queue-unpause", "asynq queue "+queue, func(context.Context, *jobaudit.Trail) error {
		return i.Inspector.UnpauseQueue(queue)
	})
}

// DeleteQueue deletes the queue, and, with force, the tasks in it that do not
// run.
func (i *Inspector) DeleteQueue(ctx context.Context, by jobaudit.Submission, queue string, force bool) error {
	return i.act(ctx, by, "asynq-queue-delete", "asynq queue "+queue, func(context.Context, *jobaudit.Trail) error {
		return i.Inspector.DeleteQueue(queue, force)
	})
}

// many does something to many tasks of a queue, and records how many they were.
func (i *Inspector) many(ctx context.Context, by jobaudit.Submission, action, queue, which string, do func() (int, error)) (n int, err error) {
	err = i.act(ctx, by, action, "asynq queue "+queue, func(_ context.Context, act *jobaudit.Trail) error {
		n, err = do()
		if act != nil {
			act.SetImpact(fmt.Sprintf("%d %s tasks", n, which))
		}
		return err
	})
	return n, err
}

// DeleteAllPendingTasks deletes the queue's pending tasks and returns how many they were.
func (i *Inspector) DeleteAllPendingTasks(ctx context.Context, by jobaudit.Submission, queue string) (int, error) {
	return i.many(ctx, by, "asynq-queue-drain", queue, "pending", func() (int, error) { return i.Inspector.DeleteAllPendingTasks(queue) })
}

// DeleteAllScheduledTasks deletes the queue's scheduled tasks and returns how many they were.
func (i *Inspector) DeleteAllScheduledTasks(ctx context.Context, by jobaudit.Submission, queue string) (int, error) {
	return i.many(ctx, by, "asynq-queue-drain", queue, "scheduled", func() (int, error) { return i.Inspector.DeleteAllScheduledTasks(queue) })
}

// DeleteAllRetryTasks deletes the queue's retry tasks and returns how many they were.
func (i *Inspector) DeleteAllRetryTasks(ctx context.Context, by jobaudit.Submission, queue string) (int, error) {
	return i.many(ctx, by, "asynq-queue-drain", queue, "retry", func() (int, error) { return i.Inspector.DeleteAllRetryTasks(queue) })
}

// DeleteAllArchivedTasks deletes the queue's archived tasks and returns how many they were.
func (i *Inspector) DeleteAllArchivedTasks(ctx context.Context, by jobaudit.Submission, queue string) (int, error) {
	return i.many(ctx, by, "asynq-queue-drain", queue, "archived", func() (int, error) { return i.Inspector.DeleteAllArchivedTasks(queue) })
}

// DeleteAllCompletedTasks deletes the queue's completed tasks and returns how many they were.
func (i *Inspector) DeleteAllCompletedTasks(ctx context.Context, by jobaudit.Submission, queue string) (int, error) {
	return i.many(ctx, by, "asynq-queue-drain", queue, "completed", func() (int, error) { return i.Inspector.DeleteAllCompletedTasks(queue) })
}

// DeleteAllAggregatingTasks deletes the aggregating tasks of a group and returns how many they were.
func (i *Inspector) DeleteAllAggregatingTasks(ctx context.Context, by jobaudit.Submission, queue, group string) (int, error) {
	return i.many(ctx, by, "asynq-queue-drain", queue, "aggregating", func() (int, error) { return i.Inspector.DeleteAllAggregatingTasks(queue, group) })
}

// ArchiveAllPendingTasks archives the queue's pending tasks and returns how many they were.
func (i *Inspector) ArchiveAllPendingTasks(ctx context.Context, by jobaudit.Submission, queue string) (int, error) {
	return i.many(ctx, by, "asynq-queue-archive", queue, "pending", func() (int, error) { return i.Inspector.ArchiveAllPendingTasks(queue) })
}

// ArchiveAllScheduledTasks archives the queue's scheduled tasks and returns how many they were.
func (i *Inspector) ArchiveAllScheduledTasks(ctx context.Context, by jobaudit.Submission, queue string) (int, error) {
	return i.many(ctx, by, "asynq-queue-archive", queue, "scheduled", func() (int, error) { return i.Inspector.ArchiveAllScheduledTasks(queue) })
}

// ArchiveAllRetryTasks archives the queue's retry tasks and returns how many they were.
func (i *Inspector) ArchiveAllRetryTasks(ctx context.Context, by jobaudit.Submission, queue string) (int, error) {
	return i.many(ctx, by, "asynq-queue-archive", queue, "retry", func() (int, error) { return i.Inspector.ArchiveAllRetryTasks(queue) })
}

// ArchiveAllAggregatingTasks archives the aggregating tasks of a group and returns how many they were.
func (i *Inspector) ArchiveAllAggregatingTasks(ctx context.Context, by jobaudit.Submission, queue, group string) (int, error) {
	return i.many(ctx, by, "asynq-queue-archive", queue, "aggregating", func() (int, error) { return i.Inspector.ArchiveAllAggregatingTasks(queue, group) })
}

// RunAllScheduledTasks has asynq run the queue's scheduled tasks now and returns how many they were.
func (i *Inspector) RunAllScheduledTasks(ctx context.Context, by jobaudit.Submission, queue string) (int, error) {
	return i.many(ctx, by, "asynq-queue-run", queue, "scheduled", func() (int, error) { return i.Inspector.RunAllScheduledTasks(queue) })
}

// RunAllRetryTasks has asynq run the queue's retry tasks now and returns how many they were.
func (i *Inspector) RunAllRetryTasks(ctx context.Context, by jobaudit.Submission, queue string) (int, error) {
	return i.many(ctx, by, "asynq-queue-run", queue, "retry", func() (int, error) { return i.Inspector.RunAllRetryTasks(queue) })
}

// RunAllArchivedTasks has asynq run the queue's archived tasks now and returns how many they were.
func (i *Inspector) RunAllArchivedTasks(ctx context.Context, by jobaudit.Submission, queue string) (int, error) {
	return i.many(ctx, by, "asynq-queue-run", queue, "archived", func() (int, error) { return i.Inspector.RunAllArchivedTasks(queue) })
}

// RunAllAggregatingTasks has asynq run the aggregating tasks of a group now and returns how many they were.
func (i *Inspector) RunAllAggregatingTasks(ctx context.Context, by jobaudit.Submission, queue, group string) (int, error) {
	return i.many(ctx, by, "asynq-queue-run", queue, "aggregating", func() (int, error) { return i.Inspector.RunAllAggregatingTasks(queue, group) })
}
