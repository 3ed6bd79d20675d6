package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

func (a *app) showCommand() *cobra.Command {
	var asJSON bool
	var keys []string
	cmd := &cobra.Command{
		Use:   "show SOURCE... JOB-ID",
		Short: "Show one job: who, what, when, where, why, and its family",
		Long: `Show what happened to a job, in order, and who made which job.

The family are the jobs of the same root and correlation.

With --json it prints the Job that the events add up to.
It verifies nothing: see jobaudit verify.`,
		Args:              wrongly(cobra.MinimumNArgs(2)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := idLast(cmd, args); err != nil {
				return err
			}
			last := len(args) - 1
			id, err := readID("job", args[last])
			if err != nil {
				return err
			}
			if err := a.give(keys); err != nil {
				return err
			}
			logs, err := a.openAll(cmd.Context(), args[:last])
			if err != nil {
				return err
			}
			unread := 0
			records, family, err := logs.story(cmd.Context(), id, !asJSON, &unread)
			if err != nil {
				return err
			}
			a.unreadable(unread)
			switch {
			case len(records) == 0:
				return fmt.Errorf("the log in %s has no job %s", logs, id)
			case asJSON:
				err = a.job(records)
			default:
				var in map[uuid.UUID]string
				if in, err = logs.elsewhere(cmd.Context(), id); err == nil {
					err = story.TimelineIn(a.out, each(records), in)
				}
				if err == nil {
					err = a.family(each(family))
				}
			}
			if err == nil {
				a.dropped(records)
				a.unverified(logs)
			}
			return err
		},
	}
	keyFlag(cmd, &keys)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the Job")
	return cmd
}

// story reads the records of a job, and those of its family. Where a log has
// indexes it is read where they lead, else once, from its first record of
// the job on.
func (s sources) story(ctx context.Context, id uuid.UUID, withFamily bool, unread *int) (records, family []jobaudit.Record, err error) {
	if d, ok := s[0].(directory); ok && len(s) == 1 && withFamily {
		if _, err := d.key(ctx); err != nil {
			return d.storyOnce(ctx, id, unread)
		}
	}
	read := s.records
	if !withFamily { // it is the Job that is wanted
		read = s.folded
	}
	if records, err = collect(read(ctx, jobaudit.Query{JobID: id}, id.String(), unread)); err != nil || len(records) == 0 || !withFamily {
		return records, nil, err
	}
	e := records[0].Event()
	root, correlation := e.Job.RootID, e.CorrelationID
	family, err = collect(s.folded(ctx, jobaudit.Query{RootID: root, CorrelationID: correlation}, root.String(), unread))
	return records, family, err
}

// storyOnce reads a log without an index: to the job's first record, which names
// its root, and then all of it.
func (d directory) storyOnce(ctx context.Context, id uuid.UUID, unread *int) (records, family []jobaudit.Record, err error) {
	var root uuid.UUID
	ignored := 0
	for r, err := range d.records(ctx, jobaudit.Query{JobID: id}, id.String(), &ignored) {
		if err != nil {
			return nil, nil, err
		}
		root = r.Event().Job.RootID
		break
	}
	if root == uuid.Nil {
		*unread += ignored
		return nil, nil, nil
	}
	for r, err := range d.records(ctx, jobaudit.Query{}, id.String()+"|"+root.String(), unread) {
		if err != nil {
			return records, family, err
		}
		if r.JobID() == id {
			records = append(records, r)
		}
		if r.Event().Job.RootID == root {
			family = append(family, r)
		}
	}
	return records, family, nil
}

func collect(records iter.Seq2[jobaudit.Record, error]) (list []jobaudit.Record, err error) {
	for r, err := range records {
		if err != nil {
			return list, err
		}
		list = append(list, r)
	}
	return list, nil
}

// dropped explains what the records say instead of content.
func (a *app) dropped(records []jobaudit.Record) {
	reasons := map[string]string{
		"(dropped: ": "(dropped: …) stands where a text held a secret, or what the policy removed from the job's inputs",
		"(cut: ":     "(cut: …) stands where a text was too long to be stored",
	}
	for _, mark := range slices.Sorted(maps.Keys(reasons)) {
		if slices.ContainsFunc(records, func(r jobaudit.Record) bool { return says(r.Event(), mark) }) {
			fmt.Fprintf(a.err, "jobaudit: %s\n", reasons[mark])
		}
	}
	if slices.ContainsFunc(records, func(r jobaudit.Record) bool { return withheld(r.Event().What.Redaction) != "" }) {
		fmt.Fprintln(a.err, "jobaudit: content that was removed or withheld was never stored, by the policy named at its event")
	}
}

func says(e jobaudit.Event, mark string) bool {
	texts := []string{e.Data.Line, e.Data.Impact, e.Why.Reason, e.Who.Principal.Name}
	if e.Data.Error != nil {
		texts = append(texts, e.Data.Error.Message)
	}
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(t, mark) })
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
