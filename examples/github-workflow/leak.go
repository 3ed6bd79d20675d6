package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// search looks for a text in what is stored: as it is, in hex, and in base64. It
// returns how many forms of the text it has looked for and how many it has
// found.
func search(stored []byte, text string) (forms, found int) {
	needles := []string{text, hex.EncodeToString([]byte(text)), strings.ToUpper(hex.EncodeToString([]byte(text)))}
	for offset := range 3 {
		needles = append(needles, aligned(base64.RawStdEncoding, text, offset), aligned(base64.RawURLEncoding, text, offset))
	}
	for _, needle := range needles {
		if bytes.Contains(stored, []byte(needle)) {
			found++
		}
	}
	return len(needles), found
}

// aligned returns those characters of the text's base64 form that do not depend
// on what stands around it, for a text that begins offset bytes behind a
// multiple of three.
func aligned(encoding *base64.Encoding, text string, offset int) string {
	encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + text))
	first := (offset*8 + 5) / 6 // the characters before it share bits with what stands in front
	whole := (offset + len(text)) * 8 / 6
	return encoded[first:whole]
}
