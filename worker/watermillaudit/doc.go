// Package watermillaudit gives every message of watermill
// (github.com/ThreeDotsLabs/watermill) a job's audit record: who published it and
// why, each time that it was handled, and what became of it by its
// acknowledgement.
//
// These are the lines to add:
//
//	audit := watermillaudit.New(recorder, &watermillaudit.Options{
//		Logs: []jobaudit.AuditReader{sink}, Submission: whoAsks,
//	})
//	publisher, err := audit.Publisher(publisher)
//	router.AddMiddleware(audit.Middleware) // first
//	router.AddPublisherDecorators(audit.Publisher)
//	…
//	err = router.Close()
//	err = audit.Wait(ctx) // then close the recorder, then the sink
//
// whoAsks says on whose behalf a message is published: see [Options.Submission].
// Handlers stay as they are. Under a message's context [jobaudit.FromContext]
// gives the job's Trail; what a handler returns to be published, and what it
// publishes under that context, are the job's children. Give a message that you
// publish the context of the request, and in a handler that of the message.
//
// # One message, one job
//
// A message is one job, from its publication to the acknowledgement that ends
// it. The job's Carrier travels in the metadata, under the key "jobaudit". Each
// delivery is an attempt, with an execution ID of its own; what
// middleware.Retry does inside of it is part of it. A message that was published
// without the adapter is a job of [Options.Service], known again by its topic,
// its UUID and the handler's name; one without a UUID is a job at each delivery.
//
// Where a message goes to several handlers, as in publish and subscribe, one job
// cannot tell what became of each: see [Options.Events].
//
// A middleware.PoisonQueue, a forwarder and a requeuer publish the message that
// they were given. Decorate their publishers: what they publish is then a job of
// its own, a child of the one that it comes from. Otherwise it goes on to carry
// that one, whose record then shows late attempts.
//
// # Several processes
//
// Processes that share one log, as in one database, need nothing more. If each
// has a log of its own, give each of those that subscribe all the logs of those
// that subscribe to the same topics:
//
//	// in the web process, which publishes
//	audit := watermillaudit.New(recorder, &watermillaudit.Options{Submission: whoAsks})
//
//	// in each subscriber
//	audit := watermillaudit.New(recorder, &watermillaudit.Options{Logs: []jobaudit.AuditReader{own, other}})
//
// From its own log alone a subscriber takes an attempt for the first of its job
// if another process had the message before; the execution that was lost there
// stays open, for a watchdog that reads all logs. A message without a job that
// was handled there before gets the same job again, whose second submission is
// on record as a duplicate.
//
// watermill has no calls by which operators cancel, retry or pause: there are no
// acts to record. Those of a broker's own tools are not seen.
//
// # Whose verdict
//
// What a handler returns is not the outcome. The message's acknowledgement is,
// which the router sends after the handler, and after publishing what it
// returned; a handler or a middleware may have sent another before.
//
//	acked, no error                    success
//	acked, and the handler failed      failed: it does not come back
//	acked after a PoisonQueue took it  failed
//	nacked, error or panic             attempt.failed: it comes back
//	neither, and the Pub/Sub gave up   attempt.deferred: it comes back
//	denied                             cancelled, and acked
//
// An attempt that fails is on record before the router nacks the message. The
// Pub/Sub gives up when the message's own context ends without an
// acknowledgement: when the router is closed, or when the handler takes longer
// than the broker waits. The router acks the message all the same when the
// handler returns, without effect; the log says that it returned.
//
// The adapter sees the handler's error only as far as middleware inside lets it
// through. An error that middleware.IgnoreErrors or the AckCommandHandlingErrors
// of package cqrs swallow is success, and so is a duplicate that
// middleware.Deduplicator drops. Placed inside of middleware.Retry, it records
// each of its tries as an execution, but middleware outside of it works before
// the start is on record, and a PoisonQueue there takes messages for no more
// than a log that is down.
//
// # Limits
//
// watermill has no table of its messages, and does not report that a Pub/Sub has
// lost or dropped one, so nothing can be reconciled:
//
//   - An acknowledgement that the broker did not get, or one sent while the
//     router closes, after the handler has returned: the job has succeeded, the
//     message comes again, and its new attempts are on record as late.
//   - A process that dies after the acknowledgement and before the record of it:
//     the job stays running, its attempt can be found lost by package watchdog.
//   - A broker that stops delivering (MaxDeliver, a NakDelay of TermSignal, dead
//     letters): say so in [Options.Final], or the job stays running.
//   - The gochannel Pub/Sub, when closed, forgets what was not acknowledged: its
//     jobs stay running, or pending. With PreserveContext, and messages published
//     without the adapter, the end of the publisher's context looks as if the
//     Pub/Sub gave up.
//   - redisstream gives a redelivered message a context that never ends: that it
//     was given up is not seen then.
//   - The subscriber of watermill-nats (package nats) leaves it to the NATS client
//     to acknowledge what it gives up, unless its SubscribeOptions hold
//     nats.ManualAck(): without that, such a message does not come back.
//   - A message that JetStream drops as a duplicate (TrackMsgId) leaves its job
//     pending, like one that has no handler: jobs that are never started are for a
//     watchdog to expire.
//
// Message payloads reach the record only as inputs, and by the
// action's policy. The tests run on the gochannel Pub/Sub and on NATS JetStream.
package watermillaudit
