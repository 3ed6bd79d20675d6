package gocronaudit_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

const (
	drops  = gocron.LimitModeReschedule
	queues = gocron.LimitModeWait
)

// Not longer than one run: behind it gocron may fire twice for the same minute.
func TestATickThatASingletonDropsNamesTheRun(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		r.everyMinute(slow, gocron.WithSingletonMode(drops))
		r.scheduler.Start()
		r.minutes(3)
		r.stop()
		require.Equal(r, []string{"success", "cancelled SKIPPED", "cancelled SKIPPED"}, r.states())
		jobs := r.jobs()
		for _, skipped := range jobs[1:] {
			require.Equal(r, "its scheduler runs it once at a time; job "+jobs[0].ID.String()+" was still running", skipped.Error.Message)
			require.True(r, skipped.StartedAt.IsZero())
		}
	})
}

func TestATickThatASingletonQueuesRuns(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		r.everyMinute(slow, gocron.WithSingletonMode(queues))
		r.scheduler.Start()
		r.minutes(5)
		r.stop()
		require.Equal(r, []string{"success", "success"}, r.states(), "those that still wait at the end leave no record")
		jobs := r.jobs()
		require.Equal(r, jobs[0].CompletedAt, jobs[1].CreatedAt, "the record begins when gocron calls the task")
	})
}

func TestATickBeyondTheLimitIsDropped(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		r.everyMinute(slow)
		r.scheduler.Start()
		r.minutes(3)
		r.stop()
		require.Equal(r, []string{"success", "success", "cancelled SKIPPED"}, r.states())
		require.Equal(r, "its scheduler runs no more jobs at the same time", r.jobs()[2].Error.Message)
	}, gocron.WithLimitConcurrentJobs(2, drops))
}

func TestATickBeyondTheLimitThatWaitsRuns(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		r.everyMinute(slow)
		r.scheduler.Start()
		r.minutes(6)
		r.stop()
		require.Equal(r, []string{"success", "success"}, r.states()[:2])
		jobs := r.jobs()
		require.Equal(r, jobs[0].CompletedAt, jobs[1].CreatedAt)
	}, gocron.WithLimitConcurrentJobs(1, queues))
}

// A limit of gocron's, as the package documentation says: should it fail one
// day, the tick can be on record.
func TestGocronTellsNobodyOfASingletonsTickUnderALimitWithRoom(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		r.everyMinute(slow, gocron.WithSingletonMode(drops))
		r.scheduler.Start()
		r.minutes(2)
		r.stop()
		require.Equal(r, []string{"success"}, r.states())
	}, gocron.WithLimitConcurrentJobs(2, drops))
}

// locker is a lock that several schedulers share.
type locker struct {
	mu    sync.Mutex
	taken bool
	key   string
}

var errTaken = errors.New("somebody else has it")

func (l *locker) Lock(_ context.Context, key string) (gocron.Lock, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken {
		return nil, errTaken
	}
	l.taken, l.key = true, key
	return l, nil
}

func (l *locker) Unlock(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = false
	return nil
}

func TestOfSeveralSchedulersOneRunsTheTickAndTheOthersHaveNoLock(t *testing.T) {
	shared := &locker{}
	for name, options := range map[string]struct {
		scheduler gocron.SchedulerOption
		job       gocron.JobOption
	}{
		"the scheduler's lock": {gocron.WithDistributedLocker(shared), gocron.WithTags()},
		"the job's lock":       {gocron.WithLocation(time.UTC), gocron.WithDistributedJobLocker(shared)},
	} {
		t.Run(name, func(t *testing.T) {
			inFakeTime(t, func(r *rig) {
				other, err := gocron.NewScheduler(r.audit.SchedulerOption(), options.scheduler)
				require.NoError(r, err)
				task, option := r.audit.Job(submission, slow)
				job, err := other.NewJob(gocron.DurationJob(time.Minute), task, option, options.job)
				require.NoError(r, err)
				r.everyMinute(slow, options.job)
				r.scheduler.Start()
				other.Start()
				r.minutes(1)
				require.NoError(r, other.RemoveJob(job.ID()))
				r.stop()
				require.NoError(r, other.Shutdown())
				require.ElementsMatch(r, []string{"success", "cancelled SKIPPED"}, r.states())
				require.Contains(r, shared.key, "gocronaudit_test.slow", "the lock's key is the function's name")
				for _, job := range r.jobs() {
					if job.State == jobaudit.Cancelled {
						require.Equal(r, "this instance has no lock: somebody else has it", job.Error.Message)
					}
				}
			}, options.scheduler)
		})
	}
}

