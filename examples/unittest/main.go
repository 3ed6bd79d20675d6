// Command unittest runs the worker of package publish once and prints the
// trail that it leaves. How such a worker is tested is in publish_test.go.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/examples/unittest/publish"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run publishes a file, and one that is not there, at a server of its own.
func run(ctx context.Context, out io.Writer) (err error) {
	url, stop, err := serve()
	if err != nil {
		return err
	}
	defer stop()
	dir, err := os.MkdirTemp("", "unittest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "report.txt"), []byte("a report"), 0o600); err != nil {
		return err
	}

	redactors, err := publish.Redactors()
	if err != nil {
		return err
	}
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "publisher", Environment: "example"},
		&jobaudit.Options{Redactors: redactors})
	if err != nil {
		return err
	}
	worker := &publish.Worker{Recorder: recorder, URL: url}
	for _, file := range []string{"report.txt", "gone.txt"} {
		_, err := worker.Publish(ctx, publish.Order{
			Upload: publish.Upload{File: filepath.Join(dir, file), Token: "a-token"}, By: "ada", Why: "the quarter is over",
		})
		fmt.Fprintf(out, "%s: published: %t\n", file, err == nil)
	}
	if err := recorder.Close(ctx); err != nil {
		return err
	}
	for _, job := range sink.Jobs() {
		fmt.Fprintln(out)
		if err := story.Timeline(out, sink.Records(ctx, jobaudit.Query{JobID: job})); err != nil {
			return err
		}
	}
	return nil
}

// serve starts a server that takes every file.
func serve() (url string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // until it is closed
	}()
	return "http://" + listener.Addr().String(), func() { _ = server.Close(); <-done }, nil
}
