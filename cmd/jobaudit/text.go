package main

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"github.com/charmbracelet/lipgloss"
)

// plain makes a text harmless for terminals: what is not printable becomes an
// escape, other than spaces.
func plain(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			escape(&b, r)
		}
	}
	return b.String()
}

// escape writes a character as JSON does.
func escape(b interface{ WriteString(string) (int, error) }, r rune) {
	if r > 0xffff {
		r -= 0x10000
		_, _ = b.WriteString(fmt.Sprintf(`\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff))
		return
	}
	_, _ = b.WriteString(fmt.Sprintf(`\u%04x`, r))
}

// plainJSON makes a line of JSON harmless for terminals without changing what
// it says: inside of strings, what is not printable becomes an escape. Outside
// there is nothing of that kind.
func plainJSON(line []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(line) {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			escape(&b, r)
		}
	}
	return b.Bytes()
}

// printJSON prints a line of JSON: the bytes as they are, but on a terminal
// escaped.
func (a *app) printJSON(line []byte) error {
	if isTerminal(a.out) {
		line = plainJSON(line)
	}
	_, err := a.out.Write(append(line[:len(line):len(line)], '\n'))
	return err
}

func (a *app) good(text string) string {
	return a.style.NewStyle().Bold(true).Foreground(lipgloss.Color("2")).Render(text)
}

func (a *app) bad(text string) string {
	return a.style.NewStyle().Bold(true).Foreground(lipgloss.Color("1")).Render(text)
}

func (a *app) faint(text string) string { return a.style.NewStyle().Faint(true).Render(text) }

// count prints a number with its noun, and thousands apart.
func count[N ~int | ~int64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(int64(n)) + " " + noun
}

func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
