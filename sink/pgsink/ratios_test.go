package pgsink_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// bareSQL makes a table of the same rows with the same indexes, which a program
// would insert into itself.
const bareSQL = `
	CREATE TABLE bare (idx bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id uuid UNIQUE, line bytea, job uuid, corr uuid, root uuid,
		principal text COLLATE "C", org text COLLATE "C", action text COLLATE "C", type text COLLATE "C", state text COLLATE "C", time timestamptz);
	CREATE INDEX ON bare (job, idx); CREATE INDEX ON bare (corr, idx); CREATE INDEX ON bare (root, idx) WHERE root IS NOT NULL;
	CREATE INDEX ON bare (principal, idx); CREATE INDEX ON bare (org, idx); CREATE INDEX ON bare (org, action, idx); CREATE INDEX ON bare (action, idx);
	CREATE INDEX ON bare (type, idx); CREATE INDEX ON bare (state, idx); CREATE INDEX ON bare ((idx >> 12), time); CREATE INDEX ON bare ((idx >> 18), time);`

var bareColumns = []string{"id", "line", "job", "corr", "principal", "org", "action", "type", "state", "time"}

func bareRow(r jobaudit.Record) []any {
	e := r.Event()
	return []any{e.ID, r.Bytes(), e.Job.ID, e.CorrelationID, e.Who.Principal.ID, e.Who.OrgID, e.What.Action, string(e.Type), string(e.Job.State), e.Time}
}

func bareInsert(ctx context.Context, db *pgxpool.Pool, records []jobaudit.Record) error {
	columns := make([][]any, len(bareColumns))
	for _, r := range records {
		for i, value := range bareRow(r) {
			columns[i] = append(columns[i], value)
		}
	}
	_, err := db.Exec(ctx, `INSERT INTO bare (id, line, job, corr, principal, org, action, type, state, time)
		SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::timestamptz[])`,
		typed[uuid.UUID](columns[0]), typed[[]byte](columns[1]), typed[uuid.UUID](columns[2]), typed[uuid.UUID](columns[3]), typed[string](columns[4]),
		typed[string](columns[5]), typed[string](columns[6]), typed[string](columns[7]), typed[string](columns[8]), typed[time.Time](columns[9]))
	return err
}

func typed[T any](values []any) []T {
	list := make([]T, len(values))
	for i, v := range values {
		list[i] = v.(T)
	}
	return list
}

// load is how fast callers store rows, of which each Append has so many.
type load struct {
	name          string
	callers, rows int
	appends       int // of each caller in a round
	sinks         int
}