func TestALockIsNotClaimedToBeTheReasonWhereAListenerOfTheProgramsOwnHearsOfIt(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		var told []error
		r.everyMinute(nothing, gocron.WithEventListeners(
			gocron.AfterLockError(func(_ uuid.UUID, _ string, err error) { told = append(told, err) })))
		r.scheduler.Start()
		r.minutes(1)
		r.stop()
		require.Equal(r, []string{"cancelled SKIPPED"}, r.states())
		require.Equal(r, "this instance does not lead, or has no lock", r.jobs()[0].Error.Message)
		require.Equal(r, []error{errTaken}, told)
	}, gocron.WithDistributedLocker(&locker{taken: true}))
}

// elector lets its scheduler lead, or not.
type elector struct{ leads atomic.Bool }

func (e *elector) IsLeader(context.Context) error {
	if !e.leads.Load() {
		return errors.New("another instance leads")
	}
	return nil
}

func TestATickOfAnInstanceThatDoesNotLeadIsPassedOver(t *testing.T) {
	election := &elector{}
	inFakeTime(t, func(r *rig) {
		r.everyMinute(nothing)
		r.scheduler.Start()
		r.minutes(1)
		election.leads.Store(true)
		r.minutes(1)
		r.stop()
		require.Equal(r, []string{"cancelled SKIPPED", "success"}, r.states())
		require.Equal(r, "this instance does not lead, or has no lock", r.jobs()[0].Error.Message)
	}, gocron.WithDistributedElector(election))
}

// problems is an error that cannot be compared.
type problems []error

func (p problems) Error() string { return errors.Join(p...).Error() }

func TestATickThatAListenerRefusesIsToldFromARunThatFails(t *testing.T) {
	for _, failure := range []error{errFull, problems{errFull}} {
		inFakeTime(t, func(r *rig) {
			tick := 0
			r.everyMinute(func(context.Context) error {
				<-time.After(90 * time.Second) // while the next tick is refused
				return failure
			}, gocron.WithEventListeners(gocron.BeforeJobRunsSkipIfBeforeFuncErrors(func(uuid.UUID, string) error {
				if tick++; tick%2 == 0 {
					return errors.New("not on a Sunday")
				}
				return nil
			})))
			r.scheduler.Start()
			r.minutes(2)
			<-time.After(45 * time.Second) // and fails
			r.stop()
			require.Equal(r, []string{"failed ERROR", "cancelled SKIPPED"}, r.states())
			require.Equal(r, "refused before it ran: not on a Sunday", r.jobs()[1].Error.Message)
		})
	}
}

// gocron removes a job whose last tick is over before it says that the tick was
// skipped.
func TestTheLastTickBeforeTheStopTimeIsOnRecordThoughItIsSkipped(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		r.everyMinute(nothing, gocron.WithStopAt(gocron.WithStopDateTime(time.Now().Add(90*time.Second))))
		r.scheduler.Start()
		r.minutes(3)
		require.Empty(r, r.scheduler.Jobs())
		r.stop()
		require.Equal(r, []string{"cancelled SKIPPED"}, r.states())
	}, gocron.WithDistributedElector(&elector{}))
}

func TestJobsWithoutAnAuditAreLeftAlone(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		_, err := r.scheduler.NewJob(gocron.DurationJob(time.Minute), gocron.NewTask(nothing))
		require.NoError(r, err)
		r.scheduler.Start()
		r.minutes(1)
		r.stop()
		require.Empty(r, r.sink.Jobs())
	}, gocron.WithDistributedElector(&elector{}))
}
