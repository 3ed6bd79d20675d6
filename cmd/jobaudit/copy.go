package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

func (a *app) copyCommand() *cobra.Command {
	var keys []string
	cmd := &cobra.Command{
		Use:   "copy SOURCE DIR --key VKEY",
		Short: "Copy a log, also while it is written, and prove the copy",
		Long: `Copy a log to another directory, also while it is written, and prove the copy.

Copying the files one by one while the log is written may miss events of which
other files tell, and looks like a log that was cut. This copies them in the
right order, up to the newest head that is known to be durable. Of a database it
writes the files that a directory would hold, the same log to the byte. Called
again it goes on with the copy, and proves all of it again, which reads it whole:
for copies every few minutes there is jobaudit mirror. What is no copy of the log,
and a copy that has more than the log, is left as it is.

The copy is marked: writing to it asks for a successor, since two writers with
one key fork a log.`,
		Args:              wrongly(cobra.ExactArgs(2)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			verifiers, err := readKeys(keys)
			if err != nil {
				return err
			}
			source, err := a.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			head, err := source.copy(cmd.Context(), args[1], verifiers)
			if found, ok := errors.AsType[*filesink.VerifyError](err); ok {
				for _, f := range found.Findings {
					fmt.Fprintf(a.out, "%s", a.finding(a.bad("finding"), f))
				}
				fmt.Fprintf(a.err, "jobaudit: the copy in %s is not proven\n", plain(args[1]))
				return errFindings
			}
			if err != nil {
				return err
			}
			h := head.Head()
			_, err = fmt.Fprintf(a.out, "%s up to size %d, root %s\n", a.good("copied and proven"), h.Size, h.Root)
			return err
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "verifier key, as text or in a file; once for each log of a line of successors, oldest first")
	return cmd
}

func (d directory) copy(ctx context.Context, dir string, keys []note.Verifier) (auditlog.Checkpoint, error) {
	return filesink.Copy(ctx, d.path, dir, keys)
}
