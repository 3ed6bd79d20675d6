package secrets

import "strings"

// Beside the name of a credential there may stand where it is, what it is called
// there, or when something happened to it.

// refers tells whether a value says where a credential is, or a time, and is none.
func refers(value string) bool {
	if len(value) < minText {
		return false
	}
	switch b := value[0]; {
	case b == '/' || b == '.' || b == '~':
		return isPath(value)
	case isDigit(b):
		return isTime(value) || isRatio(value)
	case b|0x20 < 'a' || b|0x20 > 'z':
		return false
	}
	n := 1
	for n < len(value) && n < 32 && inScheme[value[n]] {
		n++
	}
	if n == len(value) {
		return false
	}
	rest := value[n:]
	switch value[n] {
	case ':':
		return strings.HasPrefix(rest, "://") && strings.IndexByte(rest, '@') < 0 || whereabouts[value[:n]]
	case '/':
		return (value[:n] == "projects" || value[:n] == "alias" || value[:n] == "secretsmanager") && strings.IndexByte(rest, '+') < 0
	case '(':
		return whereabouts[value[:n]]
	case '[':
		return value[:n] == "ENC"
	}
	return false
}

// inScheme are the bytes that schemes of addresses are made of.
var inScheme = func() (table [256]bool) {
	for b := range 256 {
		table[b] = isAlnum(byte(b)) || strings.IndexByte("+-._", byte(b)) >= 0
	}
	return table
}()

// whereabouts are words before the place of a credential, or its digest.
var whereabouts = map[string]bool{
	"arn": true, "urn": true, "crn": true, "vault": true, "file": true, "ssm": true, "env": true, "secretKeyRef": true, "secretsmanager": true, "op": true,
	"sha1": true, "sha256": true, "sha384": true, "sha512": true, "md5": true, "pseudonym": true, "sealed": true, "dropped": true, "alias": true,
}

// isPath tells whether a value is the path of a file.
func isPath(value string) bool {
	rest := strings.TrimLeft(value, ".~")
	if len(value)-len(rest) > 2 || !strings.HasPrefix(rest, "/") {
		return false
	}
	first, below, ok := strings.Cut(rest[1:], "/")
	if !ok || len(first) < 2 || len(first) > 16 {
		return false
	}
	for i := range len(first) {
		if b := first[i]; b < 'a' || b > 'z' {
			return false
		}
	}
	for i := range len(below) {
		if b := below[i]; b != '/' && b != '@' && !hostSet.has(b) {
			return false
		}
	}
	return true
}

// isTime tells whether a value is a date, or a time of the day, with what belongs to it
// (RFC 3339).
func isTime(value string) bool {
	rest := value
	take := func(sizes ...int) bool {
		separator := byte(0)
		for i, n := range sizes {
			if len(rest) < n || !digits(rest[:n]) {
				return false
			}
			if rest = rest[n:]; i == len(sizes)-1 {
				return rest == "" || !isAlnum(rest[0]) || rest[0] == 'T' || rest[0] == 'Z'
			}
			if rest == "" || separator != 0 && rest[0] != separator || strings.IndexByte("-:/", rest[0]) < 0 {
				return false
			}
			separator, rest = rest[0], rest[1:]
		}
		return false
	}
	if !take(4, 2, 2) {
		if rest = value; !take(2, 2, 2) {
			return false
		}
	}
	for i := range len(rest) {
		if b := rest[i]; !isDigit(b) && strings.IndexByte("TZ:.+- ", b) < 0 {
			return false
		}
	}
	return true
}

// isRatio tells whether a value is made of numbers with signs between them: 1024/1024.
func isRatio(value string) bool {
	signs := 0
	for i := range len(value) {
		if b := value[i]; strings.IndexByte("/:.,-", b) >= 0 {
			signs++
		} else if !isDigit(b) {
			return false
		}
	}
	return signs > 0
}

// inARN tells whether the name that begins at begin is a part of an ARN, a URN or the
// like, in which what follows is the name of something.
func (c *scan) inARN(begin int) bool {
	if begin < 6 || c.text[begin-1] != ':' {
		return false
	}
	at := begin
	for at > 0 && begin-at < 160 && (c.text[at-1] == ':' || c.text[at-1] == '/' || hostSet.has(c.text[at-1])) {
		at--
	}
	c.work += begin - at
	for n := 3; n < begin-at; n++ { // KEY-arn: is no beginning, ARN=arn: is
		if c.text[at+n] == ':' {
			switch word := c.text[at+n-3 : at+n]; word {
			case "arn", "urn", "crn":
				return n == 3 || !isAlnum(c.text[at+n-4])
			}
		}
	}
	return false
}
