package watermillaudit_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/watermillaudit"
)

// whoAsks reads from the request's context who asks; here it is always ada.
func whoAsks(string, *message.Message) jobaudit.Submission {
	return jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a new customer"},
	}
}

func welcome(msg *message.Message) error {
	if trail, ok := jobaudit.FromContext(msg.Context()); ok {
		trail.SetImpact("1 mail sent")
	}
	return nil
}

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	sink := memsink.New(nil) // filesink, in earnest
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "mailer", Environment: "production"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	pubsub := gochannel.NewGoChannel(gochannel.Config{}, nil)
	router := message.NewDefaultRouter(nil)
	router.AddConsumerHandler("welcome", "mails", pubsub, welcome)

	// The lines to add:
	audit := watermillaudit.New(recorder, &watermillaudit.Options{Logs: []jobaudit.AuditReader{sink}, Submission: whoAsks})
	publisher, err := audit.Publisher(pubsub)
	if err != nil {
		log.Fatal(err)
	}
	router.AddMiddleware(audit.Middleware) // first
	router.AddPublisherDecorators(audit.Publisher)

	go func() {
		if err := router.Run(ctx); err != nil {
			log.Fatal(err)
		}
	}()
	<-router.Running()
	if err := publisher.Publish("mails", message.NewMessage(watermill.NewUUID(), []byte(`{"customer":7}`))); err != nil {
		log.Fatal(err)
	}
	if _, err := sink.Wait(ctx, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}}); err != nil {
		log.Fatal(err)
	}
	for _, close := range []func() error{
		router.Close,
		func() error { return audit.Wait(ctx) },
		func() error { return recorder.Close(ctx) },
	} {
		if err := close(); err != nil {
			log.Fatal(err)
		}
	}
	for _, e := range sink.Trail(sink.Jobs()[0]) {
		fmt.Println(e.Type, e.Job.State, "by", e.Who.Principal.ID)
	}
	// Output:
	// job.submitted pending by ada
	// job.authorized pending by ada
	// job.started running by ada
	// job.succeeded success by ada
}
