package filesink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/tlog"
)

// An index file belongs to a closed segment. It is a cache: what it finds is
// confirmed against the segment's line, and it is made anew when it is missing
// or does not read well. It consists of pages of 4 KiB, each with a checksum:
// a header, rows sorted by event ID, by job and by correlation, then what the
// recorder's own events said up to the segment's end. Its presence also marks
// that the segment was ended in order: everything in it was durable.
const (
	pageSize    = 4096
	rowSize     = 24
	rowsPerPage = (pageSize - 4) / rowSize
	indexMagic  = "jobaudit index 1"
)

var errIndex = errors.New("the index does not read well")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A row leads from a key to a leaf of the segment.
type row struct {
	key uuid.UUID
	// leaf counts from the segment's first leaf, off is in bytes.
	leaf, off uint32
}

func (r row) compare(other row) int {
	if c := bytes.Compare(r.key[:], other.key[:]); c != 0 {
		return c
	}
	return int(int64(r.leaf) - int64(other.leaf))
}

// A keyRange says which IDs a segment can have. Time-ordered IDs (version 7)
// and all others are kept apart: otherwise one of the latter would make it
// look as if the segment could hold almost any ID.
type keyRange struct{ Low, High [2]uuid.UUID } // High is the zero UUID if there are none

func kind(id uuid.UUID) int {
	if id.Version() == 7 {
		return 0
	}
	return 1
}

func (k *keyRange) add(id uuid.UUID) {
	i := kind(id)
	if k.High[i] == uuid.Nil || bytes.Compare(id[:], k.Low[i][:]) < 0 {
		k.Low[i] = id
	}
	if bytes.Compare(id[:], k.High[i][:]) > 0 {
		k.High[i] = id
	}
}

func (k *keyRange) merge(other keyRange) {
	for i := range other.High {
		if other.High[i] != uuid.Nil {
			k.add(other.Low[i])
			k.add(other.High[i])
		}
	}
}

func (k *keyRange) has(id uuid.UUID) bool {
	i := kind(id)
	return k.High[i] != uuid.Nil && bytes.Compare(id[:], k.Low[i][:]) >= 0 && bytes.Compare(id[:], k.High[i][:]) <= 0
}

// indexHeader is an index file's first page.
type indexHeader struct {
	// First and End bound the segment's leaves; Size are its bytes, Root is
	// the tree's at End.
	First, End, Size      int64
	Root                  tlog.Hash
	IDs, Jobs, Correlated uint32 // rows
	Range                 keyRange
	Incarnation           uuid.UUID
	Closed                bool
	Policies              uint32
}

// history is what the recorder's own events say, up to some point of the log.
type history struct {
	incarnation uuid.UUID
	closed      bool
	policies    []jobaudit.Hash
}

// maxPolicies bounds the redaction policies that are remembered. One that is
// forgotten is stored again, which does no harm.
const maxPolicies = 4096

// see takes note of an event.
func (h *history) see(n ownEvent) {
	switch n.typ {
	case jobaudit.AuditOpened:
		h.incarnation, h.closed = n.stream, false
	case jobaudit.AuditClosed:
		h.closed = h.closed || n.stream == h.incarnation
	case jobaudit.AuditPolicy:
		if slices.Contains(h.policies, n.policy) {
			return
		}
		if len(h.policies) == maxPolicies {
			h.policies = h.policies[1:]
		}
		// Copies of h share the array: it is never written to twice.
		h.policies = append(h.policies[:len(h.policies):len(h.policies)], n.policy)
	}
}

// content is what an index file is made of.
type content struct {
	first, end, size int64
	root             tlog.Hash
	entries          []entry
	history          history
	// leaves holds the indexes of the entries by ID, and perhaps those of
	// later ones; nil if they have to be looked for.
	leaves map[uuid.UUID]int64
}

// encode returns the bytes of the index file.
func (c *content) encode() []byte {
	h := indexHeader{
		First: c.first, End: c.end, Size: c.size, Root: c.root,
		IDs:         uint32(len(c.entries)),
		Incarnation: c.history.incarnation, Closed: c.history.closed, Policies: uint32(len(c.history.policies)),
	}
	ids := make([]row, 0, len(c.entries))
	var jobs, correlated []row
	for i, e := range c.entries {
		h.Range.add(e.id)
		ids = append(ids, row{e.id, uint32(i), e.off})
		if e.job != uuid.Nil {
			jobs = append(jobs, row{e.job, uint32(i), e.off})
		}
		if e.correlation != uuid.Nil {
			correlated = append(correlated, row{e.correlation, uint32(i), e.off})
		}
	}
	h.Jobs, h.Correlated = uint32(len(jobs)), uint32(len(correlated))

	head := append(make([]byte, 0, pageSize), indexMagic...)
	head, _ = binary.Append(head, binary.LittleEndian, &h) // fixed sizes cannot fail
	file := appendPage(nil, head)
	for _, rows := range [][]row{ids, jobs, correlated} {
		file = appendRows(file, rows)
	}
	var policies []byte
	for _, p := range c.history.policies {
		policies = append(policies, p[:]...)
	}
	for part := range slices.Chunk(policies, pageSize-4) {
		file = appendPage(file, part)
	}
	return file
}

