package jobcheck

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"golang.org/x/mod/sumdb/tlog"
)

// lineFacts is what the job checks need of a record.
type lineFacts struct {
	id, stream, job, execution uuid.UUID
	typ                        eventCode
	seq                        uint64
	prev                       tlog.Hash
	resumed                    bool
	after                      struct {
		stream uuid.UUID
		seq    uint64
		hash   tlog.Hash
	}
}

// factsOf takes the facts from a parsed record.
func factsOf(e *jobaudit.Event) lineFacts {
	f := lineFacts{
		id: e.ID, stream: e.Stream.ID, job: e.Job.ID, execution: e.Job.ExecutionID,
		typ: codeOf([]byte(e.Type)), seq: e.Stream.Seq, prev: e.Stream.Prev,
	}
	if a := e.Stream.After; a.Stream != uuid.Nil {
		f.resumed = true
		f.after.stream, f.after.seq, f.after.hash = a.Stream, a.Seq, a.Hash
	}
	return f
}

const (
	linePrefix = `{"schemaVersion":"1.0.0","id":"`
	// maxRecord is the greatest length of a record (format F3).
	maxRecord = 48_000
)

// scanLine reads the facts from a record that begins exactly as an encoder
// writes it (format F2: keys in order, no white space, nothing unknown up to
// job.executionId). It returns false for anything else, which has to be
// parsed. It does not look at what follows.
func scanLine(line []byte, f *lineFacts) bool {
	s := lineScanner{rest: line, ok: len(line) <= maxRecord && len(line) > 2 && line[len(line)-1] == '}'}
	s.literal(linePrefix)
	f.id = s.uuid()
	s.literal(`","type":"`)
	f.typ = codeOf(s.word())
	if f.typ == codeUnknown {
		return false
	}
	s.literal(codes[f.typ].phase) // from the type's closing quotation mark
	s.skip(len("2006-01-02T15:04:05.000000Z"))
	s.literal(`","stream":{"id":"`)
	f.stream = s.uuid()
	s.literal(`","seq":`)
	f.seq = s.number()
	if f.seq > 1 {
		s.literal(`,"prev":"`)
		s.hash(&f.prev)
		s.literal(`"`)
	}
	if f.resumed = s.has(`,"after":{"stream":"`); f.resumed {
		f.after.stream = s.uuid()
		s.literal(`","seq":`)
		f.after.seq = s.number()
		s.literal(`,"hash":"`)
		s.hash(&f.after.hash)
		s.literal(`"}`)
	}
	s.literal(`},"`)
	f.job, f.execution = uuid.Nil, uuid.Nil
	if s.has(`job":{"id":"`) {
		s.job(f)
		return s.ok
	}
	return s.ok && codes[f.typ].noJob && bytes.HasPrefix(s.rest, []byte(`correlationId":"`))
}

func (s *lineScanner) job(f *lineFacts) {
	f.job = s.uuid()
	s.literal(`","state":"`)
	switch string(s.word()) {
	case "pending", "running", "success", "failed", "cancelled":
	default:
		s.ok = false
	}
	s.literal(`","attempt":`)
	s.number0()
	if s.has(`,"executionId":"`) {
		f.execution = s.uuid()
		s.literal(`"`)
	}
}

// lineScanner reads the front of rest. Once ok is false it stays so, and what
// is returned means nothing.
type lineScanner struct {
	rest []byte
	ok   bool
}

func (s *lineScanner) literal(text string) {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		s.ok, s.rest = false, nil
		return
	}
	s.rest = s.rest[len(text):]
}

