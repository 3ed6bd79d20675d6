package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/sink/pgsink"
)

// A sequencer that catches up is not to be restarted: it would lose what it was at,
// and never get to the end.
func TestAProbeWithAGraceFailsOnlyWhereTheLogStandsStill(t *testing.T) {
	const backlog, grace = time.Minute, 8 * time.Second
	late, soon := 5*time.Minute, time.Second
	lost := errors.New("the database is gone")
	for name, c := range map[string]struct {
		looks []pgsink.Waiting // the last one stays
		fails int              // at this look there is an error
		grace time.Duration
		want  error
	}{
		"nothing waits":                      {looks: []pgsink.Waiting{{Size: 7}}, grace: grace},
		"what waits is new":                  {looks: []pgsink.Waiting{{Oldest: soon, Size: 7}}, grace: grace},
		"it grows":                           {looks: []pgsink.Waiting{{Oldest: late, Size: 7}, {Oldest: late, Size: 7}, {Oldest: late, Size: 8}, {Oldest: late, Size: 8}}, grace: grace},
		"it grows at once":                   {looks: []pgsink.Waiting{{Oldest: late, Size: 7}, {Oldest: late, Size: 4103}}, grace: grace},
		"it catches up by refusing":          {looks: []pgsink.Waiting{{Oldest: late, Size: 7}, {Oldest: soon, Size: 7}}, grace: grace},
		"it stands still":                    {looks: []pgsink.Waiting{{Oldest: late, Size: 7}}, grace: grace, want: errFindings},
		"an empty log stands still":          {looks: []pgsink.Waiting{{Oldest: late, Size: 0}}, grace: grace, want: errFindings},
		"it was put back":                    {looks: []pgsink.Waiting{{Oldest: late, Size: 7}, {Oldest: late, Size: 5}}, grace: grace, want: errFindings},
		"without a grace the backlog counts": {looks: []pgsink.Waiting{{Oldest: late, Size: 7}, {Oldest: late, Size: 8}}, want: errFindings},
		"without a grace, and no backlog":    {looks: []pgsink.Waiting{{Oldest: soon, Size: 7}}},
		"the first look fails":               {looks: []pgsink.Waiting{{Oldest: late, Size: 7}}, fails: 1, grace: grace, want: lost},
		"a later look fails":                 {looks: []pgsink.Waiting{{Oldest: late, Size: 7}}, fails: 3, grace: grace, want: lost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				w, err := probeLog(t.Context(), func(context.Context) (pgsink.Waiting, error) {
					if n++; n == c.fails {
						return pgsink.Waiting{}, lost
					}
					return c.looks[min(n, len(c.looks))-1], nil
				}, backlog, c.grace)
				require.ErrorIs(t, err, c.want)
				if c.want == nil {
					require.NoError(t, err)
					require.Equal(t, c.looks[min(n, len(c.looks))-1], w)
				}
			})
		})
	}
	t.Run("an interrupt ends it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := probeLog(ctx, func(context.Context) (pgsink.Waiting, error) {
			cancel()
			return pgsink.Waiting{Oldest: late}, nil
		}, backlog, time.Hour)
		require.ErrorIs(t, err, context.Canceled)
	})
}
