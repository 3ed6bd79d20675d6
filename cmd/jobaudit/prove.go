package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/story"
)

const proofSuffix = ".tlog-proof"

const evidenceSuffix = ".evidence"

func (a *app) proveCommand() *cobra.Command {
	var keys []string
	var job, out string
	cmd := &cobra.Command{
		Use:   "prove SOURCE EVENT-ID | prove SOURCE... --job JOB-ID",
		Short: "Write a proof that the log holds an event, or all events of a job",
		Long: `Write a file that proves, to somebody who has the log's verifier key and nothing
else, that the log holds an event: the event, its place, and the path to a
signed head (C2SP tlog-proof).

With --job the file proves all events of a job, from all logs that hold some, with
the redaction policies that they name and the recorders that wrote them. It states
that they are complete: each stream of the job from its first event to its last
under the head. The logs are read, and proven, from their first line to that head.

The key is --key, or that of a key file beside the directory.`,
		Args:              wrongly(cobra.MinimumNArgs(1)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := idLast(cmd, args); err != nil {
				return err
			}
			if job != "" {
				return a.proveJob(cmd.Context(), args, keys, job, out)
			}
			if len(args) != 2 {
				return usagef("prove takes a source and the ID of an event; --job JOB-ID proves all of a job")
			}
			key := ""
			if len(keys) > 0 {
				key = keys[len(keys)-1]
			}
			return a.proveEvent(cmd.Context(), args[0], args[1], key, out)
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "the log's verifier key, as text or in a file; may be repeated, one for each log")
	cmd.Flags().StringVar(&job, "job", "", "prove all events of this job")
	cmd.Flags().StringVarP(&out, "output", "o", "", "the file, - for standard output (default EVENT-ID"+proofSuffix+" or JOB-ID"+evidenceSuffix+")")
	return cmd
}

func (a *app) proveEvent(ctx context.Context, name, event, flag, out string) error {
	id, err := readID("event", event)
	if err != nil {
		return err
	}
	source, err := a.open(ctx, name)
	if err != nil {
		return err
	}
	verifier, err := keyOf(ctx, source, flag)
	if err != nil {
		return err
	}
	proof, err := source.prove(ctx, id, verifier)
	if err != nil {
		unread := 0
		for r := range source.records(ctx, jobaudit.Query{JobID: id}, id.String(), &unread) {
			if r.JobID() == id {
				return usagef("%s is a job, and no event: prove it with --job %s", id, id)
			}
		}
		return err
	}
	text, err := proof.MarshalText()
	if err != nil {
		return err
	}
	if out == "" {
		out = id.String() + proofSuffix
	}
	if err := a.writeFile(out, text); err != nil || out == "-" {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s proves event %s; check it with\n  jobaudit check-proof %s --key VKEY\n", plain(out), id, plain(out))
	return err
}

func (a *app) proveJob(ctx context.Context, names, keys []string, job, out string) error {
	id, err := readID("job", job)
	if err != nil {
		return err
	}
	text, _, err := a.collect(ctx, names, keys, evidence.Scope{JobID: id})
	if err != nil {
		return err
	}
	if out == "" {
		out = id.String() + evidenceSuffix
	}
	if err := a.writeFile(out, text); err != nil || out == "-" {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s proves job %s; check it with\n  jobaudit check-proof %s --key VKEY\n", plain(out), id, plain(out))
	return err
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
	var event, out string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check-proof FILE --key VKEY",
		Short: "Check a proof of an event or of a job, with no log at hand",
		Long: `Check a proof, of an event or of a job, and print the events that it proves. With
--json it prints them as they are stored.

Of a file that proves a job, --event ID writes the proof of that one event, as
a C2SP tlog-proof. Of one that proves an event it has to be that event.`,
		Args: wrongly(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			verifiers, err := readKeys(keys)
			if err != nil {
				return err
			}
			text, err := readFile(args[0], evidence.MaxFile)
			if err != nil {
				return err
			}
			if !evidence.IsFile(text) {
				return a.checkEvent(args[0], text, verifiers, event, out, asJSON)
			}
			b, err := a.openEvidence(filepath.Base(args[0]), text, verifiers)
			if err != nil {
				return err
			}
			if event != "" {
				return a.cutOut(b, event, out)
			}
			return a.checked(b, asJSON)
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "verifier key, as text or in a file; may be repeated")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the events as they are stored")
	cmd.Flags().StringVar(&event, "event", "", "of a job's proof, write the proof of this event; of an event's, which event it has to prove")
	cmd.Flags().StringVarP(&out, "output", "o", "-", "the file for --event, - for standard output")
	return cmd
}

func (a *app) checkEvent(file string, text []byte, keys []note.Verifier, event, out string, asJSON bool) error {
	proof, err := openProof(text, keys)
	if err != nil {
		fmt.Fprintf(a.err, "%s %s: %s\n", a.bad("NOT PROVEN"), plain(filepath.Base(file)), plain(err.Error()))
		return errFindings
	}
	if event != "" {
		id, err := readID("event", event)
		if err != nil {
			return err
		}
		if r, err := jobaudit.ParseRecord(proof.Leaf()); err != nil || r.ID() != id {
			fmt.Fprintf(a.err, "%s %s: it proves another event than %s\n", a.bad("NOT PROVEN"), plain(filepath.Base(file)), id)
			return errFindings
		}
		if out != "-" {
			return a.writeFile(out, text)
		}
	}
	if asJSON {
		return a.printJSON(proof.Leaf())
	}
	return a.proven(proof)
}

// cutOut writes the proof of one event of a bundle.
func (a *app) cutOut(b *evidence.Bundle, event, out string) error {
	id, err := readID("event", event)
	if err != nil {
		return err
	}
	proof, ok := b.Proof(id)
	if !ok {
		return fmt.Errorf("the file does not hold event %s", id)
	}
	text, err := proof.MarshalText()
	if err != nil {
		return err
	}
	return a.writeFile(out, text)
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
