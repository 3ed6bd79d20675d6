package filesink

import (
	"bytes"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/jobcheck"
)

// lineHeader is what the indexes hold of an event line.
type lineHeader struct {
	id, job, correlation uuid.UUID
	typ                  []byte
	time                 int64 // microseconds since 1970
}

// headerAndLife reads all that the indexes hold of an event line, of most in one pass.
func headerAndLife(line []byte, off uint32) (lineHeader, life) {
	if l, ok := jobcheck.LineOf(line); ok {
		return lineHeader{l.ID, l.Job, l.Correlation, l.Type, micros(l.Time)}, life{l.Life, off}
	}
	return readLineHeader(line), lifeOf(line, off)
}

// micros reads a time; 0 stands for what is none.
func micros(text []byte) int64 {
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return 0
	}
	return t.UnixMicro()
}

// readLineHeader reads the few members of an event line that the indexes need. The line
// is one that [jobaudit.ParseRecord] accepts; of any other it makes something
// or nothing, but never more than one loop over it.
func readLineHeader(line []byte) lineHeader {
	var p lineHeader
	members(line, func(name, value []byte) bool {
		switch string(name) {
		case "id":
			p.id = parseID(value)
		case "type":
			p.typ = bytes.Trim(value, `"`)
		case "time":
			p.time = micros(bytes.Trim(value, `"`))
		case "job":
			members(value, func(name, value []byte) bool {
				if string(name) != "id" {
					return true
				}
				p.job = parseID(value)
				return false
			})
		case "correlationId":
			p.correlation = parseID(value)
			return false // the last of them, in the order of docs/format.md, F2
		}
		return true
	})
	return p
}

// correlationOf returns the correlation of an event line that
// [jobaudit.ParseRecord] accepts.
func correlationOf(line []byte) uuid.UUID {
	// Each event has the member. Its value is found without reading all that
	// stands before it, unless the name is there again in what a user gave.
	const before, after = `"correlation`, `Id"`
	at := -1
	for i := 0; ; i++ { // I is rare, a quote is not
		next := bytes.IndexByte(line[i:], 'I')
		if next < 0 {
			break
		}
		i += next
		if bytes.HasSuffix(line[:i], []byte(before)) && bytes.HasPrefix(line[i:], []byte(after)) {
			if at >= 0 {
				return readLineHeader(line).correlation
			}
			at = i
		}
	}
	if at >= 0 && len(line)-at > 42 && line[at+3] == ':' {
		return parseID(line[at+4 : at+42])
	}
	return readLineHeader(line).correlation
}

func parseID(quoted []byte) uuid.UUID {
	if len(quoted) != 38 {
		return uuid.Nil
	}
	id, err := uuid.ParseBytes(quoted[1:37])
	if err != nil {
		return uuid.Nil
	}
	return id
}

// members calls yield for the members of a JSON object, which must be valid,
// until it returns false. Names are given as they are written.
func members(object []byte, yield func(name, value []byte) bool) {
	i := skipSpace(object, 0)
	if i >= len(object) || object[i] != '{' {
		return
	}
	for i++; ; i++ {
		i = skipSpace(object, i)
		if i >= len(object) || object[i] != '"' {
			return
		}
		end := skipString(object, i)
		if end > len(object) || end-i < 2 {
			return
		}
		name := object[i+1 : end-1]
		i = skipSpace(object, end)
		if i >= len(object) || object[i] != ':' {
			return
		}
		i = skipSpace(object, i+1)
		end = skipValue(object, i)
		if end > len(object) || !yield(name, object[i:end]) {
			return
		}
		i = skipSpace(object, end)
		if i >= len(object) || object[i] != ',' {
			return
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// skipString returns the position behind the string that begins at i, or one
// behind the end.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '"')
		if j < 0 {
			break
		}
		i += j
		slashes := 0
		for b[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i + 1
		}
	}
	return len(b) + 1
}

// skipValue returns the position behind the value that begins at i, or one
// behind the end.
func skipValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // behind a number or a word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return len(b) + 1
}
