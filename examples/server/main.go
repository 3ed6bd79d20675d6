// Command server is a service whose users log in, ask for jobs over HTTP, follow
// them live and cancel them. README.md has the lines to try it:
//
//	go run -C examples/server .
//
// Its log is a directory of files, or, with -postgres URL, a database. It is a
// module of its own as package pgsink is one.
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
	"syscall"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/jobhttp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c config
	flag.StringVar(&c.dir, "log", "audit", "the log's directory")
	flag.StringVar(&c.keys, "keys", "keys", "the directory of the keys")
	flag.StringVar(&c.postgres, "postgres", "", "the URL of a database to keep the log in, instead of files")
	address := flag.String("listen", "localhost:8080", "where to listen")
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	if err == nil {
		fmt.Println("listening on", listener.Addr())
		err = run(ctx, c, listener)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, c config, listener net.Listener) error {
	log, err := openLog(ctx, c)
	if err != nil {
		return err
	}
	secret, err := loadSecret(c.keys)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	redactors, err := jobaudit.NewRegistry(nil, policy)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	recorder, err := jobaudit.Open(ctx, log, jobaudit.Source{System: "reports", Environment: "example"}, &jobaudit.Options{Redactors: redactors})
	if err != nil {
		return errors.Join(err, log.Close())
	}
	workers := newPool(4, printReport)
	users := newLogin()
	api, err := jobhttp.New(recorder, log, jobhttp.Options{
		Authenticate: users.authenticate,
		Authorize:    mayThey,
		Validate:     validate,
		Dispatch:     workers.dispatch,
		Cancel:       workers.cancel,
		Secret:       secret,
	})
	if err != nil {
		return errors.Join(err, recorder.Close(ctx), log.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/api/jobs", api)
	mux.Handle("/api/jobs/", api)
	mux.Handle("POST /login", users)
	mux.Handle("GET /ready", jobhttp.Ready(recorder))
	mux.Handle("GET /metrics", jobhttp.Metrics(recorder)) // in earnest: on an address of its own
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	web.RegisterOnShutdown(api.Close)
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	err = errors.Join(err, web.Shutdown(stopping)) // 1. no more requests, so no more jobs
	api.Close()                                    // 2. the reads that were counted are recorded
	workers.stop()                                 // 3. the jobs that were accepted end
	return errors.Join(err,
		recorder.Close(stopping), // 4. what they recorded is stored
		log.Close(),              // 5. the log is sealed
	)
}
