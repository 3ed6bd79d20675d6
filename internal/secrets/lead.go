package secrets

import "strings"

// Between a name's sign and its value there may stand more than a space: tabs, a line end
// with an indentation, what YAML says of a value, and what a language writes around a
// string.

// lead returns where the value of the name, whose sign is at i, begins, with its quotes.
func (c *scan) lead(i int) int {
	text := c.text
	if i+1 >= len(text) || text[i] == '>' || text[i] == 'e' { // of XML
		return i + 1
	}
	from := i + 1
	if b := text[i]; b == '\n' || b == '\r' || b == '\\' {
		from = i
	}
	if plainLead[text[from]] { // as most
		return max(from, i+1)
	}
	at := blanks(text, from)
	if text[i] == '\\' && strings.HasPrefix(text[i:], `\t`) {
		at = blanks(text, i+2)
	}
	for range 2 {
		if next := tag(text, at); next > at {
			at = blanks(text, next)
		}
	}
	c.work += at - i
	if at == len(text) {
		return max(from, i+1)
	}
	block := blockLine(text, at)
	if block == at {
		block = lineEnd(text, at)
	}
	if block > at {
		next := c.nextLine(block, i)
		if next < 0 {
			return max(from, i+1)
		}
		at = next
	}
	if at == len(text) {
		return max(from, i+1)
	}
	if next := wrapped(text, at); next > at {
		at = next
	}
	c.work += at - from
	return at
}

// plainLead are the bytes that a value begins with and nothing else does that lead knows.
var plainLead = func() (table [256]bool) {
	for b := range 256 {
		table[b] = isDigit(byte(b)) || b == '"' || b == '\''
	}
	return table
}()

// maxLead is how many bytes of a kind are passed over.
const maxLead = 64

// blanks returns where the spaces and tabs end that begin at at.
func blanks(text string, at int) int {
	for stop := min(len(text), at+maxLead); at < stop; {
		switch {
		case text[at] == ' ' || text[at] == '\t':
			at++
		case text[at] == '\\' && at+2 < len(text) && text[at+1] == 't' && (text[at+2] == '\\' || text[at+2] == '"' || text[at+2] == '\''): // escaped
			at += 2
		default:
			return at
		}
	}
	return at
}

// tag returns where a tag or an anchor of YAML that begins at at ends, or at: !!str, &x.
func tag(text string, at int) int {
	if at == len(text) || text[at] != '!' && text[at] != '&' {
		return at
	}
	end := at + 1
	for end < len(text) && end-at < 24 && (isAlnum(text[end]) || text[end] == '!' || text[end] == '_' || text[end] == '-') {
		end++
	}
	if end == len(text) || end == at+1 || text[end] != ' ' || end+1 == len(text) {
		return at
	}
	return end + 1
}

// lineEnd returns where the line end at at ends, which may be escaped, or follow a backslash
// that joins two lines, or at.
func lineEnd(text string, at int) int {
	end := at
	for end < len(text) && end-at < maxLead {
		rest := text[end:]
		switch {
		case rest[0] == '\n' || rest[0] == '\r':
			end++
		case strings.HasPrefix(rest, `\n`), strings.HasPrefix(rest, `\r\n`):
			end += 2
		case strings.HasPrefix(rest, "\\\n"), strings.HasPrefix(rest, "\\\r\n"):
			end++
		case strings.HasPrefix(rest, `\\\n`):
			end += 2
		default:
			return end
		}
	}
	return end
}

// blockLine returns where the first line of a block of YAML begins, whose sign is at at,
// or at: |, >-.
func blockLine(text string, at int) int {
	if text[at] != '|' && text[at] != '>' {
		return at
	}
	end := at + 1
	for end < len(text) && end-at < 4 && (text[end] == '-' || text[end] == '+' || isDigit(text[end])) {
		end++
	}
	if line := lineEnd(text, end); line > end {
		return line
	}
	return at
}

