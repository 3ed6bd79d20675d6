package jobcheck

import (
	"encoding/binary"
	"slices"

	"github.com/jobaudit/jobaudit"
)

// A note is what [Checks.Inspect] says of a record: nothing, if it has to be
// parsed, else its facts as they are kept.
//
//	 0  type
//	 1  flags
//	 2  partitions of stream, event ID and job, two bytes each
//	 8  stream; seq, prev
//	40  event ID
//	56  job; execution, subject, stream: of a submission its own, else the one
//	    that its proof names
//	96  if the stream resumes another: that; seq, hash
type note []byte

const (
	noteSize    = 96
	resumedSize = 16 + 2*8

	flagJob     = 1 << 0
	flagResumed = 1 << 1
	// flagBad: the record's front is in order, and the whole is no record.
	flagBad = 1 << 2
	// flagSigned: a signed Carrier brought the job.
	flagSigned = 1 << 3
)

func (n note) has(flag byte) bool { return n[1]&flag != 0 }

// part returns the number of a partition: of streams, events, jobs.
func (n note) part(i int) int { return int(binary.LittleEndian.Uint16(n[2+2*i:])) }

// Inspect is for [auditlog.Options]: it takes the facts from a line that may
// become a leaf. It may be called by several goroutines at a time.
func (c *Checks) Inspect(notes, line []byte) []byte {
	var f lineFacts
	if !scanLine(line, &f) {
		return notes
	}
	var flags byte
	if c.parseAll {
		if _, err := jobaudit.ParseRecord(line); err != nil {
			flags = flagBad
		}
	}
	return c.appendNote(notes, &f, flags)
}

func (c *Checks) appendNote(notes []byte, f *lineFacts, flags byte) []byte {
	le := binary.LittleEndian
	at := len(notes)
	notes = slices.Grow(notes, noteSize+resumedSize)[:at+noteSize]
	n := (*[noteSize]byte)(notes[at:])
	le.PutUint16(n[2:], c.part(f.stream))
	le.PutUint16(n[4:], c.part(f.id))
	le.PutUint16(n[6:], 0)
	f.stream.put(n[8:])
	le.PutUint64(n[24:], f.seq)
	var prev, execution, subject, stream uint64
	if f.seq > 1 {
		prev = c.mixer.hash(f.prev)
	}
	le.PutUint64(n[32:], prev)
	f.id.put(n[40:])
	if f.job != (ident{}) {
		flags |= flagJob
		le.PutUint16(n[6:], c.part(f.job))
		if f.execution != (ident{}) {
			execution = c.mixer.id(f.execution) | 1
		}
		subject = c.mixer.subject(&f.subject)
		if f.typ == codeSubmitted {
			stream = c.mixer.id(f.stream) | 1
		} else if f.proof != (ident{}) {
			stream = c.mixer.id(f.proof) | 1
		}
	}
	if f.signed {
		flags |= flagSigned
	}
	f.job.put(n[56:])
	le.PutUint64(n[72:], execution)
	le.PutUint64(n[80:], subject)
	le.PutUint64(n[88:], stream)
	if f.resumed {
		flags |= flagResumed
		notes = le.AppendUint64(notes, f.after.stream.a)
		notes = le.AppendUint64(notes, f.after.stream.b)
		notes = le.AppendUint64(notes, f.after.seq)
		notes = le.AppendUint64(notes, c.mixer.hash(f.after.hash))
	}
	notes[at], notes[at+1] = byte(f.typ), flags
	return notes
}

func (c *Checks) part(id ident) uint16 { return uint16(c.mixer.id(id) >> c.shift) }

// keep adds the facts to their partitions.
func (c *Checks) keep(index, hash uint64, n note) {
	le := binary.LittleEndian
	fact := c.streams.add(n.part(0))
	copy(fact[:16], n[8:24])
	le.PutUint64(fact[16:], index)
	copy(fact[24:40], n[24:40])
	le.PutUint64(fact[40:], hash)

	fact = c.events.add(n.part(1))
	copy(fact[:16], n[40:56])
	le.PutUint64(fact[16:], index)

	if n.has(flagJob) {
		fact = c.jobs.add(n.part(2))
		copy(fact[:24], n[56:80])
		le.PutUint64(fact[24:], index<<8|uint64(n[0]))
		copy(fact[32:], n[80:96])
	}
	if n.has(flagResumed) {
		after := n[noteSize:]
		fact = c.resumes.add(int(c.part(identAt(after, 0))))
		copy(fact[:32], after)
		signed := uint64(0)
		if n.has(flagSigned) {
			signed = 1
		}
		le.PutUint64(fact[32:], index<<1|signed)
		copy(fact[40:], n[56:72])
	}
}
