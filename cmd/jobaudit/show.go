package main

import (
	"encoding/json"
	"fmt"
	"iter"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

func (a *app) showCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show SOURCE... JOB-ID",
		Short: "Show one job: who, what, when, where, why, and its family",
		Long: `Show what happened to a job, in order, and who made which job.

With --json it prints the Job that the events add up to.
It verifies nothing: see jobaudit verify.`,
		Args:              wrongly(cobra.MinimumNArgs(2)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			last := len(args) - 1
			id, err := readID("job", args[last])
			if err != nil {
				return err
			}
			logs, err := a.openAll(cmd.Context(), args[:last])
			if err != nil {
				return err
			}
			var records []jobaudit.Record
			unread := 0
			for r, err := range logs.records(cmd.Context(), jobaudit.Query{JobID: id}, id.String(), &unread) {
				if err != nil {
					return err
				}
				records = append(records, r)
			}
			a.unreadable(unread)
			switch {
			case len(records) == 0:
				return fmt.Errorf("the log in %s has no job %s", logs, id)
			case asJSON:
				return a.job(records)
			}
			if err := story.Timeline(a.out, each(records)); err != nil {
				return err
			}
			root := records[0].Event().Job.RootID
			return a.family(logs.records(cmd.Context(), jobaudit.Query{RootID: root}, root.String(), &unread))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the Job")
	return cmd
}

// job prints the Job that records add up to.
func (a *app) job(records []jobaudit.Record) error {
	job, err := jobaudit.Replay(each(records))
	if err != nil {
		return err
	}
	line, err := json.Marshal(job)
	if err != nil {
		return err
	}
	return a.printJSON(line)
}

// family prints the tree of jobs, if there is more than one.
func (a *app) family(records iter.Seq2[jobaudit.Record, error]) error {
	var all []jobaudit.Record
	jobs := map[uuid.UUID]bool{}
	for r, err := range records {
		if err != nil {
			return err
		}
		all = append(all, r)
		jobs[r.JobID()] = true
	}
	if len(jobs) < 2 {
		return nil
	}
	fmt.Fprintf(a.out, "\n%s\n", count(len(jobs), "job"))
	return story.Tree(a.out, each(all))
}

func each(records []jobaudit.Record) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}
