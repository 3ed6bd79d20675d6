package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

// What is printed of a large tree.
const (
	mostTold  = 4  // children in the timeline
	mostInAll = 12 // children in the tree
)

// report prints what is stored of a job and of its children.
func report(ctx context.Context, out io.Writer, from jobaudit.AuditReader, parent uuid.UUID, token string) error {
	s, err := read(ctx, from, parent)
	if err != nil {
		return err
	}
	if len(s.order) == 0 { // not even the submission could be stored
		return nil
	}
	told, shown := s.choose()
	family := from.Records(ctx, jobaudit.Query{RootID: parent})

	fmt.Fprintf(out, "TIMELINE of %d of %d jobs: the parent, what failed, what was tried again\n\n", len(told), len(s.order))
	if err := story.Timeline(out, only(family, told)); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nTREE of %d of %d jobs\n\n", len(shown), len(s.order))
	if err := story.Tree(out, only(family, shown)); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nSTATUS of the parent, as JSON\n\n")
	status, err := json.MarshalIndent(jobaudit.JobStatus{RequestID: uuid.New(), Job: s.jobs[parent]}, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n\nRECORD\n\n", status)
	return s.sum(ctx, out, from, token)
}

// summary is what the events of a family of jobs add up to.
type summary struct {
	order []uuid.UUID // the parent first
	jobs  map[uuid.UUID]jobaudit.Job
}

func read(ctx context.Context, from jobaudit.AuditReader, parent uuid.UUID) (*summary, error) {
	records := make(map[uuid.UUID][]jobaudit.Record)
	s := &summary{jobs: make(map[uuid.UUID]jobaudit.Job)}
	for r, err := range from.Records(ctx, jobaudit.Query{RootID: parent}) {
		if err != nil {
			return nil, err
		}
		if records[r.JobID()] == nil {
			s.order = append(s.order, r.JobID())
		}
		records[r.JobID()] = append(records[r.JobID()], r)
	}
	for _, id := range s.order {
		job, err := jobaudit.Replay(each(records[id]))
		if err != nil {
			return nil, err
		}
		s.jobs[id] = job
	}
	return s, nil
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

// choose returns the jobs that the timeline shows, and those that the tree
// shows: the parent, children that are worth it, and, in the tree, others.
func (s *summary) choose() (told, shown map[uuid.UUID]bool) {
	told, shown = make(map[uuid.UUID]bool), make(map[uuid.UUID]bool)
	for i, id := range s.order {
		job := s.jobs[id]
		unusual := job.State != jobaudit.Success || len(job.Executions) > 1
		if i == 0 || unusual && len(told) <= mostTold {
			told[id], shown[id] = true, true
		}
	}
	for _, id := range s.order {
		if len(shown) <= mostInAll {
			shown[id] = true
		}
	}
	return told, shown
}

// only passes on the records of some jobs.
func only(records iter.Seq2[jobaudit.Record, error], jobs map[uuid.UUID]bool) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for r, err := range records {
			if (err != nil || jobs[r.JobID()]) && !yield(r, err) {
				return
			}
		}
	}
}

// sum prints what there is in all, and whether the token is in it.
func (s *summary) sum(ctx context.Context, out io.Writer, from jobaudit.AuditReader, token string) error {
	events, size, leaks := 0, 0, 0
	for r, err := range from.Records(ctx, jobaudit.Query{}) {
		if err != nil {
			return err
		}
		events++
		size += r.Len()
		if bytes.Contains(r.Bytes(), []byte(token)) {
			leaks++
		}
	}
	states := make(map[jobaudit.JobState]int)
	for _, job := range s.jobs {
		states[job.State]++
	}
	fmt.Fprintf(out, "%d jobs: %d success, %d failed, %d cancelled\n", len(s.order),
		states[jobaudit.Success], states[jobaudit.Failed], states[jobaudit.Cancelled])
	if leaks > 0 {
		return fmt.Errorf("%d events hold the token that was among the inputs", leaks)
	}
	fmt.Fprintf(out, "%d events, %d bytes; none holds the token that was among the inputs of every job\n", events, size)
	return nil
}
