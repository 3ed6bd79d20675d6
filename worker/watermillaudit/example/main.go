// Command example runs a watermill router over NATS JetStream whose messages are
// on record: an order that is placed at the second attempt and leads to a mail,
// one that goes to the poison queue, and one that somebody publishes without the
// adapter. It prints each job's record. The NATS server runs in its own process.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
	"github.com/jobaudit/jobaudit/worker/watermillaudit"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "nats")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	nats, err := startNATS(dir)
	if err != nil {
		return err
	}
	defer nats.Shutdown()

	sink := memsink.New(nil) // filesink, in earnest
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "shop", Environment: "production"}, nil)
	if err != nil {
		return err
	}
	audit := watermillaudit.New(recorder, &watermillaudit.Options{Logs: []jobaudit.AuditReader{sink}, Submission: whoAsks})
	err = work(ctx, audit, nats.ClientURL(), sink)
	if err = errors.Join(err, audit.Wait(ctx), recorder.Close(ctx)); err != nil {
		return err
	}
	for _, id := range sink.Jobs() {
		if err := story.Timeline(out, sink.Records(ctx, jobaudit.Query{JobID: id})); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	return nil
}

type customerKey struct{}

// whoAsks says who asks for what is published under a request's context.
func whoAsks(_ string, msg *message.Message) jobaudit.Submission {
	customer, ok := msg.Context().Value(customerKey{}).(string)
	if !ok {
		return jobaudit.Submission{} // a job publishes it
	}
	return jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: customer, Verified: true, AuthMethod: "oidc"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the order form"},
	}
}

// work publishes orders and handles them until all have ended.
func work(ctx context.Context, audit *watermillaudit.Audit, url string, sink *memsink.Sink) error {
	plain, err := publisher(url)
	if err != nil {
		return err
	}
	sub, err := subscriber(url, 10*time.Second, nil)
	if err != nil {
		return err
	}
	pub, err := audit.Publisher(plain)
	if err != nil {
		return err
	}
	poison, err := middleware.PoisonQueueWithFilter(pub, "dead", func(err error) bool { return errors.Is(err, errNoStock) })
	if err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{}, nil)
	if err != nil {
		return err
	}
	router.AddMiddleware(audit.Middleware, poison)
	router.AddPublisherDecorators(audit.Publisher)
	router.AddHandler("place", "orders", sub, "mails", plain, place())
	router.AddConsumerHandler("mail", "mails", sub, mail)

	running := make(chan error, 1)
	go func() { running <- router.Run(ctx) }()
	select {
	case <-router.Running():
	case err := <-running:
		return err
	}
	err = errors.Join(
		pub.Publish("orders", order(ctx, "ada", `{"item":"lamp"}`)),
		pub.Publish("orders", order(ctx, "bob", `{"item":"moon"}`)),
		plain.Publish("orders", message.NewMessage(watermill.NewUUID(), []byte(`{"item":"desk"}`))), // knows nothing of the audit
		ended(ctx, sink, 5),
	)
	return errors.Join(err, router.Close(), <-running)
}

// order is what a request handler publishes.
func order(ctx context.Context, customer, payload string) *message.Message {
	ctx = context.WithValue(ctx, customerKey{}, customer)
	return message.NewMessageWithContext(ctx, watermill.NewUUID(), []byte(payload))
}

var errNoStock = errors.New("not in stock")

// place finds the warehouse busy at the first lamp.
func place() message.HandlerFunc {
	var lamps atomic.Int32
	return func(msg *message.Message) ([]*message.Message, error) {
		switch string(msg.Payload) {
		case `{"item":"moon"}`:
			return nil, errNoStock
		case `{"item":"lamp"}`:
			if lamps.Add(1) == 1 {
				return nil, errors.New("the warehouse is busy")
			}
		}
		return []*message.Message{message.NewMessage(watermill.NewUUID(), nil)}, nil
	}
}

func mail(msg *message.Message) error {
	if trail, ok := jobaudit.FromContext(msg.Context()); ok {
		trail.SetImpact("1 mail sent")
	}
	return nil
}

// ended waits until so many jobs have ended.
func ended(ctx context.Context, sink *memsink.Sink, jobs int) error {
	var last jobaudit.Record
	for range jobs {
		next, err := sink.Wait(ctx, jobaudit.Query{After: last.ID(), Types: []jobaudit.EventType{
			jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled,
		}})
		if err != nil {
			return err
		}
		last = next
	}
	return nil
}
