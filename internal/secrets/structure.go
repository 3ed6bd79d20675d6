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
	if !isHeader(c.text[i:end]) {
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

// isHeader tells whether the text is a JOSE header (RFC 7515 §4). Of one that is
// too long to decode here, the beginning and the end are looked at.
func isHeader(encoded string) bool {
	var buf [1536]byte
	n, read := decode(buf[:], encoded)
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
	n, _ = decode(buf[:], rest)
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
			// A password with a slash that nobody escaped goes on; a port
			// or a host does not.
			if at >= 0 || separator < 0 || digits(text[separator+1:end]) || text[i] == '[' {
				break scan
			}
			if slash < 0 {
				slash = end
			}
		case b <= ' ' || b == '"' || b == '\'' || b == '<' || b == '>' || b == '`':
			break scan
		}
	}
	c.work += end - i
	if at < 0 || at == i {
		return false
	}
	user, password := text[i:at], ""
	if separator >= 0 && separator < at {
		user, password = text[i:separator], text[separator+1:at]
	}
	if !masked(password) || credential(user, 16) {
		return c.hit(ruleURL, i, at)
	}
	return false
}

// digits tells whether the text, which may be empty, is a port.
func digits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// dataSource looks for credentials before @tcp(host), as MySQL's driver writes
// them, without a scheme.
func (c *scan) dataSource(at int) bool {
	rest := c.text[at+1:]
	if !strings.HasPrefix(rest, "tcp(") && !strings.HasPrefix(rest, "unix(") && !strings.HasPrefix(rest, "tcp6(") {
		return false
	}
	begin := at
	for begin > 0 && at-begin < 128 && c.text[begin-1] > ' ' && c.text[begin-1] != '"' {
		begin--
	}
	c.work += at - begin
	_, password, ok := strings.Cut(c.text[begin:at], ":")
	return ok && !masked(password) && c.hit(ruleURL, begin, at)
}

// masked tells whether a password is none: empty, a mask, or a place where a
// template puts it.
func masked(password string) bool {
	switch {
	case password == "":
		return true
	case strings.IndexByte("$<{[%", password[0]) >= 0:
		last := password[len(password)-1]
		return password[0] == '$' || strings.IndexByte(">}]svq", last) >= 0
	case len(password) >= 3 && strings.Trim(password, password[:1]) == "":
		return strings.IndexByte("*xX.-_#?", password[0]) >= 0
	}
	return strings.EqualFold(password, "redacted")
}

// bearer returns the end of the credential after the word Bearer, which ends at
// i, or -1 (RFC 6750 §2.1).
func (c *scan) bearer(i int) int {
	begin := after(c.text, i)
	if begin < 0 {
		return -1
	}
	end := begin
	for end < len(c.text) && end-begin < maxRepeat && isToken68(c.text[end]) {
		end++
	}
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
	begin := after(c.text, i)
	if begin < 0 {
		return -1
	}
	end := begin
	for end < len(c.text) && end-begin < 1024 && isToken68(c.text[end]) && c.text[end] != '=' {
		end++
	}
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

func isBase64URL(b byte) bool { return isAlnum(b) || b == '-' || b == '_' }

func isToken68(b byte) bool {
	return isAlnum(b) || strings.IndexByte("-._~+/=", b) >= 0
}
