package secrets

import (
	"encoding/base64"
	"strings"
)

// Authorization and cookie are headers of HTTP, and ordinary words of logs. What follows
// them is read as a header's value and no further: to its own end, or to that of the
// member, pair or word that it is.

// field is the value of a header as it stands in a text.
type field struct {
	text  string
	at    int  // how far it was read
	quote byte // that ends it, or 0
	level int  // backslashes before that
	list  bool // it is one of cookies, of which signs are parts
	token bool // what is read are the credentials of a known scheme
}

// header returns the end of the credential in the header whose name, which ends
// at i, is Authorization, Cookie or Set-Cookie, or -1.
func (c *scan) header(i int) int {
	if i < c.seen().headers {
		return -1
	}
	f := field{text: c.text}
	if !f.open(i) {
		return -1
	}
	end := -1
	if c.text[i-1]|0x20 == 'e' {
		end = f.cookies()
	} else {
		end = c.authorization(&f)
	}
	c.seen().headers = f.at
	c.work += f.at - i
	return end
}

// open finds where the value begins, behind the name that ends at i.
func (f *field) open(i int) bool {
	text, at := f.text, i
	for at < len(text) && at-i < 8 && (text[at] == '"' || text[at] == '\'' || text[at] == '\\') {
		at++
	}
	closed := at > i
	for at < len(text) && at-i < 16 && (text[at] == ' ' || text[at] == '\t') {
		at++
	}
	if at == len(text) {
		return false
	}
	f.at = at + 1
	switch text[at] {
	case ':', '=':
		for f.at < len(text) && f.at-at < 8 && strings.IndexByte("=>:", text[f.at]) >= 0 {
			f.at++
		}
		if strings.HasPrefix(text[f.at:], `\u003e`) { // =>
			f.at += len(`\u003e`)
		}
	case ',', '\n', '\\': // a pair, or two members
		if text[at] == '\\' {
			if at+1 == len(text) || text[at+1] != 'n' {
				return false
			}
			f.at++
		}
		if named := f.member(); !named && (text[at] != ',' || !closed || quoteAt(text, blanks(text, f.at)) < 0) {
			return false
		}
	case '>': // of XML
		if strings.HasPrefix(text[f.at:], "</") {
			return false
		}
	case '[': // of a struct that Go has printed
		f.at = at
	default:
		return false
	}
	f.skip()
	for range 2 { // of a list in JSON or Go
		if rest := text[f.at:]; strings.HasPrefix(rest, "[]string{") {
			f.at += len("[]string{")
		} else if strings.HasPrefix(rest, "[") {
			f.at++
		}
		f.skip()
	}
	if quote := quoteAt(text, f.at); quote >= 0 {
		f.quote, f.level, f.at = text[quote], quote-f.at, quote+1
	}
	return true
}

// member reads over the name of the member that holds the value: value: , "value":.
func (f *field) member() bool {
	text, at := f.text, f.at
	for at < len(text) && at-f.at < 32 && strings.IndexByte(" \t\n\r\"'\\{", text[at]) >= 0 {
		at++
	}
	if len(text)-at < 8 || !strings.EqualFold(text[at:at+5], "value") {
		return false
	}
	at += 5
	for stop := min(len(text), at+8); at < stop; at++ {
		switch text[at] {
		case ':', '=':
			f.at = at + 1
			return true
		case '"', '\'', '\\', ' ':
		default:
			return false
		}
	}
	return false
}

// skip reads over blanks, and a line end that a header is folded at.
func (f *field) skip() {
	text := f.text
	for stop := min(len(text), f.at+maxLead); f.at < stop; {
		switch at := blanks(text, f.at); {
		case at > f.at:
			f.at = at
		default:
			next := f.folded(at)
			if next == at {
				return
			}
			f.at = next
		}
	}
}

// folded returns where a line end with a blank behind it ends that begins at at, each of
// which may be escaped, or at.
func (f *field) folded(at int) int {
	text := f.text[:min(len(f.text), at+8)]
	rest, ok := strings.CutPrefix(text[at:], "\r\n")
	if !ok {
		if rest, ok = strings.CutPrefix(text[at:], "\n"); !ok {
			if rest, ok = strings.CutPrefix(text[at:], `\r\n`); !ok {
				if rest, ok = strings.CutPrefix(text[at:], `\n`); !ok {
					return at
				}
			}
		}
	}
	switch {
	case strings.HasPrefix(rest, " "), strings.HasPrefix(rest, "\t"):
		return len(text) - len(rest) + 1
	case strings.HasPrefix(rest, `\t`):
		return len(text) - len(rest) + 2
	}
	return at
}

