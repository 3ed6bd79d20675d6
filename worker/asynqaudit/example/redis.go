package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// startRedis starts a private Redis server that keeps nothing, and returns its
// socket once it listens.
func startRedis(ctx context.Context) (socket string, stop func(), err error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return "", nil, fmt.Errorf("install the package redis-server: %w", err)
	}
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		return "", nil, err
	}
	socket = filepath.Join(dir, "socket")
	cmd := exec.Command(program, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "")
	stop = func() { _ = os.RemoveAll(dir) }
	if err := cmd.Start(); err != nil {
		stop()
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return socket, stop, conn.Close()
		}
		select {
		case <-ctx.Done():
			stop()
			return "", nil, errors.Join(err, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
