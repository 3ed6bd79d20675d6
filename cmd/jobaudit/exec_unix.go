//go:build unix && !solaris && !aix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jobaudit/jobaudit"
)

// passedOn are the signals that exec passes on to the program. What a terminal
// sends reaches the program by itself, as it is in the same process group.
var passedOn = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGWINCH,
}

// ending are those that ask a program to end.
var ending = map[os.Signal]string{syscall.SIGHUP: "SIGHUP", syscall.SIGINT: "SIGINT", syscall.SIGQUIT: "SIGQUIT", syscall.SIGTERM: "SIGTERM"}

// exec runs a program as a job.
func (a *app) exec(x *execution, s jobaudit.Submission) error {
	quiet()
	signals := newRelay()
	defer signals.stop()
	return a.execute(signals, x, s)
}

func (a *app) execute(signals *relay, x *execution, s jobaudit.Submission) error {
	p, err := readPolicy(x.policy)
	if err != nil {
		return a.notAudited(err)
	}
	redactors, err := p.registry(x.action)
	if err != nil {
		return a.notAudited(fmt.Errorf("policy: %w", err))
	}
	before, err := parent()
	if err != nil {
		return a.notAudited(err)
	}
	where := jobaudit.Source{System: x.system, Environment: x.environment}
	waiting, cancel := context.WithTimeout(signals.context(), x.wait)
	defer cancel()
	late := a.late()
	opts, err := x.options(redactors, late)
	if err != nil {
		return a.notAudited(err)
	}
	log, err := openShared(waiting, x, where, late)
	if err != nil {
		return a.notRun(signals, err)
	}
	var sink jobaudit.AuditSink = log
	if x.sink != nil {
		sink = x.sink(log)
	}
	left := &outcomeSpool{spool: x.spool, dir: spoolOf(x.spool, log.key)}
	defer left.close()
	opts.Fallback = left
	recorder, err := jobaudit.Open(waiting, sink, where, opts)
	if err != nil {
		return a.notRun(signals, err)
	}
	r := programRun{app: a, x: x, signals: signals}
	s.Inputs = p.inputs(x.program)
	asked := waiting
	if before.String() != "" {
		trail, err := recorder.Resume(waiting, before, nil)
		if err != nil {
			return errors.Join(a.notAudited(fmt.Errorf("%s: %w", carrierVariable, err)), recorder.Close(context.Background()))
		}
		asked = trail.Context(waiting)
	}
	trail, err := recorder.Submit(asked, s)
	if err == nil {
		err = trail.Run(context.WithoutCancel(asked), jobaudit.Execution{}, func(ctx context.Context) error { return r.run(ctx, trail) })
	}
	if !r.started {
		x.giveUp(recorder, trail, late)
		a.kept(left)
		return a.notRun(signals, err)
	}
	if err := recorder.Close(context.Background()); err != nil {
		fmt.Fprintf(a.err, "jobaudit exec: %s\n", plain(err.Error()))
	}
	a.kept(left)
	r.outputs.wait(signals.context())
	return r.how.exit()
}

// giveUp records that the program is not run, if its submission is stored or may be: the
// job would look as if it were still to run.
func (x *execution) giveUp(recorder *jobaudit.Recorder, trail *jobaudit.Trail, late func(error)) {
	ctx, cancel := context.WithTimeout(context.Background(), x.wait)
	defer cancel()
	if trail != nil {
		if err := trail.Cancel(ctx, "the program was not run, as its start was not recorded"); err != nil {
			late(err)
		}
	}
	if err := recorder.Close(ctx); err != nil && trail != nil {
		late(err)
	}
}

// kept says what the log does not have yet.
func (a *app) kept(left *outcomeSpool) {
	if n := left.held(); n > 0 {
		fmt.Fprintf(a.err, "jobaudit exec: the log did not take %s in time: kept in %s, from where the next exec, or jobaudit repair, brings them into the log\n", count(n, "event"), plain(left.dir))
	}
}

// notAudited says why the program does not run.
func (a *app) notAudited(err error) error {
	fmt.Fprintf(a.err, "jobaudit exec: the program was not run, as it could not be recorded: %s\n", plain(err.Error()))
	return exitStatus(exitNotAudited)
}

// notRun is notAudited, but for a signal that came before the start.
func (a *app) notRun(signals *relay, err error) error {
	if number := signals.ended(); number != 0 {
		return outcome{signal: "signal", number: number}.exit()
	}
	return a.notAudited(err)
}

// late reports what goes wrong with the record once the program runs: each kind
// of trouble once, as it may last for hours.
func (a *app) late() func(error) {
	var mu sync.Mutex
	told := map[string]bool{}
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		op := "record"
		if e, ok := errors.AsType[*jobaudit.AuditError](err); ok {
			op = e.Op
		}
		if !told[op] {
			told[op] = true
			fmt.Fprintf(a.err, "jobaudit exec: %s\n", plain(err.Error()))
		}
	}
}

