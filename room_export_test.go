package jobaudit

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/delivery"
)

// bulky is an event that takes more room than it needs.
type bulky struct {
	delivery.Event[Record]
	size int
}

func (b bulky) Size() int { return b.size }

// TakeRoom takes all the room that there is for events of this urgency, until the
// sink takes them.
func TakeRoom(t testing.TB, r *Recorder, u delivery.Urgency) {
	t.Helper()
	for size := 8 << 20; size > 0; { // no more than what each urgency may take
		e := r.entry(AuditProbed, payload{})
		e.Event, e.Urgency = bulky{e.Event, size}, u
		has, err := r.queue.Offer(r.queue.Open(r.opts.NewID(), uuid.Nil, nil), e)
		require.NoError(t, err)
		if !has {
			size /= 2
		}
	}
}
