package jobaudit_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// However many attempts have ended while the sink took nothing, who is refused
// then is told apart from who may go on.
func TestARefusalHasRoomWhenTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		sink := faultsink.New(store)
		var told complaints
		rec := open(t, sink, &jobaudit.Options{OnError: told.add, Heartbeat: -1})
		pending, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		other, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		var revoked *jobaudit.Trail
		_, _ = run(t.Context(), rec, func(ctx context.Context) error {
			revoked = trail(ctx)
			sink.Set(faultsink.Rule{Fault: faultsink.Fail})
			jobaudit.TakeRoom(t, rec, delivery.Reserved)
			other.Retrying(ctx, errWork)
			require.ErrorIs(t, told.all()[len(told.all())-1], delivery.ErrFull)
			require.ErrorIs(t, revoked.Deny(t.Context(), jobaudit.Decision{By: "ops"}), context.DeadlineExceeded)
			require.ErrorIs(t, context.Cause(ctx), jobaudit.ErrDenied)
			require.ErrorIs(t, pending.Deny(t.Context(), jobaudit.Decision{By: "ops"}), context.DeadlineExceeded)
			sink.Set()
			return ctx.Err()
		})
		require.NoError(t, rec.Close(t.Context()))
		for _, tr := range []*jobaudit.Trail{pending, revoked} {
			j := jobOf(t, store, tr.JobID())
			require.Equal(t, jobaudit.Cancelled, j.State)
			require.Equal(t, jobaudit.CodeForbidden, j.Error.Code)
			require.Len(t, of(store.Trail(tr.JobID()), jobaudit.JobDenied), 1)
		}
		events(t, store)
	})
}

// unrecordable are the reasons why a refusal may not even be queued. Each returns
// once no event of the job can.
var unrecordable = map[string]func(t *testing.T, rec *jobaudit.Recorder, sink *faultsink.Sink, tr *jobaudit.Trail){
	"no room": func(t *testing.T, rec *jobaudit.Recorder, sink *faultsink.Sink, _ *jobaudit.Trail) {
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
		jobaudit.TakeRoom(t, rec, delivery.JobRefused)
	},
	"the recorder is closed": func(t *testing.T, rec *jobaudit.Recorder, _ *faultsink.Sink, _ *jobaudit.Trail) {
		require.NoError(t, rec.Close(t.Context()))
	},
	"the sink refuses the stream": func(t *testing.T, _ *jobaudit.Recorder, sink *faultsink.Sink, tr *jobaudit.Trail) {
		sink.Set(faultsink.Rule{Fault: faultsink.Fail, Err: &jobaudit.RecordError{Err: errWork}})
		tr.Log(t.Context(), "a line")
		require.Error(t, tr.Flush(t.Context()))
	},
}

func TestARefusalThatCannotBeRecordedStopsTheJobAllTheSame(t *testing.T) {
	for why, prevent := range unrecordable {
		for _, asked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, asked %v", why, asked), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := memsink.New(nil)
					sink := faultsink.New(store)
					var told complaints
					var mu sync.Mutex
					allowed := true
					rec := open(t, sink, &jobaudit.Options{
						OnError: told.add, Heartbeat: time.Hour, Reauthorize: true,
						Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
							mu.Lock()
							defer mu.Unlock()
							return jobaudit.Decision{Allowed: allowed, By: "opa"}, nil
						},
					})
					id, err := run(t.Context(), rec, func(ctx context.Context) error {
						prevent(t, rec, sink, trail(ctx))
						if asked {
							mu.Lock()
							allowed = false
							mu.Unlock()
						} else {
							require.Error(t, trail(ctx).Deny(t.Context(), jobaudit.Decision{By: "ops"}))
						}
						select {
						case <-ctx.Done():
						case <-time.After(24 * time.Hour):
							t.Error("it runs on")
						}
						require.ErrorIs(t, context.Cause(ctx), jobaudit.ErrDenied)
						return ctx.Err()
					})
					require.ErrorIs(t, err, context.Canceled)
					require.NotEmpty(t, told.all())
					sink.Set()
					_ = rec.Close(t.Context())
					if why == "no room" {
						lost := of(store.Trail(id), jobaudit.AuditLost)
						require.Len(t, lost, 1)
						require.Equal(t, []jobaudit.EventType{jobaudit.JobDenied}, lost[0].Data.Lost.Types)
						require.Equal(t, jobaudit.CodeForbidden, jobOf(t, store, id).Error.Code)
					}
				})
			})
		}
	}
}

