// The example is a shop in four processes over one PostgreSQL database, with one
// verifiable log of what they do:
//
//		go run -C examples/river .
//
//	  - The web process takes orders. The order, River's job and the record of who
//	    asked for it are one transaction.
//	  - The worker packs parcels. It is killed in the middle of one.
//	  - The sequencer is jobaudit sequence. It alone has the key of the log.
//	  - The keeper's watchdog finds the attempt that is lost, and when River has
//	    given the job up, which it tells nobody, its reconciler finds that.
//
// At the end jobaudit show tells the whole story of the parcel from the one
// database, and jobaudit verify proves it.
//
// It needs an installed PostgreSQL (Debian's package postgresql), of which it
// starts a private server, and nothing that is running.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
)

func main() {
	ctx := context.Background()
	err := child(ctx, os.Args[1:])
	if errors.Is(err, errNoChild) {
		err = run(ctx, os.Stdout)
	}
	if err != nil {
		log.Fatal(err)
	}
}

var errNoChild = errors.New("this is the process that starts the others")

// child is what one of the processes does.
func child(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errNoChild
	}
	switch role, url := args[0], args[1]; role {
	case "web":
		return web(ctx, url)
	case "worker":
		return worker(ctx, url)
	case "keeper":
		return keeper(ctx, url)
	}
	return errNoChild
}

// run starts a server and the processes, and prints what they and the log say.
func run(ctx context.Context, out io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // kills what is left
	server, err := pgserver.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	urls, err := prepare(ctx, server)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "river-example-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &shop{out: out, dir: dir, urls: urls}
	return s.run(ctx)
}

// shop runs the processes.
type shop struct {
	out  io.Writer
	dir  string
	urls map[string]string // of each role's login
}

func (s *shop) run(ctx context.Context) error {
	jobaudit := filepath.Join(s.dir, "jobaudit")
	if _, err := s.output(ctx, "go", "build", "-C", "../../cmd/jobaudit", "-o", jobaudit, "."); err != nil {
		return err
	}
	keyFile, anchor := filepath.Join(s.dir, "key"), filepath.Join(s.dir, "anchor")
	public, err := s.output(ctx, jobaudit, "key", keyFile, "--create", "localhost/shop")
	if err != nil {
		return err
	}
	sequencer := exec.CommandContext(ctx, jobaudit, "sequence", s.urls["sequencer"], "--key", keyFile, "--anchor", anchor)
	if err := sequencer.Start(); err != nil {
		return err
	}

	first, err := s.start(ctx, "worker")
	if err != nil {
		return err
	}
	web, err := s.start(ctx, "web")
	if err != nil {
		return err
	}
	if err := web.drain(); err != nil {
		return err
	}
	if err := first.until("packing the vase"); err != nil {
		return err
	}
	_ = first.cmd.Process.Kill()
	_ = first.cmd.Wait()
	fmt.Fprintln(s.out, "worker: killed")
	if err := forgetLeader(ctx, s.urls["worker"]); err != nil {
		return err
	}

	keeper, err := s.start(ctx, "keeper")
	if err != nil {
		return err
	}
	if err := keeper.until("attempt lost"); err != nil {
		return err
	}
	second, err := s.start(ctx, "worker") // whose River gives the job up
	if err != nil {
		return err
	}
	if err := second.until("packing the book"); err != nil {
		return err
	}
	if err := keeper.drain(); err != nil {
		return err
	}
	if err := second.interrupt(); err != nil {
		return err
	}
	if err := errors.Join(sequencer.Process.Signal(os.Interrupt), sequencer.Wait()); err != nil {
		return err
	}
	return s.tell(ctx, jobaudit, keeper.job, strings.TrimSpace(public), anchor)
}

// tell has the program for auditors say what the database holds.
func (s *shop) tell(ctx context.Context, jobaudit, job, key, anchor string) error {
	for _, args := range [][]string{{"show", s.urls["keeper"], job}, {"verify", s.urls["keeper"], "--key", key, "--anchor", anchor}} {
		text, err := s.output(ctx, jobaudit, args...)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "\n$ jobaudit %s postgres://… …\n%s", args[0], text)
	}
	return nil
}

func (s *shop) output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", filepath.Base(name), args[0], err)
	}
	return string(out), nil
}

// process is one that runs this program again.
type process struct {
	shop  *shop
	role  string
	cmd   *exec.Cmd
	lines *bufio.Scanner
	job   string // that it named last
}

func (s *shop) start(ctx context.Context, role string) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, role, s.urls[role])
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &process{shop: s, role: role, cmd: cmd, lines: bufio.NewScanner(out)}, cmd.Start()
}

// until prints what the process says, up to a line that ends with a text.
func (p *process) until(text string) error {
	for p.lines.Scan() {
		line := p.lines.Text()
		if job, ok := strings.CutPrefix(line, "job "); ok {
			p.job = job
			continue
		}
		fmt.Fprintf(p.shop.out, "%s: %s\n", p.role, line)
		if strings.HasSuffix(line, text) && text != "" {
			return nil
		}
	}
	if text != "" {
		return fmt.Errorf("the %s process has ended too early: %w", p.role, p.cmd.Wait())
	}
	return nil
}

// drain prints the rest of what the process says, until it ends.
func (p *process) drain() error {
	return errors.Join(p.until(""), p.cmd.Wait())
}

// interrupt ends the process in order.
func (p *process) interrupt() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return p.drain()
}
