package jobaudit

import (
	"crypto/sha256"

	"github.com/google/uuid"
)

// verdictID is the ID of a verdict's event (format F5): a UUIDv8 of the type
// and the execution concerned, or the job for a verdict that it has expired.
// Whoever reaches the same verdict writes the same ID, so a log keeps one.
func verdictID(typ EventType, subject uuid.UUID) uuid.UUID {
	sum := sha256.Sum256([]byte("jobaudit verdict\n" + string(typ) + "\n" + subject.String()))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // the variant of RFC 9562
	return id
}
