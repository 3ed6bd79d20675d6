// Jobaudit reads and verifies audit logs: directories that
// github.com/jobaudit/jobaudit/sink/filesink writes, and PostgreSQL databases
// that github.com/jobaudit/jobaudit/sink/pgsink writes. A SOURCE is either: the
// directory's path, or the database's URL, postgres://…; or a mirror of a log, as
// mirror writes it.
//
//	jobaudit verify SOURCE... --key VKEY [--anchor FILE]  prove the log, and that its records agree
//	jobaudit jobs SOURCE... [filters]                  the jobs, one a line
//	jobaudit list SOURCE... [filters]                  the events, one a line
//	jobaudit show SOURCE... JOB-ID                     one job: who, what, when, where, why, and its family
//	jobaudit tail SOURCE... [-f]                       the newest events, and those to come
//	jobaudit prove SOURCE EVENT-ID                     a proof that the log holds an event, as a file
//	jobaudit prove SOURCE... --job JOB-ID              a proof of all events of a job
//	jobaudit check-proof FILE --key VKEY               check such a proof, with no log at hand
//	jobaudit since HEADS SOURCE...                     what happened since heads that were kept
//	jobaudit report SOURCE... --html FILE --job JOB-ID a page that proves in a browser what it shows
//	jobaudit check-report FILE --key VKEY              check such a page without running its script
//	jobaudit key DIR-OR-KEYFILE                        the verifier key, for auditors
//	jobaudit checkpoint SOURCE                         the newest signed head that is safe to keep
//	jobaudit copy SOURCE DIR --key VKEY                a proven copy, also of a log that is written
//	jobaudit export SOURCE... --format F [--to URL]    the events as csv, ecs, ocsf, syslog, otlp and others
//	jobaudit mirror SOURCE TARGET --key VKEY           keep a copy where the log's host cannot change it
//	jobaudit restore TARGET DIR --key VKEY             rebuild a log from its mirror
//	jobaudit review SOURCE --since TIME …              what there is to review, and what was decided
//	jobaudit check REGISTRY                            that all logs that should exist are there, alive, and only grew
//	jobaudit act read|reviewed SOURCE --in COMPANION …  record who read or reviewed the log
//	jobaudit correct SOURCE EVENT-ID --in COMPANION …  record what turned out later about an event
//	jobaudit exec --action NAME --reason TEXT -- PROGRAM …  run any program as an audited job
//	jobaudit repair DIR --key FILE                     why a log cannot be written to, and what leads on
//	jobaudit migrate postgres://…                      the tables and roles in a database
//	jobaudit sequence postgres://… --key FILE          a database's sequencer, which signs
//	jobaudit version                                   the program's version
//
// It takes no lock and writes nothing into a log's directory; copy, mirror, restore,
// act and correct write another. Into a database only migrate and sequence write. With --json it
// prints what jq reads: events as the very bytes that are stored. Without, it
// prints for people; characters that a terminal would act on are escaped.
//
// It exits with 0 if all is well, 1 if something is wrong with the log or the
// proof, 2 if it was called wrongly, 3 if it cannot read what it should, and 130 if
// it was interrupted.
//
// # Libraries
//
// cobra parses the command line: it is what Go's users know from most of their
// tools, and brings help and shell completion (jobaudit completion). lipgloss
// colours what a terminal shows, and only that: it knows what the terminal can
// do and heeds NO_COLOR. progressbar shows how far a verification has come;
// go-isatty tells whether anybody is there to see it. pgx is what pgsink uses, and the
// AWS SDK's s3 what s3mirror uses.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // zones have names on machines without a table of them, too
)

func main() {
	var ends []os.Signal // an interrupt that is ignored, as in the background of a shell, stays so
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		if !signal.Ignored(s) {
			ends = append(ends, s)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	if len(ends) > 0 { // none would mean all
		ctx, stop = signal.NotifyContext(ctx, ends...)
	}
	context.AfterFunc(ctx, stop) // a second signal ends the program, whatever holds it up
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
