// Command webserver runs jobs that logged-in users ask for over HTTP. It shows
// where the principal comes from, what to answer when a job cannot be recorded,
// and in which order to stop:
//
//	go run ./examples/webserver -log DIR -key FILE
//	curl -i -b session=ada -d reason='the board meets tomorrow' localhost:8080/reports
//
// A job is asked for by one request, run by a worker, and looked at by another
// request. All of it is recorded in a signed log.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir := flag.String("log", "audit", "the log's directory")
	keyPath := flag.String("key", "audit.key", "the key's file, not in that directory")
	address := flag.String("listen", "localhost:8080", "where to listen")
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	if err == nil {
		err = run(ctx, *dir, *keyPath, listener)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "webserver:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, dir, keyPath string, listener net.Listener) error {
	key, err := filesink.LoadOrCreateKey(dir, keyPath, "localhost/webserver")
	if err != nil {
		return err
	}
	sink, err := filesink.Open(ctx, dir, key, nil)
	if err != nil {
		return err
	}
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "reports", Environment: "example"}, nil)
	if err != nil {
		return errors.Join(err, sink.Close())
	}
	s := newServer(recorder, sink, sendReport)
	web := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	return errors.Join(err,
		web.Shutdown(stopping),   // 1. no more requests, so no more submissions
		s.stop(),                 // 2. the jobs that were accepted end
		recorder.Close(stopping), // 3. what they recorded is stored
		sink.Close(),             // 4. the log is sealed
	)
}

// server takes requests and hands the jobs to a worker.
type server struct {
	recorder *jobaudit.Recorder
	log      jobaudit.AuditReader
	work     func(context.Context) error
	jobs     chan *jobaudit.Trail
	busy     sync.WaitGroup
}

func newServer(recorder *jobaudit.Recorder, log jobaudit.AuditReader, work func(context.Context) error) *server {
	s := &server{recorder: recorder, log: log, work: work, jobs: make(chan *jobaudit.Trail, 100)}
	s.busy.Go(func() {
		for trail := range s.jobs {
			// The job outlives the request that asked for it, so its context is
			// another one. How it ended is in the record.
			_ = trail.Run(context.Background(), jobaudit.Execution{}, s.work)
		}
	})
	return s
}

// stop waits for the jobs. No request may come in any more.
func (s *server) stop() error {
	close(s.jobs)
	s.busy.Wait()
	return nil
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /reports", s.submit)
	mux.HandleFunc("GET /reports/{id}", s.status)
	return mux
}

// sendReport stands for what the program does.
func sendReport(ctx context.Context) error {
	if trail, ok := jobaudit.FromContext(ctx); ok {
		trail.Log(ctx, "12 pages for 4 readers")
	}
	return nil
}
