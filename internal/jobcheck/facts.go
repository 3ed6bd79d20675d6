package jobcheck

import (
	"fmt"
	"math"
	"os"
)

const (
	// blockSize is the unit in which facts are kept, in bytes. There is an open block
	// for each kind of fact and each partition, of which large logs have many.
	blockSize = 4 << 10
	// maxBlocks is how many full blocks are kept in memory; 4 MiB.
	maxBlocks = (4 << 20) / blockSize
)

// spill keeps blocks of facts in memory and, beyond maxBlocks, in a temporary
// file if one can be made. It is for one writer, and then for any number of readers.
type spill struct {
	memory [][]byte
	limit  int
	file   *os.File
	filed  uint32
	err    error
}

// put keeps a full block and returns its number and an empty block.
func (s *spill) put(block []byte) (number uint32, empty []byte) {
	if len(s.memory) < s.limit {
		s.memory = append(s.memory, block)
		return uint32(len(s.memory) - 1), make([]byte, 0, blockSize)
	}
	if s.file == nil && s.err == nil {
		file, err := os.CreateTemp("", "jobaudit-verify-*")
		if err != nil { // there may be no place to write to: then all stays in memory
			s.limit = math.MaxInt
			return s.put(block)
		}
		s.file = file
	}
	if s.err == nil {
		_, s.err = s.file.WriteAt(block[:blockSize], int64(s.filed)*blockSize)
		s.filed++
	}
	return uint32(len(s.memory)) + s.filed - 1, block[:0]
}

// get returns a block; buf is used if it comes from the file.
func (s *spill) get(number uint32, buf []byte) ([]byte, error) {
	if int(number) < len(s.memory) {
		return s.memory[number], nil
	}
	buf = buf[:blockSize]
	_, err := s.file.ReadAt(buf, int64(int(number)-len(s.memory))*blockSize)
	return buf, err
}

// close removes the temporary file.
func (s *spill) close() {
	if s.file != nil {
		s.file.Close()
		os.Remove(s.file.Name())
	}
}

// facts holds facts of one size, in partitions, each in the order in which
// they were added.
type facts struct {
	spill *spill
	size  int // of one, in bytes
	parts []partition
}

type partition struct {
	open []byte
	full []uint32 // block numbers
}

func newFacts(s *spill, size, parts int) *facts {
	return &facts{spill: s, size: size, parts: make([]partition, parts)}
}

// add returns room for another fact in a partition. It is to be filled before
// the next call.
func (f *facts) add(part int) []byte {
	p := &f.parts[part]
	n := len(p.open)
	if n+f.size > cap(p.open) {
		f.turn(p)
		n = len(p.open)
	}
	p.open = p.open[:n+f.size]
	return p.open[n : n+f.size : n+f.size]
}

// turn makes room: it lets the first block grow, so that a small log needs
// little, and puts a full one aside.
func (f *facts) turn(p *partition) {
	if cap(p.open) < blockSize {
		grown := make([]byte, len(p.open), min(blockSize, max(4*f.size, 4*cap(p.open))))
		copy(grown, p.open)
		p.open = grown
		return
	}
	var number uint32
	number, p.open = f.spill.put(p.open)
	p.full = append(p.full, number)
}

// each calls do for each fact of a partition, in order. Different partitions
// may be read at the same time, with a buf of blockSize for each.
func (f *facts) each(part int, buf []byte, do func(fact []byte)) error {
	p := &f.parts[part]
	for _, number := range p.full {
		block, err := f.spill.get(number, buf[:0])
		if err != nil {
			return fmt.Errorf("temporary file: %w", err)
		}
		f.split(block[:blockSize/f.size*f.size], do)
	}
	f.split(p.open, do)
	return nil
}

func (f *facts) split(block []byte, do func(fact []byte)) {
	for ; len(block) >= f.size; block = block[f.size:] {
		do(block[:f.size:f.size])
	}
}

// len returns how many facts a partition has.
func (f *facts) len(part int) int {
	p := &f.parts[part]
	return len(p.full)*(blockSize/f.size) + len(p.open)/f.size
}

// printSet is a set of fingerprints that can be used again.
type printSet struct {
	slots []uint64
}

// reset empties the set and makes room for so many.
func (s *printSet) reset(size int) {
	n := 16
	for n < 2*size {
		n *= 2
	}
	if n > len(s.slots) {
		s.slots = make([]uint64, n)
	} else {
		clear(s.slots)
	}
}

// add adds a fingerprint and reports whether it was there. Two that differ in
// their lowest bit only are one to it. There has to be room.
func (s *printSet) add(print uint64) bool {
	print |= 1
	mask := uint64(len(s.slots) - 1)
	i := print >> 1 & mask
	for ; s.slots[i] != 0; i = (i + 1) & mask {
		if s.slots[i] == print {
			return true
		}
	}
	s.slots[i] = print
	return false
}

// table is a hash table that can be used again. Its keys come with
// fingerprints, which cannot be predicted.
type table[K comparable, V any] struct {
	slots   []uint32 // index in entries, plus 1
	entries []entry[K, V]
}

type entry[K comparable, V any] struct {
	print uint64
	key   K
	value V
}

// roomAtFirst is for how many entries a table makes room at once: many facts of a
// partition may be of one stream or one job, and a table grows.
const roomAtFirst = 4096

// reset empties the table and makes room for about so many entries, within bounds.
func (t *table[K, V]) reset(size int) {
	size = min(size, roomAtFirst)
	n := 16
	for n < 2*size {
		n *= 2
	}
	if n > len(t.slots) {
		t.slots = make([]uint32, n)
	} else {
		clear(t.slots)
	}
	if cap(t.entries) < size {
		t.entries = make([]entry[K, V], 0, size+size/4)
	}
	clear(t.entries)
	t.entries = t.entries[:0]
}

// at returns the value of a key and whether it was there before. The pointer
// is good until the next call.
func (t *table[K, V]) at(print uint64, key K) (value *V, found bool) {
	i, e := t.find(print, key)
	if e != nil {
		return &e.value, true
	}
	if 2*len(t.entries) >= len(t.slots) {
		t.grow()
		i, _ = t.find(print, key)
	}
	t.entries = append(t.entries, entry[K, V]{print: print, key: key})
	t.slots[i] = uint32(len(t.entries))
	return &t.entries[len(t.entries)-1].value, false
}

// get is at for keys that may be missing, and adds none.
func (t *table[K, V]) get(print uint64, key K) (value *V, found bool) {
	if _, e := t.find(print, key); e != nil {
		return &e.value, true
	}
	return nil, false
}

// find returns a key's slot and, if there is one, its entry.
func (t *table[K, V]) find(print uint64, key K) (slot uint64, e *entry[K, V]) {
	mask := uint64(len(t.slots) - 1)
	i := print & mask
	for ; t.slots[i] != 0; i = (i + 1) & mask {
		if e := &t.entries[t.slots[i]-1]; e.print == print && e.key == key {
			return i, e
		}
	}
	return i, nil
}

func (t *table[K, V]) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	mask := uint64(len(t.slots) - 1)
	for n := range t.entries {
		i := t.entries[n].print & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = uint32(n + 1)
	}
}
