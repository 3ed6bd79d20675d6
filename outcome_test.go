package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// endless unwraps to itself.
type endless struct{}

func (e *endless) Error() string { return "endless" }
func (e *endless) Unwrap() error { return e }

// bush unwraps to itself, twice: nobody could visit its leaves.
type bush struct{ depth int }

func (b *bush) Error() string { return "bush" }
func (b *bush) Unwrap() []error {
	if b.depth == 0 {
		return nil
	}
	return []error{&bush{b.depth - 1}, &bush{b.depth - 1}}
}

type withCode struct{ error }

func (withCode) JobErrorCode() string { return "MINE" }
func (c withCode) Unwrap() error      { return c.error }

func wrapped(err error, times int) error {
	for range times {
		err = fmt.Errorf("again: %w", err)
	}
	return err
}

// Whatever an error unwraps to, Run returns it, and its outcome is stored.
func TestAnErrorWithoutAnEndHasItsOutcome(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		code jobaudit.ErrorCode
	}{
		"unwraps to itself":      {&endless{}, jobaudit.CodeError},
		"wrapped endless":        {wrapped(&endless{}, 5), jobaudit.CodeError},
		"a code before the end":  {withCode{&endless{}}, "MINE"},
		"a tree of 2^24 leaves":  {&bush{24}, jobaudit.CodeError},
		"a code behind the tree": {errors.Join(&bush{24}, withCode{errWork}), jobaudit.CodeError},
		"a code in the tree":     {errors.Join(errWork, withCode{&bush{24}}), "MINE"},
		"a deadline deep down":   {wrapped(context.DeadlineExceeded, 90), jobaudit.CodeTimeout},
		"too deep":               {wrapped(context.DeadlineExceeded, 200), jobaudit.CodeError},
	} {
		t.Run(name, func(t *testing.T) {
			store := memsink.New(nil)
			rec := open(t, store, nil)
			id, err := run(t.Context(), rec, func(context.Context) error { return test.err })
			require.True(t, err == test.err)
			require.Equal(t, test.code, jobOf(t, store, id).Error.Code)
			require.NotEmpty(t, jobOf(t, store, id).Error.Type)
		})
	}
}

// A sink whose error cannot be unwrapped is a sink that failed.
func TestASinksErrorWithoutAnEndHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, failure := range []error{&endless{}, &bush{24}, wrapped(errWork, 200)} {
			store := memsink.New(nil)
			down := true
			rec := open(t, appendFunc(func(ctx context.Context, records []jobaudit.Record) error {
				if down && records[0].JobID() != uuid.Nil {
					return failure
				}
				return store.Append(ctx, records)
			}), &jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) {}})
			_, err := rec.Submit(t.Context(), submission())
			require.ErrorContains(t, err, failure.Error()[:4])
			down = false
			_, err = rec.Submit(t.Context(), submission())
			require.NoError(t, err)
			require.NoError(t, rec.Close(t.Context()))
		}
	})
}

type appendFunc func(context.Context, []jobaudit.Record) error

func (f appendFunc) Append(ctx context.Context, records []jobaudit.Record) error {
	return f(ctx, records)
}

// An Authorize that does not answer in time holds up nobody, and its yes comes
// too late.
func TestALateYesDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		rec := open(t, store, &jobaudit.Options{
			Timeout: 300 * time.Millisecond,
			Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
				time.Sleep(3 * time.Second)
				return jobaudit.Decision{Allowed: true, By: "slow"}, nil
			},
		})
		began := time.Now()
		id, err := run(t.Context(), rec, func(context.Context) error { t.Error("it ran"); return nil })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(began), time.Second)
		time.Sleep(time.Minute)
		require.NoError(t, rec.Close(t.Context()))
		j := jobOf(t, store, id)
		require.Equal(t, jobaudit.Cancelled, j.State)
		require.Equal(t, jobaudit.CodeNotRun, j.Error.Code)
		require.Contains(t, j.Error.Message, "whether the job may start could not be decided")
		require.Empty(t, of(store.Trail(id), jobaudit.JobAuthorized))
	})
}

// A decision says what decided, or that this was not said. "none" is what nothing
// decided.
func TestADecisionWithoutADeciderIsNotNone(t *testing.T) {
	for name, test := range map[string]struct {
		authorize func(context.Context, jobaudit.Submission) (jobaudit.Decision, error)
		want      string
	}{
		"nothing decides": {nil, "none"},
		"it says no name": {func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{Allowed: true}, nil
		}, "unnamed"},
		"it says its name": {func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{Allowed: true, By: "opa"}, nil
		}, "opa"},
	} {
		t.Run(name, func(t *testing.T) {
			store := memsink.New(nil)
			rec := open(t, store, &jobaudit.Options{Authorize: test.authorize})
			id, err := run(t.Context(), rec, func(context.Context) error { return nil })
			require.NoError(t, err)
			require.Equal(t, test.want, of(store.Trail(id), jobaudit.JobAuthorized)[0].Data.Decision.By)
		})
	}
}

