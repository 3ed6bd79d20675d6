package secrets

import "strings"

// netrc returns the end of the password in a line, or an entry, of .netrc, whose first
// word ends at i, or -1.
func (c *scan) netrc(i int) int {
	if i < c.seen().netrcs {
		return -1
	}
	entry := c.text[i:min(len(c.text), i+maxEntry)]
	login, last := false, ""
	for at := 0; ; {
		word, begin := nextWord(entry, at)
		value := last == "login" || last == "account"
		if login && last == "password" && begin+len(word) == len(entry) {
			word = word + firstWord(c.text[i+len(entry):]) // it is judged in whole
		}
		end := begin + len(word)
		c.seen().netrcs = i + end
		c.work += end - at
		switch {
		case word == "":
			return -1
		case word == "machine" && !value: // the next entry, of which this word is the beginning
			c.seen().netrcs = i + begin
			return -1
		case word == "machine": // or an entry begins here, and is looked at as far as any
			entry = c.text[i:min(len(c.text), i+begin+maxEntry)]
		case word == "login":
			login = true
		case login && last == "password" && c.credible(namesPassword, word, i):
			return i + end
		case end >= len(entry):
			return -1
		}
		last, at = word, end
	}
}

// maxEntry is how many bytes of an entry of .netrc are looked at.
const maxEntry = 512

// firstWord returns what of a text ends the word before it.
func firstWord(text string) string {
	text = text[:min(len(text), maxValue)]
	if end := strings.IndexAny(text, " \t\n\r\"'"); end >= 0 {
		return text[:end]
	}
	return text
}

// nextWord returns the word of an entry that begins at or behind a byte, and where.
func nextWord(entry string, at int) (word string, begin int) {
	const space, stops = " \t\n\r", " \t\n\r\"'"
	rest := strings.TrimLeft(entry[at:], space)
	begin = len(entry) - len(rest)
	if end := strings.IndexAny(rest, stops); end >= 0 {
		rest = rest[:end]
	}
	return rest, begin
}
