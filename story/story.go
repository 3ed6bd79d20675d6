// Package story prints what records tell, for people to read: [Timeline] for
// what happened and in which order, [Tree] for which job made which, [Story] for
// all that a correlation holds together. [Merge] puts the records of several
// logs into the one order that they tell.
//
// They print plain text in UTF-8. What the records quote (names, reasons, log
// lines) comes from everywhere: characters that a terminal would act on, or
// that would turn the direction of the text, are printed as escapes such as
// \x1b, and long content is cut. The records themselves hold the whole of it.
//
// They read all records before they print, and hold their events in memory:
// narrow the query, to a job, a root or a correlation. The output is for
// people and may change; programs read the records.
package story

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Timeline prints the events of one job or of several, one a line: its time,
// the offset from the first one's, what happened and what it says. The five Ws
// of a job stand at its first event and wherever they change.
//
// The order is that of the records, but no event stands before one that it
// follows: by its stream, by the stream that it resumes, by its causation.
// Where hosts' clocks disagree, times and offsets run backwards; the order
// does not follow them, and an event that is dated before one that it follows
// says by how much. A record that comes twice is printed once. For records of
// several logs see [Merge] and [Story].
//
// A snapshot after a change says which fields differ from the one before it, as
// far as they were kept, and whether the digests do; one before a change says
// if none came after.
//
// Records that cannot be read are listed at the end. Any other error of the
// iterator is returned, and so is the writer's.
func Timeline(w io.Writer, records iter.Seq2[jobaudit.Record, error]) error {
	return TimelineIn(w, records, nil)
}

// TimelineIn is Timeline, and names at each event the log that logs has for its ID: whose
// word an event is depends on the log that it stands in.
func TimelineIn(w io.Writer, records iter.Seq2[jobaudit.Record, error], logs map[uuid.UUID]string) error {
	m := newMerger()
	if err := m.read(0, records); err != nil {
		return err
	}
	return m.print(w, logs)
}

func (m *merger) print(w io.Writer, logs map[uuid.UUID]string) error {
	out := bufio.NewWriter(w)
	m.timeline(out, logs)
	tellUnreadable(out, m.unreadable)
	return out.Flush()
}

// timeline prints the events.
func (m *merger) timeline(out *bufio.Writer, logs map[uuid.UUID]string) {
	if len(m.events) == 0 {
		fmt.Fprintln(out, "no events")
		return
	}
	graph := m.graph()
	order := graph.Order()
	t := timeline{out: out, begin: m.events[order[0]].Time, printed: make(map[uuid.UUID]fiveWs)}
	t.measure(m.events, order)
	snapshots := compareSnapshots(m.events, order)
	for _, i := range order {
		in := ""
		if log := logs[m.events[i].ID]; log != "" {
			in = "in the log " + plain(log)
		}
		t.event(&m.events[i], append(snapshots[i], skew(m.events, i, graph.Before(i)), in)...)
	}
}

// tellUnreadable prints which records cannot be read.
func tellUnreadable(out *bufio.Writer, list []error) {
	const most = 16
	for i, err := range list {
		if i == most {
			fmt.Fprintf(out, "and %d more\n", len(list)-most)
			return
		}
		fmt.Fprintln(out, plain(err.Error()))
	}
}

// fiveWs are who, what, where, why and the job's lineage as they are printed.
// The fifth, when, is each event's own.
type fiveWs [5]string

// timeline prints events.
type timeline struct {
	out   *bufio.Writer
	begin time.Time
	day   string // printed last

	numbers map[uuid.UUID]int    // of the jobs, if they are several
	printed map[uuid.UUID]fiveWs // of each job, or stream without one
	last    uuid.UUID            // the job that was new last
	width   int                  // of the longest event type
}

// measure looks at all events before the first one is printed.
func (t *timeline) measure(events []jobaudit.Event, order []int) {
	t.numbers = make(map[uuid.UUID]int)
	for _, i := range order {
		t.width = max(t.width, len(plain(events[i].Type)))
		if id := events[i].Job.ID; id != uuid.Nil && t.numbers[id] == 0 {
			t.numbers[id] = len(t.numbers) + 1
		}
	}
}

