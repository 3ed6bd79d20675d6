package main

import (
	"cmp"
	"fmt"
	"html"
	"strings"
)

func (r *result) mark() string {
	switch {
	case r.Mark == 0:
		return "no mark"
	case r.AtLeast:
		return fmt.Sprintf("at least %.2f", r.Mark)
	}
	return fmt.Sprintf("at most %.2f", r.Mark)
}

func (r *result) print() {
	fmt.Printf("%s: %s (measured in %.0f s)\n", r.Row, r.What, r.Seconds)
	if r.Error != "" {
		fmt.Printf("    %s\n\n", r.Error)
		return
	}
	for _, f := range r.Figures {
		fmt.Printf("    %-60s %14s wall %14s CPU %10.1f allocs %12.0f B\n", f.Name, nanoseconds(f.NsWall), nanoseconds(f.NsCPU), f.Allocs, f.Bytes)
	}
	fmt.Printf("    ratio of %s %.2f (rounds from %.2f to %.2f), %s: %s\n\n", r.Of, r.Ratio, r.Low, r.High, r.mark(), r.Verdict)
}

func nanoseconds(ns float64) string {
	switch {
	case ns < 0: // a difference
		return "-" + nanoseconds(-ns)
	case ns >= 1e6:
		return fmt.Sprintf("%.2f ms", ns/1e6)
	case ns >= 1e3:
		return fmt.Sprintf("%.2f µs", ns/1e3)
	case ns < 100: // of a byte, perhaps
		return fmt.Sprintf("%.2f ns", ns)
	}
	return fmt.Sprintf("%.0f ns", ns)
}

// summary prints one line a row, as a Markdown table, and returns the exit code.
func summary(results []result) (code int) {
	fmt.Println("| row | ours | beside | ratio | mark | |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, r := range results {
		switch r.Verdict {
		case "MISSED":
			code = max(code, 1)
		case "not measured":
			code = 2
			fmt.Printf("| %s | | | | %s | not measured: %s |\n", r.Row, r.mark(), r.Error)
			continue
		}
		show := func(f figures) string {
			ns := f.NsCPU
			if r.Of == wallTimes {
				ns = f.NsWall
			}
			return fmt.Sprintf("%s, %.0f allocs, %.1f kB", nanoseconds(ns), f.Allocs, f.Bytes/1000)
		}
		fmt.Printf("| %s | %s | %s: %s | %.2f (%.2f–%.2f) of %s | %s | %s |\n", r.Row,
			show(r.Figures[0]), r.Figures[r.Beside].Name, show(r.Figures[r.Beside]), r.Ratio, r.Low, r.High, r.Of, r.mark(), r.Verdict)
	}
	return code
}

// drawing is the ratios as bars. Each is drawn as a part of its mark, so that all marks
// are one line; a row without a mark is drawn as if that were 1.
func drawing(results []result) string {
	const left, mark, most, line = 180, 150.0, 460.0, 28
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="880" height="%d" font-family="sans-serif" font-size="13">`+"\n", line*(len(results)+1))
	for i, r := range results {
		y := line * i
		colour := "#3a7"
		switch r.Verdict {
		case "MISSED":
			colour = "#c43"
		case "no mark":
			colour = "#888"
		case "not measured":
			fmt.Fprintf(&b, `<text x="8" y="%d">%s</text><text x="%d" y="%d">not measured</text>`+"\n", y+20, html.EscapeString(r.Row), left, y+20)
			continue
		}
		width := max(min(r.Ratio/cmp.Or(r.Mark, 1)*mark, most), 0)
		fmt.Fprintf(&b, `<text x="8" y="%d">%s</text><rect x="%d" y="%d" width="%.0f" height="16" fill="%s"/>`, y+20, html.EscapeString(r.Row), left, y+8, width, colour)
		if r.Mark > 0 {
			fmt.Fprintf(&b, `<line x1="%.0f" x2="%.0f" y1="%d" y2="%d" stroke="#000" stroke-width="2"/>`, left+mark, left+mark, y+4, y+28)
		}
		fmt.Fprintf(&b, `<text x="%.0f" y="%d">%.2f, %s</text>`+"\n", left+10+max(width, mark), y+20, r.Ratio, r.mark())
	}
	b.WriteString("</svg>\n")
	return b.String()
}
