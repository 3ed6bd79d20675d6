package secrets

import (
	"encoding/json"
	"strings"
)

// The rules of secrets that are known by their structure.
const (
	ruleKey      = "private-key"
	ruleJWT      = "jwt"
	ruleURL      = "url-credentials"
	ruleBearer   = "bearer"
	ruleBasic    = "basic-auth"
	ruleCard     = "payment-card"
	ruleDiscord  = "discord"
	ruleTelegram = "telegram"
	ruleMailgun  = "mailgun"
	ruleChimp    = "mailchimp"
	ruleAzure    = "azure"
	ruleAtlas    = "terraform"
	ruleMaxMind  = "maxmind"
	ruleNamed    = "named-credential"
	ruleTink     = "tink-keyset"
)

// maxTokens is how many beginnings of a JWT are looked at in one run of
// base64url: x_y_eyJ has one.
const maxTokens = 8

// minKey is how much base64 after a private key's first line makes it one: a
// text about keys has none.
const minKey = 32

// privateKey returns the end of the private key whose BEGIN is at i, or -1: of
// any type, PEM (RFC 7468), OpenPGP or SSH2, on lines or on one, with its line
// ends or spaces escaped.
func (c *scan) privateKey(i int) int {
	if i < c.seen().blocks {
		return -1
	}
	label := c.text[i:min(len(c.text), i+96)]
	at := strings.Index(label, "PRIVATE")
	if at < 0 {
		at = strings.Index(label, "Static") // OpenVPN
	}
	c.work += 96
	if at < 0 {
		return -1
	}
	if dashes := strings.Index(label, "--"); dashes >= 0 && dashes < at {
		return -1
	}
	from := i + at
	c.seen().blocks = from + 512 // a later one is looked for in what is not seen here
	window := c.text[from:min(len(c.text), from+1024)]
	c.work += 1024
	run := 0
	for n := range len(window) {
		switch b := window[n]; {
		case isAlnum(b), b == '+', b == '/', b == '=':
			run++
			if run >= minKey {
				return from + n + 1
			}
		default:
			run = 0
		}
	}
	return -1
}

// signedToken returns the end of the JWT (RFC 7519) at i, or -1: its first part
// is a JSON object with "alg" in base64url, and a second one follows.
func (c *scan) signedToken(i int) int {
	if i >= c.tokenEnd {
		c.tokenEnd, c.tokens = i, 0
		for c.tokenEnd < len(c.text) && isBase64URL(c.text[c.tokenEnd]) {
			c.tokenEnd++
		}
		c.work += c.tokenEnd - i
	}
	end := c.tokenEnd
	if c.tokens++; c.tokens > maxTokens {
		return -1
	}
	c.work += min(end-i, 2048)
	if end == len(c.text) || c.text[end] != '.' || end-i < minText {
		return -1
	}
	if !isHeader(c.text[i:end]) && !(isObject(c.text[i:end]) && isObject(c.text[end+1:])) {
		return -1
	}
	stop := end + 1
	for stop < len(c.text) && (isBase64URL(c.text[stop]) || c.text[stop] == '.') {
		stop++
	}
	c.work += stop - end
	if stop-end < 5 {
		return -1
	}
	return stop
}

// isObject tells whether what the text encodes begins as a JSON object.
func isObject(encoded string) bool {
	var buf [48]byte
	n, _ := decode(buf[:], encoded)
	rest := strings.TrimLeft(strings.TrimPrefix(asString(buf[:n]), "{"), " \t\r\n")
	return n > 3 && buf[0] == '{' && len(rest) > 1 && rest[0] == '"' && isText([]byte(rest[:min(len(rest), 8)]))
}

// isHeader tells whether the text is a JOSE header (RFC 7515 §4). Of one that is
// too long to decode here, the beginning and the end are looked at.
func isHeader(encoded string) bool {
	var short [192]byte
	buf := short[:]
	if len(encoded) > len(short)/3*4 {
		buf = make([]byte, 1536)
	}
	n, read := decode(buf, encoded)
	header := asString(buf[:n])
	if n == 0 || header[0] != '{' {
		return false
	}
	if read == len(encoded) {
		return namesAlgorithm(header) && json.Valid(buf[:n])
	}
	if namesAlgorithm(header) {
		return true
	}
	rest := encoded[read:]
	rest = rest[max(0, len(rest)-2048)/4*4:]
	n, _ = decode(buf, rest)
	return namesAlgorithm(asString(buf[:n]))
}

