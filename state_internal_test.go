package jobaudit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wantTransitions is the table of docs/format.md, F1, as a reader of its text would write it
// down, one row an event: what it does to a pending, to a running and to an
// ended job. A state means that the job enters it.
var wantTransitions = map[string][3]string{
	"job.submitted":    {"duplicate", "duplicate", "duplicate"},
	"job.deduplicated": {"cancelled", "illegal", "late"},

	"job.authorized": {"keeps", "keeps", "keeps"},
	"job.logged":     {"keeps", "keeps", "keeps"},
	"job.snapshot":   {"keeps", "keeps", "keeps"},
	"job.corrected":  {"keeps", "keeps", "keeps"},

	"job.denied": {"cancelled", "keeps", "late"},

	"job.started":     {"running", "executes", "late"},
	"attempt.started": {"running", "executes", "late"},

	// ignored: no change, and Heartbeat and Retrying give ErrTransition.
	"job.heartbeat":      {"keeps", "keeps", "ignored"},
	"attempt.failed":     {"keeps", "keeps", "ignored"},
	"attempt.deferred":   {"keeps", "keeps", "ignored"},
	"attempt.lost":       {"keeps", "keeps", "keeps"},
	"attempt.superseded": {"keeps", "keeps", "keeps"},
	"attempt.late":       {"keeps", "keeps", "keeps"},

	"job.succeeded": {"illegal", "success", "late"},
	"job.failed":    {"illegal", "failed", "late"},
	"job.cancelled": {"cancelled", "cancelled", "late"},

	"audit.lost": {"keeps", "keeps", "keeps"},

	// These concern no job.
	"audit.opened":   {"keeps", "keeps", "keeps"},
	"audit.closed":   {"keeps", "keeps", "keeps"},
	"audit.policy":   {"keeps", "keeps", "keeps"},
	"audit.degraded": {"keeps", "keeps", "keeps"},
	"audit.erased":   {"keeps", "keeps", "keeps"},
	"audit.probed":   {"keeps", "keeps", "keeps"},
	// A later version's.
	"job.paused": {"keeps", "keeps", "keeps"},
}

func TestEveryEventDoesInEveryStateWhatTheContractSays(t *testing.T) {
	columns := map[JobState]int{Pending: 0, Running: 1, Success: 2, Failed: 2, Cancelled: 2}
	for typ, row := range wantTransitions {
		for state, column := range columns {
			t.Run(fmt.Sprintf("%s in %s", typ, state), func(t *testing.T) {
				effect, next := step(state, EventType(typ))
				got := string(effect)
				if effect == enters {
					got = string(next)
				} else {
					require.Equal(t, state, next, "the state stays")
				}
				require.Equal(t, row[column], got)
			})
		}
		t.Run(typ+" in no state", func(t *testing.T) {
			effect, next := step(none, EventType(typ))
			if typ == "job.submitted" {
				require.Equal(t, enters, effect)
				require.Equal(t, Pending, next)
				return
			}
			// A job whose submission is not known counts as pending.
			wantEffect, wantNext := step(Pending, EventType(typ))
			require.Equal(t, wantEffect, effect)
			if effect == enters {
				require.Equal(t, wantNext, next)
			}
		})
	}
	for typ := range transitions {
		require.Contains(t, wantTransitions, string(typ))
	}
}

func TestOnlyEndsAreTerminal(t *testing.T) {
	for state, want := range map[JobState]bool{
		none: false, Pending: false, Running: false, Success: true, Failed: true, Cancelled: true, "done": false,
	} {
		require.Equal(t, want, state.Terminal(), state)
	}
}

func TestEveryTypeHasItsPhase(t *testing.T) {
	for typ, want := range map[EventType]Phase{
		JobSubmitted: "submission", JobDeduplicated: "submission",
		JobAuthorized: "authorization", JobDenied: "authorization",
		JobSucceeded: "outcome", JobFailed: "outcome", JobCancelled: "outcome", JobCorrected: "outcome",
		JobStarted: "execution", JobHeartbeat: "execution", JobLogged: "execution", JobSnapshot: "execution",
		AttemptStarted: "execution", AttemptFailed: "execution", AttemptDeferred: "execution",
		AttemptLost: "execution", AttemptSuperseded: "execution", AttemptLate: "execution",
		AuditOpened: "", AuditClosed: "", AuditPolicy: "", AuditDegraded: "", AuditLost: "", AuditErased: "", AuditProbed: "", "audit.new": "",
	} {
		require.Equal(t, want, typ.Phase(), typ)
	}
}

// The picture of the table is testdata/states.md.
func TestTheTableIsDrawnInItsGoldenFile(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The states of a job\n\nWritten by a test from the table in state.go. " +
		"What is not drawn leaves the state as it is.\n\n```mermaid\nstateDiagram-v2\n")
	b.WriteString(drawn(none, "[*]"))
	for _, s := range []JobState{Pending, Running} {
		b.WriteString(drawn(s, string(s)))
	}
	for _, s := range []JobState{Success, Failed, Cancelled} {
		b.WriteString(drawn(s, string(s)))
		fmt.Fprintf(&b, "    %s --> [*]\n", s)
	}
	b.WriteString("```\n")
	Golden(t, "states.md", []byte(b.String()))
}

// drawn returns the arrows that leave a state.
func drawn(s JobState, name string) string {
	arrows := map[string][]string{}
	for _, typ := range slices.Sorted(maps.Keys(transitions)) {
		effect, next := step(s, typ)
		switch {
		case s == none && typ != JobSubmitted: // such a job counts as pending
		case effect == enters:
			arrows[string(next)] = append(arrows[string(next)], string(typ))
		case effect == executes:
			arrows[name] = append(arrows[name], string(typ)+" (a further execution)")
		}
	}
	var b strings.Builder
	for _, to := range slices.Sorted(maps.Keys(arrows)) {
		fmt.Fprintf(&b, "    %s --> %s: %s\n", name, to, strings.Join(arrows[to], "<br>"))
	}
	return b.String()
}
