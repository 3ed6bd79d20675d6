package filesink

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
)

// On returns the options for a log on another disk.
func On(d disk.Disk, opts *Options) *Options {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.disk = d
	return &o
}

// LoadOrCreateKeyOn is LoadOrCreateKey on another disk.
func LoadOrCreateKeyOn(d disk.Disk, dir, keyPath, name string) (*Key, error) {
	return loadOrCreateKey(d, dir, keyPath, name)
}

// CorrelationOf is correlationOf.
func CorrelationOf(line []byte) uuid.UUID { return correlationOf(line) }

// ReadLineHeader is readLineHeader.
func ReadLineHeader(line []byte) (id, job, correlation uuid.UUID) {
	p := readLineHeader(line)
	return p.id, p.job, p.correlation
}

// EncodeIndex makes an index file of a segment from index 0 whose events have
// their numbers for offsets.
func EncodeIndex(ids []uuid.UUID) []byte {
	c := content{end: int64(len(ids)), size: int64(len(ids))}
	for i, id := range ids {
		c.entries = append(c.entries, entry{id: id, off: uint32(i)})
	}
	return c.encode()
}

// LookUp looks for an event in an index file.
func LookUp(file []byte, id uuid.UUID) (offsets []uint32, err error) {
	dir, err := simdisk.NewMemory().OpenDir("log", true)
	if err != nil {
		return nil, err
	}
	if err := dir.Mkdir(indexDir); err != nil {
		return nil, err
	}
	if err := writeFile(dir, indexPath(0), file, false); err != nil {
		return nil, err
	}
	x, err := openIndex(dir, 0)
	if err != nil {
		return nil, err
	}
	defer x.close()
	if _, err := x.history(); err != nil {
		return nil, err
	}
	rows, err := x.ids().find(id)
	for _, r := range rows {
		offsets = append(offsets, r.off)
	}
	return offsets, err
}

// ChecksumPage ends a changed page of an index file with its checksum.
func ChecksumPage(page []byte) {
	binary.LittleEndian.PutUint32(page[pageSize-4:], crc32.Checksum(page[:pageSize-4], castagnoli))
}
