package filesink

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// An index file belongs to a closed segment. It is a cache, but its misses are
// believed, so it is signed: a signed note covers the digest of all its pages
// and what it is an index of. One that does not check is taken for missing; it
// is made again from lines that were proven to lead to the log's head. It
// consists of
//
//   - pages of 4 KiB: a header, then rows sorted by event ID, by job, by
//     correlation, and by place in the segment, then what the recorder's own
//     events said up to the segment's end, then the lives of jobs that were not
//     over there (those of older versions lack them);
//   - the SHA-256 of each page, whose own SHA-256 is the digest;
//   - the signed note, see indexNote;
//   - the number of pages and the length of the note, 4 bytes each.
//
// Its presence also marks that the segment was ended in order: everything in it
// was durable.
const (
	pageSize    = 4096
	rowSize     = 24
	rowsPerPage = pageSize / rowSize
	indexMagic  = "jobaudit index 2"
	indexNote   = "jobaudit.index/v1"

	// maxIndexNote bounds the note in bytes, maxIndexPages the pages: a segment
	// has at most 4 GiB.
	maxIndexNote  = 4 << 10
	maxIndexPages = 1 << 20

	// blockLines is how many events one row by place stands for.
	blockLines = 128
)

// A digest identifies an index's content.
type digest [sha256.Size]byte

// errNewerIndex is about an index that a later version has signed, with tables that this
// one does not know: it counts as missing.
var errNewerIndex = errors.New("the index is of a later version")

var errIndex = errors.New("the index does not read well")

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
	First, End, Size int64
	Root             tlog.Hash
	// IDs, Jobs, Correlated and Blocks count rows.
	IDs, Jobs, Correlated, Blocks uint32
	Range                         keyRange
	Incarnation                   uuid.UUID
	Closed                        bool
	Policies                      uint32
	// Tables is 0 in the indexes of older versions, which have no lives, and more than
	// indexTables in those of later ones. Lives counts rows.
	Tables, Lives uint32
}

// indexTables is what this version writes.
const indexTables = 1

