package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/charmbracelet/lipgloss"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
)

// The exit codes.
const (
	exitOK       = 0
	exitFindings = 1
	exitUsage    = 2
	exitUnread   = 3
	// exitInterrupted is what shells make of an interrupt.
	exitInterrupted = 130
)

// usageError is a call that cannot be right.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errFindings says that something is wrong with a log or a proof; what, has
// been printed.
var errFindings = errors.New("findings")

// app is one call of the program.
type app struct {
	out, err io.Writer
	// style colours what goes to out, if that is a terminal.
	style *lipgloss.Renderer
	// keys are the verifier keys that were given, of all logs.
	keys []note.Verifier
	// read are the keys that were read for [app.keysFor], by what was given.
	read map[string]verifierKey
	// closers close what was opened.
	closers []func() error
}

// run runs the program and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out := &screenOrPipe{Writer: stdout}
	a := &app{out: out, err: stderr, style: lipgloss.NewRenderer(stdout)}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	called, err := root.ExecuteContextC(ctx)
	for _, closer := range a.closers {
		err = errors.Join(err, closer())
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	if out.failed != nil && (err == nil || errors.Is(err, errFindings)) {
		err = fmt.Errorf("not all of the output was written: %w", out.failed)
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFindings):
		return exitFindings
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "jobaudit: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(stderr, "jobaudit: %s\n", cut(plain(err.Error()), 4096))
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintln(stderr, "jobaudit -h, or jobaudit COMMAND -h, says how it is called")
		return ifExec(called, exitUsage)
	}
	return ifExec(called, exitUnread)
}

// ifExec is the exit code of an error, but for exec: whatever keeps it from running its
// program has a code of its own, as it stands for the program.
func ifExec(called *cobra.Command, code int) int {
	if called.Name() == "exec" {
		return exitNotAudited
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "jobaudit",
		Short: "Read and verify the audit logs of background jobs",
		Long: `Read and verify the audit logs of background jobs.

A SOURCE is a log's directory, a mirror's, or the URL of a database: postgres://…
It takes no lock and writes nothing into a log's directory; copy, mirror, restore,
act and correct write another. Into a database only migrate and sequence write.
Exit codes: 0 all is well, 1 findings, 2 wrong call, 3 cannot read.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          noCommand,

		PersistentPreRunE: checkFlags,
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(a.verifyCommand(), a.jobsCommand(), a.listCommand(), a.showCommand(), a.tailCommand(),
		a.keyCommand(), a.checkpointCommand(), a.copyCommand(),
		a.actCommand(), a.correctCommand(), a.execCommand(), a.watchCommand(), a.repairCommand(), a.migrateCommand(), a.sequenceCommand(), a.versionCommand())
	root.AddCommand(a.evidenceCommands()...)
	root.AddCommand(a.mirrorCommand(), a.restoreCommand(), a.serveCommand())
	root.AddCommand(a.exportCommand())
	root.AddCommand(a.checkCommand(), a.witness())
	return root
}

// onDir completes the first argument with directories.
func onDir(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// screenOrPipe remembers that something could not be written: half of an answer must not look
// like a whole one.
type screenOrPipe struct {
	io.Writer
	mu     sync.Mutex // pages are served by many at once
	failed error
}

func (o *screenOrPipe) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.Writer.Write(b)
	o.failed = cmp.Or(o.failed, err)
	return n, err
}

// file returns the file that is written to, if it is one.
func file(w io.Writer) (*os.File, bool) {
	if o, ok := w.(*screenOrPipe); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	return f, ok
}

// isTerminal reports whether somebody watches.
func isTerminal(w io.Writer) bool {
	f, ok := file(w)
	return ok && isatty.IsTerminal(f.Fd())
}
