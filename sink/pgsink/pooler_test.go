package pgsink_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/stretchr/testify/require"
)

// A pooler refuses a connection that asks for its own search_path.
func TestWhoForgetsPooledIsToldToSetIt(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer listener.Close()
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			pooler := pgproto3.NewBackend(conn, conn)
			if _, err := pooler.ReceiveStartupMessage(); err == nil {
				pooler.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: search_path"})
				_ = pooler.Flush()
			}
			_ = conn.Close()
		}
	})
	url := fmt.Sprintf("host=127.0.0.1 port=%d user=u dbname=d sslmode=disable", listener.Addr().(*net.TCPAddr).Port)
	_, err = pgsink.Open(t.Context(), url, nil)
	require.ErrorContains(t, err, "set Options.Pooled")

	reported := make(chan error, 100)
	s, err := pgsink.NewSequencer(url, newKey(t).options(), &pgsink.Options{OnError: func(err error) { reported <- err }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	require.ErrorContains(t, <-reported, "--pooled")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}
