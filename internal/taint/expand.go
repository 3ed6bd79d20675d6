package taint

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"unicode/utf8"
)

// expander makes needles of values.
type expander struct {
	needles []needle
	index   map[string]int
	bytes   int
	limit   int // of needles
	full    bool
	only    func(text string) bool // see Set.CredentialsOnly
}

// add adds a text: ASCII in lower case, which texts are compared in, and of
// other alphabets also what a program makes of it when it changes the case.
func (e *expander) add(text string, credential bool) {
	least := minNeedle
	if credential {
		least = minCredential
	}
	if len(text) < least || !credential && (ordinary(text) || strings.Trim(text, "0-") == "" || e.only != nil && !made(text) && !e.only(text)) {
		return
	}
	e.put(text, credential)
	if other := otherUUID(text); other != "" {
		e.put(other, credential)
		return
	}
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			e.put(strings.ToUpper(text), credential)
			e.put(strings.ToLower(text), credential)
			return
		}
	}
}

// otherUUID returns a UUID with hyphens without them, and one without with them.
func otherUUID(text string) string {
	if len(text) != 32 && len(text) != 36 {
		return ""
	}
	for i := range len(text) {
		hyphen := len(text) == 36 && (i == 8 || i == 13 || i == 18 || i == 23)
		if hyphen != (text[i] == '-') || !hyphen && hexValue[text[i]] == none {
			return ""
		}
	}
	if len(text) == 36 {
		return strings.ReplaceAll(text, "-", "")
	}
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

func (e *expander) put(text string, credential bool) {
	var buf [maxNeedle]byte
	n := copy(buf[:], text)
	for i, c := range buf[:n] {
		buf[i] = lower[c]
	}
	made := needle{credential: credential}
	switch {
	case len(text) > maxStored:
		made.size = -1
	case len(text) > n:
		made.size, made.sum = len(text), sumOf(text)
	}
	if at := e.find(buf[:n]); at >= 0 {
		same := &e.needles[at]
		same.credential = same.credential || credential
		if same.size != made.size || same.sum != made.sum {
			same.size = -1
		}
		return
	}
	if len(e.needles) >= e.limit || e.bytes+n > maxBytes {
		e.full = true
		return
	}
	made.text = string(buf[:n])
	if e.index != nil {
		e.index[made.text] = len(e.needles)
	}
	if e.needles == nil {
		e.needles = make([]needle, 0, few)
	}
	e.bytes += n
	e.needles = append(e.needles, made)
}

// few is how many needles are looked through one by one.
const few = 8

// find returns which needle a text is, or -1.
func (e *expander) find(folded []byte) int {
	if len(e.needles) < few {
		for i := range e.needles {
			if e.needles[i].text == string(folded) {
				return i
			}
		}
		return -1
	}
	if e.index == nil {
		e.index = make(map[string]int, 4*few)
		for i := range e.needles {
			e.index[e.needles[i].text] = i
		}
	}
	if at, ok := e.index[string(folded)]; ok {
		return at
	}
	return -1
}

// expand adds a value.
func (e *expander) expand(v value, credential bool) {
	if v.whole && !credential {
		e.add(v.text, false)
		return
	}
	if v.binary {
		e.binary(v.text, credential)
		return
	}
	e.text(v.text, credential, 0)
}

// fewLines is how many lines a credential may have for each of them to be one.
// A longer one is a key, or a file with more in it than credentials.
const fewLines = 3

// text adds the value or, of several lines, each line, and the parts of it.
func (e *expander) text(v string, credential bool, depth int) {
	v = strings.Trim(v, " \t\r\n\x00")
	if strings.IndexByte(v, '\n') < 0 && strings.IndexByte(v, '\r') < 0 {
		e.line(v, credential, depth)
		return
	}
	each := credential && strings.Count(v, "\n") < fewLines
	s := splitter{expander: e, whole: credential, depth: depth}
	for line := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.TrimSpace(line)
		e.add(line, each && !ordinary(line) || each && !strings.Contains(line, " "))
		s.split(line)
	}
}

func (e *expander) line(v string, credential bool, depth int) {
	e.add(v, credential)
	s := splitter{expander: e, whole: credential, depth: depth}
	s.split(v)
}

// maxDepth is how often a part may have been encoded.
const maxDepth = 2

