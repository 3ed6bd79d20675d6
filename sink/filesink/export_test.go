package filesink

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/boundanchor"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"golang.org/x/mod/sumdb/note"
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

// FileAnchorOn is FileAnchor on another disk.
func FileAnchorOn(d disk.Disk, path string) auditlog.Anchor { return newFileAnchor(d, path) }

// VerifyOn is Verify on another disk.
func VerifyOn(ctx context.Context, d disk.Disk, dir string, opts *VerifyOptions) (Report, error) {
	return verifyOn(ctx, d, dir, opts)
}

// OpenReaderOn is OpenReader on another disk.
func OpenReaderOn(d disk.Disk, dir string, keys ...note.Verifier) (*Reader, error) {
	return openReaderOn(d, dir, keys)
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

// TellsOf is lifeOf, and whether it tells anything.
func TellsOf(line []byte) (job, execution uuid.UUID, tells bool) {
	l := lifeOf(line, 0)
	return l.Job, l.Execution, l.Kind != jobcheck.NotTelling
}

// EncodeIndex makes an index file of a segment from index 0 whose events have
// their numbers for offsets.
func EncodeIndex(ids []uuid.UUID, key *Key) []byte {
	c := content{end: int64(len(ids)), size: int64(len(ids)), proven: true}
	for i, id := range ids {
		c.entries = append(c.entries, entry{id: id, off: uint32(i)})
	}
	file, _, err := c.encode(key.signer)
	if err != nil {
		panic(err)
	}
	return file
}

// LookUp looks for an event in an index file.
func LookUp(file []byte, id uuid.UUID, key *Key) (offsets []uint32, err error) {
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
	x, err := openIndex(dir, 0, []note.Verifier{key})
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

// ForgeIndex lets change do something to the pages of an index file and makes
// all of it that needs no key again; with a key it signs it too.
func ForgeIndex(file []byte, key *Key, change func(pages []byte)) []byte {
	n := len(file)
	pages, text := int(binary.LittleEndian.Uint32(file[n-8:])), int(binary.LittleEndian.Uint32(file[n-4:]))
	out := slices.Clone(file[:pages*pageSize])
	change(out)
	hashes, sum := hashPages(out)
	signed := file[n-8-text : n-8]
	if key != nil {
		var h indexHeader
		if _, err := binary.Decode(out[len(indexMagic):], binary.LittleEndian, &h); err != nil {
			panic(err)
		}
		var err error
		if signed, err = note.Sign(&note.Note{Text: noteText(key.Name(), h.First, h.End, h.Root, h.Size, sum)}, key.signer); err != nil {
			panic(err)
		}
	}
	out = append(append(out, hashes...), signed...)
	out = binary.LittleEndian.AppendUint32(out, uint32(pages))
	return binary.LittleEndian.AppendUint32(out, uint32(len(signed)))
}

// Bounded bounds the calls on an anchor.
func Bounded(a auditlog.Anchor) auditlog.Anchor { return boundanchor.New(a) }

// NewKeyWithin is NewKey with another timeout.
func NewKeyWithin(timeout time.Duration, signer note.Signer, verifierKey string) (*Key, error) {
	return newKey(signer, verifierKey, timeout)
}

// SignerOf returns what a key signs with.
func SignerOf(k *Key) note.Signer { return k.signer }

// ParseSegmentName, LinesForward, LinesBackward and Salvage are what their
// names say, for fuzzing.
func ParseSegmentName(name string) (int64, bool) { return parseSegmentName(name) }

// SegmentName is segmentName.
func SegmentName(first int64) string { return segmentName(first) }

// LinesForward returns the lines of a text and where they begin; of one that is
// too long, its place.
func LinesForward(text []byte) []string {
	return listed(forward(bytes.NewReader(text), 0, int64(len(text))))
}

// LinesBackward is LinesForward from the last line to the first.
func LinesBackward(text []byte) []string {
	return listed(backward(bytes.NewReader(text), 0, int64(len(text))))
}

func listed(lines iter.Seq2[line, error]) (list []string) {
	for l, err := range lines {
		if err != nil {
			list = append(list, fmt.Sprint(l.off, ": ", err))
			continue
		}
		list = append(list, fmt.Sprint(l.off, ": ", string(l.bytes)))
	}
	return list
}

// Salvage is salvage.
func Salvage(line []byte) (event, stream, job uuid.UUID) {
	s := salvage(line)
	return s.event, s.stream, s.job
}

// ParseKey is parseKey.
func ParseKey(name, secret string) (*Key, error) { return parseKey("key", name, secret) }

// CopyLinesIn is CopyLines with segments of another size.
func CopyLinesIn(ctx context.Context, lines Lines, dir string, keys []note.Verifier, segmentSize int64) (auditlog.Checkpoint, error) {
	return copyLines(ctx, lines, dir, keys, segmentSize)
}

// Waiting returns how many Appends wait for the batch behind the one being stored.
func Waiting(s *Sink) int { return s.queue.waiters() }

// Advance moves the anchors of a Sink on to a head.
func Advance(s *Sink, c auditlog.Checkpoint) error { return s.keeper.advance(context.Background(), c) }

// Held says of how many closed segments memory holds what their indexes would, and
// how many events can be looked up in a map of theirs. Nothing may be appended meanwhile.
func Held(s *Sink) (segments, mapped int) {
	s.writer.filing.Wait()
	for _, one := range s.current().closed {
		if one.content != nil {
			segments, mapped = segments+1, mapped+len(one.content.leaves)
		}
	}
	return segments, mapped
}

// LoseTree is what a tree's file does that cannot be written for long.
func LoseTree(s *Sink) {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	s.cache.lost, s.cache.pending = true, nil
}
