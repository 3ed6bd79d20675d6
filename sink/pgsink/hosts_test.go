package pgsink_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

func TestAConnectionToAStandbyIsGivenUp(t *testing.T) {
	sink := open(t, database(t), nil)
	var standby uint32
	require.NoError(t, sink.OnConn(t.Context(), func(conn *pgx.Conn) error {
		if standby == 0 {
			standby = conn.PgConn().PID()
		}
		if standby == conn.PgConn().PID() {
			return &pgconn.PgError{Code: "25006"}
		}
		return nil
	}))
}

func TestOfSeveralHostsThePrimaryIsMeant(t *testing.T) {
	require.True(t, pgsink.AsksForThePrimary("postgres://a,b/app"))
	require.True(t, pgsink.AsksForThePrimary("host=a,a port=1,2 sslmode=disable"))
	require.False(t, pgsink.AsksForThePrimary("postgres://a/app"), "one may read from a standby")
}

// Who closes twice, as a deferred call and a signal's do, ends the process behind the second.
func TestEachCloseWaitsForTheEnd(t *testing.T) {
	url, k := database(t), newKey(t)
	reached, release := make(chan struct{}), make(chan struct{})
	opts := pgsink.AtSteps(func(step string) error {
		if step == "written" {
			close(reached)
			<-release
		}
		return nil
	}, k.options())
	sink, err := pgsink.Open(t.Context(), url, &pgsink.Options{Sequencer: &opts, OnError: func(error) {}})
	require.NoError(t, err)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	<-reached
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- sink.Close() }()
	}
	for sink.Append(t.Context(), nil) == nil { // until one has begun
	}
	require.NoError(t, func() error {
		select {
		case <-ended:
			return pgsink.ErrClosed
		case <-openedAgain(t, url):
			return nil
		}
	}())
	close(release)
	require.NoError(t, <-ended)
	require.NoError(t, <-ended)
}

// openedAgain is closed when another sink was opened and has stored a record.
func openedAgain(t *testing.T, url string) <-chan struct{} {
	done := make(chan struct{})
	other := open(t, url, nil)
	go func() {
		defer close(done)
		_ = other.Append(t.Context(), sinktest.Records(1))
	}()
	return done
}
