package secrets

import (
	"encoding/base64"
	"strings"
)

// Credentials that have no form of their own are known by their standard names
// in their standard places: parameters of queries and forms, keywords of data
// sources, variables, members, and headers.

// naming is what a name says of its value.
type naming uint8

const (
	namesNothing  naming = iota
	namesToken           // something that a program made
	namesPassword        // something that a person may have chosen
	namesCode            // of many things, one of which is a credential
	namesKey             // likewise, if the host is known
)

// names are the names of credentials, in small letters and without hyphens,
// underscores and dots.
var names = map[string]naming{
	"accesstoken": namesToken, "refreshtoken": namesToken, "idtoken": namesToken, "authtoken": namesToken, "sessiontoken": namesToken,
	"privatetoken": namesToken, "securitytoken": namesToken, "apitoken": namesToken, "bearertoken": namesToken, "jobtoken": namesToken,
	"clientsecret": namesToken, "apikey": namesToken, "apisecret": namesToken, "appsecret": namesToken, "secretkey": namesToken,
	"accesskey": namesToken, "subscriptionkey": namesToken, "clientassertion": namesToken, "codeverifier": namesToken, "secret": namesToken,
	"token": namesToken, "signature": namesToken, "sig": namesToken, "authkey": namesToken, "webhooksecret": namesToken, "credential": namesCode,
	"accountkey": namesToken, "privatekey": namesToken, "sharedaccesskey": namesToken, "encryptionkey": namesToken, "signingkey": namesToken, "consumersecret": namesToken,
	"password": namesPassword, "passwd": namesPassword, "pwd": namesPassword, "passphrase": namesPassword, "pass": namesPassword,
	"code": namesCode, "authorizationcode": namesCode, "key": namesKey, "license": namesKey,
}

// nameGroup is the names that end with the same three letters.
type nameGroup struct {
	sizes uint32 // a bit for each length
	names []struct {
		text string
		says naming
	}
}

// nameGroupOf finds the groups by these letters; 0 is an empty one.
var nameGroupOf, nameGroups = func() (of [1 << 15]uint8, all []nameGroup) {
	all = make([]nameGroup, 1)
	for name, says := range names {
		n := len(name)
		at := &of[ending(name[n-3], name[n-2], name[n-1])]
		if *at == 0 {
			*at = uint8(len(all))
			all = append(all, nameGroup{})
		}
		g := &all[*at]
		g.sizes |= 1 << n
		g.names = append(g.names, struct {
			text string
			says naming
		}{name, says})
	}
	return of, all
}()

// ending is a number for three letters, whatever their case.
func ending(a, b, c byte) uint16 { return uint16(a&31)<<10 | uint16(b&31)<<5 | uint16(c&31) }

// naming tells what a name of the group says.
func (g *nameGroup) naming(name []byte) naming {
	if g.sizes>>len(name)&1 != 0 {
		for i := range g.names {
			if g.names[i].text == string(name) {
				return g.names[i].says
			}
		}
	}
	return namesNothing
}

// endsAsName reports false if what ends at end is no name that naming knows, which
// its last three letters tell of most.
func endsAsName(text string, end int) bool {
	for end > 0 && beforeSign[text[end-1]] {
		end--
	}
	if end < 3 || !isAlnum(text[end-1]) || !isAlnum(text[end-2]) || !isAlnum(text[end-3]) {
		return true
	}
	return nameGroupOf[ending(text[end-3], text[end-2], text[end-1])] != 0
}

// beforeSign are the bytes that may stand between a name and the sign behind it.
var beforeSign = [256]bool{'"': true, '\'': true, '\\': true, ' ': true}

// naming tells what the name that ends at end, where a sign follows it, says, and
// where the name begins. Words may stand before it: DB_PASSWORD, X-Api-Key.
func (c *scan) naming(end int) (n naming, begin int) {
	text := c.text
	for end > 0 && beforeSign[text[end-1]] {
		end--
	}
	var buf [20]byte
	at := len(buf)
	begin = end
	var g *nameGroup
	for begin > 0 && at > 0 {
		b := text[begin-1]
		if isAlnum(b) {
			at--
			buf[at] = lower(b)
			if at == len(buf)-3 {
				if g = &nameGroups[nameGroupOf[ending(buf[at], buf[at+1], buf[at+2])]]; g.sizes == 0 {
					return namesNothing, begin
				}
			}
		} else if b != '_' && b != '-' && b != '.' {
			break
		}
		begin--
		// The longest name that ends a word decides.
		if g != nil && (begin == 0 || !isAlnum(text[begin-1]) || isUpper(text[begin]) && !isUpper(text[begin-1])) {
			if found := g.naming(buf[at:]); found != namesNothing {
				n = found
			}
		}
	}
	c.work += end - begin
	return n, begin
}

