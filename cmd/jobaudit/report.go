package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit/evidence"
)

func (a *app) reportCommand() *cobra.Command {
	var f filters
	var keys []string
	var out string
	cmd := &cobra.Command{
		Use:   "report SOURCE... --html FILE --job ID | --root ID | --correlation ID | --since TIME",
		Short: "Write a page that shows jobs and proves in a browser what it shows",
		Long: `Write one self-contained page of HTML about a job, a family of jobs, a correlation,
or the jobs of a period: the story, the lineage, all records with their proofs, and
what standards ask for. In a browser, from a file and without a network, its
script checks the proofs, and shows nothing else.

A page holds at most 50,000 events and 64 MiB, whichever comes first: of events of 850
bytes some 23,000. Of a period with more it holds a summary, and the proven events that a
reviewer looks for first.

The logs are read, and proven, from their first line to their newest durable head.`,
		Args:              wrongly(cobra.MinimumNArgs(1)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usagef("--html is missing: the file to write")
			}
			scope, err := f.scope()
			if err != nil {
				return err
			}
			return a.htmlReport(cmd.Context(), args, keys, scope, out)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&out, "html", "", "the file to write, - for standard output")
	flags.StringArrayVar(&keys, "key", nil, "a log's verifier key, as text or in a file; may be repeated, one for each log")
	flags.StringVar(&f.job, "job", "", "of this job")
	flags.StringVar(&f.root, "root", "", "of the family of this root job")
	flags.StringVar(&f.correlation, "correlation", "", "of this correlation")
	flags.StringVar(&f.principal, "principal", "", "jobs by the principal with this ID, or on behalf of it")
	flags.StringVar(&f.action, "action", "", "jobs with this action")
	flags.StringVar(&f.since, "since", "", "jobs with events at or after this time: 30d, today, 2026-02-03, 2026-02-03T15:04; see list -h")
	flags.StringVar(&f.until, "until", "", "and before this time, written in the same way")
	flags.BoolVar(&f.local, "local", false, "read these times in the zone of this machine; default: UTC")
	return cmd
}

// scope is which jobs a report is about.
func (f *filters) scope() (evidence.Scope, error) {
	q, _, err := f.query()
	if err != nil {
		return evidence.Scope{}, err
	}
	s := evidence.Scope{JobID: q.JobID, RootID: q.RootID, CorrelationID: q.CorrelationID, ActingFor: q.ActingFor,
		Action: q.Action, Since: q.Since.UTC(), Until: q.Until.UTC()}
	ids := 0
	for _, id := range []uuid.UUID{s.JobID, s.RootID, s.CorrelationID} {
		if id != uuid.Nil {
			ids++
		}
	}
	switch {
	case s == evidence.Scope{}:
		return s, usagef("say what the report is about: --job, --root, --correlation, or a period with --since")
	case ids > 1:
		return s, usagef("--job, --root and --correlation exclude each other")
	}
	return s, nil
}

func (a *app) htmlReport(ctx context.Context, names, keys []string, scope evidence.Scope, out string) error {
	text, sources, err := a.collect(ctx, names, keys, scope)
	if err != nil {
		return err
	}
	page, err := evidence.Page(text)
	if err != nil {
		return err
	}
	if err := a.writeFile(out, page); err != nil || out == "-" {
		return err
	}
	fmt.Fprintf(a.out, "%s: open it in a browser, and give it the key. Without trusting its script:\n  jobaudit check-report %s --key VKEY\n", plain(out), plain(out))
	for _, s := range sources {
		fmt.Fprint(a.out, row("key", "%s", s.VerifierKey))
	}
	return nil
}

func (a *app) checkReportCommand() *cobra.Command {
	var keys []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check-report FILE --key VKEY",
		Short: "Check a report without running its script",
		Long: `Check the evidence in a report of jobaudit report, and print the events that it
proves. The script in it is not run, and the rest of the page is compared with what
this program would write: a changed sentence or script is found, too. A page that
another version wrote differs as well; its evidence is checked all the same.

It exits with 1 if anything is not as it should be.`,
		Args: wrongly(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			verifiers, err := readKeys(keys)
			if err != nil {
				return err
			}
			page, err := readFile(args[0], evidence.MaxPage)
			if err != nil {
				return err
			}
			b, err := evidence.OpenPage(page, verifiers)
			changed := errors.Is(err, evidence.ErrPage)
			if changed {
				fmt.Fprintf(a.err, "%s %s\n", a.bad("CHANGED"), plain(err.Error()))
			} else if errors.Is(err, evidence.ErrFormat) {
				fmt.Fprintf(a.err, "%s %s: %s\n", a.bad("NOT PROVEN"), plain(filepath.Base(args[0])), plain(err.Error()))
				return errFindings
			} else if err != nil {
				return a.unproven(filepath.Base(args[0]), err)
			}
			if err := a.checked(b, asJSON); err != nil || !changed {
				return err
			}
			return errFindings
		},
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "verifier key, as text or in a file; may be repeated")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the events as they are stored")
	return cmd
}
