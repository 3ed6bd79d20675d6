package taint

import (
	"strings"
	"time"
)

// ordinary reports whether a value is one that texts hold without having it
// from the inputs: a word, a few lower-case words, an identifier, a path or a
// host name made of words, a number. The rule leans towards ordinary only for
// what reads like language: secrets mix letters and digits, or have too few
// vowels, or more words than a term has.
func ordinary(v string) bool {
	if len(v) > 64 || strings.ContainsRune(v, '@') {
		return false
	}
	if groupedNumber(v) {
		return false
	}
	if strings.IndexByte(v, '+') > 0 && strings.IndexByte(v, '.') < 0 && isTime(v) { // an offset to the west has no other signs than words
		return true
	}
	words, spaces, capitals := 0, 0, 0
	for i := 0; i < len(v); {
		switch c := v[i]; {
		case isLetter(c) || isDigit(c):
			end := i
			for end < len(v) && (isLetter(v[end]) || isDigit(v[end])) {
				end++
			}
			if !ordinaryToken(v[i:end]) {
				return false
			}
			if c < 'a' {
				capitals++
			}
			words++
			i = end
			continue
		case c == ' ':
			spaces++
		case c == '-' || c == '_' || c == '.' || c == '/' || c == ':' || c == ',':
		default: // another character or script: nothing is known of it
			return false
		}
		i++
	}
	if spaces > 0 { // a term, as "in progress"; not a name or a passphrase
		return words <= 3 && capitals == 0
	}
	return words <= 8
}

// groupedNumber reports whether a value is a number written in groups that is
// too long for a date: of a card, a person, a telephone.
func groupedNumber(v string) bool {
	digits := 0
	for i := range len(v) {
		switch c := v[i]; {
		case isDigit(c):
			digits++
		case c != '-' && c != ' ' && c != '/':
			return false // a time, an address, words
		}
	}
	return digits > 8 && digits < len(v)
}

// ordinaryToken reports whether a run of letters and digits reads like
// language: words in camel case with a number behind them, or a number with a
// unit.
func ordinaryToken(t string) bool {
	changes, digits := 0, 0
	for i := range len(t) {
		if i > 0 && isDigit(t[i]) != isDigit(t[i-1]) {
			changes++
		}
		if isDigit(t[i]) {
			digits++
		}
	}
	switch {
	case changes > 3,
		changes > 1 && isUpper(t[len(t)-1]), // K7XQ
		changes > 0 && len(t) >= minNeedle && (digits > 2 || changes > 2):
		return false
	}
	for i := 0; i < len(t); {
		end := i
		if isDigit(t[i]) {
			for end < len(t) && isDigit(t[end]) {
				end++
			}
			// A number alone may be long, one beside letters is a version.
			if end-i > 11 || end-i > 4 && len(t) > end-i {
				return false
			}
		} else {
			for end < len(t) && isLetter(t[end]) {
				end++
			}
			if !ordinaryLetters(t[i:end]) {
				return false
			}
		}
		i = end
	}
	return true
}

// ordinaryLetters splits camel case into words and looks at each.
func ordinaryLetters(s string) bool {
	short, humps, mute := 0, 0, 0
	for i := 0; i < len(s); {
		end := i + 1
		if isUpper(s[i]) && end < len(s) && isUpper(s[end]) { // HTTPServer
			for end < len(s) && isUpper(s[end]) {
				end++
			}
			if end < len(s) && end-i > 1 {
				end--
			}
		} else {
			for end < len(s) && !isUpper(s[end]) {
				end++
			}
		}
		if !wordlike(s[i:end]) {
			return false
		}
		humps++
		if end-i < 3 {
			short++
		}
		if end-i > 1 && end-i < 5 && !isUpper(s[end-1]) && !strings.ContainsAny(s[i:end], "aeiouyAEIOUY") {
			mute++
		}
		i = end
	}
	switch {
	case humps == 1:
		return true
	case humps > 8, mute > 1, humps > 4 && 5*len(s) < 16*humps:
		return false
	}
	return 2*len(s) >= 5*humps && 3*short <= 2*humps
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

// wordlike reports whether letters could be a word: a few, or with vowels in
// all places where English has them.
func wordlike(s string) bool {
	if len(s) <= 4 {
		return true
	}
	if len(s) > 20 {
		return false
	}
	vowels, run := 0, 0
	for i := range len(s) {
		switch s[i] | 0x20 {
		case 'a', 'e', 'i', 'o', 'u', 'y':
			vowels++
			run = 0
		default:
			run++
		}
		if run > 5 {
			return false
		}
	}
	return vowels*7 >= len(s) && vowels*10 <= len(s)*8
}

// minMade is the shortest text of which it can be told that a program made it.
const minMade = 20

// made reports whether a text can only have been made by a program to be
// secret: long, and of small letters, capitals and digits that change often.
// Digests, UUIDs and the names of machines are not.
func made(text string) bool {
	if len(text) < minMade || len(text) > 512 {
		return false
	}
	var counts [4]int
	changes, last := 0, 0
	for i := range len(text) {
		class := 0
		switch c := text[i]; {
		case isDigit(c):
			class = 1
		case isUpper(c):
			class = 2
		case isLetter(c):
			class = 3
		case c <= ' ' || c >= 0x7f:
			return false
		}
		if class != 0 && last != 0 && class != last {
			changes++
		}
		counts[class]++
		last = class
	}
	return counts[1] > 0 && counts[2] > 0 && counts[3] > 0 && 3*changes >= len(text)
}

// isTime reports whether a text is a date, or one with a time and an offset (RFC 3339).
func isTime(v string) bool {
	if len(v) < len("2006-01-02") || len(v) > 40 || !isDigit(v[0]) {
		return false
	}
	if _, err := time.Parse(time.DateOnly, v); err == nil {
		return true
	}
	_, err := time.Parse(time.RFC3339, v)
	return err == nil
}