// assigned looks for a credential behind the sign at i, = or :, and the name
// before it.
func (c *scan) assigned(i int) bool {
	text := c.text
	if i < 3 || i+minText >= len(text) {
		return false
	}
	switch b := text[i-1]; {
	case isAlnum(b) && !lastOfNames[b]:
		return false
	case !isAlnum(b) && !beforeSign[b]:
		return false
	}
	if c.limits != nil && i < c.limits.valueEnd {
		if c.limits.values++; c.limits.values > maxInside {
			return false
		}
	}
	if !endsAsName(text, i) {
		return false
	}
	n, begin := c.naming(i)
	if n == namesNothing {
		return false
	}
	from := i + 1
	for from < len(text) && from-i < 8 && (beforeSign[text[from]] || text[from] == '=' || text[from] == ':' || text[from] == '>') {
		from++
	}
	quoted := from > i+1 && (text[from-1] == '"' || text[from-1] == '\'')
	to := from
	if quoted {
		for to < len(text) && to-from < maxValue && !ends(text[to], true, text[from-1]) {
			to++
		}
	} else {
		to = c.plainValue(from)
	}
	if quoted && to == len(text) { // the text is cut before the other quote
		for to = from; to < len(text) && !ends(text[to], false, 0); {
			to++
		}
	}
	if l := c.seen(); to > l.valueEnd {
		if i >= l.valueEnd {
			l.values = 0
		}
		l.valueEnd = to
	}
	c.work += to - i
	if masked(text[from:to]) {
		return false
	}
	value := text[from:to]
	for value != "" && afterValue[value[len(value)-1]] {
		value = value[:len(value)-1]
	}
	if !c.credible(n, value, begin) {
		return false
	}
	return c.hit(ruleNamed, from, from+len(value))
}

// plainValue returns the end of the value that begins at from and is not quoted.
func (c *scan) plainValue(from int) int {
	l := c.seen()
	if from < l.plainFrom || from > l.plainTo {
		l.plainFrom, l.plainTo = from, from
	}
	stop := min(len(c.text), from+maxValue)
	to := min(l.plainTo, stop)
	for to < stop && !endsValue[c.text[to]] {
		to++
	}
	l.plainTo = max(l.plainTo, to)
	return to
}

// afterValue are the bytes that may stand behind a value and are no part of it.
var afterValue = [256]bool{'.': true, ',': true, ':': true, ';': true, ')': true, ']': true, '}': true, '\\': true}

// maxInside is how many names are looked at in the value of another one, of which
// no more than maxValue bytes are.
const (
	maxInside = 4
	maxValue  = 128
)

// lastOfNames are the letters that names end with.
var lastOfNames = func() (table [256]bool) {
	for _, b := range []byte("ndtyegrs") {
		table[b], table[upper(b)] = true, true
	}
	return table
}()

// endsValue are the bytes that a value which is not quoted ends at.
var endsValue = func() (t [256]bool) {
	for b := range byte(' ' + 1) {
		t[b] = true
	}
	for _, b := range []byte("&;\"'<>,`|") {
		t[b] = true
	}
	return t
}()

// ends tells whether b ends a value.
func ends(b byte, quoted bool, quote byte) bool {
	if quoted {
		return b == quote || b == '\n' || b == '\\'
	}
	return endsValue[b]
}

// credible tells whether a value is what its name says, and no word, mask or
// expression in a program.
func (c *scan) credible(n naming, value string, nameAt int) bool {
	if len(value) < minText || masked(value) || few(value) {
		return false
	}
	if (n == namesCode || n == namesKey) && before(c.text, nameAt) != '?' && before(c.text, nameAt) != '&' {
		return false
	}
	m := mixOf(value)
	if n != namesPassword && m.has&(ofPrograms|ofTemplates) != 0 {
		return false
	}
	switch n {
	case namesPassword:
		if strings.HasSuffix(c.text[:nameAt], "--- ") {
			return false // go test's report: --- PASS: TestName/part
		}
		return m.has&ofPrograms == 0 && !m.wordy(value)
	case namesToken:
		return m.drawn(value, minText)
	case namesCode:
		return m.drawn(value, 12)
	case namesKey:
		return m.drawn(value, 16) && c.keyed(nameAt)
	}
	return false
}

