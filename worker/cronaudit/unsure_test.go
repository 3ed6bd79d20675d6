package cronaudit_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/cronaudit"
)

func TestATickOfWhichItIsNotKnownWhetherItIsOnRecordHasAnEnd(t *testing.T) {
	for name, chain := range map[string]func(job) job{
		"runs": nil, "is passed over": func(job) job { return jobFunc(func() {}) },
		"runs twice": func(j job) job { return jobFunc(func() { j.Run(); j.Run() }) },
	} {
		t.Run(name, func(t *testing.T) {
			eachUnsure(t, func(t *testing.T, sink *unsureSink) {
				rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "cleaner", Environment: "test"}, unsureOptions())
				require.NoError(t, err)
				cronaudit.Job(cronaudit.New(rec, &cronaudit.Options{OnError: func(context.Context, error) {}}), submission, func(context.Context) error { return nil }, chain).Run()
				sink.Ended(t)
				require.NoError(t, rec.Close(t.Context()))
			})
		})
	}
}
