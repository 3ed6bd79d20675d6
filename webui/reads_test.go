package webui_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/webui"
)

// silenced is a sink that fails while it is off.
type silenced struct {
	*memsink.Sink
	off atomic.Bool
}

func (s *silenced) Append(ctx context.Context, records []jobaudit.Record) error {
	if s.off.Load() {
		return fmt.Errorf("off")
	}
	return s.Sink.Append(ctx, records)
}

// Looks are on record once, whichever deadline ends the call that records them: what the
// recorder has is sent on, and what the application has given up is not.
func TestLooksThatWereNotRecordedInTimeAreRecordedOnce(t *testing.T) {
	for name, record := range map[string]func(*silenced, *jobaudit.Recorder) func(context.Context, jobaudit.Act) error{
		"the recorder's": func(_ *silenced, rec *jobaudit.Recorder) func(context.Context, jobaudit.Act) error { return rec.Act },
		"the application's": func(s *silenced, rec *jobaudit.Recorder) func(context.Context, jobaudit.Act) error {
			return func(ctx context.Context, act jobaudit.Act) error {
				if s.off.Load() {
					return fmt.Errorf("the audit service: %w", context.DeadlineExceeded)
				}
				return rec.Act(ctx, act)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := &silenced{Sink: memsink.New(nil)}
				rec := open(t, sink, &jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) {}})
				opts := options()
				opts.Record = record(sink, rec)
				ui := pages(t, []webui.Log{{Name: "web", Reader: sink}}, opts)
				for range 3 {
					code, _ := get(t, ui, "auditor", "/jobs")
					require.Equal(t, 200, code)
				}
				sink.off.Store(true)
				time.Sleep(8 * time.Minute)
				sink.off.Store(false)
				time.Sleep(time.Hour)
				looks := 0
				for r, err := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditRead}}) {
					require.NoError(t, err)
					var data struct{ Count int }
					require.NoError(t, json.Unmarshal(r.Event().Data.Act.Data, &data))
					looks += data.Count
				}
				require.Equal(t, 3, looks)
			})
		})
	}
}
