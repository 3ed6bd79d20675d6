package story

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// mostChanges bounds how many changed fields of a snapshot are printed.
const mostChanges = 16

// compareSnapshots says of each snapshot after a change what differs from the
// one before it, and of each one before a change whether there is none after.
// Those of one stream and resource belong together: no other's are taken for
// them, and another execution has its own.
func compareSnapshots(events []jobaudit.Event, order []int) map[int][]string {
	type subject struct {
		stream   uuid.UUID
		resource string
	}
	notes := make(map[int][]string)
	before := make(map[subject]int) // the newest, by its index
	answered := make(map[int]bool)
	var taken []int // those before a change
	for _, i := range order {
		s := events[i].Data.Snapshot
		if s == nil || strings.HasPrefix(s.Resource, "(dropped: ") {
			continue // two names that were dropped need not be one
		}
		at := subject{events[i].Stream.ID, s.Resource}
		if !s.After {
			before[at] = i
			taken = append(taken, i)
			continue
		}
		if b, known := before[at]; known {
			answered[b] = true
			notes[i] = difference(events[b].Data.Snapshot, s)
		}
	}
	for _, i := range taken {
		if !answered[i] {
			notes[i] = []string{"no snapshot after the change"}
		}
	}
	return notes
}

// difference shows two states of a resource next to each other.
func difference(before, after *jobaudit.Snapshot) []string {
	was, is := kept(before), kept(after)
	var c changes
	if was != nil && is != nil && !(before.Digest == after.Digest && same(was, is)) {
		c.compare("", was, is)
	}
	digests := plain(before.Digest) + " before, " + plain(after.Digest) + " after"
	switch {
	case strings.HasPrefix(before.Digest, "dropped:") || strings.HasPrefix(after.Digest, "dropped:"):
		digests = "cannot be compared: " + digests
	case before.Digest == after.Digest && len(c.lines) > 0: // the owner gives digests of something else
		digests = "changed, though the digests are the same: " + plain(after.Digest)
	case before.Digest == after.Digest:
		digests = "unchanged: the digests are the same"
	case was != nil && is != nil && len(c.lines) == 0:
		digests = "changed, in what was not kept: " + digests
	default:
		digests = "changed: " + digests
	}
	lines := append([]string{digests}, c.lines[:min(len(c.lines), mostChanges)]...)
	if more := len(c.lines) - mostChanges; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d fields more", more))
	}
	return lines
}

// kept returns what was kept of a state, nil if nothing was.
func kept(s *jobaudit.Snapshot) json.RawMessage {
	value, _ := s.Value.(json.RawMessage)
	return value
}

// changes are the fields in which two values differ, a line each.
type changes struct{ lines []string }

// compare goes into objects. Anything else is a field, and differs as a whole.
func (c *changes) compare(path string, was, is json.RawMessage) {
	if same(was, is) && !bytes.Contains(was, []byte(`"$jobaudit"`)) {
		return
	}
	a, aIsObject := object(was)
	b, bIsObject := object(is)
	if !aIsObject || !bIsObject || a["$jobaudit"] != nil || b["$jobaudit"] != nil {
		c.field(path, was, is)
		return
	}
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		at := name
		if path != "" {
			at = path + "." + name
		}
		c.compare(at, a[name], b[name])
	}
}

// field prints a field. Where a state has a marker in the place of something,
// it is not known whether that has changed.
func (c *changes) field(path string, was, is json.RawMessage) {
	if path == "" {
		path = "value"
	}
	for _, side := range []json.RawMessage{was, is} {
		if o, _ := object(side); o["$jobaudit"] != nil || same(was, is) {
			c.lines = append(c.lines, "  "+plain(path)+" cannot be compared: it was not kept whole")
			return
		}
	}
	c.lines = append(c.lines, fmt.Sprintf("  %s: %s → %s", plain(path), side(was), side(is)))
}

// side prints a field of one of the states.
func side(value json.RawMessage) string {
	if value == nil {
		return "(absent)"
	}
	return plain(string(value))
}

// object returns the members of an object.
func object(value json.RawMessage) (members map[string]json.RawMessage, is bool) {
	if len(value) == 0 || value[0] != '{' {
		return nil, false
	}
	return members, json.Unmarshal(value, &members) == nil
}

// same reports whether two values have one text. The encoder has sorted their
// members.
func same(a, b json.RawMessage) bool {
	return (a == nil) == (b == nil) && bytes.Equal(a, b)
}
