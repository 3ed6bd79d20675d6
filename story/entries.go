package story

import (
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Entry is one event as [Timeline] tells it, for programs that show it
// otherwise. Its texts are plain: what a terminal would act on, or what would
// turn the direction of a text, is an escape such as \x1b. They are not escaped
// for HTML.
type Entry struct {
	Event  jobaudit.Event
	Offset time.Duration // since the first event
	State  string        // of the job behind the event, and its attempt; "" where it says nothing
	Says   []string      // what the event says, a line each
	Notes  []string      // what it means beside others: changed fields, clocks that disagree
	// Changes are those of the five Ws that the job's event before had otherwise,
	// or not at all.
	Changes []Change
}

// Change is one of the five Ws.
type Change struct {
	Name string // "who", "what", "where", "why" or "job"
	Text string
}

// Entries returns the events of one job or of several, in the order of [Timeline].
// Records that cannot be read are errors in unreadable; any other error of the
// iterator is returned.
func Entries(records iter.Seq2[jobaudit.Record, error]) (entries []Entry, unreadable []error, err error) {
	m := newMerger()
	if err := m.read(0, records); err != nil {
		return nil, nil, err
	}
	if len(m.events) == 0 {
		return nil, m.unreadable, nil
	}
	graph := m.graph()
	order := graph.Order()
	snapshots := compareSnapshots(m.events, order)
	begin := m.events[order[0]].Time
	printed := make(map[uuid.UUID]fiveWs)
	for _, i := range order {
		e := &m.events[i]
		entry := Entry{Event: *e, Offset: e.Time.Sub(begin), State: state(e), Says: detail(e), Notes: snapshots[i]}
		if note := skew(m.events, i, graph.Before(i)); note != "" {
			entry.Notes = append(entry.Notes, note)
		}
		subject := e.Job.ID
		if subject == uuid.Nil {
			subject = e.Stream.ID
		}
		ws := fiveWs{who(e), what(e), where(e), why(e), lineage(e, nil)}
		for n, name := range wNames {
			if ws[n] != "" && ws[n] != printed[subject][n] {
				entry.Changes = append(entry.Changes, Change{name, ws[n]})
			}
		}
		printed[subject] = ws
		entries = append(entries, entry)
	}
	return entries, m.unreadable, nil
}

// Plain makes a text harmless for a terminal, as the texts of an [Entry] are, and
// cuts it behind 240 characters.
func Plain(text string) string { return plain(text) }

// wNames name the parts of fiveWs.
var wNames = [len(fiveWs{})]string{"who", "what", "where", "why", "job"}
