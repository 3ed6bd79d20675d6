package webui

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

// functions are what the templates call.
var functions = template.FuncMap{
	"plain":    func(text any) string { return story.Plain(fmt.Sprint(text)) },
	"utc":      utc,
	"machine":  func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"duration": duration,
	"offset":   func(d time.Duration) string { return "+" + duration(d) },
	"sign":     story.Sign,
	"word":     func(s jobaudit.JobState) string { return map[bool]string{true: "unknown"}[s == ""] + string(s) },
	"short":    func(id fmt.Stringer) string { return "…" + id.String()[24:] },
	"indent":   func(depth int) string { return strings.Repeat("  ", depth) },
	"sum":      func(a, b int) int { return a + b },
	"from":     func(a, b int) int { return b - a },
	"none":     func(id uuid.UUID) bool { return id == uuid.Nil },
	"isZero":   func(t time.Time) bool { return t.IsZero() },
}

func utc(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// duration is as precise as it is worth.
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "−" + duration(-max(d, -math.MaxInt64)) // the least has no opposite: centuries, by clocks that are wrong
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}
