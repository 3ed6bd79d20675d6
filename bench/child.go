package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/jobaudit/jobaudit/bench/cost"
)

// serversVariable names the processor of the servers that the program of the peers
// starts; this one keeps it from using that itself.
const serversVariable = "BENCH_SERVERS"

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
	if err := p.start(); err != nil {
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

// start leaves the last of the processors to the servers, where there are several and
// the system lets one choose.
func (p *process) start() error {
	processors := cost.Processors()
	if len(processors) < 2 || p.subject != "asynq" && p.subject != "river" {
		return p.cmd.Start()
	}
	last := len(processors) - 1
	p.cmd.Env = append(p.cmd.Env, serversVariable+"="+strconv.Itoa(processors[last]))
	return cost.StartOn(processors[:last], p.cmd.Start)
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
