package filesink

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// content is what an index file is made of.
type content struct {
	first, end, size int64
	root             tlog.Hash
	entries          []entry
	lives            []life // at least those that last
	history          history
	// leaves holds the indexes of the entries by ID, and perhaps those of
	// later ones; nil if they have to be looked for.
	leaves map[uuid.UUID]int64
	// proven: the entries are under the log's signed head, or were written by
	// this process. Only such a content is signed; notProven says why another is not.
	proven    bool
	notProven error
}

// eachPage makes the pages of the index file one after the other, with the tables of
// a version. A page is good until the next one.
func (c *content) eachPage(tables uint32, do func(page []byte)) {
	h := indexHeader{
		First: c.first, End: c.end, Size: c.size, Root: c.root,
		IDs:         uint32(len(c.entries)),
		Incarnation: c.history.incarnation, Closed: c.history.closed, Policies: uint32(len(c.history.policies)),
	}
	for _, e := range c.entries {
		h.Range.add(e.id)
		if e.job != uuid.Nil {
			h.Jobs++
		}
		if e.correlation != uuid.Nil {
			h.Correlated++
		}
	}
	blocks := c.blocks()
	h.Blocks = uint32(len(blocks))
	var lives []life
	if h.Tables = tables; tables >= indexTables {
		lives = lastingLives(c.lives)
		h.Lives = uint32(len(lives))
	}

	page := append(make([]byte, 0, pageSize), indexMagic...)
	page, _ = binary.Append(page, binary.LittleEndian, &h) // fixed sizes cannot fail
	do(padded(page))
	rows := make([]row, 0, len(c.entries))
	for _, t := range []struct {
		key func(*entry) uuid.UUID
		all bool // also those without such a key
	}{
		{func(e *entry) uuid.UUID { return e.id }, true},
		{func(e *entry) uuid.UUID { return e.job }, false},
		{func(e *entry) uuid.UUID { return e.correlation }, false},
	} {
		rows = rows[:0]
		for i := range c.entries {
			if k := t.key(&c.entries[i]); t.all || k != uuid.Nil {
				rows = append(rows, row{k, uint32(i), c.entries[i].off})
			}
		}
		slices.SortFunc(rows, row.compare)
		eachPageOf(page, rowsPerPage, rows, appendRow, do)
	}
	eachPageOf(page, rowsPerPage, blocks, appendRow, do)
	const policiesPerPage = pageSize / len(jobaudit.Hash{})
	eachPageOf(page, policiesPerPage, c.history.policies, func(page []byte, p jobaudit.Hash) []byte { return append(page, p[:]...) }, do)
	eachPageOf(page, livesPerPage, lives, appendLife, do)
}

// eachPageOf makes pages of rows in the memory of page.
func eachPageOf[T any](page []byte, perPage int, rows []T, add func([]byte, T) []byte, do func([]byte)) {
	for part := range slices.Chunk(rows, perPage) {
		page = page[:0]
		for _, r := range part {
			page = add(page, r)
		}
		do(padded(page))
	}
}

func appendRow(page []byte, r row) []byte {
	page = append(page, r.key[:]...)
	page = binary.LittleEndian.AppendUint32(page, r.leaf)
	return binary.LittleEndian.AppendUint32(page, r.off)
}

// padded fills a page with zeros.
func padded(page []byte) []byte {
	n := len(page)
	page = page[:pageSize]
	clear(page[n:])
	return page
}

// blocks returns a row for each run of events, as many as blockLines: the bytes
// where it begins and ends, and the lowest and highest time in it. The key
// holds the times, in microseconds since 1970, lowest first.
func (c *content) blocks() (rows []row) {
	for run := range slices.Chunk(c.entries, blockLines) {
		low, high := run[0].time, run[0].time
		for _, e := range run {
			low, high = min(low, e.time), max(high, e.time)
		}
		var r row
		binary.LittleEndian.PutUint64(r.key[:], uint64(low))
		binary.LittleEndian.PutUint64(r.key[8:], uint64(high))
		r.leaf, r.off = run[0].off, uint32(c.size)
		if n := len(rows); n > 0 {
			rows[n-1].off = run[0].off
		}
		rows = append(rows, r)
	}
	return rows
}

// signable returns why an index of it may not be signed, nil if it may.
func (c *content) signable() error {
	switch {
	case !c.proven:
		return fmt.Errorf("its entries are not those that were signed: %w", c.notProven)
	case c.history.unproven:
		return errHistory
	}
	return nil
}

var errHistory = errors.New("an index also holds what the entries before it say, and those are not what was signed")

// hashPages returns the hashes of pages and the digest over them.
func hashPages(pages []byte) (hashes []byte, sum digest) {
	for page := range slices.Chunk(pages, pageSize) {
		h := sha256.Sum256(page)
		hashes = append(hashes, h[:]...)
	}
	return hashes, sha256.Sum256(hashes)
}

// noteText is what is signed of an index.
func noteText(origin string, first, end int64, root tlog.Hash, size int64, sum digest) string {
	return fmt.Sprintf("%s\n%s\n%d\n%d\n%s\n%d\n%s\n", indexNote, origin, first, end, root, size, base64.StdEncoding.EncodeToString(sum[:]))
}

// encode returns the bytes of the index file. One that may not be signed has no note: it
// serves the process that made it, which knows its digest, and nobody else.
func (c *content) encode(signer note.Signer) ([]byte, digest, error) {
	file := make([]byte, 0, (3*len(c.entries)/rowsPerPage+8)*pageSize)
	c.eachPage(indexTables, func(page []byte) { file = append(file, page...) })
	hashes, sum := hashPages(file)
	pages := len(file) / pageSize
	var signed []byte
	if c.signable() == nil {
		var err error
		signed, err = note.Sign(&note.Note{Text: noteText(signer.Name(), c.first, c.end, c.root, c.size, sum)}, signer)
		if err != nil {
			return nil, sum, err
		}
	}
	file = append(append(file, hashes...), signed...)
	file = binary.LittleEndian.AppendUint32(file, uint32(pages))
	return binary.LittleEndian.AppendUint32(file, uint32(len(signed))), sum, nil
}

// writeIndex makes the index file durable, or leaves the old one.
func writeIndex(dir disk.Dir, c *content, signer note.Signer, report func(error)) (digest, error) {
	file, sum, err := c.encode(signer)
	if err == nil {
		name := indexPath(c.first)
		err = replaceFile(dir, name, file, true)
		for _, n := range []string{name, name + tempSuffix} {
			if mode, there, lookErr := typeOf(dir, n); err != nil && lookErr == nil && there && !mode.IsRegular() {
				if err = putAside(dir, n, report); err == nil {
					err = replaceFile(dir, name, file, true)
				}
			}
		}
	}
	if err != nil {
		return sum, fmt.Errorf("index of segment %d: %w", c.first, err)
	}
	return sum, nil
}
