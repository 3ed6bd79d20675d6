// Package pgserver starts private PostgreSQL servers for tests, benchmarks and
// examples: a directory of its own, a unix socket only, nothing kept.
package pgserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Server is a PostgreSQL server of our own.
type Server struct {
	dir      string
	bin      string
	settings []string
	attr     *syscall.SysProcAttr
	uid, gid int // if it is not ours
	cmd      *exec.Cmd
	done     chan error
}

// Start starts a server. Settings such as "fsync=on" come on top of those made
// for speed; without one nothing is durable. If the program is not installed and this is root on
// a system of Debian's kind, it is installed. PostgreSQL refuses to run as root:
// the server then runs as the user postgres or nobody.
func Start(ctx context.Context, settings ...string) (*Server, error) {
	bin, err := program(ctx)
	if err != nil {
		return nil, err
	}
	return newServer(ctx, bin, settings, "initdb", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
}

// newServer makes a directory, has a program fill it, and starts a server there.
func newServer(ctx context.Context, bin string, settings []string, name string, args ...string) (*Server, error) {
	dir, err := os.MkdirTemp("/tmp", "pg") // short: it holds a unix socket
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin, settings: settings, attr: &syscall.SysProcAttr{}}
	follow(s.attr)
	if os.Geteuid() == 0 {
		if err := s.leaveRoot(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	if out, err := s.command(ctx, name, append(args, "-D", s.data())...).CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w: %s", name, err, out), os.RemoveAll(dir))
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// BinEnv names the directory of the programs of another version.
const BinEnv = "JOBAUDIT_POSTGRES_BIN"

// program returns the directory that BinEnv names, or that of the newest server
// that is installed.
func program(ctx context.Context) (string, error) {
	if bin := os.Getenv(BinEnv); bin != "" {
		return bin, nil
	}
	find := func() string {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
		if len(found) > 0 {
			return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }))
		}
		if path, err := exec.LookPath("postgres"); err == nil {
			return filepath.Dir(path)
		}
		return ""
	}
	if bin := find(); bin != "" {
		return bin, nil
	}
	if os.Geteuid() == 0 {
		// One at a time: the packages of a module are tested beside each other.
		lock := filepath.Join(os.TempDir(), "jobaudit-apt.lock")
		install := exec.CommandContext(ctx, "flock", lock, "sh", "-c", "apt-get update && apt-get install -y --no-install-recommends postgresql")
		install.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := install.CombinedOutput(); err != nil {
			return "", fmt.Errorf("installing the package postgresql: %w: %s", err, out)
		}
	}
	if bin := find(); bin != "" {
		return bin, nil
	}
	return "", errors.New("no PostgreSQL server found: install the package postgresql")
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// leaveRoot has the server run as somebody else, who owns its directory.
func (s *Server) leaveRoot() error {
	who, err := user.Lookup("postgres")
	if err != nil {
		if who, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.Atoi(who.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(who.Gid)
	if err != nil {
		return err
	}
	s.uid, s.gid = uid, gid
	runAs(s.attr, uint32(uid), uint32(gid))
	return os.Chown(s.dir, uid, gid)
}

// command is not killed when ctx ends: a server is stopped, in order.
func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = s.attr
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC"}
	return cmd
}

// start starts the server and returns when it accepts connections.
func (s *Server) start(ctx context.Context) error {
	args := []string{"-D", s.data(), "-k", s.dir}
	for _, setting := range slices.Concat([]string{"listen_addresses=", "fsync=off", "synchronous_commit=off",
		"full_page_writes=off", "max_connections=400", "shared_buffers=64MB"}, s.settings) {
		args = append(args, "-c", setting)
	}
	s.cmd = s.command(ctx, "postgres", args...)
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ready := make(chan struct{})
	s.done = make(chan error, 1)
	var said strings.Builder
	go func() {
		lines := bufio.NewScanner(stderr)
		waiting := true
		for lines.Scan() {
			if waiting {
				said.WriteString(lines.Text() + "\n")
			}
			if waiting && strings.Contains(lines.Text(), "ready to accept") {
				waiting = false
				close(ready)
			}
		}
		s.done <- s.cmd.Wait()
	}()
	select {
	case <-ready:
		return nil
	case err := <-s.done:
		return fmt.Errorf("postgres: %w: %s", err, said.String())
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.halt(syscall.SIGQUIT))
	}
}

// URL returns the connection string of a database of the server.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("host=%s user=postgres dbname=%s", s.dir, database)
}

