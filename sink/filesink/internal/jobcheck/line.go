package jobcheck

import (
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
//
// The functions that it uses take what is left of the line and return what is
// left after them: nil, which goes through all of them, if the line is not as
// it should be.
func scanLine(line []byte, f *lineFacts) bool {
	if len(line) > maxRecord || len(line) < 2 || line[len(line)-1] != '}' {
		return false
	}
	rest := takeUUID(literal(line, linePrefix), &f.id)
	rest = literal(rest, `","type":"`)
	f.typ = frontOf(rest)
	if f.typ == codeUnknown {
		return false
	}
	rest = skip(rest, len(codes[f.typ].front)+len("2006-01-02T15:04:05.000000Z"))
	rest = takeUUID(literal(rest, `","stream":{"id":"`), &f.stream)
	rest = takeNumber(literal(rest, `","seq":`), &f.seq)
	if f.seq == 0 {
		return false
	}
	if f.seq > 1 {
		rest = literal(takeHash(literal(rest, `,"prev":"`), &f.prev), `"`)
	}
	if f.resumed = has(rest, `,"after":{"stream":"`); f.resumed {
		if rest = takeAfter(rest, f); f.after.seq == 0 {
			return false
		}
	}
	f.job, f.execution = uuid.Nil, uuid.Nil
	if has(rest, `},"job":{"id":"`) {
		return takeJob(rest, f) != nil
	}
	return codes[f.typ].noJob && has(rest, `},"correlationId":"`)
}

func takeAfter(rest []byte, f *lineFacts) []byte {
	rest = takeUUID(literal(rest, `,"after":{"stream":"`), &f.after.stream)
	rest = takeNumber(literal(rest, `","seq":`), &f.after.seq)
	return literal(takeHash(literal(rest, `,"hash":"`), &f.after.hash), `"}`)
}

func takeJob(rest []byte, f *lineFacts) []byte {
	rest = takeUUID(literal(rest, `},"job":{"id":"`), &f.job)
	rest = literal(rest, `","state":"`)
	switch {
	case has(rest, `running"`), has(rest, `pending"`), has(rest, `success"`):
		rest = rest[len(`running"`):]
	case has(rest, `failed"`):
		rest = rest[len(`failed"`):]
	default:
		rest = literal(rest, `cancelled"`)
	}
	var attempt uint64
	rest = takeNumber(literal(rest, `,"attempt":`), &attempt)
	if has(rest, `,"executionId":"`) {
		return literal(takeUUID(rest[len(`,"executionId":"`):], &f.execution), `"`)
	}
	return takeLineage(rest)
}

// takeLineage takes the rest of a job without an execution, to its end: what
// stands elsewhere than an encoder puts it must not be missed.
func takeLineage(rest []byte) []byte {
	var id uuid.UUID
	if has(rest, `,"parentId":"`) {
		rest = literal(takeUUID(rest[len(`,"parentId":"`):], &id), `"`)
	}
	rest = literal(takeUUID(literal(rest, `,"rootId":"`), &id), `"`)
	if has(rest, `,"retryOf":"`) {
		rest = literal(takeUUID(rest[len(`,"retryOf":"`):], &id), `"`)
	}
	if has(rest, `,"queue":{"system":"`) {
		rest = skipText(rest[len(`,"queue":{"system":"`):])
		rest = literal(skipText(literal(rest, `,"id":"`)), `}`)
	}
	return literal(rest, `},"`)
}

// skipText takes a string without escapes from behind its first quotation mark.
func skipText(rest []byte) []byte {
	for i, c := range rest {
		if c == '"' {
			return rest[i+1:]
		}
		if c == '\\' {
			break
		}
	}
	return nil
}

func has(rest []byte, text string) bool {
	return len(rest) >= len(text) && string(rest[:len(text)]) == text
}

func literal(rest []byte, text string) []byte {
	if len(rest) < len(text) || string(rest[:len(text)]) != text {
		return nil
	}
	return rest[len(text):]
}

func skip(rest []byte, n int) []byte {
	if len(rest) < n {
		return nil
	}
	return rest[n:]
}

// takeNumber takes an integer below 10^15.
func takeNumber(rest []byte, number *uint64) []byte {
	var n uint64
	i := 0
	for i < len(rest) && i < 16 && rest[i]-'0' <= 9 {
		n = n*10 + uint64(rest[i]-'0')
		i++
	}
	if i == 0 || i == 16 || i > 1 && rest[0] == '0' {
		n, rest, i = 0, nil, 0
	}
	*number = n
	return rest[i:]
}

// takeUUID takes a lower-case UUID.
func takeUUID(rest []byte, id *uuid.UUID) []byte {
	if len(rest) < 36 || !decodeUUID(id, (*[36]byte)(rest)) {
		return nil
	}
	return rest[36:]
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

// takeHash takes a hash in standard base64, 44 characters.
func takeHash(rest []byte, h *tlog.Hash) []byte {
	if len(rest) < 44 || !decodeHash(h, (*[44]byte)(rest)) {
		return nil
	}
	return rest[44:]
}

// decodeHash decodes eight characters, 48 bits, at a time.
func decodeHash(h *tlog.Hash, t *[44]byte) bool {
	var bad uint32
	for i := range 5 {
		c := (*[8]byte)(t[8*i:])
		hi := base64Bits[0][c[0]] | base64Bits[1][c[1]] | base64Bits[2][c[2]] | base64Bits[3][c[3]]
		lo := base64Bits[0][c[4]] | base64Bits[1][c[5]] | base64Bits[2][c[6]] | base64Bits[3][c[7]]
		bad |= hi | lo
		binary.BigEndian.PutUint64(h[6*i:], uint64(hi)<<40|uint64(lo)<<16) // the next overwrites two bytes
	}
	last := base64Bits[0][t[40]] | base64Bits[1][t[41]] | base64Bits[2][t[42]]
	bad |= last | last<<24 // what is beyond the hash is zero
	binary.BigEndian.PutUint16(h[30:], uint16(last>>8))
	return bad < 1<<24 && t[43] == '='
}

// base64Bits holds what each character is in each place of four, and more than
// 24 bits for those that are no digits.
var base64Bits = func() (digits [4][256]uint32) {
	for place := range digits {
		for i := range digits[place] {
			digits[place][i] = 1 << 31
		}
		for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
			digits[place][c] = uint32(i) << (18 - 6*place)
		}
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
