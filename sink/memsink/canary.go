package memsink

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// canary is a text in all the forms that are looked for.
type canary []form

type form struct {
	name   string
	needle []byte
}

// shortest is the length from which an encoded form is looked for: shorter
// ones stand in any text by chance.
const shortest = 8

// newCanary returns the canary for a text, which must not be empty: raw, escaped for
// JSON (once and twice) and for URLs, in hex, and in base64 in each of the
// three alignments that it can have inside a longer text.
func newCanary(text string) canary {
	var c canary
	c.add("unchanged", text)
	plain, html := quoted(text, false), quoted(text, true)
	c.add("escaped for JSON", plain)
	c.add("escaped for JSON and HTML", html)
	c.add("escaped for JSON twice", quoted(plain, false))
	for _, escaped := range []string{url.QueryEscape(text), url.PathEscape(text)} {
		c.add("escaped for URLs", escaped)
		c.add("escaped for URLs in lower case", lowerEscapes(escaped))
	}
	c.add("in hex", hex.EncodeToString([]byte(text)))
	c.add("in upper-case hex", strings.ToUpper(hex.EncodeToString([]byte(text))))
	for offset := range 3 {
		c.add("in base64", aligned(base64.RawStdEncoding, text, offset))
		c.add("in URL-safe base64", aligned(base64.RawURLEncoding, text, offset))
	}
	return c
}

func (c *canary) add(name, needle string) {
	if len(*c) > 0 && len(needle) < shortest {
		return
	}
	for _, f := range *c {
		if string(f.needle) == needle {
			return
		}
	}
	*c = append(*c, form{name, []byte(needle)})
}

// find returns the form in which data holds the canary, or "".
func (c canary) find(data []byte) string {
	for _, f := range c {
		if bytes.Contains(data, f.needle) {
			return f.name
		}
	}
	return ""
}

// quoted returns what stands between the quotation marks of text as JSON.
func quoted(text string, escapeHTML bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	if err := e.Encode(text); err != nil {
		return text // a string cannot fail
	}
	marshalled := strings.TrimSuffix(b.String(), "\n")
	return marshalled[1 : len(marshalled)-1]
}

// lowerEscapes returns a URL-escaped text with hex digits in lower case.
func lowerEscapes(escaped string) string {
	b := []byte(escaped)
	for i := range b {
		if b[i] == '%' && i+2 < len(b) {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// aligned returns the part of the base64 form that text alone decides if it
// stands offset bytes behind a multiple of three.
func aligned(encoding *base64.Encoding, text string, offset int) string {
	encoded := encoding.EncodeToString(append(make([]byte, offset), text...))
	return encoded[(offset*8+5)/6 : (offset+len(text))*8/6]
}
