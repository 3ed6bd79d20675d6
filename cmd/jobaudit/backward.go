package main

import (
	"bytes"
	"context"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/jobaudit/jobaudit/auditlog"
)

// firstBlock is how much is read at once of the end of a log. Each block is
// twice as large as the one behind it, up to largestBlock.
const (
	firstBlock   = 16 << 10
	largestBlock = 1 << 20
)

// lastLine is a line of a log that is read backward.
type lastLine struct {
	text    []byte
	segment string
	end     int64 // offset behind it
	behind  bool  // something follows it in its file
}

// backward iterates over the lines of a log, the newest commit line first. What
// stands behind that, and what was written again in the next file, is left out.
func (d directory) backward(ctx context.Context) iter.Seq2[lastLine, error] {
	return func(yield func(lastLine, error) bool) {
		names, err := d.segments()
		if err != nil {
			yield(lastLine{}, err)
			return
		}
		next := int64(-1)
		for _, name := range slices.Backward(names) {
			end, err := d.endOf(ctx, name, next)
			if err == nil && end > 0 {
				more := true
				more, err = d.readBackward(ctx, name, end, yield)
				if !more && err == nil {
					return
				}
				next, _ = segmentFirst(name)
			}
			if err != nil {
				yield(lastLine{}, err)
				return
			}
		}
	}
}

// endOf returns where the newest commit line of a segment ends, or, if another
// segment follows, the one with its size; 0 if there is none.
func (d directory) endOf(ctx context.Context, name string, next int64) (end int64, err error) {
	info, err := os.Stat(filepath.Join(d.path, "entries", name))
	if err != nil {
		return 0, err
	}
	newest := int64(0)
	_, err = d.readBackward(ctx, name, info.Size(), func(l lastLine, err error) bool {
		if err != nil || !auditlog.IsCommit(l.text) {
			return err == nil
		}
		if newest == 0 {
			newest = l.end
		}
		head, headErr := auditlog.CommitHead(l.text)
		if next < 0 || headErr == nil && head.Size == next {
			end = l.end
			return false
		}
		return headErr != nil || head.Size > next
	})
	if end == 0 {
		end = newest // it is damaged: what there is
	}
	return end, err
}

// readBackward iterates over the whole lines before an offset. It returns false
// if the iteration is to end.
func (d directory) readBackward(ctx context.Context, name string, end int64, yield func(lastLine, error) bool) (more bool, err error) {
	f, err := os.Open(filepath.Join(d.path, "entries", name))
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	var held []byte // lines whose beginning is not read yet
	whole := false  // held ends with a line feed
	for size, at := int64(firstBlock), end; at > 0 && ctx.Err() == nil; size = min(2*size, largestBlock) {
		n := min(size, at)
		at -= n
		block := make([]byte, n, int(n)+len(held))
		if _, err := io.ReadFull(io.NewSectionReader(f, at, n), block); err != nil {
			return false, err
		}
		held = append(block, held...)
		if !whole { // what stands behind the last line feed is no line
			i := bytes.LastIndexByte(held, '\n')
			if i < 0 {
				held = nil // nothing of it is a line
				continue
			}
			held, whole = held[:i+1], true
		}
		for {
			i := bytes.LastIndexByte(held[:len(held)-1], '\n')
			if i < 0 && at > 0 {
				if len(held) > 2*auditlog.MaxLeaf { // longer than any line of ours
					held = held[len(held)-1:]
				}
				break
			}
			behind := at + int64(len(held))
			if !yield(lastLine{held[i+1 : len(held)-1], name, behind, info.Size() > behind}, nil) {
				return false, nil
			}
			if held = held[:i+1]; len(held) == 0 {
				return true, nil
			}
		}
	}
	return true, ctx.Err()
}
