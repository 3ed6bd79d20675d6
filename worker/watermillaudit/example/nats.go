package main

import (
	"errors"
	"time"

	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startNATS starts a NATS server with JetStream in this process, on a free port.
// It keeps its streams in dir.
func startNATS(dir string) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, errors.New("the NATS server does not answer")
	}
	return s, nil
}

// subscriber subscribes as the durable queue group "workers". It gives up a
// message that is not acknowledged within ackWait; the broker delivers it again
// after twice that time. ManualAck makes it so: without it the NATS client acks
// what its subscriber has given up.
func subscriber(url string, ackWait time.Duration, nakDelay wmnats.Delay) (*wmnats.Subscriber, error) {
	return wmnats.NewSubscriber(wmnats.SubscriberConfig{
		URL: url, QueueGroupPrefix: "workers", SubscribersCount: 4, AckWaitTimeout: ackWait, NakDelay: nakDelay,
		JetStream: wmnats.JetStreamConfig{
			AutoProvision: true, DurablePrefix: "workers",
			DurableCalculator: func(prefix, topic string) string { return prefix + "-" + topic },
			SubscribeOptions:  []nats.SubOpt{nats.ManualAck(), nats.AckWait(2 * ackWait), nats.DeliverAll(), nats.AckExplicit()},
		},
	}, nil)
}

// publisher publishes to streams.
func publisher(url string) (*wmnats.Publisher, error) {
	return wmnats.NewPublisher(wmnats.PublisherConfig{
		URL: url, JetStream: wmnats.JetStreamConfig{AutoProvision: true},
	}, nil)
}