func namesAlgorithm(header string) bool {
	_, rest, ok := strings.Cut(header, `"alg"`)
	return ok && strings.HasPrefix(strings.TrimLeft(rest, " \t\r\n"), ":")
}

// sign looks at what a sign at i begins or ends.
func (c *scan) sign(i int) bool {
	text := c.text
	switch text[i] {
	case ':':
		if i > 0 && i+4 < len(text) {
			if strings.HasPrefix(text[i:], "://") {
				return c.authority(i, i+3)
			}
			if strings.HasPrefix(text[i:], `:\/\/`) {
				return c.authority(i, i+5)
			}
		}
		return c.ip && c.ipv6At(i)
	case '@':
		return c.dataSource(i) || c.email && c.emailAt(i)
	case '~':
		return c.clientSecret(i)
	default:
		return c.prefixed(i)
	}
}

// authority looks for credentials in the authority of a URL whose scheme ends
// at colon and which begins at i (RFC 3986 §3.2). User information with a
// password is one; so is a user that is itself a token.
func (c *scan) authority(colon, i int) bool {
	text := c.text
	if !isAlnum(text[colon-1]) {
		return false
	}
	if i < c.seen().addressEnd {
		if c.seen().addresses++; c.seen().addresses > maxInside {
			return false
		}
	} else {
		c.seen().addresses = 0
	}
	end := i
	at, separator, slash := -1, -1, -1
scan:
	for ; end < len(text) && end-i < 1024; end++ {
		switch b := text[end]; {
		case b == '@':
			at = end
			if slash >= 0 {
				break scan
			}
		case b == ':' && separator < 0 && slash < 0:
			separator = end
		case b == '/' || b == '?' || b == '#' || b == '\\':
			// A password with a slash that is not escaped goes on; a port
			// or a host does not.
			if at >= 0 || separator < 0 || digits(text[separator+1:end]) || text[i] == '[' {
				break scan
			}
			slash = end
			for end+1 < len(text) && end+1-i < 1024 && !endsAddress[text[end+1]] {
				end++
			}
		case b <= ' ' || b == '"' || b == '\'' || b == '<' || b == '>' || b == '`':
			break scan
		}
	}
	c.seen().addressEnd = max(c.seen().addressEnd, end)
	c.work += end - i
	if at < 0 || at == i || isDigest(text[at+1:]) { // oci://chart:1.2.3@sha256:…
		return false
	}
	user, password := text[i:at], ""
	if separator >= 0 && separator < at {
		user, password = text[i:separator], text[separator+1:at]
	}
	if !masked(password) && !release(password) || credential(user, 16) {
		return c.hit(ruleURL, i, at)
	}
	return false
}

// endsAddress are the bytes that user information ends at, or is none.
var endsAddress = func() (table [256]bool) {
	for b := range 0x21 {
		table[b] = true
	}
	for _, b := range []byte("@\"'<>`") {
		table[b] = true
	}
	return table
}()

// digits tells whether the text, which may be empty, is a port.
func digits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// version tells whether a text is the version of something: digits, dots, and a
// word or two.
func version(s string) bool {
	s = strings.TrimLeft(s, "v^~>=")
	return s != "" && isDigit(s[0]) && strings.IndexByte(s, '.') > 0
}

