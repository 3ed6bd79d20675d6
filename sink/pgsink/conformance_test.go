package pgsink_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestConformanceWithASequencer(t *testing.T) {
	t.Parallel()
	needsServer(t)
	sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
		k := newKey(t)
		medium := medium(t, func() *pgsink.SequencerOptions { o := k.options(); return &o })
		medium.Prove = func(ctx context.Context, sink jobaudit.AuditSink, r jobaudit.Record) error {
			s := sink.(*pgsink.Sink)
			if err := s.Sequenced(ctx); err != nil {
				return err
			}
			proof, err := s.Prove(ctx, r.ID(), k.Verifier)
			if err != nil {
				return err
			}
			text, err := proof.MarshalText()
			if err != nil {
				return err
			}
			proof, err = auditlog.OpenProof(text, k.Verifier)
			if err == nil && !bytes.Equal(proof.Leaf(), r.Bytes()) {
				err = errors.New("another record is proved")
			}
			return err
		}
		return medium, nil
	}, sinktest.Traits{})
}

// Without a sequencer nothing is signed, so nothing can be proved, and nothing
// has its final place, so a tail yields nothing. Everything else holds.
func TestConformanceWithoutASequencer(t *testing.T) {
	t.Parallel()
	needsServer(t)
	sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
		return medium(t, func() *pgsink.SequencerOptions { return nil }), nil
	}, sinktest.Traits{Unproven: true, NoTail: true})
}

func medium(t *testing.T, sequencer func() *pgsink.SequencerOptions) sinktest.Medium {
	return mediumOn(database(t), newNetwork(), sequencer)
}

func mediumOn(url string, network *network, sequencer func() *pgsink.SequencerOptions) sinktest.Medium {
	return sinktest.Medium{
		Open: func(ctx context.Context) (jobaudit.AuditSink, error) {
			opts := pgsink.Options{Sequencer: sequencer(), OnError: func(error) {}}
			if opts.Sequencer == nil {
				opts.Settle = 50 * time.Millisecond // reads wait for that in vain
			}
			return pgsink.Open(ctx, url, pgsink.On(network.configure, opts))
		},
		Bytes: func(ctx context.Context) iter.Seq2[[]byte, error] { return rows(ctx, url) },
		Hang:  network.hang,
		Fail:  network.fail,
		Replace: func(ctx context.Context, r jobaudit.Record, line []byte) error {
			return replace(ctx, url, sequencer() != nil, r, line)
		},
	}
}

// rows iterates over everything that lies in the database.
func rows(ctx context.Context, url string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			yield(nil, err)
			return
		}
		defer conn.Close(ctx)
		found, err := conn.Query(ctx, `
			SELECT line FROM jobaudit.events UNION ALL SELECT unnest(lines) FROM jobaudit.inbox UNION ALL
			SELECT convert_to(e::text, 'UTF8') FROM (SELECT id, writer, job, corr, root, principal, org, action, type, state, resource, error FROM jobaudit.events) e UNION ALL
			SELECT convert_to(i::text, 'UTF8') FROM jobaudit.ids i UNION ALL
			SELECT convert_to(a::text, 'UTF8') FROM jobaudit.acting a UNION ALL
			SELECT line FROM jobaudit.commits UNION ALL
			SELECT line FROM jobaudit.refused UNION ALL SELECT convert_to(reason, 'UTF8') FROM jobaudit.refused`)
		if err != nil {
			yield(nil, err)
			return
		}
		defer found.Close()
		for found.Next() {
			var b []byte
			if err := found.Scan(&b); err != nil {
				yield(nil, err)
				return
			}
			if !yield(b, nil) {
				return
			}
		}
		if found.Err() != nil {
			yield(nil, found.Err())
		}
	}
}

// replace changes a record as a superuser can whom no trigger stops.
func replace(ctx context.Context, url string, sequenced bool, r jobaudit.Record, line []byte) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// What is changed before it has its place gets none, and is no record any more.
	for waiting := sequenced; waiting; {
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM jobaudit.inbox)`).Scan(&waiting); err != nil {
			return err
		}
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Nobody leads meanwhile: the record is in one place.
		_, err := tx.Exec(ctx, `SET LOCAL session_replication_role = replica; SELECT FROM jobaudit.lead FOR UPDATE`)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `WITH e AS (UPDATE jobaudit.events SET line = $2 WHERE line = $1)
			UPDATE jobaudit.inbox SET lines = array_replace(lines, $1, $2)`, r.Bytes(), line)
		return err
	})
}
