package multisink

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// readable is a sink without records, whose reads may wait for something, whatever their
// contexts say.
type readable struct {
	ending
	wait <-chan struct{}
}

func (r *readable) Records(context.Context, jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(func(jobaudit.Record, error) bool) {
		if r.wait != nil {
			<-r.wait
		}
	}
}

// A sink whose reads never return holds New up for its time, once, and casts no doubt on
// those behind it.
func TestASinkWhoseReadsNeverReturnCastsNoDoubtOnOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		sinks := []jobaudit.AuditSink{&readable{wait: release}, &readable{wait: release}}
		for range 30 {
			sinks = append(sinks, &readable{})
		}
		began := time.Now()
		s, err := New(2, sinks...)
		require.NoError(t, err)
		require.Equal(t, timeout, time.Since(began))
		for i, m := range s.members {
			require.Equal(t, i < 2, m.gap != nil, m.name)
		}
		close(release)
		require.NoError(t, s.Close())
	})
}

// A sink that is given up while Close sends what is left is told.
func TestCloseSaysThatASinkIsGivenUpMeanwhile(t *testing.T) {
	s, err := New(1, &ending{}, &ending{})
	require.NoError(t, err)
	why := errors.New("it refuses what counts as stored")
	s.members[1].barred.Store(&why)
	require.ErrorContains(t, s.Close(), "sink 2 is given up: it refuses")
}