// before returns the byte before i, or a space.
func before(text string, i int) byte {
	if i == 0 {
		return ' '
	}
	return text[i-1]
}

// keyed tells whether the address that i is in is one of a host that takes its
// key as a parameter of that name.
func (c *scan) keyed(i int) bool {
	l := c.seen()
	from := max(0, i-256)
	if part := c.text[max(from, l.hostsTo-24):i]; i > l.hostsTo { // what was not looked at yet
		c.work += len(part)
		for _, host := range [...]string{"googleapis.com", "google.com/", "api.", "/api", "maxmind.com", "weatherapi.com", "giphy.com", "virustotal.com"} {
			if at := strings.LastIndex(part, host); at >= 0 {
				l.host = max(l.host, i-len(part)+at+1)
			}
		}
		l.hostsTo = i
	}
	return l.host > from
}

func isUpper(b byte) bool { return b-'A' <= 'Z'-'A' }

// header returns the end of the credential in the header whose name, which ends
// at i, is Authorization, Cookie or Set-Cookie, or -1.
func (c *scan) header(i int) int {
	text := c.text
	if i < c.seen().headers {
		return -1
	}
	from := after(text, i)
	if from < 0 || strings.IndexByte(text[i:from], ':') < 0 && strings.IndexByte(text[i:from], '=') < 0 {
		return -1
	}
	to := from
	for to < len(text) && to-from < 1024 && text[to] != '\n' && text[to] != '\r' {
		to++
	}
	c.seen().headers = to
	c.work += to - from
	value := text[from:to]
	if scheme, rest, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "basic") {
		return c.basicAnywhere(from+len(value)-len(rest), rest)
	}
	at := from
	if scheme, rest, ok := strings.Cut(value, " "); ok && !strings.ContainsAny(scheme, "=,;") {
		from += len(scheme) + 1
		value = rest
	}
	for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(" ,;\"'\\", r) }) {
		at = from + strings.Index(text[from:to], part)
		if name, after, ok := strings.Cut(part, "="); ok && strings.Trim(after, "=") != "" {
			part, at = after, at+len(name)+1
		}
		if len(part) >= 12 && !masked(part) && !few(part) && mixOf(part).drawn(part, 12) {
			return at + len(part)
		}
	}
	return -1
}

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

// curl returns the end of the credentials that a command line, which begins at i,
// gives to curl, or -1.
func (c *scan) curl(i int) int {
	if i < c.seen().commands {
		return -1
	}
	c.seen().commands = i + 256
	line := c.text[i:min(len(c.text), i+512)]
	c.work += len(line)
	for _, flag := range [...]string{" -u", " --user"} {
		at := strings.Index(line, flag)
		if at < 0 {
			continue
		}
		rest := line[at+len(flag):]
		login := strings.TrimLeft(rest, " =\"'\\")
		begin := at + len(flag) + len(rest) - len(login)
		if end := strings.IndexAny(login, " \"'\\\n"); end >= 0 {
			login = login[:end]
		}
		if _, password, ok := strings.Cut(login, ":"); ok && !masked(password) && password[0] != '<' && password[0] != '{' {
			return i + begin + len(login)
		}
	}
	return -1
}

// derKey returns the end of the base64 at i if it is that of a private key in
// DER: PKCS #1 (RFC 8017, A.1.2), PKCS #8 (RFC 5958), encrypted or not, SEC 1
// (RFC 5915), or -1.
func (c *scan) derKey(i int) int {
	var head [12]byte
	if n, _ := decode(head[:], c.text[i:min(len(c.text), i+16)]); !startsAsKey(head[:n]) {
		return -1
	}
	end := i
	for end < len(c.text) && end-i < 88 && sextets[c.text[end]] != 0xff {
		end++
	}
	c.work += end - i
	if end-i < 40 {
		return -1
	}
	var buf [66]byte
	n, _ := decode(buf[:], c.text[i:end])
	if !isPrivateKey(buf[:n]) {
		return -1
	}
	for end < len(c.text) && sextets[c.text[end]] != 0xff {
		end++
	}
	return end
}

