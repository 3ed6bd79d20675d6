package filesink

import (
	"encoding/binary"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
)

// A life is what an event tells of whether its job lives, and where in its
// segment. Those of a segment that still matter at its end are a table of its
// index, for OpenJobs.
type life struct {
	jobcheck.Life
	off uint32 // of its line
}

// lifeOf reads what an event line tells.
func lifeOf(line []byte, off uint32) life { return life{jobcheck.LifeOf(line), off} }

// lifeOfRecord is lifeOf for a record, whose type is known.
func lifeOfRecord(r *jobaudit.Record, line []byte) life {
	if jobcheck.LifeKindOf([]byte(r.Type()), []byte(jobaudit.Success)) == jobcheck.NotTelling {
		return life{}
	}
	return lifeOf(line, 0)
}

// of is a life in the segment that begins with this index.
func (l life) of(segment int64) jobcheck.PlacedLife {
	return jobcheck.PlacedLife{Life: l.Life, Part: segment, Off: l.off}
}

// lastingLives returns what of a segment's lives matters at its end.
func lastingLives(lives []life) []life {
	f := jobcheck.NewLives(true)
	for _, l := range lives {
		f.Add(l.of(0))
	}
	return lasting(f)
}

// lasting is what matters at the end of one segment.
func lasting(f *jobcheck.Lives) (lasting []life) {
	for _, l := range f.Open() {
		lasting = append(lasting, life{l.Life, l.Off})
	}
	return lasting
}

// lifeSize is the size in bytes of a life in an index.
const (
	lifeSize     = 48
	livesPerPage = pageSize / lifeSize
)

func appendLife(dst []byte, l life) []byte {
	dst = append(append(append(dst, l.Job[:]...), l.Execution[:]...), l.Origin[:]...)
	return append(binary.LittleEndian.AppendUint32(dst, l.off), byte(l.Kind), 0, 0, 0)
}

func readLife(b []byte) (l life) {
	copy(l.Job[:], b)
	copy(l.Execution[:], b[16:])
	copy(l.Origin[:], b[32:])
	l.off, l.Kind = binary.LittleEndian.Uint32(b[40:]), jobcheck.LifeKind(b[44])
	return l
}
