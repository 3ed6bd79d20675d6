//go:build unix

package jobaudit_test

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// The record of a job that a shutdown cancelled names the signal.
func TestACancellationByASignalNamesTheSignal(t *testing.T) {
	for name, why := range map[string]func(context.Context) error{"err": context.Context.Err, "cause": context.Cause} {
		t.Run(name, func(t *testing.T) {
			r, sink := passing(t)
			ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGUSR1)
			defer stop()
			s := goldenSubmission()
			err := r.Run(ctx, s, func(ctx context.Context) error {
				if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
					return err
				}
				<-ctx.Done()
				return why(ctx)
			})
			require.Equal(t, why(ctx), err, "what the function returns is returned")
			events := sink.Trail(s.ID)
			last := events[len(events)-1]
			require.Equal(t, jobaudit.JobCancelled, last.Type)
			require.Equal(t, &jobaudit.ErrorDetail{Code: jobaudit.CodeCancelled, Message: syscall.SIGUSR1.String() + " signal received"},
				last.Data.Error)
		})
	}
}
