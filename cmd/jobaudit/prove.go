package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/story"
)

const proofSuffix = ".tlog-proof"

func (a *app) proveCommand() *cobra.Command {
	var key, out string
	cmd := &cobra.Command{
		Use:   "prove SOURCE EVENT-ID",
		Short: "Write a proof that the log holds an event",
		Long: `Write a file that proves, to somebody who has the log's verifier key and nothing
else, that the log holds an event: the event, its place, and the path to a
signed head (C2SP tlog-proof).

The key is --key, or that of a key file beside the directory.`,
		Args:              wrongly(cobra.ExactArgs(2)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := readID("event", args[1])
			if err != nil {
				return err
			}
			source, err := a.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			verifier, err := keyOf(cmd.Context(), source, key)
			if err != nil {
				return err
			}
			proof, err := source.prove(cmd.Context(), id, verifier)
			if err != nil {
				return err
			}
			text, err := proof.MarshalText()
			if err != nil {
				return err
			}
			if out == "-" {
				_, err = a.out.Write(text)
				return err
			}
			if out == "" {
				out = id.String() + proofSuffix
			}
			if err := os.WriteFile(out, text, 0o644); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s proves event %s; check it with\n  jobaudit check-proof %s --key VKEY\n", out, id, out)
			return nil
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the log's verifier key, as text or in a file")
	cmd.Flags().StringVarP(&out, "output", "o", "", "the file, - for standard output (default EVENT-ID"+proofSuffix+")")
	return cmd
}

func keyOf(ctx context.Context, source log, flag string) (note.Verifier, error) {
	if flag != "" {
		return readKey(flag)
	}
	key, err := source.key(ctx)
	if err != nil {
		return nil, fmt.Errorf("no --key is given: %w", err)
	}
	return key, nil
}

func (d directory) prove(ctx context.Context, id uuid.UUID, key note.Verifier) (auditlog.Proof, error) {
	reader, err := filesink.OpenReader(d.path)
	if err != nil {
		return auditlog.Proof{}, err
	}
	defer reader.Close()
	return reader.Prove(ctx, id, key)
}

func (a *app) checkProofCommand() *cobra.Command {
	var keys []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check-proof FILE --key VKEY",
		Short: "Check a proof that a log holds an event, with no log at hand",
		Long: `Check a proof and print the event that it proves. With --json it prints the
event as it is stored.`,
		Args: wrongly(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			verifiers, err := readKeys(keys)
			if err != nil {
				return err
			}
			text, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			proof, err := openProof(text, verifiers)
			if err != nil {
				fmt.Fprintf(a.err, "%s %s: %s\n", a.bad("NOT PROVEN"), plain(filepath.Base(args[0])), plain(err.Error()))
				return errFindings
			}
			if asJSON {
				return a.printJSON(proof.Leaf())
			}
			return a.proven(proof)
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "verifier key, as text or in a file; may be repeated")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the event as it is stored")
	return cmd
}

func openProof(text []byte, keys []note.Verifier) (proof auditlog.Proof, err error) {
	for _, key := range keys {
		if proof, err = auditlog.OpenProof(text, key); err == nil {
			return proof, nil
		}
	}
	return auditlog.Proof{}, err
}

// proven prints what a proof proves.
func (a *app) proven(p auditlog.Proof) error {
	h := p.Checkpoint().Head()
	fmt.Fprintf(a.out, "%s the log holds this event\n", a.good("proven"))
	fmt.Fprintf(a.out, "  %-9s %s\n  %-9s %d of %d\n  %-9s %s\n", "log", plain(h.Origin), "index", p.Index(), h.Size, "root", h.Root)
	r, err := jobaudit.ParseRecord(p.Leaf())
	if err != nil {
		fmt.Fprintf(a.out, "%s\n", plain(string(p.Leaf())))
		return nil
	}
	fmt.Fprintf(a.out, "  %-9s %s\n", "event", r.ID())
	if r.JobID() != uuid.Nil {
		fmt.Fprintf(a.out, "  %-9s %s\n", "job", r.JobID())
	}
	fmt.Fprintln(a.out)
	return story.Timeline(a.out, each([]jobaudit.Record{r}))
}
