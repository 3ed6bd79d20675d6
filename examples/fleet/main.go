// Fleet runs ten processes that each write a log of their own and mirror it, does
// to their nodes what can befall nodes, and shows that nothing that was mirrored is
// lost, and that each manipulation is named with its node.
//
//	go run ./examples/fleet
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

// writerVariable tells a test's program that it is a writer.
const writerVariable = "FLEET_WRITER"

func main() {
	err := run(context.Background(), os.Stdout, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// run runs the fleet, or with the arguments write NODE STORE a writer of it.
func run(ctx context.Context, out io.Writer, args []string) error {
	if len(args) == 3 && args[0] == "write" {
		return write(ctx, out, node{filepath.Base(args[1]), args[1], args[2]})
	}
	dir, err := os.MkdirTemp("", "fleet-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for i, f := range faults {
		n := node{fmt.Sprintf("node-%d", i), filepath.Join(dir, fmt.Sprintf("node-%d", i)), filepath.Join(dir, "mirrors", fmt.Sprintf("node-%d", i))}
		found, err := n.suffer(ctx, f)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", n.name, f.name, err)
		}
		fmt.Fprintf(out, "%s  %-46s %s\n", n.name, f.name, found)
	}
	fmt.Fprintln(out, "Every event that was reported as mirrored is in its mirror, and is proven.")
	return nil
}

// node is a node with a log and a key, and the place of its mirror.
type node struct{ name, dir, store string }

func (n node) log() string { return filepath.Join(n.dir, "log") }

func (n node) key(number int) (*filesink.Key, error) {
	origin := "example.com/" + n.name
	if number > 1 {
		origin = fmt.Sprintf("%s/s%d", origin, number)
	}
	return filesink.LoadOrCreateKey(n.log(), filepath.Join(n.dir, fmt.Sprintf("key-%d", number)), origin)
}

// write is the program of a node: jobs, in a log, with a mirror. It prints what is
// mirrored, until it is killed.
func write(ctx context.Context, out io.Writer, n node) error {
	key, err := n.key(1)
	if err != nil {
		return err
	}
	sink, err := filesink.Open(ctx, n.log(), key, nil)
	if err != nil {
		return err
	}
	store, err := mirror.OpenDirectory(n.store, true)
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
		err := recorder.Run(ctx, jobaudit.Submission{
			Action:    "work",
			Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: n.name},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "the example runs"},
		}, func(context.Context) error { return nil })
		if err == nil {
			err = m.Sync(ctx)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(out, m.Status().Head.Size)
	}
}

// work lets the node's program run until it has mirrored so many events, kills it,
// and returns what it has reported.
func (n node) work(ctx context.Context, atLeast int64) (reported int64, err error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, program, "write", n.dir, n.store)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), writerVariable+"=1")
	output, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(output); reported < atLeast; {
		if !lines.Scan() {
			return 0, errors.Join(errors.New("the writer has ended"), lines.Err(), cmd.Wait())
		}
		if reported, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
			return 0, err
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	return reported, nil
}

// pass mirrors what the node has, and returns what the mirror says.
func (n node) pass(ctx context.Context, keys ...note.Verifier) (mirror.Status, error) {
	reader, err := filesink.OpenReader(n.log(), keys...)
	if err != nil {
		return mirror.Status{}, err
	}
	defer reader.Close()
	store, err := mirror.OpenDirectory(n.store, false)
	if err != nil {
		return mirror.Status{}, err
	}
	defer store.Close()
	m, err := mirror.New(reader, store, &mirror.Options{Keys: keys, OnError: func(error) {}})
	if err != nil {
		return mirror.Status{}, err
	}
	err = m.Sync(ctx)
	return m.Status(), err
}

// restore rebuilds the log from a branch of the mirror, and proves it.
func (n node) restore(ctx context.Context, dir string, branch int, keys ...note.Verifier) (auditlog.Head, error) {
	store, err := mirror.OpenDirectory(n.store, false)
	if err != nil {
		return auditlog.Head{}, err
	}
	defer store.Close()
	reader, err := mirror.OpenReader(ctx, store, &mirror.ReaderOptions{Keys: keys, Branch: branch})
	if err != nil {
		return auditlog.Head{}, err
	}
	head, err := filesink.CopyLines(ctx, reader.Lines, dir, keys)
	return head.Head(), err
}

// append lets the log go on for some jobs with a key.
func (n node) append(ctx context.Context, key *filesink.Key, o *filesink.Options, clock func() time.Time) error {
	sink, err := filesink.Open(ctx, n.log(), key, o)
	if err != nil {
		return err
	}
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: n.name, Environment: "example"}, &jobaudit.Options{Now: clock})
	if err != nil {
		return errors.Join(err, sink.Close())
	}
	err = recorder.Run(ctx, jobaudit.Submission{
		Action:    "work-after-the-fault",
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: n.name},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "the example runs"},
	}, func(context.Context) error { return nil })
	return errors.Join(err, recorder.Close(ctx), sink.Close())
}