// ended tells whether the value ends at what was read.
func (f *field) ended() bool {
	text, i := f.text, f.at
	if i >= len(text) {
		return true
	}
	switch b := text[i]; b {
	case '\n', '\r':
		return f.folded(i) == i
	case '"', '\'', '`':
		if f.quote != 0 {
			return b == f.quote && (i == 0 || text[i-1] != '\\') && f.level == 0
		}
		return !strings.HasSuffix(strings.TrimRight(text[max(0, i-maxQuotes):i], `\`), "=") && !f.parameter(i, b)
	case '\\':
		if i > 0 && text[i-1] == '\\' { // of a row that was looked at
			return false
		}
		n := 1
		for i+n < len(text) && n < maxQuotes && text[i+n] == '\\' {
			n++
		}
		if i+n == len(text) {
			return true
		}
		switch text[i+n] {
		case 'n', 'r':
			return f.folded(i) == i
		case '"', '\'', '`':
			if f.quote == 0 {
				return before(text, i) != '=' && !f.parameter(i, text[i+n])
			}
			return text[i+n] == f.quote && n == f.level
		}
	case ']', '}', '<':
		return f.quote == 0 && !f.list
	case '|', '&': // of a command line or an address; tokens and cookies have them, too
		return f.quote == 0 && !f.list && !f.token
	}
	return false
}

// parameter tells whether the quote at i, which may be escaped, ends the value of a
// parameter: response="…".
func (f *field) parameter(i int, quote byte) bool {
	text := f.text
	for n := 1; n < maxValue && i-n > 0; n++ {
		switch text[i-n] {
		case quote:
			return strings.HasSuffix(strings.TrimRight(text[max(0, i-n-maxQuotes):i-n], `\`), "=")
		case ' ', '\n', ',':
			return false
		}
	}
	return false
}

// word reads the next word, as long as words of headers are.
func (f *field) word() string {
	f.skip()
	from := f.at
	for f.at-from < 1024 && !f.ended() && strings.IndexByte(" \t,;\r\n", f.text[f.at]) < 0 && (f.text[f.at] != '\\' || f.folded(f.at) == f.at) {
		f.at++
	}
	return f.text[from:f.at]
}

// alone tells whether nothing but a separator is behind what was read.
func (f *field) alone() bool {
	return f.ended() || f.text[f.at] == ',' || f.text[f.at] == ';'
}

// next reads over a separator of parameters, if there is one.
func (f *field) next() bool {
	if f.ended() || f.text[f.at] != ',' && f.text[f.at] != ';' {
		return false
	}
	f.at++
	f.skip()
	return true
}

// maxFields is how many parameters or cookies are looked at.
const maxFields = 64

// cookies returns the end of the first value of a cookie that looks drawn by lot, or -1.
func (f *field) cookies() int {
	f.list = true
	for n := range maxFields {
		part := f.word()
		name, value, ok := strings.Cut(part, "=")
		value = strings.Trim(value, `"'\`)
		switch {
		case !ok && n == 0:
			if part != "" && f.alone() && strings.IndexByte(part, ':') < 0 && drawnValue(part, 12) {
				return f.at
			}
		case ok && !isAttribute(name) && drawnValue(value, minText):
			return f.at
		}
		if ok { // browsers send spaces in values, too
			for !f.alone() {
				f.at++
			}
		}
		if !f.next() {
			break
		}
	}
	return -1
}

// isAttribute tells whether a name is that of what a cookie says of itself (RFC 6265
// §4.1.1), or of what identifies a request.
func isAttribute(name string) bool {
	for _, known := range [...]string{"expires", "max-age", "path", "domain", "samesite", "priority", "version", "request_id", "trace_id", "span_id", "job_id", "correlation_id", "trace", "commit", "digest", "sha"} {
		if strings.EqualFold(name, known) {
			return true
		}
	}
	return false
}

// drawnValue tells whether a value of a header looks drawn by lot.
func drawnValue(s string, least int) bool {
	return len(s) >= least && !masked(s) && !few(s) && !refers(s) && mixOf(s).drawn(s, least)
}

// authorization returns the end of the credential in the value of an Authorization header,
// or -1: of one with a scheme, with parameters, or without.
func (c *scan) authorization(f *field) int {
	first := f.word()
	if f.alone() {
		// AWS:key:signature has a scheme; deploy:app is a permission.
		if strings.IndexByte(first, ':') < 0 && drawnValue(strings.TrimRight(first, `\`), 12) {
			return f.at
		}
		return -1
	}
	says := schemeOf(first)
	f.skip()
	from := f.at
	f.token = says == knownScheme
	second := f.word()
	if name, value, ok := strings.Cut(second, "="); ok && strings.Trim(value, "=") != "" { // of an address
		if and := strings.LastIndexByte(name, '&'); and >= 0 {
			f.at, f.token, second = from+and, false, second[:and]
		}
	}
	if says == noScheme || second == "" {
		return -1
	}
	if strings.EqualFold(first, "basic") {
		return c.basicAnywhere(from, second)
	}
	if name, value, ok := strings.Cut(second, "="); ok && name != "" && strings.Trim(value, "=") != "" {
		for n := 0; says == knownScheme && n < maxFields; n++ {
			if value = strings.Trim(value, `"'\`); drawnValue(value, 12) {
				return f.at
			}
			if !f.next() {
				break
			}
			_, value, _ = strings.Cut(f.word(), "=")
		}
		return -1
	}
	alone := f.alone()
	least := 12
	if says == knownScheme && alone {
		least = minText
	}
	if !drawnValue(second, least) || isUUID(second) && !(alone && says != anyScheme) {
		return -1
	}
	switch {
	case says == knownScheme && (alone || isUpper(first[0]) || credential(second, 16)),
		says == likelyScheme && alone,
		alone && credential(second, 16) && !isHexes(second):
		return f.at
	}
	return -1
}

// scheme is how likely a word is the name of a scheme of authentication.
type scheme uint8

const (
	noScheme     scheme = iota
	anyScheme           // a word in small letters
	likelyScheme        // with a capital
	knownScheme
)

// noSchemes are what logs say of an authorization.
var noSchemes = func() map[string]bool {
	all := map[string]bool{}
	for word := range strings.FieldsSeq("granted denied allowed refused rejected ok okay none fail failed failure success succeeded required optional missing expired valid invalid checked verified approved pending accepted revoked disabled enabled " +
		"error true false yes no null for by of to via from on in at with user role job policy request session project account tenant org organization service app host pod node id is was not check result status decision state permission scope version since until rbac") {
		all[word] = true
	}
	return all
}()

// knownSchemes are the schemes of whose names the end says nothing.
var knownSchemes = map[string]bool{
	"basic": true, "digest": true, "hawk": true, "googlelogin": true, "ssws": true, "splunk": true, "negotiate": true, "ntlm": true, "mac": true, "dpop": true, "bot": true, "genie": true,
	"vapid": true, "aws": true, "sharedkeylite": true, "credential": true, "password": true, "client": true, "pat": true, "sso": true, "app": true, "apikeys": true,
}

// schemeOf tells how likely a word is the name of a scheme.
func schemeOf(word string) scheme {
	if len(word) < 2 || len(word) > 40 || strings.ContainsAny(word, "=:/@.\"'") {
		return noScheme
	}
	var room [40]byte
	lowered := room[:copy(room[:], word)]
	for i := range lowered {
		lowered[i] = lower(lowered[i])
	}
	if noSchemes[string(lowered)] {
		if isUpper(word[0]) { // Session, App
			return anyScheme
		}
		return noScheme
	}
	if knownSchemes[string(lowered)] {
		return knownScheme
	}
	small := asString(lowered)
	for _, end := range [...]string{"token", "key", "auth", "signature", "bearer", "jwt", "secret", "hmac"} {
		if strings.HasSuffix(small, end) {
			return knownScheme
		}
	}
	if strings.Contains(small, "hmac") || strings.Contains(small, "-sha") {
		return knownScheme
	}
	if isUpper(word[0]) {
		return likelyScheme
	}
	return anyScheme
}

// isUUID tells whether a text is a UUID (RFC 9562 §4).
func isUUID(s string) bool {
	return len(s) == 36 && hexes(s, 8) && s[8] == '-' && hexes(s[9:], 4) && s[13] == '-' && hexes(s[14:], 4) && s[18] == '-' && hexes(s[19:], 4) && s[23] == '-' && hexes(s[24:], 12)
}

// isHexes tells whether a text is hexadecimal digits, as digests are.
func isHexes(s string) bool { return len(s) >= 32 && hexes(s, len(s)) }

// basicAnywhere returns the end of Basic credentials that may not be ASCII, or
// -1.
func (c *scan) basicAnywhere(from int, rest string) int {
	end := 0
	for end < len(rest) && isToken68(rest[end]) {
		end++
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(rest[:end], "="))
	if err != nil {
		return -1
	}
	_, password, ok := strings.Cut(string(raw), ":")
	if !ok || masked(password) {
		return -1
	}
	return from + end
}
