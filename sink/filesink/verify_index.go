package filesink

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// indexCheck makes the indexes of a log again, from the lines that are verified,
// and compares them with those in the directory. A wrong one that the key has
// signed hides events from those who trust it.
type indexCheck struct {
	dir   disk.Dir
	files map[string]*storedIndex // by the segment's name

	history history
	segment string
	content content
	lives   *jobcheck.Lives // of the segment
	wrong   []Finding
	unused  []Finding // of another state of the segment
}

// A storedIndex is what a signed index file says of itself.
type storedIndex struct {
	indexHeader
	sum digest
}

// checkIndexes looks at the index files. Those that no given key has signed are
// notes, as no reader uses them.
func (v *verification) checkIndexes() *indexCheck {
	c := &indexCheck{dir: v.dir, files: map[string]*storedIndex{}}
	if len(v.opts.Keys) == 0 {
		return c
	}
	for _, file := range v.files {
		x, err := openIndex(v.dir, file.first, v.opts.Keys)
		if err == nil {
			c.files[file.name] = &storedIndex{x.indexHeader, x.sum}
			_ = x.close() // it was only read
			continue
		}
		found := "an index that the given keys have not signed: it is not used, and the next open makes it again"
		if errors.Is(err, errNewerIndex) {
			found = "an index of a later version, with tables that this one cannot check: it does not use it either"
		}
		if !errors.Is(err, fs.ErrNotExist) {
			v.report.Notes = append(v.report.Notes, Finding{Finding: auditlog.Finding{
				Kind: KindIndex, Index: -1, Commit: -1, Offset: -1, Segment: file.name,
				Found: found,
			}})
		}
	}
	return c
}

// indexFacts is the size in bytes of what inspectForIndex notes of a line: its IDs, time
// and life, and whether it is one of the recorder's own events.
const indexFacts = 3*16 + 8 + lifeSize + 1

// inspectForIndex takes from a line what an index holds of it. It runs beside others, as
// [auditlog.Options] says of Inspect.
func inspectForIndex(notes, line []byte) []byte {
	h, one := headerAndLife(line, 0)
	notes = append(append(append(notes, h.id[:]...), h.job[:]...), h.correlation[:]...)
	notes = binary.LittleEndian.AppendUint64(notes, uint64(h.time))
	notes = appendLife(notes, one)
	own := byte(0)
	if bytes.HasPrefix(h.typ, []byte("audit.")) {
		own = 1
	}
	return append(notes, own)
}

// leaf takes the next verified line and what inspectForIndex noted of it.
func (c *indexCheck) leaf(l auditlog.Leaf, facts []byte) {
	if len(c.files) == 0 {
		return
	}
	if l.Segment != c.segment {
		c.finish()
		c.segment = l.Segment
		c.content = content{first: l.Index, entries: c.content.entries[:0]}
		if x := c.files[l.Segment]; x != nil { // the key has signed how many there are
			c.content.entries = slices.Grow(c.content.entries, int(min(x.End-x.First, x.Size/pageSize*rowsPerPage)))
		}
		c.lives = jobcheck.NewLives(true)
	}
	if facts[indexFacts-1] != 0 {
		if e := ownEventIn(readLineHeader(l.Bytes), l.Bytes); e != nil {
			c.history.see(*e)
		}
	}
	if c.files[c.segment] != nil {
		e := entry{time: int64(binary.LittleEndian.Uint64(facts[48:])), off: uint32(l.Offset)}
		copy(e.id[:], facts)
		copy(e.job[:], facts[16:])
		copy(e.correlation[:], facts[32:])
		c.content.entries = append(c.content.entries, e)
		if one := readLife(facts[56:]); one.Kind != jobcheck.NotTelling {
			one.off = uint32(l.Offset)
			c.lives.Add(one.of(0))
		}
	}
}

// finish compares the index of the segment that has ended.
func (c *indexCheck) finish() {
	x := c.files[c.segment]
	if x == nil {
		return
	}
	delete(c.files, c.segment)
	c.content.end, c.content.size, c.content.root, c.content.history = x.End, x.Size, x.Root, c.history
	c.content.lives = lasting(c.lives)
	var hashes []byte // the pages are not kept: the index of a segment is large
	c.content.eachPage(x.Tables, func(page []byte) {
		h := sha256.Sum256(page)
		hashes = append(hashes, h[:]...)
	})
	sum := digest(sha256.Sum256(hashes))
	agrees := (&indexFile{indexHeader: x.indexHeader}).agrees(c.dir)
	if sum == x.sum && agrees {
		return
	}
	end := c.content.first + int64(len(c.content.entries))
	unused := ""
	switch {
	case end < x.End:
		// A copy that was made while the log was written has an index of entries
		// that it lacks. The heads tell whether any are lost.
		unused = fmt.Sprintf("an index of events up to %d, which the entries do not reach: a log that is written is copied with jobaudit copy", x.End-1)
	case end > x.End || !agrees:
		// Such as one that was made while a commit line was missing that is there
		// again. It counts as missing, and hides nothing.
		unused = fmt.Sprintf("an index of events up to %d in %d bytes, which do not end so: it is not used, and the next open makes it again", x.End-1, x.Size)
	}
	if unused != "" {
		c.unused = append(c.unused, Finding{Finding: auditlog.Finding{
			Kind: KindIndex, Index: -1, First: x.First, End: x.First, Commit: -1, Offset: -1, Segment: c.segment, Found: unused,
		}})
		return
	}
	c.wrong = append(c.wrong, Finding{Finding: auditlog.Finding{
		Kind: KindIndex, Index: -1, First: x.First, End: x.End, Commit: -1, Offset: -1, Segment: c.segment,
		Expected: fmt.Sprintf("the index of events %d to %d", x.First, x.End-1), Found: "another one, signed by the key",
	}})
}

// findings returns the indexes that are wrong though the entries they are of are
// not.
func (c *indexCheck) findings(damage []Finding) (wrong []Finding) {
	c.finish()
	for _, f := range c.wrong {
		follows := false
		for _, d := range damage {
			follows = follows || d.First < f.End && f.First < max(d.End, d.First+1)
		}
		if !follows {
			wrong = append(wrong, f)
		}
	}
	return wrong
}
