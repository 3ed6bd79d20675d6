package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/jobaudit/jobaudit/bench/cost"
)

// process is the program in the folder peers, a module of its own: nobody else is to
// wait until what we are compared with is compiled.
type process struct {
	subject string
	cmd     *exec.Cmd
	to      io.Closer
	rows    cost.Rows
}

// peerRows returns what the program of the peers measures of a subject, by row. The
// program that measured another subject before ends.
func (e *env) peerRows(subject string) (cost.Rows, error) {
	if e.child != nil && e.child.subject == subject {
		return e.child.rows, nil
	}
	e.endChild()
	if e.peers == "" {
		binary := filepath.Join(e.dir, "peers.exe")
		c := exec.CommandContext(e.ctx, "go", "build", "-o", binary, ".")
		c.Dir = "peers"
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build in the folder peers: %w: %s", err, out)
		}
		e.peers = binary
	}
	p := &process{subject: subject, cmd: exec.Command(e.peers, subject)} // it ends with its input, in order
	p.cmd.Env = append(os.Environ(), "TMPDIR="+e.dir)
	if e.quick {
		p.cmd.Env = append(p.cmd.Env, "BENCH_QUICK=1")
	}
	p.cmd.Stderr = os.Stderr
	to, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	from, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.to, e.child = to, p
	p.rows, err = cost.Of(to, from)
	if err != nil {
		e.endChild()
		return nil, fmt.Errorf("peers %s: %w", subject, err)
	}
	return p.rows, nil
}

// endChild ends the program of the peers, if it runs.
func (e *env) endChild() {
	if e.child == nil {
		return
	}
	if err := errors.Join(e.child.to.Close(), e.child.cmd.Wait()); err != nil {
		fmt.Fprintf(os.Stderr, "bench: peers %s: %v\n", e.child.subject, err)
	}
	e.child = nil
}
