package filesink

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"slices"
	"strings"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// repair makes good what an unclean end left: what is behind the newest commit
// goes to torn/, the rest of the segment to a new file. Bytes that were
// written but perhaps never made durable are so afterwards.
func (o *opening) repair() error {
	for _, name := range []string{entriesDir, tornDir} {
		if err := o.dir.Mkdir(name); err != nil {
			return err
		}
	}
	o.placeCaches()
	if err := o.dir.Sync("."); err != nil {
		return err
	}
	o.sweep()
	if len(o.repairs) == 0 {
		return nil
	}
	for _, m := range slices.Backward(o.repairs) { // oldest first
		if err := o.repairOne(m); err != nil {
			return fmt.Errorf("recover %s: %w", segmentPath(m.first), err)
		}
	}
	return nil
}

func (o *opening) repairOne(m repair) error {
	old, err := o.dir.Open(segmentPath(m.first))
	if err != nil {
		return err
	}
	defer old.Close()
	if err := o.saveTorn(m.end, old, m.size, m.bytes); err != nil {
		return err
	}
	if m.size == 0 {
		o.firsts = slices.DeleteFunc(o.firsts, func(first int64) bool { return first == m.first })
		return o.drop(m.first)
	}
	temp := segmentPath(m.first) + tempSuffix
	if err := makeRoom(o.dir, temp, o.opts.OnError); err != nil {
		return err
	}
	if err := copyFile(o.ctx, o.dir, temp, old, 0, m.size, nil); err != nil {
		if !disk.Full(err) {
			return err
		}
		if err := o.dir.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return o.rewrite(m)
	}
	if err := o.dir.Rename(temp, segmentPath(m.first)); err != nil {
		return err
	}
	return o.dir.Sync(entriesDir)
}

// rewrite makes good in place what an unclean end left, where the disk has no
// room for a copy: it writes the same bytes again, and only those behind the
// newest head that was durable before, which an anchor or the checkpoint holds.
func (o *opening) rewrite(m repair) error {
	f, err := o.dir.Edit(segmentPath(m.first))
	if err != nil {
		return err
	}
	from, err := o.durableBytes(f, m)
	buf := make([]byte, blockSize)
	for at := from; err == nil && at < m.size; {
		part := buf[:min(int64(len(buf)), m.size-at)]
		if err = readFull(f, part, at); err == nil {
			_, err = f.WriteAt(part, at)
		}
		at += int64(len(part))
	}
	if err == nil && m.bytes > m.size {
		err = f.Truncate(m.size)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// durableBytes returns how many of a segment's bytes are known to be durable.
func (o *opening) durableBytes(f disk.File, m repair) (size int64, err error) {
	known := int64(0)
	for _, a := range o.anchors {
		if !a.head.IsZero() {
			known = max(known, a.head.Head().Size)
		}
	}
	if signed, err := readAll(o.dir, checkpointFile, maxCheckpoint); err == nil {
		if c, err := auditlog.OpenCheckpoint(signed, o.key.verifier); err == nil {
			known = max(known, c.Head().Size)
		}
	}
	for l, err := range forward(f, 0, m.size) {
		if err != nil {
			return 0, err
		}
		if !auditlog.IsCommit(l.bytes) {
			continue
		}
		if head, err := auditlog.CommitHead(l.bytes); err != nil || head.Size > known {
			break
		}
		size = l.end()
	}
	return size, nil
}

// drop removes a segment without any good commit, and an index of its name.
func (o *opening) drop(first int64) error {
	if err := o.removeIndex(first); err != nil {
		return err
	}
	if err := o.dir.Remove(segmentPath(first)); err != nil {
		return err
	}
	return o.dir.Sync(entriesDir)
}

// removeIndex removes an index durably. What else lies in its place is put aside.
func (o *opening) removeIndex(first int64) error {
	err := makeRoom(o.dir, indexPath(first), o.opts.OnError)
	if err == nil {
		err = o.dir.Sync(indexDir)
	}
	if disk.Gone(err) {
		return nil // without the directory there is no index
	}
	return err
}

// saveTorn keeps bytes [from, to) of a segment that follow the commit line of a
// size, and says so in the report.
func (o *opening) saveTorn(size int64, old disk.File, from, to int64) error {
	if from >= to {
		return nil
	}
	names, err := o.dir.List(tornDir)
	if err != nil {
		return err
	}
	name := ""
	for n := 1; name == "" || slices.Contains(names, name); n++ {
		name = fmt.Sprintf("%020d.%d", size, n)
	}
	if o.torn == nil {
		o.torn = sha256.New()
	}
	if err := copyFile(o.ctx, o.dir, tornDir+"/"+name, old, from, to, o.torn); err != nil {
		return err
	}
	r := &o.recovery
	r.TornBytes += to - from
	r.TornSHA256 = jobaudit.Hash(o.torn.Sum(nil))
	r.TornFiles = append(r.TornFiles, tornDir+"/"+name)
	return o.dir.Sync(tornDir)
}

// copyFile makes a durable file of [from, to) of another. Its name is not
// durable yet.
func copyFile(ctx context.Context, dir disk.Dir, name string, old disk.File, from, to int64, sum hash.Hash) error {
	f, err := createAnew(dir, name)
	if err != nil {
		return err
	}
	buf := make([]byte, blockSize)
	for at := from; err == nil && at < to; {
		part := buf[:min(int64(len(buf)), to-at)]
		if err = errors.Join(ctx.Err(), readFull(old, part, at)); err != nil {
			break
		}
		if sum != nil {
			sum.Write(part)
		}
		_, err = f.WriteAt(part, at-from)
		at += int64(len(part))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// sweep removes what interrupted writes of whole files left. What cannot be removed is
// in nobody's way.
func (o *opening) sweep() {
	for _, folder := range []string{entriesDir, indexDir} {
		names, err := o.dir.List(folder)
		if err != nil {
			o.opts.OnError(fmt.Errorf("filesink: %s: %w", folder, err))
		}
		for _, name := range names {
			if !strings.HasSuffix(name, tempSuffix) {
				continue
			}
			if err := o.dir.Remove(folder + "/" + name); err != nil {
				o.opts.OnError(fmt.Errorf("filesink: %w", err))
			}
		}
	}
}