func TestAJobWhoseRefusalCannotBeRecordedDoesNotStart(t *testing.T) {
	for why, prevent := range unrecordable {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := faultsink.New(memsink.New(nil))
				var told complaints
				rec := open(t, sink, &jobaudit.Options{OnError: told.add, Heartbeat: -1})
				tr, err := rec.Submit(t.Context(), submission())
				require.NoError(t, err)
				prevent(t, rec, sink, tr)
				require.Error(t, tr.Deny(t.Context(), jobaudit.Decision{By: "ops"}))
				sink.Set()
				time.Sleep(time.Minute)
				if why == "no room" {
					require.ErrorIs(t, tr.Start(t.Context(), jobaudit.Execution{}), jobaudit.ErrDenied)
					require.NoError(t, tr.Deny(t.Context(), jobaudit.Decision{By: "ops"}), "it can be recorded once there is room")
				}
				require.Error(t, tr.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { t.Error("it ran"); return nil }))
				_ = rec.Close(t.Context())
			})
		})
	}
}

// What a refusal says of itself does not weaken it.
func TestARefusalIsRecordedWhateverItSays(t *testing.T) {
	const secret = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
	said := []string{"opa\n", "\x00", "\xff", "\u202eopa", strings.Repeat("p", 257), strings.Repeat("é", 200), " ", "", "\u200b", secret, secret + "\n"}
	for i, by := range said {
		for j, permission := range said {
			if by != "" && permission != "" && by != permission {
				continue
			}
			refusal := jobaudit.Decision{By: by, Permission: permission, Reason: "no"}
			for name, refuse := range map[string]func(t *testing.T, rec *jobaudit.Recorder, refused chan<- struct{}) (uuid.UUID, error){
				"at the start": func(t *testing.T, rec *jobaudit.Recorder, refused chan<- struct{}) (uuid.UUID, error) {
					close(refused)
					return run(t.Context(), rec, func(context.Context) error { t.Error("it ran"); return nil })
				},
				"at a heartbeat": func(t *testing.T, rec *jobaudit.Recorder, refused chan<- struct{}) (uuid.UUID, error) {
					return run(t.Context(), rec, func(ctx context.Context) error {
						close(refused)
						select {
						case <-ctx.Done():
						case <-time.After(time.Hour):
							t.Error("it runs on")
						}
						return context.Cause(ctx)
					})
				},
				"while it runs": func(t *testing.T, rec *jobaudit.Recorder, _ chan<- struct{}) (uuid.UUID, error) {
					return run(t.Context(), rec, func(ctx context.Context) error {
						require.NoError(t, trail(ctx).Authorize(ctx, refusal))
						return context.Cause(ctx)
					})
				},
				"before it starts": func(t *testing.T, rec *jobaudit.Recorder, _ chan<- struct{}) (uuid.UUID, error) {
					tr, err := rec.Submit(t.Context(), submission())
					require.NoError(t, err)
					require.NoError(t, tr.Deny(t.Context(), refusal))
					return tr.JobID(), tr.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { t.Error("it ran"); return nil })
				},
			} {
				t.Run(fmt.Sprintf("by %d, permission %d, %s", i, j, name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						store := memsink.New(nil)
						refused := make(chan struct{})
						rec := open(t, store, &jobaudit.Options{
							Reauthorize: true,
							Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
								select {
								case <-refused:
									return refusal, nil
								default:
									return jobaudit.Decision{Allowed: true, By: "opa"}, nil
								}
							},
						})
						id, err := refuse(t, rec, refused)
						require.ErrorIs(t, err, jobaudit.ErrDenied)
						require.NoError(t, rec.Close(t.Context()))
						j := jobOf(t, store, id)
						require.Equal(t, jobaudit.Cancelled, j.State)
						require.Equal(t, jobaudit.CodeForbidden, j.Error.Code)
						denied := of(store.Trail(id), jobaudit.JobDenied)
						require.Len(t, denied, 1)
						require.NotEmpty(t, denied[0].Data.Decision.By)
						require.Equal(t, "no", denied[0].Data.Decision.Reason)
						store.ExpectAbsent(t, secret)
					})
				})
			}
		}
	}
}

