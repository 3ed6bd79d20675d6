package exporttest

import (
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// checkCloudEvent has the SDK read an event and validate it. The stored bytes are
// its data.
func checkCloudEvent(t *testing.T, r jobaudit.Record) {
	line := encode(t, export.CloudEvents, r)
	var c event.Event
	if err := c.UnmarshalJSON(line); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	require.NoError(t, c.Validate(), "%s", line)
	e := r.Event()
	require.Equal(t, e.ID.String(), c.ID())
	require.Equal(t, "1.0", c.SpecVersion())
	require.Equal(t, e.CorrelationID.String(), c.Extensions()["correlationid"])
	when := e.Time
	if !e.QueueTime.IsZero() {
		when = e.QueueTime
	}
	require.True(t, c.Time().Equal(when.Truncate(time.Microsecond)))
	same, err := jobaudit.ParseRecord(c.Data())
	require.NoError(t, err)
	require.Equal(t, r.Hash(), same.Hash(), "the data are the bytes that were hashed")
}

func TestExtraCloudEventsSDKReadsEveryEvent(t *testing.T) {
	size.Extra(t)
	for _, r := range cases(t) {
		checkCloudEvent(t, r)
	}
}

func FuzzExtraCloudEvents(f *testing.F) { fuzz(f, checkCloudEvent) }
