package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// node is a node with a log and a key.
type node struct {
	name, dir string
	where     place
	reported  int64 // how many events its mirror has reported
}

func (n *node) log() string    { return filepath.Join(n.dir, "log") }
func (n *node) anchor() string { return filepath.Join(n.dir, "key-1.anchor") }

// key is the node's key, or that of a successor of its log.
func (n *node) key(number int) (*filesink.Key, error) {
	origin := "example.com/" + n.name
	if number > 1 {
		origin = fmt.Sprintf("%s/s%d", origin, number)
	}
	return filesink.LoadOrCreateKey(n.log(), filepath.Join(n.dir, fmt.Sprintf("key-%d", number)), origin)
}

// writerVariable tells a test's program that it is a writer.
const writerVariable = "FLEET_WRITER"

// write is the program of a node: jobs, in a log, with a mirror. It prints what is
// durable and what is mirrored until it is killed; at a step, if one is given.
func write(ctx context.Context, out io.Writer, args []string) error {
	if len(args) != 4 {
		return errors.New("write NODE TARGET STEP BEHIND")
	}
	n := &node{name: filepath.Base(args[0]), dir: args[0]}
	key, err := n.key(1)
	if err != nil {
		return err
	}
	sink, err := filesink.Open(ctx, n.log(), key, nil)
	if err != nil {
		return err
	}
	store, _, err := openStore(ctx, args[1])
	if err != nil {
		return err
	}
	if store, ok := store.(*watchedStore); ok {
		store.step, err = strconv.Atoi(args[2])
		store.behind = args[3] == "true"
	}
	if err != nil {
		return err
	}
	m, err := mirror.New(sink, store, &mirror.Options{Keys: []note.Verifier{key.Verifier()}})
	if err != nil {
		return err
	}
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: n.name, Environment: "example"}, nil)
	if err != nil {
		return err
	}
	for {
		err := recorder.Run(ctx, n.submission("work"), func(context.Context) error { return nil })
		if err != nil {
			return err
		}
		_ = m.Sync(ctx) // a mirror that cannot be reached holds up no job
		fmt.Fprintln(out, m.Status().Durable, m.Status().Head.Size)
	}
}

func (n *node) submission(action string) jobaudit.Submission {
	return jobaudit.Submission{
		Action:    action,
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: n.name},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "the example runs"},
	}
}

// process is the node's program while it runs.
type process struct {
	*node
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// start starts the node's program, which kills itself at a step if one is given.
func (n *node) start(ctx context.Context, step int, behind bool) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "write", n.dir, n.where.target(n.name), strconv.Itoa(step), strconv.FormatBool(behind))
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), writerVariable+"=1")
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &process{n, cmd, bufio.NewScanner(output)}, cmd.Start()
}

// until reads what the program says until that is so, or the program has ended.
func (p *process) until(so func(durable, mirrored int64) bool) error {
	for p.lines.Scan() {
		var durable, mirrored int64
		if _, err := fmt.Sscan(p.lines.Text(), &durable, &mirrored); err != nil {
			return err
		}
		p.reported = max(p.reported, mirrored)
		if so(durable, mirrored) {
			return nil
		}
	}
	return errors.Join(errEnded, p.lines.Err())
}

var errEnded = errors.New("the writer has ended")

// kill kills the program.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed
}

// work lets the node's program run until it has mirrored so many events, and kills
// it.
func (n *node) work(ctx context.Context, atLeast int64) error {
	p, err := n.start(ctx, 0, false)
	if err != nil {
		return err
	}
	defer p.kill()
	return p.until(func(_, mirrored int64) bool { return mirrored >= atLeast })
}

// mirror opens a mirror of what the node has now.
func (n *node) mirror(ctx context.Context, keys []note.Verifier, do func(*mirror.Mirror) error) error {
	reader, err := filesink.OpenReader(n.log(), keys...)
	if err != nil {
		return err
	}
	defer reader.Close()
	store, done, err := openStore(ctx, n.where.target(n.name))
	if err != nil {
		return err
	}
	m, err := mirror.New(reader, store, &mirror.Options{Keys: keys, OnError: func(error) {}})
	if err == nil {
		err = do(m)
	}
	return errors.Join(err, done())
}

// pass mirrors what the node has, and returns what the mirror says.
func (n *node) pass(ctx context.Context, keys []note.Verifier) error {
	return n.mirror(ctx, keys, func(m *mirror.Mirror) error {
		err := m.Sync(ctx)
		if err == nil {
			n.reported = max(n.reported, m.Status().Head.Size)
		}
		return err
	})
}

// restore rebuilds the log from a branch of the mirror, and proves it.
func (n *node) restore(ctx context.Context, dir string, branch int, keys []note.Verifier) (head auditlog.Head, err error) {
	store, done, err := openStore(ctx, n.where.target(n.name))
	if err != nil {
		return head, err
	}
	defer func() { err = errors.Join(err, done()) }()
	reader, err := mirror.OpenReader(ctx, store, &mirror.ReaderOptions{Keys: keys, Branch: branch})
	if err != nil {
		return head, err
	}
	c, err := filesink.CopyLines(ctx, reader.Lines, dir, keys)
	return c.Head(), err
}

// append lets the log go on for a job with a key.
func (n *node) append(ctx context.Context, key *filesink.Key, o *filesink.Options, clock func() time.Time) error {
	sink, err := filesink.Open(ctx, n.log(), key, o)
	if err != nil {
		return err
	}
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: n.name, Environment: "example"}, &jobaudit.Options{Now: clock})
	if err != nil {
		return errors.Join(err, sink.Close())
	}
	err = recorder.Run(ctx, n.submission(afterTheFault), func(context.Context) error { return nil })
	return errors.Join(err, recorder.Close(ctx), sink.Close())
}

// afterTheFault is the action of jobs that run behind a fault.
const afterTheFault = "work-after-the-fault"