func (s *lineScanner) has(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

func (s *lineScanner) skip(n int) {
	if len(s.rest) < n {
		s.ok, s.rest = false, nil
		return
	}
	s.rest = s.rest[n:]
}

// word reads up to a quotation mark, which it leaves. Words are short.
func (s *lineScanner) word() []byte {
	for i, c := range s.rest[:min(len(s.rest), 32)] {
		if c == '"' {
			word := s.rest[:i]
			s.rest = s.rest[i:]
			return word
		}
	}
	s.ok, s.rest = false, nil
	return nil
}

// number reads an integer from 1 to 10^15.
func (s *lineScanner) number() uint64 {
	n := s.number0()
	s.ok = s.ok && n > 0
	return n
}

func (s *lineScanner) number0() uint64 {
	var n uint64
	i := 0
	for i < len(s.rest) && i < 16 && s.rest[i]-'0' <= 9 {
		n = n*10 + uint64(s.rest[i]-'0')
		i++
	}
	if i == 0 || i == 16 || i > 1 && s.rest[0] == '0' {
		s.ok, s.rest = false, nil
		return 0
	}
	s.rest = s.rest[i:]
	return n
}

// uuid reads a lower-case UUID.
func (s *lineScanner) uuid() (id uuid.UUID) {
	if len(s.rest) < 36 || !decodeUUID(&id, (*[36]byte)(s.rest)) {
		s.ok, s.rest = false, nil
		return uuid.Nil
	}
	s.rest = s.rest[36:]
	return id
}

// decodeUUID decodes sixteen hexadecimal digits at a time.
func decodeUUID(id *uuid.UUID, t *[36]byte) bool {
	le := binary.LittleEndian
	a, badA := hex8(le.Uint64(t[0:]))
	b, badB := hex8(uint64(le.Uint32(t[9:])) | uint64(le.Uint32(t[14:]))<<32)
	c, badC := hex8(uint64(le.Uint32(t[19:])) | uint64(le.Uint32(t[24:]))<<32)
	d, badD := hex8(le.Uint64(t[28:]))
	le.PutUint64(id[0:], a|b<<32)
	le.PutUint64(id[8:], c|d<<32)
	return badA|badB|badC|badD == 0 && t[8] == '-' && t[13] == '-' && t[18] == '-' && t[23] == '-'
}

// hex8 decodes eight lower-case hexadecimal digits, a byte each, to four bytes
// in the same order. bad is 0 if that is what they are.
func hex8(x uint64) (v, bad uint64) {
	const ones = 0x0101010101010101
	v = x&(0x0f*ones) + x>>6&ones*9 // letters have bit 6
	letters := (v + 6*ones) >> 4 & ones
	bad = v&(0xf0*ones) | (x ^ (v + 0x30*ones + letters*('a'-'0'-10)))
	v = (v<<4 | v>>8) & 0x00ff00ff00ff00ff
	v = (v | v>>8) & 0x0000ffff0000ffff
	return (v | v>>16) & 0xffffffff, bad
}

// hash reads a hash in standard base64, 44 characters.
func (s *lineScanner) hash(h *tlog.Hash) {
	if len(s.rest) < 44 || !decodeHash(h, (*[44]byte)(s.rest)) {
		s.ok, s.rest = false, nil
		return
	}
	s.rest = s.rest[44:]
}

func decodeHash(h *tlog.Hash, t *[44]byte) bool {
	var bad uint8
	for i := range 10 {
		a, b, c, d := base64Digits[t[4*i]], base64Digits[t[4*i+1]], base64Digits[t[4*i+2]], base64Digits[t[4*i+3]]
		bad |= a | b | c | d
		h[3*i], h[3*i+1], h[3*i+2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
	}
	a, b, c := base64Digits[t[40]], base64Digits[t[41]], base64Digits[t[42]]
	bad |= a | b | c | c&3<<6 // the two bits beyond the hash are zero
	h[30], h[31] = a<<2|b>>4, b<<4|c>>2
	return bad < 64 && t[43] == '='
}

// base64Digits holds 255 for bytes that are no digits.
var base64Digits = func() (digits [256]uint8) {
	for i := range digits {
		digits[i] = 255
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		digits[c] = uint8(i)
	}
	return digits
}()

// mixer makes 64-bit fingerprints. Its random seed keeps them from being
// foreseen, so that nobody can write records whose fingerprints agree.
type mixer [4]uint64

func (m *mixer) id(id *uuid.UUID) uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^m[0], binary.LittleEndian.Uint64(id[8:])^m[1])
	return hi ^ lo
}

func (m *mixer) hash(h *tlog.Hash) uint64 {
	le := binary.LittleEndian
	hi, lo := bits.Mul64(le.Uint64(h[:8])^m[0], le.Uint64(h[8:16])^m[1])
	hi2, lo2 := bits.Mul64(le.Uint64(h[16:24])^m[2], le.Uint64(h[24:])^m[3])
	return hi ^ lo ^ bits.RotateLeft64(hi2^lo2, 17)
}
