package pgsink_test

import (
	"sync"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

func TestWhatIsDeletedBeforeItHasAPlaceIsSentAgain(t *testing.T) {
	for name, damage := range map[string]string{
		"from the inbox":         `DELETE FROM jobaudit.inbox`,
		"from the inbox and ids": `DELETE FROM jobaudit.inbox; DELETE FROM jobaudit.ids`,
		"from ids":               `DELETE FROM jobaudit.ids`,
		"nowhere":                `SELECT 1`,
	} {
		t.Run(name, func(t *testing.T) {
			url, k := database(t), newKey(t)
			users := logins(t, url)
			var mu sync.Mutex
			var told []error
			sink := open(t, users["writer"], &pgsink.Options{OnError: func(err error) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, err)
			}})
			records := sinktest.Records(5)
			require.NoError(t, sink.Append(t.Context(), records))
			tamper(t, url, damage, 0)
			var wg sync.WaitGroup
			errs := make([]error, 4)
			for i := range errs { // at once: nothing comes back twice
				other := open(t, users["writer"], nil)
				if i > 0 {
					require.NoError(t, other.Append(t.Context(), sinktest.Records(1)))
				} else {
					other = sink
				}
				wg.Go(func() { errs[i] = other.Restore(t.Context()) })
			}
			wg.Wait()
			for _, err := range errs {
				require.NoError(t, err)
			}
			if damage != `SELECT 1` && name != "from ids" {
				mu.Lock()
				require.Len(t, told, 1)
				require.ErrorContains(t, told[0], "5 accepted events were gone")
				mu.Unlock()
			}
			reader := open(t, url, nil)
			run(t, url, k.options())
			require.NoError(t, reader.Sequenced(t.Context()))
			if name == "from ids" {
				return // the sequencer refuses what was never accepted, and Verify tells
			}
			require.Subset(t, read(t, reader, jobaudit.Query{}), idsOf(records))
			verified(t, url, k)
			require.NoError(t, sink.Restore(t.Context()))
		})
	}
}