// decoded adds what a part encodes, if that is text.
func (e *expander) decoded(part string, credential bool, depth int) {
	if depth == maxDepth || len(part) < minNeedle {
		return
	}
	if strings.IndexByte(part, '%') >= 0 || strings.IndexByte(part, '+') >= 0 {
		if plain, err := url.QueryUnescape(part); err == nil && plain != part {
			e.text(plain, credential, depth+1)
		}
	}
	if !credential && ordinary(part) {
		return
	}
	if raw, err := hex.DecodeString(part); err == nil {
		e.bytesOf(raw, credential, depth+1)
	}
	if raw := fromBase64(part); raw != nil {
		e.bytesOf(raw, credential, depth+1)
	}
}

// bytesOf adds what was decoded: texts, and bytes of which a text in another
// encoding can be told.
func (e *expander) bytesOf(raw []byte, credential bool, depth int) {
	if text := string(raw); utf8.ValidString(text) && !controls(text) {
		e.text(text, credential, depth)
		if _, password, ok := strings.Cut(text, ":"); ok && !strings.ContainsAny(text, " \n{") { // RFC 7617
			e.add(password, credential || len(password) >= minNeedle || !ordinary(password))
		}
		return
	}
	if credential && len(raw) >= 2*minNeedle {
		e.put(string(raw), true)
	}
}

// fromBase64 returns what part encodes in one of the alphabets of RFC 4648,
// padded or not, and nil if it is no base64.
func fromBase64(part string) []byte {
	part = strings.TrimRight(part, "=")
	for i := range len(part) {
		if base64Value[part[i]] == none {
			return nil
		}
	}
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(part, "-_") {
		encoding = base64.RawURLEncoding
	}
	raw, err := encoding.DecodeString(part)
	if err != nil {
		return nil
	}
	return raw
}

// binary adds the texts in bytes of a format that is not known: runs of
// printable characters, and what a byte before it says the length of, as in
// protocol buffers, MessagePack and CBOR. Bytes in which hardly any text can be
// made out make the set incomplete.
func (e *expander) binary(raw string, credential bool) {
	if len(raw) >= minNeedle && e.only == nil || credential {
		e.put(raw, credential)
	}
	covered := 0
	for i := 0; i < len(raw); {
		size := printableRun(raw[i:])
		if size < minCredential {
			i += max(size, 1)
			continue
		}
		e.run(raw[i:i+size], credential)
		covered += size
		i += size
	}
	for i := range len(raw) {
		for _, size := range lengths(raw[i]) {
			if size >= minCredential && i+1+size <= len(raw) && printableRun(raw[i+1:]) >= size {
				e.line(raw[i+1:i+1+size], credential, 0)
			}
		}
	}
	e.full = e.full || 2*covered < len(raw)
}

// lengths returns what a byte may say of the length of the text behind it:
// itself, or what is left of it beside the mark of a short text in MessagePack
// (0xa0) or CBOR (0x60).
func lengths(c byte) [2]int {
	switch {
	case c < 0x60:
		return [2]int{int(c)}
	case c < 0x78:
		return [2]int{int(c), int(c & 0x1f)}
	case c >= 0xa0 && c < 0xc0:
		return [2]int{int(c), int(c & 0x1f)}
	}
	return [2]int{int(c)}
}

// run adds a run of printable characters. The format's own bytes at its ends may
// be printable, too: up to two of them are taken off its first and last word.
func (e *expander) run(run string, credential bool) {
	e.line(run, credential, 0)
	first := strings.IndexAny(run, wordEnds)
	if first < 0 {
		first = len(run)
	}
	last := strings.LastIndexAny(run, wordEnds) + 1
	for from := range min(3, first) {
		for to := range min(3, len(run)-last) {
			switch {
			case from+to == 0:
			case last == 0: // one word
				if from+to < len(run) {
					e.line(run[from:len(run)-to], credential, 0)
				}
			case to == 0:
				e.line(run[from:first], credential, 0)
			case from == 0:
				e.line(run[last:len(run)-to], credential, 0)
			}
		}
	}
}

// wordEnds are what words in bytes are separated by.
const wordEnds = " \t\"'`;,&=:<>(){}[]|"

// printableRun returns how many bytes at the start of raw are printable text.
func printableRun(raw string) (n int) {
	for n < len(raw) {
		c := raw[n]
		if c >= ' ' && c < 0x7f || c == '\t' {
			n++
			continue
		}
		r, size := utf8.DecodeRuneInString(raw[n:])
		if c < utf8.RuneSelf || r == utf8.RuneError {
			break
		}
		n += size
	}
	return n
}