// programRun is one run of a program.
type programRun struct {
	app     *app
	x       *execution
	signals *relay
	outputs *outputs
	how     outcome
	started bool // the record says so, whatever became of the program
}

// run runs the program within its job.
func (r *programRun) run(ctx context.Context, trail *jobaudit.Trail) error {
	r.started = true
	record := func(line string) { trail.Log(ctx, line) }
	outputs, files, err := recordOutputs(r.x.lines, record)
	r.outputs = outputs
	if err == nil {
		r.how, err = r.program(ctx, trail, files, record)
	}
	outputs.started() // if the program was not
	if err != nil {
		r.how = outcome{failed: err, status: exitNotRunable}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
			r.how.status = exitNotFound
		}
		fmt.Fprintf(r.app.err, "jobaudit exec: %s\n", plain(err.Error()))
	}
	outputs.end(2 * time.Second)
	bytes, lines := outputs.sizes()
	trail.SetOutput(execResult{Exit: r.how.code, Signal: r.how.signal, Bytes: bytes, Lines: lines})
	failed := r.how.err()
	if r.how.cause != "" {
		reason := fmt.Sprintf("%s was sent to it: %s", r.how.cause, failed)
		if err := trail.Cancel(ctx, reason); err != nil {
			fmt.Fprintf(r.app.err, "jobaudit exec: %s\n", plain(err.Error()))
		}
	}
	return failed
}

// program starts the program and waits for its end.
func (r *programRun) program(ctx context.Context, trail *jobaudit.Trail, files [2]*os.File, record func(string)) (outcome, error) {
	path, err := exec.LookPath(r.x.program[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return outcome{}, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return outcome{}, err
	}
	environment := os.Environ()
	for i, v := range environment {
		if strings.HasPrefix(v, carrierVariable+"=") {
			environment = append(environment[:i:i], environment[i+1:]...)
			break
		}
	}
	// What kills exec kills the program; the system ties that to this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr := &os.ProcAttr{
		Env:   append(environment, carrierVariable+"="+trail.Carrier().String()),
		Files: []*os.File{os.Stdin, files[0], files[1]},
		Sys:   attributes(),
	}
	p, err := os.StartProcess(path, r.x.program, attr)
	byShell := errors.Is(err, syscall.ENOEXEC) && isScript(path)
	if byShell { // a script without #!, as shells, env and cron have it
		p, err = os.StartProcess("/bin/sh", append([]string{"/bin/sh", path}, r.x.program[1:]...), attr)
	}
	if err != nil {
		return outcome{}, err
	}
	if byShell {
		record("[run by /bin/sh, as its first line names no other program]")
	}
	r.outputs.started()
	r.signals.to(p.Pid)
	how, err := waitFor(p.Pid, record)
	r.signals.to(0)
	_ = p.Release()
	how.blame(r.signals.passed(), time.Now())
	return how, err
}

// isScript reports whether a file can be one for a shell, by what shells go by: it is not
// empty, and its first line has no NUL. A program for another machine has, and the shell would
// read it as commands.
func isScript(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	begin, err := io.ReadAll(io.LimitReader(f, 4096))
	line, _, _ := bytes.Cut(begin, []byte("\n"))
	return err == nil && len(begin) > 0 && !bytes.Contains(line, []byte{0}) && !bytes.HasPrefix(line, []byte("\x7fELF"))
}

// waitFor waits for the end of a process, and records when it is stopped.
func waitFor(pid int, record func(string)) (outcome, error) {
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(pid, &status, syscall.WUNTRACED|syscall.WCONTINUED, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return outcome{}, os.NewSyscallError("wait4", err)
		case status.Exited():
			return outcome{code: status.ExitStatus()}, nil
		case status.Signaled():
			return outcome{signal: signalName(status.Signal()), number: int(status.Signal())}, nil
		case status.Stopped():
			record(fmt.Sprintf("[the program was stopped by %s]", signalName(status.StopSignal())))
		case status.Continued():
			record("[the program was continued]")
		}
	}
}

// signalNames are those that programs end or stop by.
var signalNames = map[syscall.Signal]string{
	syscall.SIGHUP: "SIGHUP", syscall.SIGINT: "SIGINT", syscall.SIGQUIT: "SIGQUIT", syscall.SIGILL: "SIGILL",
	syscall.SIGTRAP: "SIGTRAP", syscall.SIGABRT: "SIGABRT", syscall.SIGBUS: "SIGBUS", syscall.SIGFPE: "SIGFPE",
	syscall.SIGKILL: "SIGKILL", syscall.SIGUSR1: "SIGUSR1", syscall.SIGSEGV: "SIGSEGV", syscall.SIGUSR2: "SIGUSR2",
	syscall.SIGPIPE: "SIGPIPE", syscall.SIGALRM: "SIGALRM", syscall.SIGTERM: "SIGTERM", syscall.SIGSTOP: "SIGSTOP",
	syscall.SIGTSTP: "SIGTSTP", syscall.SIGTTIN: "SIGTTIN", syscall.SIGTTOU: "SIGTTOU", syscall.SIGXCPU: "SIGXCPU",
	syscall.SIGXFSZ: "SIGXFSZ", syscall.SIGSYS: "SIGSYS",
}

