package watermillaudit_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/watermillaudit"
)

// BenchmarkMessage is a no-op message through the gochannel Pub/Sub, which costs
// next to nothing by itself: 256 publishers, each waiting until its message is
// handled.
func BenchmarkMessage(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchmark(b, nil) })
	for name, open := range map[string]func(*testing.B) store{
		"memsink": func(*testing.B) store { return memsink.New(nil) }, "filesink": openFile,
	} {
		for log, reads := range map[string]bool{"": false, " and Logs": true} {
			b.Run(name+log, func(b *testing.B) {
				sink := open(b)
				rec, err := jobaudit.Open(b.Context(), sink, source, nil)
				require.NoError(b, err)
				opts := &watermillaudit.Options{Submission: whoAsks}
				if reads {
					opts.Logs = []jobaudit.AuditReader{sink}
				}
				audit := watermillaudit.New(rec, opts)
				benchmark(b, audit)
				require.NoError(b, audit.Wait(context.Background()))
				require.NoError(b, rec.Close(context.Background()))
			})
		}
	}
}

type store interface {
	jobaudit.AuditSink
	jobaudit.AuditReader
}

func openFile(b *testing.B) store {
	dir := b.TempDir()
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "example.com/bench")
	require.NoError(b, err)
	sink, err := filesink.Open(b.Context(), filepath.Join(dir, "log"), key, nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, sink.Close()) })
	return sink
}

func benchmark(b *testing.B, audit *watermillaudit.Audit) {
	pubsub := gochannel.NewGoChannel(gochannel.Config{}, nil)
	router := message.NewDefaultRouter(nil)
	var pub message.Publisher = pubsub
	if audit != nil {
		var err error
		pub, err = audit.Publisher(pubsub)
		require.NoError(b, err)
		router.AddMiddleware(audit.Middleware)
	}
	var handled sync.Map
	router.AddConsumerHandler("noop", topic, pubsub, func(msg *message.Message) error {
		done, _ := handled.LoadAndDelete(msg.UUID)
		close(done.(chan struct{}))
		return nil
	})
	go func() { _ = router.Run(context.Background()) }()
	<-router.Running()
	b.SetParallelism(128) // times two processors
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			msg := message.NewMessage(watermill.NewUUID(), []byte(`{"order":7}`))
			done := make(chan struct{})
			handled.Store(msg.UUID, done)
			if err := pub.Publish(topic, msg); err != nil {
				b.Error(err)
				return
			}
			<-done
		}
	})
	b.StopTimer()
	require.NoError(b, router.Close())
}
