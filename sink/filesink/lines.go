package filesink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/jobaudit/jobaudit/auditlog"
)

// maxLine bounds a line, leaf or commit, without its line feed.
const maxLine = auditlog.MaxLeaf

// blockSize is how much of a segment is read at a time. It is more than two
// lines can be long.
const blockSize = 256 << 10

// errLongLine is what the iterators yield in place of a line of more than
// maxLine bytes. They go on behind it.
var errLongLine = fmt.Errorf("a line of more than %d bytes", maxLine)

// A line is one line of a segment, without its line feed. Its bytes are only
// good until the next one.
type line struct {
	off   int64
	bytes []byte
}

// end is where the next line begins.
func (l line) end() int64 { return l.off + int64(len(l.bytes)) + 1 }

// forward iterates over the whole lines in [from, to) of a file, commit lines
// too. What follows the last line feed is not a line.
func forward(f io.ReaderAt, from, to int64) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		buf := make([]byte, int(min(blockSize, max(to-from, 0))))
		held := 0 // bytes at the start of buf that are of an unfinished line
		for at := from; at < to; {
			n := int(min(int64(len(buf)-held), to-at))
			if err := readFull(f, buf[held:held+n], at); err != nil {
				yield(line{}, err)
				return
			}
			start := at - int64(held)
			rest := buf[:held+n]
			for {
				i := bytes.IndexByte(rest, '\n')
				if i < 0 {
					break
				}
				if !yield(line{start, rest[:i]}, nil) {
					return
				}
				rest, start = rest[i+1:], start+int64(i)+1
			}
			at += int64(n)
			if len(rest) > maxLine {
				if !yield(line{off: start}, errLongLine) {
					return
				}
				var err error
				if at, err = lineEnd(f, buf, at, to); err != nil {
					yield(line{}, err)
					return
				}
				rest = nil
			}
			held = copy(buf, rest)
		}
	}
}

// lineEnd returns where the line ends that goes on at an offset.
func lineEnd(f io.ReaderAt, buf []byte, at, to int64) (int64, error) {
	for at < to {
		n := int(min(int64(len(buf)), to-at))
		if err := readFull(f, buf[:n], at); err != nil {
			return at, err
		}
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			return at + int64(i) + 1, nil
		}
		at += int64(n)
	}
	return at, nil
}

// backward is forward from the last line to the first; to has to be the end of
// a line and from the start of one.
func backward(f io.ReaderAt, from, to int64) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		buf := make([]byte, int(min(blockSize, max(to-from, 0))))
		for to > from {
			n := int(min(int64(len(buf)), to-from))
			block := buf[:n]
			start := to - int64(n)
			if err := readFull(f, block, start); err != nil {
				yield(line{}, err)
				return
			}
			if block[n-1] != '\n' {
				yield(line{}, errors.New("the lines do not end where they should"))
				return
			}
			end := n - 1 // the line feed of the line to come
			for {
				i := bytes.LastIndexByte(block[:end], '\n')
				if i < 0 && start > from {
					break
				}
				if !yield(line{start + int64(i) + 1, block[i+1 : end]}, nil) {
					return
				}
				if end = i; end < 0 {
					return
				}
			}
			to = start + int64(end) + 1
			if end > maxLine {
				begin, err := lineBegin(f, buf, from, start)
				if err != nil {
					yield(line{}, err)
					return
				}
				if !yield(line{off: begin}, errLongLine) {
					return
				}
				to = begin
			}
		}
	}
}

// lineBegin returns where the line begins that reaches back over an offset.
func lineBegin(f io.ReaderAt, buf []byte, from, at int64) (int64, error) {
	for at > from {
		n := int(min(int64(len(buf)), at-from))
		if err := readFull(f, buf[:n], at-int64(n)); err != nil {
			return at, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return at - int64(n) + int64(i) + 1, nil
		}
		at -= int64(n)
	}
	return at, nil
}

// errNoLine means that an index leads to no line.
var errNoLine = errors.New("no line ends there")

// readLine reads the line that begins at off and ends before limit.
func readLine(f io.ReaderAt, buf []byte, off, limit int64) ([]byte, error) {
	for size := int64(4 << 10); ; size *= 4 {
		n := min(size, limit-off, maxLine+1)
		if n <= 0 {
			return nil, io.ErrUnexpectedEOF
		}
		if int64(cap(buf)) < n {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		if err := readFull(f, buf, off); err != nil {
			return nil, err
		}
		if text, _, ended := bytes.Cut(buf, []byte{'\n'}); ended {
			return text, nil
		}
		if n < size {
			return nil, errNoLine
		}
	}
}

// readFull reads all of b; that a file is shorter than it was is an error.
func readFull(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
