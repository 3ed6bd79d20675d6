// Package pgsink keeps the records of many processes in one PostgreSQL
// database, in one verifiable log.
//
//	conn, err := pgx.Connect(ctx, adminURL)
//	err = pgsink.Migrate(ctx, conn, nil) // once; makes the schema jobaudit
//
//	sink, err := pgsink.Open(ctx, url, &pgsink.Options{
//		Sequencer: &pgsink.SequencerOptions{Signer: signer, Verifier: verifier},
//	})
//	recorder, err := jobaudit.Open(ctx, sink, where, nil)
//
// A record goes through two steps. [Sink.Append] makes it accepted, in one
// round trip: when it returns nil the record is durable and stored once for
// ever. A [Sequencer], in this process or another, then gives it its place in
// the log, signs the head and commits both; from then on no one can change the
// record unseen. [Sink.Sequenced] waits for that.
//
// [Tx] stores the record of a submission in the caller's own transaction:
// rolled back, there is no trace of it. [Verify] proves the log, and that the
// tables around it tell the truth. The tables only grow: triggers refuse what
// would change them. A superuser passes triggers; verification does not rest
// on them.
//
// The tables are in docs/format.md, F7. Set-up, roles and what is
// promised when are in docs/postgresql.md.
//
// It uses github.com/jackc/pgx/v5, the PostgreSQL driver that is kept up best:
// it speaks the binary protocol with arrays, which makes an Append one
// statement, and COPY, which the sequencer writes with. The migrations are SQL
// files of this package, since a migration library would bring 40 modules and
// more to every user.
package pgsink
