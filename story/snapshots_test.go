package story_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// snapshot is the data of a snapshot; no value if it is empty.
func snapshot(resource, moment, digest, value string) string {
	if value != "" {
		value = `,"value":` + value
	}
	return fmt.Sprintf(`{"snapshot":{"resource":"%s","moment":"%s","digest":"%s"%s}}`, resource, moment, digest, value)
}

// states records snapshots of one execution, and a second execution that has
// only one before its change.
func states(t *testing.T) (records []jobaudit.Record) {
	w := &writer{stream: 1, job: 1, root: 1}
	records = append(records, w.event(t, 0, jobaudit.JobStarted, running, ""))
	add := func(data ...string) {
		for _, d := range data {
			records = append(records, w.event(t, time.Duration(len(records))*ms, jobaudit.JobSnapshot, running, d))
		}
	}
	add(
		snapshot("orders", "before", "d1", `{"documents":1203,"name":"a","owner":{"id":7,"team":"x"},"tags":["a"]}`),
		snapshot("users", "before", "d2", ""),
		snapshot("orders", "after", "d3", `{"documents":1204,"name":"a","owner":{"id":7},"tags":["a","b"],"zone":null}`),
		snapshot("users", "after", "d2", ""),
		snapshot("keys", "before", "d4", `{"secret":{"$jobaudit":"dropped","rule":"x"},"until":1}`),
		snapshot("keys", "after", "d5", `{"secret":{"$jobaudit":"dropped","rule":"x"},"until":1}`),
		snapshot("rows", "before", "d6", `{"n":1}`),
		snapshot("rows", "after", "d7", `{"n":1}`),
		snapshot("files", "before", "dropped:jwt", ""),
		snapshot("files", "after", "dropped:jwt", ""),
		snapshot("odd", "before", "d0", `{"n":1}`),
		snapshot("odd", "after", "d0", `{"n":2}`),
		snapshot("late", "after", "d8", `{"n":1}`),
	)
	w = &writer{stream: 2, job: 1, root: 1}
	records = append(records, w.event(t, 14*ms, jobaudit.AttemptStarted, running, ""))
	add(snapshot("orders", "before", "d3", `{"documents":1204}`))
	w = &writer{stream: 3, job: 1, root: 1} // of another execution: no answer to that
	add(snapshot("orders", "after", "d9", `{"documents":0}`))
	return records
}

func TestTimelineShowsWhatAChangeChanged(t *testing.T) {
	golden(t, "snapshots.txt", timeline(t, states(t)...))
}

func TestManyChangedFieldsAreCounted(t *testing.T) {
	was, is := []string{}, []string{}
	for n := range 100 {
		was, is = append(was, fmt.Sprintf(`"f%02d":0`, n)), append(is, fmt.Sprintf(`"f%02d":1`, n))
	}
	w := &writer{stream: 1, job: 1, root: 1}
	got := timeline(t,
		w.event(t, 0, jobaudit.JobSnapshot, running, snapshot("orders", "before", "d1", "{"+strings.Join(was, ",")+"}")),
		w.event(t, 0, jobaudit.JobSnapshot, running, snapshot("orders", "after", "d2", "{"+strings.Join(is, ",")+"}")))
	require.Contains(t, got, "f15: 0 → 1\n")
	require.NotContains(t, got, "f16: 0 → 1")
	require.Contains(t, got, "and 84 fields more\n")
}

// What a state holds and how its fields are called comes from everywhere.
func TestTheNamesOfChangedFieldsCannotSpeakToTheTerminal(t *testing.T) {
	w := &writer{stream: 1, job: 1, root: 1}
	got := timeline(t,
		w.event(t, 0, jobaudit.JobSnapshot, running, snapshot("o", "before", `d\u001b[31m`, `{"\u001b[2J":"\u009b"}`)),
		w.event(t, 0, jobaudit.JobSnapshot, running, snapshot("o", "after", "d2", `{"\u001b[2J":"`+"\u202e"+`"}`)))
	require.Contains(t, got, `changed: d\x1b[31m before, d2 after`)
	require.Contains(t, got, `\x1b[2J: `)
	for _, r := range got {
		require.True(t, r == '\n' || r >= ' ' && r != '\u009b' && r != '\u202e', "%q", r)
	}
}
