// Command customsink keeps the audit records of jobs in a store of its own.
// Sink, in sink.go, is all that it takes; its test holds it to the contract by
// package sinktest.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/jobaudit/jobaudit"
)

func main() {
	dir, err := os.MkdirTemp("", "customsink")
	if err != nil {
		log.Fatal(err)
	}
	if err := run(context.Background(), os.Stdout, filepath.Join(dir, "records")); err != nil {
		log.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		log.Fatal(err)
	}
}

// run records a job in the store, and tells what the store holds when it is
// opened again.
func run(ctx context.Context, out io.Writer, path string) error {
	if err := record(ctx, path); err != nil {
		return err
	}
	store, err := OpenStore(path)
	if err != nil {
		return err
	}
	sink := Sink{store}
	defer sink.Close()
	for r, err := range sink.Records(ctx, jobaudit.Query{}) {
		if err != nil {
			return err
		}
		e := r.Event()
		fmt.Fprintf(out, "%-15s %-8s %s %s: %s\n", e.Type, e.Job.State, e.Who.Principal.Kind, e.Who.Principal.ID, e.Why.Reason)
	}
	return nil
}

func record(ctx context.Context, path string) error {
	store, err := OpenStore(path)
	if err != nil {
		return err
	}
	sink := Sink{store}
	defer sink.Close()
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "customsink", Environment: "example"}, nil)
	if err != nil {
		return err
	}
	err = recorder.Run(ctx, jobaudit.Submission{
		Action:    "count-to-three",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "to see it work"},
	}, func(ctx context.Context) error {
		trail, _ := jobaudit.FromContext(ctx)
		for i := range 3 {
			trail.Log(ctx, fmt.Sprint(i+1))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return recorder.Close(ctx)
}