// skew says by how much an event is dated before one that it follows, which
// only clocks that disagree can do.
func skew(events []jobaudit.Event, i int, before []int) string {
	e, worst := &events[i], -1
	for _, p := range before {
		if events[p].Time.After(e.Time) && (worst < 0 || events[p].Time.After(events[worst].Time)) {
			worst = p
		}
	}
	if worst < 0 {
		return ""
	}
	p := &events[worst]
	clocks := "the clock of " + plain(e.Where.Host) + " was set back"
	if p.Where.Host != e.Where.Host {
		clocks = "the clocks of " + plain(p.Where.Host) + " and " + plain(e.Where.Host) + " disagree"
	}
	return fmt.Sprintf("clock  %s before %s, which it follows: %s",
		strings.TrimPrefix(offset(p.Time.Sub(e.Time)), "+"), plain(p.Type), clocks)
}

// event prints an event. Each note that is not empty is a line of its own.
func (t *timeline) event(e *jobaudit.Event, notes ...string) {
	if day := e.Time.UTC().Format("Monday, 2 January 2006, UTC"); day != t.day {
		if t.day != "" {
			fmt.Fprintln(t.out)
		}
		fmt.Fprintln(t.out, day)
		t.day = day
	}
	label := ""
	if len(t.numbers) > 1 {
		label = "      "
		if n := t.numbers[e.Job.ID]; n > 0 {
			label = fmt.Sprintf("%-6s", fmt.Sprint("#", n))
		}
	}
	first, rest := state(e), detail(e)
	if len(rest) > 0 {
		first, rest = list("  ", first, rest[0]), rest[1:]
	}
	line := fmt.Sprintf("%s %12s  %s%-*s  %s", e.Time.UTC().Format("15:04:05.000"), offset(e.Time.Sub(t.begin)), label, t.width, plain(e.Type), first)
	fmt.Fprintln(t.out, strings.TrimRight(line, " "))
	for _, text := range rest {
		t.below(label, text)
	}
	for _, note := range notes {
		if note != "" {
			t.below(label, note)
		}
	}
	t.changes(e, label)
}

// below prints a line that belongs to the event above it.
func (t *timeline) below(label, text string) {
	fmt.Fprintf(t.out, "%*s%s\n", 29+len(label), "", text)
}

// changes prints those of the five Ws that the job's, or the stream's, last
// event did not have. Where a job's first event has them from another job, it
// says so instead.
func (t *timeline) changes(e *jobaudit.Event, label string) {
	subject := e.Job.ID
	if subject == uuid.Nil {
		subject = e.Stream.ID
	}
	ws := fiveWs{who(e), what(e), where(e), why(e), lineage(e, t.numbers)}
	printed, again := t.printed[subject]
	model := 0
	if !again {
		model, printed = t.model(e)
	}
	var shared []string
	for i, name := range wNames {
		switch {
		case ws[i] == "":
		case ws[i] != printed[i]:
			t.below(label, fmt.Sprintf("%-6s %s", name, ws[i]))
		case !again:
			shared = append(shared, name)
		}
	}
	if len(shared) > 0 {
		t.below(label, fmt.Sprintf("%s as in #%d", strings.Join(shared, ", "), model))
	}
	t.printed[subject] = ws
	if !again && e.Job.ID != uuid.Nil {
		t.last = subject
	}
}

// model returns the job that a new job's five Ws are compared with, by its
// number: its parent, if it has been told, or the last job that was.
func (t *timeline) model(e *jobaudit.Event) (number int, printed fiveWs) {
	id := e.Job.ParentID
	if _, known := t.printed[id]; !known {
		id = t.last
	}
	return t.numbers[id], t.printed[id]
}

// offset prints a duration since the first event.
func offset(d time.Duration) string {
	switch {
	case d.Abs() < 1000*time.Second:
		return fmt.Sprintf("%+.6fs", d.Seconds())
	case d < 0:
		return d.Round(time.Second).String()
	default:
		return "+" + d.Round(time.Second).String()
	}
}