// history is what the recorder's own events say, up to some point of the log.
type history struct {
	incarnation uuid.UUID
	closed      bool
	policies    []jobaudit.Hash
	// unproven: some of the lines that it is from are not known to be under a signed
	// head. No index with it is signed.
	unproven bool
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

// replaceFile puts a new file in the place of an old one, in one step as its
// readers see it, and durably if sync is set.
func replaceFile(dir disk.Dir, name string, data []byte, sync bool) error {
	return replaceBy(dir, name+tempSuffix, name, data, sync)
}

// replaceBy is replaceFile by a temporary file of this name, which it does not leave.
func replaceBy(dir disk.Dir, temp, name string, data []byte, sync bool) error {
	return replaceIf(dir, temp, name, data, sync, func() error { return nil })
}

// replaceIf is replaceBy, if may has no error when all is written.
func replaceIf(dir disk.Dir, temp, name string, data []byte, sync bool, may func() error) error {
	err := writeFile(dir, temp, data, sync)
	if err == nil {
		err = may()
	}
	if err == nil {
		err = dir.Rename(temp, name)
	}
	if err != nil {
		_ = dir.Remove(temp) // the next attempt does it again
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

// indexFile is an open index. What its header says counts after the digest was
// checked.
type indexFile struct {
	indexHeader
	f      disk.File
	hashes []byte // of the pages
	sum    digest
	signed []byte
}

// openIndex opens the index of a segment that one of the keys has signed.
func openIndex(dir disk.Dir, first int64, keys []note.Verifier) (*indexFile, error) {
	x, err := openUnsigned(dir, first)
	if err != nil {
		return nil, err
	}
	n, err := note.Open(x.signed, note.VerifierList(keys...))
	if err == nil && n.Text != noteText(n.Sigs[0].Name, x.First, x.End, x.Root, x.Size, x.sum) {
		err = errIndex
	}
	if err == nil && x.Tables > indexTables {
		err = errNewerIndex
	}
	if err != nil {
		return nil, errors.Join(err, x.close())
	}
	return x, nil
}

// openKnown opens an index that was verified before.
func openKnown(dir disk.Dir, first int64, known digest) (*indexFile, error) {
	x, err := openUnsigned(dir, first)
	if err != nil {
		return nil, err
	}
	if x.sum != known {
		return nil, errors.Join(errIndex, x.close())
	}
	return x, nil
}

// openUnsigned opens an index whose signature has not been verified.
func openUnsigned(dir disk.Dir, first int64) (*indexFile, error) {
	f, err := dir.Open(indexPath(first))
	if err != nil {
		return nil, err
	}
	x := &indexFile{f: f}
	if err := x.load(first); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return x, nil
}

func (x *indexFile) load(first int64) error {
	info, err := x.f.Stat()
	if err != nil {
		return err
	}
	var trailer [8]byte
	if info.Size < int64(len(trailer)) {
		return errIndex
	}
	if err := readFull(x.f, trailer[:], info.Size-int64(len(trailer))); err != nil {
		return err
	}
	pages, text := int64(binary.LittleEndian.Uint32(trailer[:])), int64(binary.LittleEndian.Uint32(trailer[4:]))
	if pages == 0 || pages > maxIndexPages || text > maxIndexNote ||
		pages*(pageSize+sha256.Size)+text+int64(len(trailer)) != info.Size {
		return errIndex
	}
	tail := make([]byte, pages*sha256.Size+text)
	if err := readFull(x.f, tail, pages*pageSize); err != nil {
		return err
	}
	x.hashes, x.signed = tail[:pages*sha256.Size], tail[pages*sha256.Size:]
	x.sum = sha256.Sum256(x.hashes)
	page, err := x.page(0)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(page, []byte(indexMagic)) {
		return errIndex
	}
	if _, err := binary.Decode(page[len(indexMagic):], binary.LittleEndian, &x.indexHeader); err != nil {
		return err
	}
	if x.First != first || x.End <= x.First || x.Size <= 0 || int64(x.IDs) != x.End-x.First {
		return errIndex
	}
	return nil
}

func (x *indexFile) close() error { return x.f.Close() }

// agrees reports whether the segment's bytes end, where the index says so, with
// the commit line that it names.
func (x *indexFile) agrees(dir disk.Dir) bool {
	f, err := dir.Open(segmentPath(x.First))
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := lastCommit(f, x.Size)
	if err != nil {
		return false
	}
	head, err := auditlog.CommitHead(text)
	return err == nil && head.Size == x.End && head.Root == x.Root
}

// page reads a page and checks it.
func (x *indexFile) page(n int64) ([]byte, error) {
	if (n+1)*sha256.Size > int64(len(x.hashes)) {
		return nil, errIndex
	}
	page := make([]byte, pageSize)
	if err := readFull(x.f, page, n*pageSize); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(page); !bytes.Equal(sum[:], x.hashes[n*sha256.Size:][:sha256.Size]) {
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

// policyPage is the first page of the policies, behind all tables.
func (h *indexHeader) policyPage() int64 {
	return 1 + pagesOf(h.IDs) + pagesOf(h.Jobs) + pagesOf(h.Correlated) + pagesOf(h.Blocks)
}

func (h *indexHeader) policyPages() int64 {
	const perPage = pageSize / int64(len(jobaudit.Hash{}))
	return (int64(h.Policies) + perPage - 1) / perPage
}

// livesPage is the first page of the lives, which come last.
func (h *indexHeader) livesPage() int64 { return h.policyPage() + h.policyPages() }

func (h *indexHeader) livesPages() int64 { return (int64(h.Lives) + livesPerPage - 1) / livesPerPage }

func (x *indexFile) ids() table  { return table{x, 1, int(x.IDs)} }
func (x *indexFile) jobs() table { return table{x, 1 + pagesOf(x.IDs), int(x.Jobs)} }
func (x *indexFile) correlated() table {
	return table{x, 1 + pagesOf(x.IDs) + pagesOf(x.Jobs), int(x.Correlated)}
}
func (x *indexFile) blocks() table {
	return table{x, 1 + pagesOf(x.IDs) + pagesOf(x.Jobs) + pagesOf(x.Correlated), int(x.Blocks)}
}

// find returns the rows of a key, in the order of the segment.
//
// It is not for the rows by place.
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
	page := x.policyPage()
	const size = 32
	var raw []byte
	for int64(len(raw)) < int64(x.Policies)*size {
		b, err := x.page(page)
		if err != nil {
			return history{}, err
		}
		raw = append(raw, b...)
		page++
	}
	for i := range int(x.Policies) {
		h.policies = append(h.policies, jobaudit.Hash(raw[i*size:(i+1)*size]))
	}
	return h, nil
}

// lives reads which events tell of jobs that were not over at the segment's end.
// It reports false for an index of an older version, which does not say.
func (x *indexFile) lives() ([]life, bool, error) {
	if x.Tables == 0 {
		return nil, false, nil
	}
	lives := make([]life, 0, min(x.Lives, x.IDs))
	for n := range x.livesPages() {
		b, err := x.page(x.livesPage() + n)
		if err != nil {
			return nil, false, err
		}
		for i := 0; i < livesPerPage && len(lives) < int(x.Lives); i++ {
			lives = append(lives, readLife(b[i*lifeSize:]))
		}
	}
	return lives, true, nil
}
