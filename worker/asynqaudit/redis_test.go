package asynqaudit_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// redisServer is a private Redis in a directory of its own, on a socket.
type redisServer struct {
	t    testing.TB
	dir  string
	args []string
	cmd  *exec.Cmd
}

// installRedis finds the program redis-server. Where it is missing, root
// installs it with apt; anybody else is told what to install.
var installRedis = sync.OnceValues(func() (string, error) {
	const program = "redis-server"
	if path, err := exec.LookPath(program); err == nil || os.Getuid() != 0 {
		return path, err
	}
	for _, args := range [][]string{{"update"}, {"install", "-y", program}} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if err := cmd.Run(); err != nil {
			return "", err
		}
	}
	return exec.LookPath(program)
})

// startRedis starts a Redis that ends with the test. It keeps nothing on disk
// unless the arguments say so.
func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	if testing.Short() {
		t.Skip("needs redis-server")
	}
	dir, err := os.MkdirTemp("", "redis") // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &redisServer{t: t, dir: dir, args: args}
	t.Cleanup(s.stop)
	s.start()
	return s
}

func (s *redisServer) socket() string { return filepath.Join(s.dir, "socket") }

func (s *redisServer) opt() asynq.RedisClientOpt {
	return asynq.RedisClientOpt{Network: "unix", Addr: s.socket()}
}

func (s *redisServer) start() {
	s.t.Helper()
	program, err := installRedis()
	require.NoError(s.t, err, "install the package redis-server (Debian, Ubuntu)")
	s.cmd = exec.Command(program, append([]string{
		"--port", "0", "--unixsocket", s.socket(), "--dir", s.dir, "--save", "", "--databases", "1",
	}, s.args...)...)
	require.NoError(s.t, s.cmd.Start())
	client := s.client()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	poll(ctx, s.t, "Redis answers", func() bool { return client.Ping(ctx).Err() == nil })
}

func (s *redisServer) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *redisServer) client() *redis.Client {
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket()})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// poll waits until something is so that neither asynq nor Redis tells of.
func poll(ctx context.Context, t testing.TB, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			require.FailNow(t, "waited in vain", what)
		case <-ticker.C:
		}
	}
}
