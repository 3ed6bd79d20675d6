package walk

import (
	"bytes"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

const rulePseudonym = "pseudonym" // a value that no pseudonym can stand for

// tooFew says why a value of type t cannot have a pseudonym, or "". Somebody who
// sees pseudonyms of a few possible values tells by their frequency which is
// which.
func (i *info) tooFew() string {
	t := i.base()
	switch t.style {
	case styleText, styleBytes, styleUUID, styleURL, styleNumber, styleMarshalText, styleMarshalJSON, styleInterface, styleRaw:
		return ""
	case styleInt, styleUint:
		if t.typ.PkgPath() == "" && t.typ.Size() >= 4 { // another name: an enumeration
			return ""
		}
	}
	return "has too few values for a pseudonym"
}

// noPseudonym says why a value of type t cannot have a pseudonym, or "". inAny
// says that it may turn out to be a text when it is met.
func (i *info) noPseudonym(inAny bool) string {
	switch t := i.base(); t.style {
	case styleRaw, styleInterface:
		if !inAny {
			return "may hold anything: a pseudonym stands for one text or integer"
		}
	case styleSecret, styleOpaque:
		return "cannot be stored, nor can a pseudonym of it"
	case styleList, styleMap, styleStruct, stylePointer:
		return "holds more than one value: a pseudonym stands for one"
	}
	return i.tooFew()
}

// pseudonym puts a pseudonym in place of the leaf that was written from start
// on. What is no text or integer is dropped.
func (w *walker) pseudonym(class string, start int) {
	raw := w.buf[start:]
	var text string
	switch c := raw[0]; {
	case c == 'n': // null
		return
	case c == '"':
		text = jsonscan.Unquote(raw)
	case c == '-' || '0' <= c && c <= '9':
		text = string(raw)
		for _, c := range raw {
			if c == '.' || c == 'e' || c == 'E' {
				text = ""
			}
		}
	}
	w.removedText(text)
	w.buf = w.buf[:start]
	if text != "" && w.env.Guard != nil {
		if p := w.env.Guard.Pseudonym(class, text); p != "" {
			w.buf = jsonenc.AppendString(w.buf, p)
			return
		}
	}
	w.drop(rulePseudonym)
}

// unquoted returns the JSON that a string of JSON holds, as the option "string" of
// encoding/json writes it: its pseudonym is that of the value itself.
func unquoted(raw []byte) []byte {
	if raw[0] == '"' {
		if held := []byte(jsonscan.Unquote(raw)); jsonscan.Check(held) == nil {
			return bytes.Trim(held, " \t\r\n")
		}
	}
	return raw
}