// nextLine returns where the value begins in the line that begins at at, or -1. One that
// is not quoted is indented, or an item of a list behind the one that is its name, and
// the only word there.
func (c *scan) nextLine(at, sign int) int {
	text := c.text
	from := blanks(text, at)
	if strings.HasPrefix(text[from:], "- ") && text[sign] != ':' && text[sign] != '=' {
		from += 2
	} else if from == at && quoteAt(text, from) < 0 {
		return -1
	}
	if quoteAt(text, from) >= 0 {
		return from
	}
	end := from
	for end < len(text) && end-from < maxValue && text[end] > ' ' && text[end] != '\\' {
		end++
	}
	c.work += end - at
	if end-from < minText || text[end-1] == ':' || text[from] == '-' || end < len(text) && text[end] != '\n' && text[end] != '\r' && text[end] != '\\' {
		return -1
	}
	return from
}

// quoteAt returns where the quote is that a text has at at, behind its backslashes, or -1.
func quoteAt(text string, at int) int {
	for end := at; end < len(text) && end-at < maxQuotes; end++ {
		switch text[end] {
		case '\\':
		case '"', '\'', '`':
			return end
		default:
			return -1
		}
	}
	return -1
}

// wrapped returns where the string begins that stands in something at at, or at: N'…',
// Some("…"), {"S":"…"}, (string) (len=8) "…".
func wrapped(text string, at int) int {
	rest := text[at:min(len(text), at+48)]
	switch b := rest[0]; {
	case b == '@':
		if quoteAt(text, at+1) >= 0 {
			return at + 1
		}
	case b == '$':
		if end := strings.IndexByte(rest[1:], '$'); end >= 0 && (end == 0 || span(rest[1:1+end], &alnumSet) == end) && len(rest) > end+2 && rest[end+2] != '{' {
			return at + end + 2
		}
	case b == '(':
		if after, ok := strings.CutPrefix(rest, "(string) "); ok {
			if strings.HasPrefix(after, "(len=") {
				if _, behind, ok := strings.Cut(after, ") "); ok {
					after = behind
				}
			}
			return at + len(rest) - len(after)
		}
	case b == '{':
		return member(text, at)
	case isAlnum(b):
		n := span(rest, &alnumSet)
		if n == len(rest) {
			return at
		}
		var room [16]byte
		switch word := small(&room, rest[:n]); {
		case n <= 2 && quoteAt(text, at+n) >= 0 && strings.Trim(asString(word), "neubrf") == "":
			return at + n
		case (rest[n] == '(' || rest[n] == '[') && wrappers[string(word)] && (quoteAt(text, at+n+1) >= 0 || rest[n] == '['):
			return at + n + 1
		}
	}
	return at
}

// small returns the beginning of a word in small letters.
func small(room *[16]byte, word string) []byte {
	n := copy(room[:], word)
	for i := range n {
		room[i] = lower(room[i])
	}
	return room[:n]
}

// wrappers are what takes a string and stands for it.
var wrappers = map[string]bool{
	"some": true, "optional": true, "just": true, "string": true, "secret": true, "secretstring": true, "password": true, "crypt": true, "old_password": true, "quote": true, "sensitive": true,
}

// member returns where the value of the only member of the object at at begins, if that
// is named as the kind of a value is, or at: {"S":"…"}, {"stringValue": "…"}.
func member(text string, at int) int {
	i := at + 1
	skip := func(bytes string) {
		for stop := min(len(text), i+8); i < stop && strings.IndexByte(bytes, text[i]) >= 0; i++ {
		}
	}
	skip("\"'\\ \n\t")
	from := i
	for i < len(text) && i-from < 16 && (isAlnum(text[i]) || strings.IndexByte("#_$", text[i]) >= 0) {
		i++
	}
	var room [16]byte
	switch string(small(&room, text[from:i])) {
	case "s", "value", "stringvalue", "string_value", "string", "data", "#text", "_text", "$", "text", "plaintext":
	default:
		return at
	}
	skip("\"'\\ ")
	if i == len(text) || text[i] != ':' && text[i] != '=' {
		return at
	}
	i++
	skip(" \n\t>")
	if i < len(text) && quoteAt(text, i) >= 0 {
		return i
	}
	return at
}
