package jobaudit

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// newID returns a UUID of version 7 (RFC 9562, section 5.7), with the fraction
// of its millisecond in rand_a (section 6.2, method 3). [uuid.NewV7] keeps its
// own in order, behind one lock that all callers share; nothing here reads an
// order out of IDs.
func newID() uuid.UUID {
	var id uuid.UUID
	_, _ = rand.Read(id[8:]) // it never fails
	now := time.Now().UnixNano()
	fraction := now % 1e6 * (1 << 12) / 1e6
	binary.BigEndian.PutUint64(id[:], uint64(now/1e6)<<16|7<<12|uint64(fraction))
	id[8] = id[8]&0x3f | 0x80
	return id
}
