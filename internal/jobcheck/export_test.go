package jobcheck

import (
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Scan compares what the scanner and the parser make of a line.
func Scan(line []byte) (scanned, same bool) {
	var f lineFacts
	if !scanLine(line, &f) {
		return false, true
	}
	r, err := jobaudit.ParseRecord(line)
	if err != nil {
		return true, false
	}
	e := r.Event()
	left := f.left
	f.left = lineFacts{}.left
	return true, f == factsOf(&e) && (f.job == ident{} || left.org > 0 && lineIsAlike(line, r, &e))
}

// lineIsAlike reports whether LineOf reads the line as the parser does.
func lineIsAlike(line []byte, r jobaudit.Record, e *jobaudit.Event) bool {
	l, ok := LineOf(line)
	when, err := time.Parse(time.RFC3339Nano, string(l.Time))
	return ok && err == nil && when.Equal(r.Time()) && l.ID == r.ID() && l.Job == r.JobID() &&
		l.Correlation == e.CorrelationID && string(l.Type) == string(r.Type()) && l.Life == lifeInAnyOrder(line)
}

// Effect is what an event does to a job whose newest state is this.
func Effect(typ jobaudit.EventType, state jobaudit.JobState) (effect string, next jobaudit.JobState) {
	for s := stateNone; s <= stateCancelled; s++ {
		if s.String() != string(state) && (state != "" || s != stateNone) {
			continue
		}
		switch m := codeOf([]byte(typ)).step(s); m {
		case keep:
			return "", state
		case duplicate:
			return "duplicate", state
		case late:
			return "late", state
		case illegal:
			return "illegal", state
		default:
			return "", jobaudit.JobState(stateCode(m).String())
		}
	}
	return "no such state", ""
}

// Types are all the types that the checks know.
func Types() (types []jobaudit.EventType) {
	for _, c := range codes[1:] {
		types = append(types, c.typ)
	}
	return types
}

// SpillAfter makes the facts go to a temporary file beyond so many blocks.
func (c *Checks) SpillAfter(blocks int) { c.spill.limit = blocks }

// Spilled returns the temporary file's name.
func (c *Checks) Spilled() string {
	if c.spill.file == nil {
		return ""
	}
	return c.spill.file.Name()
}

// ScanOnly reads the facts and drops them.
func ScanOnly(line []byte) bool {
	var f lineFacts
	return scanLine(line, &f)
}

// Reread gives what the scanner reads of a UUID's text, as a UUID again, and
// whether that is what the parser would make of it.
func Reread(id uuid.UUID) (out uuid.UUID, same bool) {
	read, bad := readID((*[idSize]byte)([]byte(id.String())))
	return read.uuid(), bad == 0 && read == identOf(id)
}
