package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobaudit/jobaudit/bench/cost"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
)

const taskType = "index:rebuild"

var payload = []byte(`{"index":7}`)

// openAsynq starts a Redis of its own, which keeps nothing on disk, so that asynq alone
// is as fast as it can be.
func openAsynq(ctx context.Context, dir string, w *work) (plain, audited *side, done func(), err error) {
	opt := asynq.RedisClientOpt{Network: "unix", Addr: filepath.Join(dir, "socket")}
	stop, err := startRedis(ctx, dir, opt)
	if err != nil {
		return nil, nil, nil, err
	}
	if plain, err = plainAsynq(opt, w); err == nil {
		audited, err = auditedAsynq(ctx, dir, opt, w)
	}
	if err != nil {
		stop()
		return nil, nil, nil, err
	}
	return plain, audited, stop, nil
}

func startRedis(ctx context.Context, dir string, opt asynq.RedisClientOpt) (stop func(), err error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("install the package redis-server: %w", err)
	}
	cmd := exec.Command(program, "--port", "0", "--unixsocket", opt.Addr, "--dir", dir, "--save", "", "--appendonly", "no", "--databases", "1")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cost.Follow(cmd)
	if err := startServer(cmd.Start); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	client := redis.NewClient(&redis.Options{Network: opt.Network, Addr: opt.Addr})
	defer client.Close()
	for client.Ping(ctx).Err() != nil {
		select {
		case err := <-ended:
			return nil, fmt.Errorf("redis-server: %w: %s", err, said.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return func() {
		_ = cmd.Process.Kill()
		<-ended // says that it was killed
	}, nil
}

// config has as many workers as callers, and looks for tasks as soon as there are any.
func config(queue string) asynq.Config {
	return asynq.Config{
		Concurrency: workers, Queues: map[string]int{queue: 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 5 * time.Millisecond, ShutdownTimeout: 5 * time.Second,
	}
}

func muxOf(h asynq.HandlerFunc) *asynq.ServeMux {
	mux := asynq.NewServeMux()
	mux.Handle(taskType, h)
	return mux
}

func plainAsynq(opt asynq.RedisClientOpt, w *work) (*side, error) {
	l := &side{ended: make(chan int, 4096)}
	client := asynq.NewClient(opt)
	l.enqueue = func() error {
		_, err := client.Enqueue(asynq.NewTask(taskType, payload, asynq.Queue("plain")))
		return err
	}
	server := asynq.NewServer(opt, config("plain"))
	l.stop = func() {
		server.Shutdown()
		_ = client.Close() // nothing waits for it
	}
	return l, server.Start(muxOf(func(context.Context, *asynq.Task) error {
		w.do()
		l.ended <- 1
		return nil
	}))
}

func auditedAsynq(ctx context.Context, dir string, opt asynq.RedisClientOpt, w *work) (*side, error) {
	l := &side{ended: make(chan int, 4096)}
	rec, log, err := openLog(ctx, dir, l)
	if err != nil {
		return nil, err
	}
	adapter := asynqaudit.New(rec, nil)
	client := adapter.NewClient(opt)
	l.enqueue = func() error {
		_, err := client.Enqueue(ctx, asynqaudit.NewTask(ann(), taskType, payload, asynq.Queue("audited")))
		return err
	}
	server := adapter.NewServer(opt, config("audited"))
	l.stop = func() {
		server.Shutdown()
		_ = errors.Join(client.Close(), rec.Close(ctx), log.Close()) // what was measured is measured
	}
	return l, server.Start(muxOf(func(context.Context, *asynq.Task) error {
		w.do()
		return nil
	}))
}
