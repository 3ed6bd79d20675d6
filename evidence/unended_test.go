package evidence_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/evidence"
)

// A history is events of one job, each of an organization and in its stream.
type history struct {
	job     uuid.UUID
	streams map[string]uuid.UUID
}

func (h *history) event(org string, typ jobaudit.EventType) (e jobaudit.Event) {
	e.ID, e.Type, e.Job.ID, e.Who.OrgID = uuid.New(), typ, h.job, org
	if h.streams[org] == uuid.Nil {
		h.streams[org] = uuid.New()
	}
	e.Stream.ID = h.streams[org]
	e.Job.ExecutionID = h.streams[org] // one in each stream
	return e
}

// TestAForeignEventEndsNothing: whatever stands where, only what agrees with the submission
// counts.
func TestAForeignEventEndsNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		events func(h *history) []jobaudit.Event
		open   bool
	}{
		"a foreign end": {func(h *history) []jobaudit.Event {
			return []jobaudit.Event{h.event("o", jobaudit.JobSubmitted), h.event("o", jobaudit.JobStarted), h.event("evil", jobaudit.JobFailed)}
		}, true},
		"a foreign end, and the submission is behind it": {func(h *history) []jobaudit.Event {
			return []jobaudit.Event{h.event("o", jobaudit.JobStarted), h.event("evil", jobaudit.JobCancelled), h.event("o", jobaudit.JobSubmitted)}
		}, true},
		"a foreign end of the attempt": {func(h *history) []jobaudit.Event {
			start, end := h.event("o", jobaudit.AttemptStarted), h.event("evil", jobaudit.AttemptFailed)
			end.Job.ExecutionID = start.Job.ExecutionID
			return []jobaudit.Event{h.event("o", jobaudit.JobSubmitted), start, end}
		}, true},
		"its own end between foreign ones": {func(h *history) []jobaudit.Event {
			return []jobaudit.Event{h.event("o", jobaudit.JobSubmitted), h.event("o", jobaudit.JobStarted), h.event("evil", jobaudit.JobStarted),
				h.event("o", jobaudit.JobSucceeded), h.event("evil", jobaudit.JobStarted)}
		}, false},
		"the submission is forged, and a proof names the other one": {func(h *history) []jobaudit.Event {
			start := h.event("o", jobaudit.JobStarted)
			start.Who.Proof.Submission = h.streams["o"]
			return []jobaudit.Event{h.event("evil", jobaudit.JobSubmitted), h.event("o", jobaudit.JobSubmitted), start, h.event("evil", jobaudit.JobSucceeded)}
		}, true},
		"without a submission nothing is foreign": {func(h *history) []jobaudit.Event {
			return []jobaudit.Event{h.event("o", jobaudit.JobStarted), h.event("p", jobaudit.JobSucceeded)}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := &history{uuid.New(), map[string]uuid.UUID{}}
			var u evidence.Unended
			for _, e := range tc.events(h) {
				u.Add(e)
			}
			if tc.open {
				require.Len(t, u.Starts(), 1)
				require.EqualValues(t, 1, u.Jobs())
			} else {
				require.Empty(t, u.Starts())
				require.Zero(t, u.Jobs())
			}
			require.Equal(t, !tc.open, u.Ended(h.job))
		})
	}
}
