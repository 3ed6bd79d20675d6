// Command quickstart computes a SHA-256 manifest of every regular file below a
// path, and prints the audit record that the work has left:
//
//	go run ./examples/quickstart [-events FILE] [path]
//
// The manifest is a job, and so is each folder: a pool of workers hashes them.
// A folder of the program's own is hashed as well, in which one file is deleted
// and one is written to at the wrong moment, so that a job fails and another is
// tried twice. Nothing below the path is changed.
//
// Where to look: job.go submits and runs the jobs and says what of them may be
// stored, report.go reads the record. folder.go and trouble.go know nothing of
// jobaudit.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	switch err := run(ctx, os.Stdout, os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// config is what the command line asks for.
type config struct {
	path   string // the folder whose files are hashed
	events string // a file for the events, one a line
}

func parse(args []string) (config, error) {
	var c config
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: quickstart [-events FILE] [path]")
		flags.PrintDefaults()
	}
	flags.StringVar(&c.events, "events", "", "write the recorded events to `FILE`, one a line")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 1 {
		flags.Usage()
		return c, flag.ErrHelp
	}
	path, err := filepath.Abs(flags.Arg(0))
	if flags.NArg() == 0 {
		path, err = module(path)
	}
	c.path = path
	return c, err
}

// module returns the nearest folder, from dir upwards, that holds a go.mod, or
// dir if none does.
func module(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		switch _, err := os.Stat(filepath.Join(at, "go.mod")); {
		case err == nil:
			return at, nil
		case !errors.Is(err, os.ErrNotExist):
			return "", err
		case at == filepath.Dir(at):
			return dir, nil
		}
	}
}

func run(ctx context.Context, out io.Writer, args []string) (err error) {
	c, err := parse(args)
	if err != nil {
		return err
	}
	trouble, err := newTrouble()
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, trouble.Close()) }()

	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	sink := memsink.New(nil)
	inputs := treeInputs{Path: c.path, Workers: workers, Token: newToken()}
	jobErr := record(ctx, sink, id, inputs, trouble)
	ctx = context.WithoutCancel(ctx) // an interrupted run has a record as well
	if err := report(ctx, out, sink, id, inputs.Token); err != nil {
		return errors.Join(jobErr, err)
	}
	if c.events != "" {
		if err := export(ctx, c.events, sink); err != nil {
			return err
		}
	}
	return jobErr
}

// record runs the job, and records it in the sink.
func record(ctx context.Context, sink jobaudit.AuditSink, id uuid.UUID, inputs treeInputs, trouble *trouble) error {
	redactors, err := policies()
	if err != nil {
		return err
	}
	where := jobaudit.Source{System: "quickstart", Environment: "demo"}
	recorder, err := jobaudit.Open(ctx, sink, where, &jobaudit.Options{Redactors: redactors, Authorize: authorize})
	if err != nil {
		return err
	}
	h := &hasher{recorder: recorder, inputs: inputs, trouble: trouble, who: whoever()}
	return errors.Join(h.run(ctx, id), recorder.Close(context.WithoutCancel(ctx)))
}

// whoever returns the user who runs the program.
func whoever() jobaudit.Principal {
	who := jobaudit.Principal{Kind: jobaudit.User, ID: "unknown"}
	if u, err := user.Current(); err == nil {
		who.ID, who.Name = u.Username, u.Name
		who.Verified, who.AuthMethod = true, "operating system"
	}
	return who
}

// newToken returns a text that looks like a GitHub token.
func newToken() string { return "ghp_" + rand.Text() + rand.Text()[:10] }

// export writes the events to a file, one a line.
func export(ctx context.Context, path string, from jobaudit.AuditReader) error {
	var lines []byte
	for r, err := range from.Records(ctx, jobaudit.Query{}) {
		if err != nil {
			return err
		}
		lines = append(r.AppendTo(lines), '\n')
	}
	return os.WriteFile(path, lines, 0o600)
}
