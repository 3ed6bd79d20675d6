package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

const (
	// longestLine is how many bytes of a line are kept. The library records some 4 KiB
	// of them, once it has looked at 16: cut here, what is left of a credential would no
	// longer look like one. What stands before and behind them is looked at, too.
	longestLine = 16<<10 - 64
	// tailBytes bounds what is kept of the end of an output until it ends.
	tailBytes = 512 << 10
	// lineInterval is how long a line waits for others to be recorded with.
	lineInterval = time.Second
)

// output takes what a program prints on one of its outputs: it is passed on as it
// is, and its first and last lines are recorded.
type output struct {
	prefix string // before each line that is recorded
	to     *os.File
	record func(string)
	first  int // lines that are recorded as they come
	last   int // and at the end

	mu      sync.Mutex
	bytes   int64
	lines   int64
	taken   int // of the first lines
	pending []string
	rest    []byte // of a line that has no end yet
	cut     int64  // bytes of it that are not kept
	tail    []byte // what follows the first lines, its end
	skipped int64  // bytes that tail has no room for
	binary  int64  // lines that are no text
	lost    string // why output could not be passed on
}

// pass copies from a pipe until it ends. If nobody takes the output any more it
// closes the pipe, so that the program is told as it would be without us.
func (o *output) pass(from *os.File) {
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			o.take(buf[:n])
			if _, err := o.to.Write(buf[:n]); err != nil {
				o.drop(err)
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// drop says that output could not be passed on, as to a full disk: the program may have
// ended, and cannot be told.
func (o *output) drop(err error) {
	if errors.Is(err, syscall.EPIPE) {
		return // nobody wants it
	}
	o.mu.Lock()
	o.lost = "[output could not be passed on: " + err.Error() + "]"
	o.mu.Unlock()
	fmt.Fprintf(os.Stderr, "jobaudit exec: the program's output could not be passed on: %s\n", plain(err.Error()))
}

// take splits what was printed into lines.
func (o *output) take(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes += int64(len(b))
	o.lines += int64(bytes.Count(b, []byte{'\n'}))
	for len(b) > 0 && o.taken < o.first {
		line, behind, ended := bytes.Cut(b, []byte{'\n'})
		room := min(len(line), longestLine-len(o.rest))
		o.rest, o.cut = append(o.rest, line[:room]...), o.cut+int64(len(line)-room)
		if b = behind; ended {
			o.pending = append(o.pending, o.text(o.rest, o.cut)...)
			o.rest, o.cut = o.rest[:0], 0
			o.taken++
		}
	}
	if extra := len(o.tail) + len(b) - 2*tailBytes; extra > 0 { // keep the end, and move it seldom
		if len(b) >= tailBytes {
			o.skipped += int64(len(o.tail) + len(b) - tailBytes)
			o.tail, b = o.tail[:0], b[len(b)-tailBytes:]
		} else {
			keep := tailBytes - len(b)
			o.skipped += int64(len(o.tail) - keep)
			o.tail = append(o.tail[:0], o.tail[len(o.tail)-keep:]...)
		}
	}
	o.tail = append(o.tail, b...)
}

// text is what is recorded of a line, from which so many bytes were cut; nothing if it is
// no text.
func (o *output) text(line []byte, cut int64) []string {
	size := int64(len(line)) + cut
	if cut > 0 { // perhaps within a character
		for i := 1; i <= min(utf8.UTFMax, len(line)); i++ {
			if last := line[len(line)-i:]; utf8.RuneStart(last[0]) {
				if !utf8.FullRune(last) {
					line = line[:len(line)-i]
				}
				break
			}
		}
	}
	if bytes.ContainsFunc(line, isBinary) || !utf8.Valid(line) {
		o.binary++
		return nil
	}
	text := string(line)
	if cut == 0 {
		return []string{strings.TrimSuffix(text, "\r")}
	}
	// The mark follows at once: by it the scan knows that a value may have been cut.
	return []string{text + "…", fmt.Sprintf("[that line has %s]", count(size, "byte"))}
}

// isBinary reports whether a character is in no text: a control character that
// neither moves nor colours text.
func isBinary(r rune) bool {
	return r < ' ' && r != '\t' && r != '\r' && r != '\b' && r != '\f' && r != 0x1b
}

// flush records the lines that wait.
func (o *output) flush() {
	o.mu.Lock()
	lines := o.pending
	o.pending = nil
	o.mu.Unlock()
	o.recordAll(lines)
}

// recordAll records lines that are not empty.
func (o *output) recordAll(lines []string) {
	for _, line := range lines {
		if line != "" {
			o.record(o.prefix + line)
		}
	}
}

// end records the last lines, and what is not recorded.
func (o *output) end() {
	o.flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := bytes.SplitAfter(o.tail, []byte{'\n'})
	total := o.lines
	if last := lines[len(lines)-1]; len(last) == 0 {
		lines = lines[:len(lines)-1]
	} else {
		total++ // a line without an end
	}
	if o.skipped > 0 && len(lines) > 0 {
		lines = lines[1:] // its beginning is missing, and what follows that may be half a credential
	}
	if int64(len(o.rest))+o.cut > 0 { // less than the first lines, and the last of them has no end
		total++
		o.taken++
		o.recordAll(o.text(o.rest, o.cut))
	}
	kept := lines[max(0, len(lines)-o.last):]
	if left := total - int64(o.taken+len(kept)); left > 0 {
		o.record(fmt.Sprintf("%s[%s of output left out]", o.prefix, count(left, "line")))
	}
	for _, line := range kept {
		line = bytes.TrimSuffix(line, []byte{'\n'})
		cut := max(0, len(line)-longestLine)
		o.recordAll(o.text(line[:len(line)-cut], int64(cut)))
	}
	if o.lost != "" {
		o.record(o.prefix + o.lost)
	}
	if o.binary > 0 {
		o.record(fmt.Sprintf("%s[%s left out that are no text]", o.prefix, count(o.binary, "line")))
	}
}

// outputs are the two outputs of a program.
type outputs struct {
	list  []*output
	pipes []*os.File     // the ends that the program writes to
	done  sync.WaitGroup // of what passes the output on
	stop  chan struct{}
	tick  sync.WaitGroup // of what records at intervals
}

// record makes the files that the program writes to, and records the lines.
func recordOutputs(lines int, record func(string)) (o *outputs, files [2]*os.File, err error) {
	o = &outputs{stop: make(chan struct{})}
	files = [2]*os.File{os.Stdout, os.Stderr}
	if lines == 0 {
		return o, files, nil
	}
	outInfo, outErr := os.Stdout.Stat()
	errInfo, errErr := os.Stderr.Stat()
	together := outErr == nil && errErr == nil && os.SameFile(outInfo, errInfo)
	for i, to := range files {
		if i == 1 && together { // one pipe keeps the order of the two
			files[1] = files[0]
			break
		}
		read, write, err := os.Pipe()
		if err != nil {
			return o, files, err
		}
		out := &output{to: to, record: record, first: (lines + 1) / 2, last: lines / 2}
		if i == 1 {
			out.prefix = "stderr: "
		}
		o.list, o.pipes, files[i] = append(o.list, out), append(o.pipes, write), write
		o.done.Go(func() { out.pass(read) })
	}
	o.tick.Go(o.flush)
	return o, files, nil
}

// flush records what was printed at intervals.
func (o *outputs) flush() {
	tick := time.NewTicker(lineInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, out := range o.list {
				out.flush()
			}
		case <-o.stop:
			return
		}
	}
}

// started closes the program's ends of the pipes here.
func (o *outputs) started() {
	for _, p := range o.pipes {
		_ = p.Close()
	}
}

// end is called when the program has ended. What it printed until then has been
// read when it returns; what programs print that it has left behind is still
// passed on, see wait.
func (o *outputs) end(ended time.Duration) {
	read := make(chan struct{})
	go func() {
		o.done.Wait()
		close(read)
	}()
	select {
	case <-read:
	case <-time.After(ended):
	}
	close(o.stop)
	o.tick.Wait() // lines that it has taken come before those of the end
	for _, out := range o.list {
		out.end()
	}
}

// wait waits until nobody prints any more, or until ctx ends: what the program has
// left behind may never end, and signals are for exec alone by then.
func (o *outputs) wait(ctx context.Context) {
	read := make(chan struct{})
	go func() {
		o.done.Wait()
		close(read)
	}()
	select {
	case <-read:
	case <-ctx.Done():
	}
}

// sizes says how much was printed.
func (o *outputs) sizes() (bytes, lines int64) {
	for _, out := range o.list {
		out.mu.Lock()
		bytes, lines = bytes+out.bytes, lines+out.lines
		out.mu.Unlock()
	}
	return bytes, lines
}
