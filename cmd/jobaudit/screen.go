package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/lipgloss"
	"golang.org/x/term"

	"github.com/jobaudit/jobaudit"
)

// wide is the width from which an event or a job with all of its columns fits
// on a line, and slim that below which an ID has a line of its own: it is never broken.
const (
	wide = 120
	slim = 78
)

// width is how many columns the output has: those of the terminal, or what
// COLUMNS says, or 0 for as many as are needed.
func (a *app) width() int {
	if f, ok := file(a.out); ok && isTerminal(f) {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	if w, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && w > 0 {
		return w
	}
	return 0
}

// fit makes a text as wide as a column: cut with an ellipsis, or filled.
func fit(text string, width int) string {
	text = cut(text, width)
	return text + strings.Repeat(" ", max(0, width-lipgloss.Width(text)))
}

// cut cuts a text that is wider than a column. No width is no limit.
func cut(text string, width int) string {
	if width <= 0 || lipgloss.Width(text) <= width {
		return text
	}
	var b strings.Builder
	used := 0
	for _, r := range text {
		w := lipgloss.Width(string(r))
		if used+w > width-1 {
			break
		}
		b.WriteRune(r)
		used += w
	}
	short := b.String()
	for lipgloss.Width(short) > width-1 { // characters that are wider together than each alone
		_, n := utf8.DecodeLastRuneInString(short)
		short = short[:len(short)-n]
	}
	return short + "…"
}

// name cuts a name that is too long to stand in front of a text on a screen.
func name(text string, width int) string {
	const long = 24
	if width <= 0 {
		return text
	}
	if text = plain(text); lipgloss.Width(text) <= long {
		return text
	}
	return cut(text, max(width/6, 8))
}

// share cuts texts so that they fit beside each other, with so many columns between two:
// the long ones to the same width, so that none pushes the last out. No width is no limit.
func share(texts []string, between, width int) []string {
	if width <= 0 {
		return texts
	}
	left := width - between*max(len(texts)-1, 0)
	widths := make([]int, len(texts))
	for i, text := range texts {
		widths[i] = lipgloss.Width(text)
	}
	each := left
	for n := len(texts); n > 0; {
		each = max(left, n) / n
		short := 0 // of those that are left, what fits in an equal share
		for i, w := range widths {
			if w >= 0 && w <= each {
				widths[i], left, short = -1, left-w, short+1
			}
		}
		if n -= short; short == 0 {
			break
		}
	}
	out := make([]string, len(texts))
	for i, text := range texts {
		if out[i] = text; widths[i] >= 0 {
			out[i] = cut(text, each)
		}
	}
	return out
}

// beside puts texts beside each other, each cut if they are too wide together.
func beside(texts []string, between string, width int) string {
	if width > 0 && width < 5*len(texts) { // hardly a letter of each
		return cut(strings.Join(texts, between), width)
	}
	return strings.Join(share(texts, len(between), width), between)
}

// below prints a line that belongs to the one above it, cut to the width.
func below(text string, width int) string {
	if text == "" {
		return ""
	}
	return "    " + cut(text, max(width-4, 20)) + "\n"
}

// zone is the one that times are printed in.
func (f *filters) zone() *time.Location {
	if f.local {
		return time.Local
	}
	return time.UTC
}

// took prints a duration in at most eight columns.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	case d < 100*time.Hour:
		return strings.TrimSuffix(d.Round(time.Second).String(), "0s")
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// coloured paints a job's state.
func (a *app) coloured(state jobaudit.JobState, text string) string {
	switch state {
	case jobaudit.Success:
		return a.good(text)
	case jobaudit.Failed:
		return a.bad(text)
	}
	return text
}

// unverified says that what was printed has not been verified.
func (a *app) unverified(of fmt.Stringer) {
	fmt.Fprintf(a.err, "jobaudit: not verified: jobaudit verify %s --key KEY tells whether the log is as it was written\n", plain(of.String()))
}