// masked tells whether a password is none: empty, a mask, or a place where a
// template puts it.
func masked(password string) bool {
	if password == "" {
		return true
	}
	last := password[len(password)-1]
	switch rest := password[1:]; password[0] {
	case '$':
		return rest != "" && (rest[0] == '{' && last == '}' || rest[0] == '(' || capitals(rest))
	case '<', '[', '{':
		return len(password) > 1 && last == "> ] }"[strings.IndexByte("< [ {", password[0])]
	case '%':
		if rest == "" || len(rest) > 2 && last == '%' && capitals(rest[:len(rest)-1]) {
			return true
		}
		verb := strings.TrimLeft(rest, "+#-0123456789.")
		if verb != "" && (verb[0] == '[' || verb[0] == '(') {
			_, verb, _ = strings.Cut(verb, map[byte]string{'[': "]", '(': ")"}[verb[0]])
		}
		return len(verb) == 1 && strings.IndexByte("svqdxXtT", verb[0]) >= 0 && !hexes(rest, 2)
	}
	if len(password) >= 3 && password[1] == password[0] && strings.Trim(password, password[:1]) == "" {
		return strings.IndexByte("*xX.-_#?", password[0]) >= 0
	}
	switch first := password[0]; {
	case first == 0xe2:
		return strings.Trim(password, "•…") == ""
	case first == '&':
		return strings.HasPrefix(password, "&lt;") && strings.HasSuffix(password, "&gt;")
	case first|0x20 == 'r', first|0x20 == 'h', first|0x20 == 'm':
		return strings.EqualFold(password, "redacted") || strings.EqualFold(password, "hidden") || strings.EqualFold(password, "masked")
	}
	return false
}

// capitals tells whether a text is a name as variables of the environment have.
func capitals(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '_' && !isDigit(c) && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != ""
}

// bearer returns the end of the credential after the word Bearer, which ends at
// i, or -1 (RFC 6750 §2.1).
func (c *scan) bearer(i int) int {
	begin := c.behindScheme(i)
	if begin < 0 {
		return -1
	}
	end := begin
	for end < len(c.text) && end-begin < maxRepeat && isToken68(c.text[end]) {
		end++
	}
	c.seen().token68 = end
	c.work += end - i
	if !credential(c.text[begin:end], 16) {
		return -1
	}
	for end < len(c.text) && isToken68(c.text[end]) {
		end++
	}
	return end
}

// basic returns the end of the credentials after the word Basic, which ends at
// i, or -1 (RFC 7617 §2): they decode to user:password.
func (c *scan) basic(i int) int {
	begin := c.behindScheme(i)
	if begin < 0 {
		return -1
	}
	end := begin
	for end < len(c.text) && end-begin < 1024 && isToken68(c.text[end]) && c.text[end] != '=' {
		end++
	}
	c.seen().token68 = end
	c.work += end - i
	var buf [768]byte
	n, _ := decode(buf[:], c.text[begin:end])
	decoded := buf[:n]
	if len(decoded) < 3 || !isText(decoded) {
		return -1
	}
	user, password, ok := strings.Cut(asString(decoded), ":")
	if !ok || masked(password) && !credential(user, 16) {
		return -1
	}
	return end
}

// behindScheme is after for the names of schemes, of which few are looked at in
// what may be the credentials of another one.
func (c *scan) behindScheme(i int) int {
	if i < c.seen().token68 {
		if c.seen().schemes++; c.seen().schemes > maxInside {
			return -1
		}
	} else {
		c.seen().schemes = 0
	}
	return after(c.text, i)
}

// after returns where the credentials begin after the name of their scheme,
// which ends at i, or -1. What separates them may be escaped.
func after(text string, i int) int {
	begin := i
	for begin < len(text) && begin-i < 8 {
		switch text[begin] {
		case ' ', '\t', ':', '=', '"', '\'', '\\', '+':
			begin++
		case '%':
			if !hexes(text[begin+1:], 2) {
				return -1
			}
			begin += 3
		default:
			if begin == i {
				return -1
			}
			return begin
		}
	}
	return -1
}

// credential tells whether the text is long enough and looks drawn by lot.
func credential(s string, least int) bool {
	return len(s) >= least && !few(s) && random(s)
}

func isBase64URL(b byte) bool { return inBase64URL[b] }

func isToken68(b byte) bool { return inToken68[b] }

// inBase64URL and inToken68 are the bytes of such texts.
var inBase64URL, inToken68 = func() (url, token [256]bool) {
	for b := range 256 {
		url[b], token[b] = base64Set.has(byte(b)), token68Set.has(byte(b))
	}
	return url, token
}()
