package secrets

import "strings"

// arguments are the words of a program's arguments, as a shell has them in a line or a
// program in a list: a -p b, ["a","-p","b"], ('a', '-p', 'b').
type arguments struct {
	text string
	at   int
}

// next returns the next word without its quotes. Of --user='a:b' it returns --user= first.
func (l *arguments) next() (word string, ok bool) {
	text := l.text
	for l.at < len(text) {
		at := l.at
		if quote := quoteAt(text, at); quote >= 0 {
			end := quote + 1
			for end < len(text) && text[end] != text[quote] && text[end] != '\\' && text[end] != '\n' {
				end++
			}
			if l.at = end + 1; end < len(text) && text[end] == '\\' {
				if closing := quoteAt(text, end); closing >= 0 {
					l.at = closing + 1
				}
			}
			l.at = min(l.at, len(text))
			return text[quote+1 : end], true
		}
		switch b := text[at]; {
		case b == ' ' || b == '\t' || b == ',' || b == '(' || b == '[':
			l.at++
		case b == '\\' && lineEnd(text, at) > at && text[at+1] != 'n' && text[at+1] != 'r': // the line goes on
			l.at = lineEnd(text, at)
		case b == '\\' && strings.HasPrefix(text[at:], `\t`):
			l.at += 2
		case b == '\\' || b == '\n' || b == '\r' || b == ']' || b == ')':
			return "", false
		default:
			for l.at < len(text) && !endsArgument[text[l.at]] {
				l.at++
			}
			return text[at:l.at], true
		}
	}
	return "", false
}

// endsArgument are the bytes that an argument without quotes ends at.
var endsArgument = [256]bool{' ': true, '\t': true, '\n': true, '\r': true, '"': true, '\'': true, '\\': true, '`': true}

// withValue are the options of curl in one letter that take a value.
var withValue = func() (table [256]bool) {
	for _, b := range []byte("AbcCdDeEFhHKmoPQrtTuUwxXyYz") {
		table[b] = true
	}
	return table
}()

// curl returns the end of the credentials that a command line, which begins at i,
// gives to curl, or -1: the first that are no mask.
func (c *scan) curl(i int) int {
	at := i + len("curl")
	if i < c.seen().commands || at < len(c.text) && isAlnum(c.text[at]) {
		return -1
	}
	if strings.HasPrefix(c.text[at:], ".exe") {
		at += len(".exe")
	}
	if quote := quoteAt(c.text, at); quote >= 0 { // of a list
		at = quote + 1
	}
	line := arguments{text: c.text[:min(len(c.text), i+2048)], at: at}
	end, option := -1, byte(0) // of which the next word is the value
	for end < 0 {
		word, ok := line.next()
		if !ok {
			break
		}
		value := word
		if option == 0 {
			option, value = optionOf(word)
		}
		if option != 0 && value != "" {
			if isGiven(option, value) {
				end = line.at
			}
			option = 0
		}
	}
	c.seen().commands = max(line.at, at)
	c.work += line.at - i
	return end
}

// optionOf returns the option of curl that a word ends with, in one letter, and its value,
// if that is in the same word.
func optionOf(word string) (option byte, value string) {
	if name, ok := strings.CutPrefix(word, "--"); ok {
		name, value, _ = strings.Cut(name, "=")
		switch name {
		case "user", "proxy-user":
			return 'u', value
		case "cookie":
			return 'b', value
		}
		return 0, ""
	}
	if len(word) < 2 || word[0] != '-' {
		return 0, ""
	}
	for i := 1; i < len(word); i++ {
		if withValue[word[i]] {
			return word[i], word[i+1:]
		}
		if !isAlnum(word[i]) {
			break
		}
	}
	return 0, ""
}

// isGiven tells whether the value of an option of curl is a credential.
func isGiven(option byte, value string) bool {
	switch option {
	case 'u', 'U':
		_, password, ok := strings.Cut(value, ":")
		return ok && !masked(password) && password[0] != '<' && password[0] != '{'
	case 'b':
		name, value, ok := strings.Cut(value, "=")
		value, _, _ = strings.Cut(value, ";")
		return ok && !isAttribute(name) && drawnValue(value, minText)
	}
	return false
}