func signalName(s syscall.Signal) string {
	if name, ok := signalNames[s]; ok {
		return name
	}
	return fmt.Sprintf("SIGNAL_%d", int(s))
}

// exit ends exec as the program ended: with its exit code, or by its signal.
func (o outcome) exit() error {
	switch {
	case o.failed != nil:
		return exitStatus(o.status)
	case o.signal == "":
		if o.code == 0 {
			return nil
		}
		return exitStatus(o.code)
	}
	switch s := syscall.Signal(o.number); s {
	case syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL:
		signal.Reset(s)
		if syscall.Kill(os.Getpid(), s) == nil {
			time.Sleep(time.Second) // it is on its way
		}
	}
	return exitStatus(128 + o.number) // as shells have it
}

// relay passes signals on to a program.
type relay struct {
	signals chan os.Signal
	done    chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc

	mu      sync.Mutex
	pid     int    // 0 while there is no program
	sent    []sent // the signals passed on that ask for an end, each at its newest time
	early   int    // a signal that came before the start
	console bool   // a terminal sends its signals to the program, too
	witness *witness
}

// newRelay takes the signals that are not ignored: a program that nohup or a shell has
// started to ignore SIGHUP or SIGINT goes on ignoring them. Of other signals Go forgets, before
// anything of ours runs, that they were ignored, and a program starts with their default.
func newRelay() *relay {
	r := &relay{signals: make(chan os.Signal, 16), done: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for _, s := range passedOn {
		if !signal.Ignored(s) {
			signal.Notify(r.signals, s)
		}
	}
	if !signal.Ignored(syscall.SIGPIPE) {
		// So that an output that nobody takes any more is an error of writing.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	}
	if tty, err := os.OpenFile("/dev/tty", os.O_RDONLY, 0); err == nil {
		r.console = true
		_ = tty.Close()
		r.witness = newWitness()
	}
	go r.run()
	return r
}

func (r *relay) run() {
	for {
		select {
		case s := <-r.signals:
			r.pass(s)
		case <-r.done:
			return
		}
	}
}

func (r *relay) pass(s os.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ends := ending[s]
	number := s.(syscall.Signal)
	switch {
	case r.pid == 0:
		if ends {
			r.early = int(number)
			r.cancel()
		}
		return
	case r.console && s == syscall.SIGWINCH: // the program has it
	case r.console && (s == syscall.SIGINT || s == syscall.SIGQUIT):
		go r.alone(r.witness, r.pid, number)
	default:
		_ = syscall.Kill(r.pid, number) // it may have ended
	}
	if ends {
		r.note(number)
	}
}

// note notes that a signal has asked the program to end.
func (r *relay) note(number syscall.Signal) {
	r.sent = slices.DeleteFunc(r.sent, func(s sent) bool { return s.number == int(number) })
	r.sent = append(r.sent, sent{ending[number], int(number), time.Now()})
}

// alone passes a signal on that was sent to exec alone: what a terminal sends, the
// program has got by itself, and a second one can mean something else.
func (r *relay) alone(w *witness, pid int, number syscall.Signal) {
	saw := w.saw()
	r.mu.Lock()
	if !saw && r.pid == pid {
		_ = syscall.Kill(pid, number)
	}
	r.mu.Unlock()
	if w == nil {
		return
	}
	select { // a witness that has ended, however late, tells nothing of the next signal
	case <-w.ended:
	case <-r.done:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.witness == w && r.pid != 0 {
		r.witness = newWitness()
	}
}

// to says which process the signals are for. One that came before is passed on.
func (r *relay) to(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pid = pid
	if pid != 0 && r.early != 0 {
		r.note(syscall.Signal(r.early))
		_ = syscall.Kill(pid, syscall.Signal(r.early))
		r.early = 0
	}
}

// context ends with a signal that comes before the program is started.
func (r *relay) context() context.Context { return r.ctx }

func (r *relay) passed() []sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent
}

// ended returns the signal that came before the start, if one did.
func (r *relay) ended() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.early
}

func (r *relay) stop() {
	signal.Stop(r.signals)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.witness.end()
	r.cancel()
	close(r.done)
}

// queue waits in a file's queue of locks, in the order in which the system keeps
// it, until ctx ends. release gives the place up.
func queue(ctx context.Context, path string) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() {
		err := syscall.EINTR
		for err == syscall.EINTR {
			err, _ = syscall.Flock(int(f.Fd()), syscall.LOCK_EX).(syscall.Errno)
		}
		if err != 0 {
			locked <- os.NewSyscallError("flock", err)
			return
		}
		locked <- nil
	}()
	select {
	case err := <-locked:
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return func() { _ = f.Close() }, nil
	case <-ctx.Done():
		go func() { // the place in the queue is given up when it comes
			<-locked
			_ = f.Close()
		}()
		return nil, context.Cause(ctx)
	}
}
