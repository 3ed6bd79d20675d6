package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"golang.org/x/term"

	"github.com/jobaudit/jobaudit"
)

// wide is the width from which an event or a job with all of its columns fits
// on a line.
const wide = 110

// width is how many columns the output has: those of the terminal, or what
// COLUMNS says, or 0 for as many as are needed.
func (a *app) width() int {
	if f, ok := a.out.(*os.File); ok && isTerminal(f) {
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
	return b.String() + "…"
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