func appendRows(file []byte, rows []row) []byte {
	slices.SortFunc(rows, row.compare)
	page := make([]byte, 0, pageSize)
	for part := range slices.Chunk(rows, rowsPerPage) {
		page = page[:0]
		for _, r := range part {
			page = append(page, r.key[:]...)
			page = binary.LittleEndian.AppendUint32(page, r.leaf)
			page = binary.LittleEndian.AppendUint32(page, r.off)
		}
		file = appendPage(file, page)
	}
	return file
}

// appendPage pads content to a page and ends it with its checksum.
func appendPage(file, content []byte) []byte {
	start := len(file)
	file = append(file, content...)
	file = append(file, make([]byte, start+pageSize-4-len(file))...)
	return binary.LittleEndian.AppendUint32(file, crc32.Checksum(file[start:], castagnoli))
}

// writeIndex makes the index file durable, or leaves the old one.
func writeIndex(dir disk.Dir, c *content) error {
	if err := replaceFile(dir, indexPath(c.first), c.encode(), true); err != nil {
		return fmt.Errorf("index of segment %d: %w", c.first, err)
	}
	return nil
}

// replaceFile puts a new file in the place of an old one, in one step for
// whoever reads it, and durably if sync is set.
func replaceFile(dir disk.Dir, name string, data []byte, sync bool) error {
	temp := name + tempSuffix
	if err := writeFile(dir, temp, data, sync); err != nil {
		_ = dir.Remove(temp) // the next attempt does it again
		return err
	}
	if err := dir.Rename(temp, name); err != nil {
		return err
	}
	if !sync {
		return nil
	}
	return dir.Sync(parent(name))
}

// writeFile writes a new file, in place of one that may lie there.
func writeFile(dir disk.Dir, name string, data []byte, sync bool) error {
	f, err := createAnew(dir, name)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// indexFile is an open index.
type indexFile struct {
	indexHeader
	f disk.File
}

// openIndex opens the index of a segment and checks its header.
func openIndex(dir disk.Dir, first int64) (*indexFile, error) {
	f, err := dir.Open(indexPath(first))
	if err != nil {
		return nil, err
	}
	x := &indexFile{f: f}
	page, err := x.page(0)
	if err == nil && !bytes.HasPrefix(page, []byte(indexMagic)) {
		err = errIndex
	}
	if err == nil {
		_, err = binary.Decode(page[len(indexMagic):], binary.LittleEndian, &x.indexHeader)
	}
	if err == nil && (x.First != first || x.End < x.First || x.Size < 0 || int64(x.IDs) != x.End-x.First) {
		err = errIndex
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return x, nil
}

func (x *indexFile) close() error { return x.f.Close() }

func (x *indexFile) page(n int64) ([]byte, error) {
	page := make([]byte, pageSize)
	if err := readFull(x.f, page, n*pageSize); err != nil {
		return nil, err
	}
	if crc32.Checksum(page[:pageSize-4], castagnoli) != binary.LittleEndian.Uint32(page[pageSize-4:]) {
		return nil, errIndex
	}
	return page, nil
}

// table is one of an index's sorted tables.
type table struct {
	x    *indexFile
	page int64 // where it begins
	rows int
}

func pagesOf(rows uint32) int64 { return (int64(rows) + rowsPerPage - 1) / rowsPerPage }

func (x *indexFile) ids() table  { return table{x, 1, int(x.IDs)} }
func (x *indexFile) jobs() table { return table{x, 1 + pagesOf(x.IDs), int(x.Jobs)} }
func (x *indexFile) correlated() table {
	return table{x, 1 + pagesOf(x.IDs) + pagesOf(x.Jobs), int(x.Correlated)}
}

// find returns the rows of a key, in the order of the segment.
func (t table) find(key uuid.UUID) ([]row, error) {
	pages := (t.rows + rowsPerPage - 1) / rowsPerPage
	// The first page whose last row is not before the key.
	low, high := 0, pages
	for low < high {
		middle := (low + high) / 2
		rows, err := t.read(middle)
		if err != nil {
			return nil, err
		}
		if last := rows[len(rows)-1]; bytes.Compare(last.key[:], key[:]) < 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	var found []row
	for ; low < pages; low++ {
		rows, err := t.read(low)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if r.key == key {
				found = append(found, r)
			}
		}
		if rows[len(rows)-1].key != key {
			break
		}
	}
	return found, nil
}

func (t table) read(page int) ([]row, error) {
	b, err := t.x.page(t.page + int64(page))
	if err != nil {
		return nil, err
	}
	rows := make([]row, min(rowsPerPage, t.rows-page*rowsPerPage))
	for i := range rows {
		cell := b[i*rowSize:]
		rows[i].key = uuid.UUID(cell[:16])
		rows[i].leaf = binary.LittleEndian.Uint32(cell[16:])
		rows[i].off = binary.LittleEndian.Uint32(cell[20:])
	}
	return rows, nil
}

// history reads what the recorder's own events said up to the segment's end.
func (x *indexFile) history() (history, error) {
	h := history{incarnation: x.Incarnation, closed: x.Closed}
	page := 1 + pagesOf(x.IDs) + pagesOf(x.Jobs) + pagesOf(x.Correlated)
	const size = 32
	var raw []byte
	for int64(len(raw)) < int64(x.Policies)*size {
		b, err := x.page(page)
		if err != nil {
			return history{}, err
		}
		raw = append(raw, b[:pageSize-4]...)
		page++
	}
	for i := range int(x.Policies) {
		h.policies = append(h.policies, jobaudit.Hash(raw[i*size:(i+1)*size]))
	}
	return h, nil
}
