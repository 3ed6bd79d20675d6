package secrets

import "strings"

// derKey returns the end of the base64 at i if it is that of a private key in
// DER: PKCS #1 (RFC 8017, A.1.2), PKCS #8 (RFC 5958), encrypted or not, SEC 1
// (RFC 5915), or -1.
func (c *scan) derKey(i int) int {
	var head [8]byte
	start := c.text[i:min(len(c.text), i+16)]
	if n, _ := decode(head[:6], start); !startsAsKey(head[:n]) { // as most
		return -1
	}
	if n, _ := decode(head[:], start); n < len(head) || !startsAsKey(head[:]) {
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

// startsAsKey tells whether bytes, six at least, may be the beginning of a private key in DER:
// a sequence whose first element is a version or a sequence.
func startsAsKey(der []byte) bool {
	if len(der) < 6 || der[0] != 0x30 {
		return false
	}
	at := 2
	if der[1] >= 0x80 {
		at += int(der[1] & 3)
	}
	rest := der[at+1:]
	return der[at] == 2 && (len(rest) < 1 || rest[0] == 1) && (len(rest) < 2 || rest[1] <= 1) || der[at] == 0x30
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

// webKey returns the end of the private part of the JSON Web Key (RFC 7517) whose
// member kty is at i, or -1, as JSON, Python, YAML and Go write it.
func (c *scan) webKey(i int) int {
	quoted := i > 0 && (c.text[i-1] == '"' || c.text[i-1] == '\'')
	if !quoted && (i+4 >= len(c.text) || c.text[i+3] != ':') || i+1024 < c.seen().keysTo {
		return -1
	}
	// What was looked at is not looked at again, except where its end was not seen.
	from := max(0, i-2048, c.seen().keysTo)
	window := c.text[from:min(len(c.text), i+4096)]
	c.seen().keysTo = from + max(0, len(window)-3)
	c.work += len(window)
	names := []string{`"d`, `"k`, `'d'`, `'k'`}
	if !quoted {
		names = []string{"d:", "k:"}
	}
	for _, name := range names {
		rest := window
		for at := strings.Index(rest, name); at >= 0; at = strings.Index(rest, name) {
			begin := from + len(window) - len(rest) + at
			rest = rest[at+len(name):]
			if name[0] == '"' && quoteAt(rest, 0) < 0 || !quoted && begin > 0 && isAlnum(c.text[begin-1]) {
				continue
			}
			value := strings.TrimLeft(rest, " \n\t:\"'\\")
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