// startsAsKey tells whether bytes may be the beginning of a private key in DER: a
// sequence whose first element is a version or a sequence.
func startsAsKey(der []byte) bool {
	if len(der) < 8 || der[0] != 0x30 {
		return false
	}
	at := 2
	if der[1] >= 0x80 {
		at += int(der[1] & 3)
	}
	return der[at] == 2 && der[at+1] == 1 && der[at+2] <= 1 || der[at] == 0x30
}

// isPrivateKey tells whether bytes are the beginning of a private key in DER.
func isPrivateKey(der []byte) bool {
	const integer, octets, oid, sequence = 2, 4, 6, 0x30
	tag, body, ok := element(der)
	if !ok || tag != sequence || len(body) < 8 {
		return false
	}
	tag, version, ok := element(body)
	switch {
	case !ok:
		return false
	case tag == sequence: // EncryptedPrivateKeyInfo: PKCS #5 or #12
		tag, id, ok := element(version)
		id = id[:min(len(id), 8)]
		return ok && tag == oid && (strings.HasPrefix(string(id), "\x2a\x86\x48\x86\xf7\x0d\x01\x05") || strings.HasPrefix(string(id), "\x2a\x86\x48\x86\xf7\x0d\x01\x0c"))
	case tag != integer || body[1] != 1 || body[2] > 1:
		return false
	}
	tag, second, ok := element(body[3:])
	if !ok {
		return false
	}
	switch tag {
	case sequence:
		tag, _, ok := element(second)
		return ok && tag == oid
	case octets:
		return body[2] == 1 && body[4] >= 20 && body[4] <= 72
	case integer:
		return body[2] == 0 && (body[4] >= 0x40) // a modulus
	}
	return false
}

// element reads the element of DER at the start of der. Its contents may be cut.
func element(der []byte) (tag byte, contents []byte, ok bool) {
	if len(der) < 2 {
		return 0, nil, false
	}
	size, at := int(der[1]), 2
	if size >= 0x80 {
		count := size & 0x7f
		if count == 0 || count > 4 || len(der) < 2+count {
			return 0, nil, false
		}
		size = 0
		for _, b := range der[2 : 2+count] {
			size = size<<8 | int(b)
		}
		at += count
	}
	return der[0], der[at:min(len(der), at+max(size, 0))], size > 0
}

// keyset returns the end of the key of Tink whose type is at i in a keyset in JSON,
// or -1.
func (c *scan) keyset(i int) int {
	if i < c.seen().keysets {
		return -1
	}
	c.seen().keysets = i + 1024
	window := c.text[max(0, i-1024):min(len(c.text), i+2048)]
	c.work += 2 * len(window)
	if !strings.Contains(window, "ASYMMETRIC_PRIVATE") && (!strings.Contains(window, `SYMMETRIC`) || strings.Contains(window, "ASYMMETRIC_PUBLIC")) || !strings.Contains(window, `"value`) {
		return -1
	}
	return min(len(c.text), i+64)
}

// maxWebKeys is how many keys in JSON are looked at in one text.
const maxWebKeys = 8

// webKey returns the end of the private part of the JSON Web Key (RFC 7517) whose
// member kty is at i, or -1.
func (c *scan) webKey(i int) int {
	if c.seen().keys++; c.seen().keys > maxWebKeys || i == 0 || c.text[i-1] != '"' {
		return -1
	}
	// What was looked at is not looked at again, except where its end was not seen.
	from := max(0, i-2048, c.seen().keysTo)
	window := c.text[from:min(len(c.text), i+4096)]
	c.seen().keysTo = from + max(0, len(window)-3)
	c.work += len(window)
	for _, name := range [...]string{`"d"`, `"d\"`, `"k"`, `"k\"`} {
		rest := window
		for at := strings.Index(rest, name); at >= 0; at = strings.Index(rest, name) {
			begin := from + len(window) - len(rest) + at
			rest = rest[at+len(name):]
			value := strings.TrimLeft(rest, " \n\t:\"\\")
			n := span(value, &base64Set)
			if n >= 20 {
				return from + len(window) - len(value) + n
			}
			if n == len(value) {
				c.limits.keysTo = min(c.limits.keysTo, begin)
			}
		}
	}
	return -1
}