// What happens after a function has said how it ended leaves a trace.
func TestWhatFollowsAnEndLeavesATrace(t *testing.T) {
	other := errors.New("something else")
	for name, test := range map[string]struct {
		fn   func(context.Context, *jobaudit.Trail) error
		code jobaudit.ErrorCode // "" if there is nothing to tell
	}{
		"success": {func(ctx context.Context, tr *jobaudit.Trail) error { return tr.Succeed(ctx) }, ""},
		"an error after Succeed": {func(ctx context.Context, tr *jobaudit.Trail) error {
			_ = tr.Succeed(ctx)
			return other
		}, jobaudit.CodeError},
		"a panic after Succeed": {func(ctx context.Context, tr *jobaudit.Trail) error {
			_ = tr.Succeed(ctx)
			panic(42)
		}, jobaudit.CodePanic},
		"the error of Retrying": {func(ctx context.Context, tr *jobaudit.Trail) error {
			tr.Retrying(ctx, errWork)
			return errWork
		}, ""},
		"another error after Retrying": {func(ctx context.Context, tr *jobaudit.Trail) error {
			tr.Retrying(ctx, errWork)
			return other
		}, jobaudit.CodeError},
		"a panic after Retrying": {func(ctx context.Context, tr *jobaudit.Trail) error {
			tr.Retrying(ctx, errWork)
			panic(42)
		}, jobaudit.CodePanic},
		"the error of Fail": {func(ctx context.Context, tr *jobaudit.Trail) error {
			_ = tr.Fail(ctx, errWork)
			return errWork
		}, ""},
		"a snooze": {func(ctx context.Context, tr *jobaudit.Trail) error {
			tr.Deferring(ctx, "later")
			return other
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			store := memsink.New(nil)
			rec := open(t, store, nil)
			var id uuid.UUID
			func() {
				defer func() { _ = recover() }()
				id, _ = run(t.Context(), rec, func(ctx context.Context) error {
					id = trail(ctx).JobID()
					return test.fn(ctx, trail(ctx))
				})
			}()
			require.NoError(t, rec.Close(t.Context()))
			late := of(store.Trail(id), jobaudit.AttemptLate)
			if test.code == "" {
				require.Empty(t, late)
				return
			}
			require.Len(t, late, 1)
			require.Equal(t, test.code, late[0].Data.Error.Code)
		})
	}
}

func TestCancelAfterSkipIsAnError(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, nil)
	tr, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	require.NoError(t, tr.Skip(t.Context(), "the run before it has not ended"))
	require.NoError(t, tr.Skip(t.Context(), "again: nothing new"))
	require.ErrorIs(t, tr.Cancel(t.Context(), "no"), jobaudit.ErrTransition)
}

// The lines of one job do not push the end of another's attempt out.
func TestTheEndOfAnAttemptHasRoomOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		var down atomic.Bool
		rec := open(t, appendFunc(func(ctx context.Context, records []jobaudit.Record) error {
			if down.Load() {
				return errWork
			}
			return store.Append(ctx, records)
		}), &jobaudit.Options{Buffer: 500, OnError: func(context.Context, *jobaudit.AuditError) {}})
		noisy, modest := begun(t, rec), begun(t, rec)
		down.Store(true)
		for range 501 {
			noisy.Log(t.Context(), strings.Repeat("line ", 20))
		}
		noisy.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "a", Digest: "b"})
		noisy.Retrying(t.Context(), errWork)
		modest.Log(t.Context(), "one line")
		modest.Retrying(t.Context(), errWork)
		down.Store(false)
		require.NoError(t, rec.Close(t.Context()))
		for _, tr := range []*jobaudit.Trail{noisy, modest} {
			require.Len(t, of(store.Trail(tr.JobID()), jobaudit.AttemptFailed), 1)
			require.NotZero(t, jobOf(t, store, tr.JobID()).Executions[0].End)
		}
		require.Len(t, of(store.Trail(noisy.JobID()), jobaudit.JobSnapshot), 1)
		require.Len(t, of(store.Trail(modest.JobID()), jobaudit.JobLogged), 1)
		require.Len(t, of(store.Trail(noisy.JobID()), jobaudit.AuditLost), 1)
	})
}

// Who cancelled a job is not to be lost because it was cancelled before.
func TestACancellationBySomebodyElseIsNoRepetition(t *testing.T) {
	operator, other := jobaudit.Principal{Kind: jobaudit.User, ID: "operator"}, jobaudit.Principal{Kind: jobaudit.User, ID: "other"}
	ways := map[string]func(*jobaudit.Trail) error{
		"the job":  func(tr *jobaudit.Trail) error { return tr.Cancel(t.Context(), "told to stop") },
		"operator": func(tr *jobaudit.Trail) error { return tr.CancelBy(t.Context(), operator, "it does harm") },
		"other":    func(tr *jobaudit.Trail) error { return tr.CancelBy(t.Context(), other, "it does harm") },
	}
	for first, one := range ways {
		for second, two := range ways {
			store := memsink.New(nil)
			tr := begun(t, open(t, store, nil))
			require.NoError(t, one(tr))
			if first == second {
				require.NoError(t, two(tr))
			} else {
				require.ErrorIs(t, two(tr), jobaudit.ErrTransition, "%s, then %s", first, second)
			}
			require.Len(t, of(events(t, store), jobaudit.JobCancelled), 1)
		}
	}
	tr, err := open(t, memsink.New(nil), nil).Submit(t.Context(), submission())
	require.NoError(t, err)
	existing := uuid.New()
	require.NoError(t, tr.Deduplicate(t.Context(), existing))
	require.NoError(t, tr.Deduplicate(t.Context(), existing))
	require.ErrorIs(t, tr.Deduplicate(t.Context(), uuid.New()), jobaudit.ErrTransition)
}