// A job that runs cannot be put off: who says no to it revokes it.
func TestARunningJobIsRevokedThoughItMayBeAskedAboutAgain(t *testing.T) {
	later := jobaudit.Decision{By: "ops", Reason: "not now", AskAgain: true}
	for name, refuse := range map[string]func(context.Context, *jobaudit.Trail) error{
		"Deny":      func(ctx context.Context, tr *jobaudit.Trail) error { return tr.Deny(ctx, later) },
		"Authorize": func(ctx context.Context, tr *jobaudit.Trail) error { return tr.Authorize(ctx, later) },
	} {
		for how, begin := range map[string]func(*testing.T, *jobaudit.Trail) (end func() error){
			"in Run": func(t *testing.T, tr *jobaudit.Trail) func() error {
				running, ended := make(chan struct{}), make(chan error)
				go func() {
					ended <- tr.Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
						close(running)
						<-ctx.Done()
						return context.Cause(ctx)
					})
				}()
				<-running
				return func() error { return <-ended }
			},
			"kept alive": func(t *testing.T, tr *jobaudit.Trail) func() error {
				require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}))
				ctx, stop := tr.KeepAlive(t.Context())
				return func() error {
					<-ctx.Done()
					require.NoError(t, stop())
					require.NoError(t, tr.Cancel(t.Context(), "it was revoked"))
					return context.Cause(ctx)
				}
			},
			"started": func(t *testing.T, tr *jobaudit.Trail) func() error {
				require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}))
				return func() error {
					err := tr.Start(t.Context(), jobaudit.Execution{})
					require.NoError(t, tr.Cancel(t.Context(), "it was revoked"))
					return err
				}
			},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := memsink.New(nil)
					rec := open(t, store, &jobaudit.Options{Heartbeat: -1})
					tr, err := rec.Submit(t.Context(), submission())
					require.NoError(t, err)
					end := begin(t, tr)
					require.NoError(t, refuse(t.Context(), tr))
					require.ErrorIs(t, end(), jobaudit.ErrDenied)
					require.NoError(t, rec.Close(t.Context()))
					require.Empty(t, of(store.Trail(tr.JobID()), jobaudit.AttemptDeferred))
					denied := of(store.Trail(tr.JobID()), jobaudit.JobDenied)
					require.Len(t, denied, 1)
					require.Equal(t, "not now", denied[0].Data.Decision.Reason)
					j := jobOf(t, store, tr.JobID())
					require.Equal(t, jobaudit.Cancelled, j.State)
					require.Equal(t, jobaudit.CodeForbidden, j.Error.Code)
				})
			})
		}
	}
}

// What another process has left running does not keep a start from being put off.
func TestAStartBehindALostExecutionCanBePutOff(t *testing.T) {
	store := memsink.New(nil)
	lost := open(t, store, nil)
	first, err := lost.Submit(t.Context(), submission())
	require.NoError(t, err)
	require.NoError(t, first.Start(t.Context(), jobaudit.Execution{}))
	rec := open(t, store, &jobaudit.Options{Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
		return jobaudit.Decision{By: "opa", AskAgain: true}, nil
	}})
	again, err := rec.Resume(t.Context(), first.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, again.Observe(jobOf(t, store, first.JobID())))
	err = again.Start(t.Context(), jobaudit.Execution{})
	require.ErrorIs(t, err, jobaudit.ErrDenied)
	var refusal *jobaudit.AuditError
	require.ErrorAs(t, err, &refusal)
	require.True(t, refusal.AskAgain())
	require.Equal(t, jobaudit.Running, jobOf(t, store, first.JobID()).State)
	require.Empty(t, of(store.Trail(first.JobID()), jobaudit.JobDenied))
}

// A yes that was asked for before a refusal does not undo it: not of a job that another
// process has left running, where the refusal is recorded, and not of one whose refusal
// there is no room for.
func TestARefusalWhileAStartIsDecidedHolds(t *testing.T) {
	for _, running := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := memsink.New(nil)
			sink := faultsink.New(store)
			lost := open(t, store, nil)
			first, err := lost.Submit(t.Context(), submission())
			require.NoError(t, err)
			if running {
				require.NoError(t, first.Start(t.Context(), jobaudit.Execution{}))
			}
			decided := make(chan struct{})
			rec := open(t, sink, &jobaudit.Options{OnError: (&complaints{}).add, Timeout: time.Hour, Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
				<-decided
				return jobaudit.Decision{Allowed: true, By: "opa"}, nil
			}})
			tr, err := rec.Resume(t.Context(), first.Carrier(), nil)
			require.NoError(t, err)
			require.NoError(t, tr.Observe(jobOf(t, store, first.JobID())))
			started := make(chan error, 1)
			go func() { started <- tr.Start(t.Context(), jobaudit.Execution{}) }()
			synctest.Wait()
			if running {
				require.NoError(t, tr.Deny(t.Context(), jobaudit.Decision{By: "ops"}))
			} else {
				unrecordable["no room"](t, rec, sink, tr)
				require.Error(t, tr.Deny(t.Context(), jobaudit.Decision{By: "ops"}))
				sink.Set()
				time.Sleep(time.Minute)
			}
			close(decided)
			require.ErrorIs(t, <-started, jobaudit.ErrDenied)
			if running {
				require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}), "it is asked again")
			}
			_ = rec.Close(t.Context())
		})
	}
}
