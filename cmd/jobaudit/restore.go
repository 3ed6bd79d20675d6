package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

func (a *app) restoreCommand() *cobra.Command {
	var keys, anchors []string
	cmd := &cobra.Command{
		Use:   "restore TARGET DIR --key VKEY [--anchor FILE]",
		Short: "Rebuild a log from its mirror, and prove it",
		Long: `Rebuild a log in a directory from its mirror, and prove it.

With --anchor, for each place that keeps a head of the log, the log may go on under
its own key if the mirror holds all that the anchors tell of: then nothing that was
kept outside is missing. Otherwise it is marked as a copy, and goes on as a successor
only: the mirror takes that as a branch, see jobaudit mirror --accept. Stop the old
writer first: two writers with one key fork a log.`,
		Args:              wrongly(cobra.ExactArgs(2)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			verifiers, err := readKeys(keys)
			if err != nil {
				return err
			}
			heads, err := readAnchors(anchors, verifiers)
			if err != nil {
				return err
			}
			return a.restore(cmd.Context(), args[0], args[1], verifiers, heads)
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "verifier key, as text or in a file; once for each log of a line of successors, oldest first")
	cmd.Flags().StringArrayVar(&anchors, "anchor", nil, "file with a signed head that was kept elsewhere; all that there are")
	return cmd
}

// readAnchors reads heads that were kept, each signed by one of the keys.
func readAnchors(files []string, keys []note.Verifier) ([]auditlog.Head, error) {
	var heads []auditlog.Head
	for _, file := range files {
		signed, err := readInput(file)
		if err != nil {
			return nil, fmt.Errorf("anchor: %w", err)
		}
		for i, key := range keys {
			var c auditlog.Checkpoint
			if c, err = auditlog.OpenCheckpoint(signed, key); err == nil {
				heads = append(heads, c.Head())
				break
			}
			if i == len(keys)-1 {
				return nil, fmt.Errorf("anchor %s: %w", file, err)
			}
		}
	}
	return heads, nil
}

func (a *app) restore(ctx context.Context, target, dir string, keys []note.Verifier, anchors []auditlog.Head) error {
	from, err := a.openMirror(ctx, target)
	if err != nil {
		return err
	}
	c, err := from.copy(ctx, dir, keys)
	if found, ok := errors.AsType[*filesink.VerifyError](err); ok {
		for _, f := range found.Findings {
			fmt.Fprintf(a.out, "%s", a.finding(a.bad("finding"), f))
		}
		return errFindings
	}
	if err != nil {
		return err
	}
	head := c.Head()
	fmt.Fprintf(a.out, "%s up to size %d, root %s\n", a.good("restored and proven"), head.Size, head.Root)
	if len(anchors) == 0 {
		fmt.Fprintf(a.out, "It goes on as a successor, %s: no anchor was given that says whether something is missing.\n", auditlog.SuccessorOrigin(head.Origin))
		return nil
	}
	_, err = filesink.Verify(ctx, dir, &filesink.VerifyOptions{Keys: keys, Heads: anchors})
	if found, ok := errors.AsType[*filesink.VerifyError](err); ok {
		for _, f := range found.Findings {
			fmt.Fprintf(a.out, "%s", a.finding(a.bad("finding"), f))
		}
		fmt.Fprintf(a.out, "The mirror does not hold all that the anchors tell of. The log goes on as a successor, %s.\n", auditlog.SuccessorOrigin(head.Origin))
		return errFindings
	}
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, "copy")); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "The mirror holds all that the anchors tell of: the log may go on as %s.\n", head.Origin)
	return nil
}
