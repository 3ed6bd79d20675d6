// Command peers measures what jobaudit is compared with. The program in the folder
// above starts it, with a subject as its argument, and asks it for measurements one at
// a time: see package cost. It is a module of its own, so that what it needs is
// compiled by nobody else:
//
//   - github.com/transparency-dev/tessera is the verifiable log that Go programs would
//     use instead of ours, and its POSIX storage the one that needs no server;
//   - github.com/hashicorp/eventlogger writes the audit log of Vault and Boundary;
//   - github.com/showa-93/go-mask masks fields of structs by their tags;
//   - asynq and River are the queues whose adapters are measured.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/jobaudit/jobaudit/bench/cost"
)

// subjects are what can be measured; each is to be closed in the end.
var subjects = map[string]func(context.Context) (rows cost.Rows, done func(), err error){
	"loggers": loggers,
	"tessera": tesseraRows,
	"asynq":   func(ctx context.Context) (cost.Rows, func(), error) { return queueRows(ctx, "asynq", openAsynq) },
	"river":   func(ctx context.Context) (cost.Rows, func(), error) { return queueRows(ctx, "river", openRiver) },
}

func main() {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	signal.Ignore(os.Interrupt) // it ends with its input, and ends the servers before
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 || subjects[args[0]] == nil {
		return fmt.Errorf("%q is not one of its subjects: run the program in the folder above", args)
	}
	rows, done, err := subjects[args[0]](ctx)
	if err != nil {
		return err
	}
	defer done()
	return cost.Serve(os.Stdin, os.Stdout, rows)
}

// quick reports whether the measurements are to be short.
func quick() bool { return os.Getenv("BENCH_QUICK") != "" }
