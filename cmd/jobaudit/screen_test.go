package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/charmbracelet/lipgloss"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// coded is an error with a code and a message.
type coded struct{ code, message string }

func (c coded) Error() string        { return c.message }
func (c coded) JobErrorCode() string { return c.code }

// letters are characters of several widths, alone and together.
var letters = []string{"a", "x", "-", "é", "e\u0301", "漢", "\u2764\ufe0f", "👩\u200d🚀", "🇩🇪", "ﷺ", "\u0e33"}

// Whatever is long, each line fits, has its ID in whole, and shows some of each of what it
// says: of a job its action, who asked for it and for whom, and why it failed.
func TestLinesFitAnyScreenWhateverIsLong(t *testing.T) {
	l := newLog(t)
	random := rand.New(rand.NewPCG(7, 1))
	long := func(begin string, n int) string {
		text := begin
		for len(text) < n {
			text += letters[random.IntN(len(letters))]
		}
		return text
	}
	var jobs []uuid.UUID
	for n := range 32 { // each of five values is long or short
		size := func(bit int) int { return []int{0, 230}[n>>bit&1] }
		want := []string{long("Act", size(0)), long("Who", size(1)), long("For", size(2)), long("COD", size(3)), long("Msg", size(4))}
		id := l.submit(t, func(s *jobaudit.Submission) {
			s.Action, s.Principal.ID = want[0], want[1]
			s.OnBehalfOf = []jobaudit.Principal{{Kind: jobaudit.User, ID: want[2]}}
		}, func(context.Context, *jobaudit.Trail) error { return coded{want[3], want[4]} })
		jobs = append(jobs, id)
	}
	l.close(t)
	for _, width := range []int{40, 41, 50, 59, 60, 70, 76, 77, 78, 79, 80, 81, 89, 90, 91, 100, 109, 110, 119, 120, 121, 130, 160, 200} {
		t.Setenv("COLUMNS", strconv.Itoa(width))
		for _, command := range []string{"jobs", "list"} {
			args := []string{command, l.dir}
			if command == "list" {
				args = append(args, "--type", "job.failed")
			}
			c := run(t, args...)
			require.Zero(t, c.code, c.err)
			for line := range strings.Lines(c.out) {
				require.LessOrEqual(t, lipgloss.Width(strings.TrimRight(line, "\n")), width, "%s at %d: %s", command, width, line)
			}
			begins := make([]int, len(jobs)+1)
			begins[len(jobs)] = len(c.out)
			for i, id := range jobs {
				at := strings.Index(c.out, id.String())
				require.GreaterOrEqual(t, at, 0, "%s at %d", command, width)
				begins[i] = strings.LastIndex(c.out[:at], "\n") + 1
				if width < 78 { // the ID has a line of its own
					begins[i] = strings.LastIndex(c.out[:max(begins[i]-1, 0)], "\n") + 1
				}
			}
			slices.Sort(begins)
			for i := range jobs {
				for least, wants := range map[int][]string{40: {"Ac", "Wh"}, 90: {"for", "CO", "Ms"}} {
					for _, want := range wants {
						crowded := command == "list" && least > 40 && width >= 120 && width < 160 // 41 columns or little more, for four things
						if width >= least && !crowded {
							require.Contains(t, c.out[begins[i]:begins[i+1]], want, "%s at %d", command, width)
						}
					}
				}
			}
		}
	}
}

// With nothing cut, a line has everything.
func TestLinesOfAPipeAreCutNowhere(t *testing.T) {
	l := newLog(t)
	action, who, message := strings.Repeat("a", 250), strings.Repeat("w", 250), strings.Repeat("m", 900)
	l.submit(t, func(s *jobaudit.Submission) { s.Action, s.Principal.ID = action, who },
		func(context.Context, *jobaudit.Trail) error { return errors.New(message) })
	l.close(t)
	t.Setenv("COLUMNS", "")
	for _, command := range []string{"jobs", "list"} {
		c := run(t, command, l.dir)
		require.Regexp(t, fmt.Sprintf("(?m)^.*%s.*%s.*%s$", action, who, message), c.out, command)
	}
}
