package multisink_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/sink/multisink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

type downSink struct{ calls atomic.Int64 }

func (d *downSink) Append(context.Context, []jobaudit.Record) error {
	d.calls.Add(1)
	return errors.New("down")
}

func TestASinkThatFailedIsLeftAloneUntilItsNextTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &downSink{}
		s, err := multisink.New(1, memsink.New(nil), d)
		require.NoError(t, err)
		for _, r := range sinktest.Records(40) {
			require.NoError(t, s.Append(t.Context(), []jobaudit.Record{r}))
			synctest.Wait()
		}
		require.EqualValues(t, 1, d.calls.Load(), "no time has passed")
		_ = s.Close()
	})
}