func (s *Server) halt(signal syscall.Signal) error {
	if err := s.cmd.Process.Signal(signal); errors.Is(err, os.ErrProcessDone) {
		return nil
	} else if err != nil {
		return err
	}
	<-s.done
	return nil
}

// Restart stops the server, breaking its connections, and starts it again.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.halt(syscall.SIGINT); err != nil {
		return err
	}
	return s.start(ctx)
}

// Crash kills the server, waits until its processes are gone, and starts it
// again: what it recovers is what was durable.
func (s *Server) Crash(ctx context.Context) error {
	if err := s.halt(syscall.SIGKILL); err != nil {
		return err
	}
	return s.start(ctx)
}

// Kill kills the server, as when its host is gone.
func (s *Server) Kill() error { return s.halt(syscall.SIGKILL) }

// Continue starts a killed server again.
func (s *Server) Continue(ctx context.Context) error { return s.start(ctx) }

// Standby starts a server that follows this one, under the name standby.
func (s *Server) Standby(ctx context.Context, settings ...string) (*Server, error) {
	settings = append(slices.Clone(settings), "primary_conninfo=host="+s.dir+" user=postgres application_name=standby")
	return newServer(ctx, s.bin, settings, "pg_basebackup", "-R", "-h", s.dir, "-U", "postgres", "-c", "fast", "--no-sync")
}

// Run runs one of PostgreSQL's programs with the server's address in its
// environment, and returns what it prints.
func (s *Server) Run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := s.command(ctx, program, args...)
	cmd.Env = append(cmd.Env, "PGHOST="+s.dir, "PGUSER=postgres")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return string(out), nil
}

// Own gives a directory to the user that the server runs as.
func (s *Server) Own(dir string) error {
	if s.uid == 0 {
		return nil
	}
	return os.Chown(dir, s.uid, s.gid)
}

// Pooler starts a PgBouncer in transaction mode before the server. One that ends by
// itself is started again, as a service manager does: version 1.18 now and then ends
// with "bad client state" when a client leaves.
func (s *Server) Pooler(ctx context.Context) (url func(database string) string, stop func() error, err error) {
	config := filepath.Join(s.dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n* = host=%s user=postgres\n[pgbouncer]\npool_mode = transaction\nauth_type = any\nlisten_addr =\n"+
		"listen_port = 6432\nunix_socket_dir = %s\ndefault_pool_size = 5\nmax_client_conn = 500\n", s.dir, s.dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, nil, err
	}
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended, err := s.pooler(ctx, program, config)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	done := make(chan error, 1)
	go func() {
		for {
			<-ended
			if ctx.Err() != nil {
				done <- nil
				return
			}
			again, err := s.pooler(ctx, program, config)
			if err != nil {
				done <- err
				return
			}
			ended = again
		}
	}()
	stop = func() error {
		cancel()
		return <-done
	}
	return func(database string) string {
		return fmt.Sprintf("host=%s port=6432 user=postgres dbname=%s", s.dir, database)
	}, stop, nil
}

// pooler starts a PgBouncer once, which is killed when ctx ends, and returns when it
// takes connections.
func (s *Server) pooler(ctx context.Context, program, config string) (ended <-chan struct{}, err error) {
	cmd := exec.CommandContext(ctx, program, config)
	cmd.Dir, cmd.SysProcAttr, cmd.Env = s.dir, s.attr, []string{"LC_ALL=C", "TZ=UTC"}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(stderr)
	up := false
	for !up && lines.Scan() {
		up = strings.Contains(lines.Text(), "process up")
	}
	over := make(chan struct{})
	go func() {
		for lines.Scan() { // it must not have to wait
		}
		_ = cmd.Wait() // says that it was killed
		close(over)
	}()
	if !up && ctx.Err() == nil {
		return nil, errors.New("pgbouncer did not start")
	}
	return over, nil
}

// Stop stops the server and removes its directory.
func (s *Server) Stop() error {
	return errors.Join(s.halt(syscall.SIGQUIT), os.RemoveAll(s.dir))
}
