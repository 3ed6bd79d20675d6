package jobcheck

import (
	"hash/maphash"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"golang.org/x/mod/sumdb/tlog"
)

// lineFacts is what the job checks need of a record.
type lineFacts struct {
	id, stream, job, execution ident
	typ                        eventCode
	seq                        uint64
	prev                       digest
	resumed                    bool
	after                      struct {
		stream ident
		seq    uint64
		hash   digest
	}
	subject subject
	signed  bool  // a signed Carrier brought the job
	proof   ident // the stream that it says the submission stands in

	// Where values begin, counted from the line's end, if scanLine took them: texts
	// behind their quotation mark.
	left struct{ time, job, root, correlation, org, action int }
}

// factsOf takes the facts from a parsed record.
func factsOf(e *jobaudit.Event) lineFacts {
	f := lineFacts{
		id: identOf(e.ID), stream: identOf(e.Stream.ID), job: identOf(e.Job.ID), execution: identOf(e.Job.ExecutionID),
		typ: codeOf([]byte(e.Type)), seq: e.Stream.Seq, prev: digestOf((*tlog.Hash)(&e.Stream.Prev)),
	}
	if a := e.Stream.After; a.Stream != uuid.Nil {
		f.resumed = true
		f.after.stream, f.after.seq, f.after.hash = identOf(a.Stream), a.Seq, digestOf((*tlog.Hash)(&a.Hash))
	}
	if e.Job.ID != uuid.Nil {
		f.subject = subject{
			org: maphash.String(textSeed, e.Who.OrgID), action: maphash.String(textSeed, e.What.Action),
			root: identOf(e.Job.RootID), correlation: identOf(e.CorrelationID),
		}
		f.signed, f.proof = e.Who.Proof.Carrier != "", identOf(e.Who.Proof.Submission)
	}
	return f
}

const (
	linePrefix = `{"schemaVersion":"1.0.0","id":"`
	// maxRecord is the greatest length of a record (docs/format.md, F3).
	maxRecord = 48_000
)

// scanLine reads the facts from a record that begins exactly as an encoder
// writes it (docs/format.md, F2: keys in order, no white space, nothing unknown up to
// the action). It returns false for anything else, which has to be parsed. It
// does not look at what follows.
//
// The functions that it uses take what is left of the line and return what is
// left after them: nil, which goes through all of them, if the line is not as
// it should be.
func scanLine(line []byte, f *lineFacts) bool {
	if len(line) > maxRecord || len(line) < 2 || line[len(line)-1] != '}' {
		return false
	}
	rest := takeID(literal(line, linePrefix), &f.id)
	rest = literal(rest, `","type":"`)
	f.typ = frontOf(rest)
	if f.typ == codeUnknown {
		return false
	}
	rest = skip(rest, len(codes[f.typ].front))
	f.left.time = len(rest)
	rest = skip(rest, len("2006-01-02T15:04:05.000000Z"))
	rest = takeID(literal(literal(rest, `","stream":`), `{"id":"`), &f.stream)
	rest = takeNumber(literal(rest, `","seq":`), &f.seq)
	if f.seq == 0 {
		return false
	}
	if f.seq > 1 {
		rest = literal(takeHash(literal(rest, `,"prev":"`), &f.prev), `"`)
	}
	if f.resumed = has(rest, `,"after":{`); f.resumed {
		if rest = takeAfter(rest, f); f.after.seq == 0 {
			return false
		}
	}
	f.job, f.execution, f.subject, f.signed, f.proof = ident{}, ident{}, subject{}, false, ident{}
	if has(rest, `},"job":{"id":"`) {
		return takeSubject(takeJob(rest, f), f) != nil
	}
	return codes[f.typ].noJob && has(rest, `},"correlationId":"`)
}

func takeAfter(rest []byte, f *lineFacts) []byte {
	rest = takeID(literal(rest, `,"after":{"stream":"`), &f.after.stream)
	rest = takeNumber(literal(rest, `","seq":`), &f.after.seq)
	return literal(takeHash(literal(rest, `,"hash":"`), &f.after.hash), `"}`)
}

func takeJob(rest []byte, f *lineFacts) []byte {
	rest = literal(rest, `},"job":{"id":"`)
	f.left.job = len(rest)
	text := rest
	rest = literal(takeID(rest, &f.job), `","state":"`)
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
		rest = literal(takeID(rest[len(`,"executionId":"`):], &f.execution), `"`)
	}
	return takeLineage(rest, text, f)
}

// takeLineage takes the rest of a job, to its end: what stands elsewhere than an
// encoder puts it must not be missed. Most jobs are their own root: job begins
// with the job's ID.
func takeLineage(rest, job []byte, f *lineFacts) []byte {
	var id ident
	if has(rest, `,"parentId":"`) {
		rest = literal(takeID(rest[len(`,"parentId":"`):], &id), `"`)
	}
	rest = literal(rest, `,"rootId":"`)
	f.left.root = len(rest)
	if len(rest) >= idSize && len(job) >= idSize && string(rest[:idSize]) == string(job[:idSize]) {
		f.subject.root = f.job
		rest = literal(rest[idSize:], `"`)
	} else {
		rest = literal(takeID(rest, &f.subject.root), `"`)
	}
	if has(rest, `,"retryOf":"`) {
		rest = literal(takeID(rest[len(`,"retryOf":"`):], &id), `"`)
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

// takeID takes a lower-case UUID.
func takeID(rest []byte, id *ident) []byte {
	if len(rest) < idSize {
		return nil
	}
	read, bad := readID((*[idSize]byte)(rest))
	if bad != 0 {
		return nil
	}
	*id = read
	return rest[idSize:]
}

// takeHash takes a hash in standard base64, 44 characters.
func takeHash(rest []byte, h *digest) []byte {
	if len(rest) < hashSize {
		return nil
	}
	read, ok := readHash((*[hashSize]byte)(rest))
	if !ok {
		return nil
	}
	*h = read
	return rest[hashSize:]
}
