// Package s3server starts private S3 servers with Object Lock for tests and
// examples: a directory of its own, an address on loopback, nothing kept. The
// program is internal/tools/s3gateway, which is built for it.
package s3server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// User and Secret are those of the server's owner, who has all rights.
const (
	User   = "root"
	Secret = "rootsecret"
)

// Server is an S3 server of our own, behind a network that can be cut.
type Server struct {
	dir      string
	program  *exec.Cmd
	life     io.Closer     // the program ends when this is closed
	ended    chan struct{} // closed when it has
	network  net.Listener
	cut      atomic.Bool
	mu       sync.Mutex // guards open
	open     map[net.Conn]bool
	requests sync.WaitGroup
}

// Start starts a server.
func Start(ctx context.Context) (*Server, error) {
	dir, err := os.MkdirTemp("", "s3") // short: it holds a socket
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, ended: make(chan struct{}), open: map[net.Conn]bool{}}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	source, err := gatewaySource()
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, "s3gateway")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, ".")
	build.Dir = source
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w: %s", source, err, out)
	}
	args := []string{s.socket()}
	for _, name := range []string{"data", "versions", "metadata", "users"} {
		args = append(args, filepath.Join(s.dir, name))
		if err := os.Mkdir(filepath.Join(s.dir, name), 0o700); err != nil {
			return err
		}
	}
	// It outlives ctx, so that tests can tidy up, and never this process.
	s.program = exec.CommandContext(context.WithoutCancel(ctx), path, args...)
	s.program.Stderr = os.Stderr
	if s.life, err = s.program.StdinPipe(); err != nil {
		return err
	}
	if s.network, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	if err := s.program.Start(); err != nil {
		return errors.Join(err, s.network.Close())
	}
	go func() { defer close(s.ended); _ = s.program.Wait() }()
	go s.serve()
	return nil
}

// gatewaySource is where the program's source lies: in this repository, seen from
// any of its directories.
func gatewaySource() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		source := filepath.Join(at, "internal", "tools", "s3gateway")
		if _, err := os.Stat(filepath.Join(source, "go.mod")); err == nil {
			return source, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not in the repository, which has the server's source", dir)
		}
	}
}

func (s *Server) socket() string { return filepath.Join(s.dir, "socket") }

// URL is the server's address, for clients that address buckets by path.
func (s *Server) URL() string { return "http://" + s.network.Addr().String() }

// Cut cuts the network, also under what is being sent, or mends it.
func (s *Server) Cut(cut bool) {
	s.cut.Store(cut)
	if !cut {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		_ = c.Close() // that is what is wanted
	}
}

// Close ends the server, and removes what it stored.
func (s *Server) Close() error {
	err := s.network.Close()
	s.Cut(true)
	_ = s.life.Close()
	<-s.ended
	s.requests.Wait()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// serve hands connections on to the program.
func (s *Server) serve() {
	for {
		c, err := s.network.Accept()
		if err != nil {
			return
		}
		s.requests.Go(func() { s.connect(c) })
	}
}

func (s *Server) connect(c net.Conn) {
	defer c.Close()
	s.mu.Lock()
	s.open[c] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
	}()
	if s.cut.Load() {
		return
	}
	to, err := s.dial()
	if err != nil {
		return
	}
	defer to.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, to}, {to, c}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // a connection that ends is ended on both sides
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	both.Wait()
}

// dial waits until the program listens.
func (s *Server) dial() (net.Conn, error) {
	for {
		c, err := net.Dial("unix", s.socket())
		if err == nil {
			return c, nil
		}
		select {
		case <-s.ended:
			return nil, errors.New("the server has ended")
		case <-time.After(time.Millisecond):
		}
	}
}
