package pgsink_test

import (
	"testing"

	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/stretchr/testify/require"
)

// What a key signs behind one that it does not continue, every verifier refuses for ever.
func TestASequencerContinuesOnlyAnEarlierLogOfItsLine(t *testing.T) {
	for _, c := range []struct {
		name, before string
		continues    bool
	}{
		{origin + "/s2", origin, true},
		{origin + "/s3", origin, true},
		{origin + "/s10", origin + "/s9", true},
		{origin, origin + "/s2", false}, // the change is taken back
		{origin + "/s2", origin + "/s3", false},
		{origin, origin, false}, // another key of the same name
		{"other.example/log", origin, false},
		{"other.example/log/s2", origin, false},
		{origin + "/s02", origin, false}, // no number
	} {
		opts := newKeyNamed(t, c.name).options()
		opts.Predecessor = newKeyNamed(t, c.before).Verifier
		_, err := pgsink.NewSequencer("", opts, nil)
		if c.continues {
			require.NoError(t, err, "%s behind %s", c.name, c.before)
		} else {
			require.ErrorContains(t, err, "does not continue", "%s behind %s", c.name, c.before)
		}
	}
}
