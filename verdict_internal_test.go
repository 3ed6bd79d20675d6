package jobaudit

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// Computed apart: printf 'jobaudit verdict\nattempt.lost\n01234567-89ab-7def-8123-456789abcdef' | sha256sum
func TestAVerdictHasTheIDThatAllWhoReachItWrite(t *testing.T) {
	execution := uuid.MustParse("01234567-89ab-7def-8123-456789abcdef")
	id := verdictID(AttemptLost, execution)
	require.Equal(t, "8d7adbfe-738c-8124-8b8b-edc5b44fed38", id.String())
	require.Equal(t, uuid.Version(8), id.Version())
	require.Equal(t, uuid.RFC4122, id.Variant())
	require.NotEqual(t, id, verdictID(JobFailed, execution))
}
