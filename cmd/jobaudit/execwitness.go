//go:build unix && !solaris && !aix

package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// witnessCommand is the name of a command that people do not call.
const witnessCommand = "exec-witness"

// witnessTime is how long the witness has to end by a signal that it has got.
const witnessTime = 3 * time.Second

// witness is a process in the process group of exec and its program, which ends by the
// signals that a terminal sends. A terminal sends them to the whole group, and somebody
// who means exec to exec alone: nothing else tells the two apart.
type witness struct {
	alive *os.File // closed when exec ends, which ends the witness
	ended chan struct{}
}

// newWitness starts one. It is nil where that cannot be done.
func newWitness() *witness {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	defer null.Close()
	in, alive, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer in.Close()
	p, err := os.StartProcess(self, []string{self, witnessCommand}, &os.ProcAttr{Files: []*os.File{in, null, null}})
	if err != nil {
		_ = alive.Close()
		return nil
	}
	w := &witness{alive: alive, ended: make(chan struct{})}
	go func() {
		_, _ = p.Wait()
		close(w.ended)
	}()
	return w
}

// saw reports whether the group has been sent a signal that exec has just got. Where
// there is no witness it has: what a terminal sends is the usual case.
func (w *witness) saw() bool {
	if w == nil {
		return true
	}
	select {
	case <-w.ended:
		return true
	case <-time.After(witnessTime):
		return false
	}
}

func (w *witness) end() {
	if w != nil {
		_ = w.alive.Close()
	}
}

// witness is what the process does: it waits for its end.
func (a *app) witness() *cobra.Command {
	return &cobra.Command{Use: witnessCommand, Hidden: true, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		ctx, end := context.WithCancel(cmd.Context())
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			end()
		}()
		<-ctx.Done()
		return nil
	}}
}
