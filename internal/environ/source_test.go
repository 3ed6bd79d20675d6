package environ

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestAnIDIsAUUIDOfVersion7ThatTellsItsTime(t *testing.T) {
	seen := map[uuid.UUID]bool{}
	for range 1_000 {
		before := time.Now().UnixMilli()
		id := newID()
		after := time.Now().UnixMilli()
		require.Equal(t, uuid.Version(7), id.Version())
		require.Equal(t, uuid.RFC4122, id.Variant())
		at := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
		require.LessOrEqual(t, before, at)
		require.LessOrEqual(t, at, after)
		require.False(t, seen[id])
		seen[id] = true
	}
}