// measure has callers store records and returns how many rows a second they
// stored.
func measure(t *testing.T, l load, store func(caller int, records []jobaudit.Record) error) float64 {
	t.Helper()
	work := make([][][]jobaudit.Record, l.callers)
	for c := range work {
		for range l.appends {
			work[c] = append(work[c], sinktest.Records(l.rows))
		}
	}
	var wg sync.WaitGroup
	began := time.Now()
	for c := range work {
		wg.Go(func() {
			for _, records := range work[c] {
				if err := store(c, records); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return float64(l.callers*l.appends*l.rows) / time.Since(began).Seconds()
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

const rounds = 5

// The throughput of Append beside that of bare inserts of the same rows, in turn
// and on one server that makes commits durable. It prints the medians.
func TestSoakAppendBesideBareInserts(t *testing.T) {
	size.Soak(t)
	s := ownServer(t, "fsync=on", "full_page_writes=on", "synchronous_commit=on")
	url := s.URL("prepared")
	execute(t, url, bareSQL)
	for _, l := range []load{
		{name: "1 row, 1 caller", callers: 1, rows: 1, appends: 500, sinks: 1},
		{name: "256 rows, 1 caller", callers: 1, rows: 256, appends: 20, sinks: 1},
		{name: "2,048 rows, 1 caller", callers: 1, rows: 2048, appends: 4, sinks: 1},
		{name: "1 row, 8 callers of 8 processes", callers: 8, rows: 1, appends: 150, sinks: 8},
		{name: "256 rows, 8 callers of 8 processes", callers: 8, rows: 256, appends: 4, sinks: 8},
		{name: "1 row, 64 callers of 1 process", callers: 64, rows: 1, appends: 100, sinks: 1},
	} {
		t.Run(l.name, func(t *testing.T) { besideBareInserts(t, url, l) })
	}
}

func besideBareInserts(t *testing.T, url string, l load) {
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.MaxConns = int32(l.callers)
	bare, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer bare.Close()
	var sinks []*pgsink.Sink
	for range l.sinks {
		sinks = append(sinks, open(t, url, &pgsink.Options{Backlog: time.Hour, OnError: func(error) {}}))
	}
	var ours, theirs, ratios []float64
	for round := range rounds + 1 {
		theirsNow := measure(t, l, func(_ int, r []jobaudit.Record) error { return bareInsert(t.Context(), bare, r) })
		oursNow := measure(t, l, func(c int, r []jobaudit.Record) error { return sinks[c%l.sinks].Append(t.Context(), r) })
		if round == 0 {
			continue // connections, statements
		}
		ours, theirs, ratios = append(ours, oursNow), append(theirs, theirsNow), append(ratios, oursNow/theirsNow)
	}
	t.Logf("%-36s ours %6.0f/s, bare %6.0f/s, ratio %.2f (%.2f)", l.name, median(ours), median(theirs), median(ratios), ratios)
}

// bulk appends n events in Appends of so many.
func bulk(t *testing.T, sink *pgsink.Sink, n, rows int) {
	t.Helper()
	for n > 0 {
		part := sinktest.Records(min(n, rows))
		require.NoError(t, sink.Append(t.Context(), part))
		n -= len(part)
	}
}

// The sequencer beside COPY of the same rows on one connection, and what an
// event costs in the tables and in the WAL.
func TestSoakSequencerBesideCopy(t *testing.T) {
	size.Soak(t)
	const events = 20_000
	var ratios []float64
	for round := range rounds {
		s := ownServer(t, "fsync=on", "full_page_writes=on", "synchronous_commit=on")
		url, k := s.URL("prepared"), newKey(t)
		execute(t, url, bareSQL)
		sink := open(t, url, nil)
		wal := walOf(t, url)
		records := newHistory().records(t, events, uuid.Nil)
		for part := range slices.Chunk(records, 64) {
			require.NoError(t, sink.Append(t.Context(), part))
		}
		began := time.Now()
		stop := run(t, url, k.options())
		require.NoError(t, sink.Sequenced(t.Context()))
		ours := time.Since(began)
		stop()
		wal = walOf(t, url) - wal
		var rows [][]any
		for _, r := range records {
			rows = append(rows, bareRow(r))
		}
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		began = time.Now()
		for chunk := range slices.Chunk(rows, 4096) {
			_, err = conn.CopyFrom(t.Context(), pgx.Identifier{"bare"}, bareColumns, pgx.CopyFromRows(chunk))
			require.NoError(t, err)
		}
		theirs := time.Since(began)
		ratios = append(ratios, theirs.Seconds()/ours.Seconds())
		var stored, line float64
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT (SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c
			WHERE relnamespace = 'jobaudit'::regnamespace AND relkind = 'r' AND relname <> 'inbox')::float8 / $1, (SELECT avg(octet_length(line)) FROM bare)::float8`, float64(events)).Scan(&stored, &line))
		require.NoError(t, conn.Close(t.Context()))
		t.Logf("round %d: sequencer %.0f/s, COPY %.0f/s; an event of %.0f bytes takes %.0f bytes stored and %.0f of WAL",
			round, events/ours.Seconds(), events/theirs.Seconds(), line, stored, wal/events)
	}
	t.Logf("ratio %.2f (%.2f)", median(ratios), ratios)
}

func walOf(t *testing.T, url string) (bytes float64) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8`).Scan(&bytes))
	return bytes
}

// How long an event waits for its signed head while so many a second come in,
// and whether a backlog goes away meanwhile.
func TestSoakLagUnderLoad(t *testing.T) {
	size.Soak(t)
	s := ownServer(t, "fsync=on", "full_page_writes=on", "synchronous_commit=on")
	url, k := s.URL("prepared"), newKey(t)
	sink := open(t, url, nil)
	for _, l := range []struct{ backlog, perSecond int }{{0, 5000}, {100_000, 2000}} {
		bulk(t, sink, l.backlog, 256)
		stop := run(t, url, k.options())
		ctx, cancel := context.WithCancel(t.Context())
		var offering sync.WaitGroup
		var accepted int
		offering.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				<-tick.C
				if err := sink.Append(t.Context(), sinktest.Records(l.perSecond/50)); err != nil {
					t.Error(err)
				}
				accepted += l.perSecond / 50
			}
		})
		var lags []float64
		began := time.Now()
		drained := time.Duration(0)
		for time.Since(began) < 20*time.Second {
			at := time.Now()
			require.NoError(t, sink.Sequenced(t.Context()))
			if drained == 0 {
				drained = time.Since(began)
			} else {
				lags = append(lags, float64(time.Since(at).Milliseconds()))
			}
		}
		cancel()
		offering.Wait()
		took := time.Since(began)
		stop()
		slices.Sort(lags)
		t.Logf("backlog %d, offered %d/s, accepted %.0f/s: drained after %v, then p50 %.0f ms, p99 %.0f ms", l.backlog, l.perSecond,
			float64(accepted)/took.Seconds(), drained.Round(time.Millisecond), lags[len(lags)/2], lags[len(lags)*99/100])
	}
}
