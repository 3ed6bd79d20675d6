package slogaudit_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/slogaudit"
)

func ExampleNew() {
	logger := slog.New(slogaudit.New(slog.DiscardHandler, nil)) // the program's own handler behind it
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(context.Background(), sink, jobaudit.Source{System: "reports", Environment: "test"}, nil)
	if err != nil {
		panic(err)
	}
	_ = recorder.Run(context.Background(), jobaudit.Submission{
		Action:    "send-report",
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cron"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every month"},
	}, func(ctx context.Context) error {
		logger.DebugContext(ctx, "looked into the cache")
		logger.InfoContext(ctx, "sent", "pages", 12)
		return nil
	})
	_ = recorder.Close(context.Background())
	for r := range sink.Records(context.Background(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobLogged}}) {
		fmt.Println(r.Event().Data.Line)
	}
	// Output: sent pages=12
}
