package mirror

import (
	"errors"
	"fmt"

	"github.com/jobaudit/jobaudit/auditlog"
)

// Why a log is refused. Test with [errors.Is].
var (
	// ErrShrunken: the log is shorter than what was mirrored of it. It was cut,
	// rolled back, or its disk lost what it said was durable.
	ErrShrunken = errors.New("the log is shorter than its mirror")
	// ErrForked: the log has another history than what was mirrored of it.
	ErrForked = errors.New("the log has another history than its mirror")
	// ErrDamaged: the log agrees with its mirror, and what follows is not what
	// was signed.
	ErrDamaged = errors.New("the log is damaged behind what was mirrored")
)

// A RefusedError says why a log is not mirrored any further, with both heads as
// evidence. What the mirror holds stays as it is.
//
// Err wraps [ErrShrunken], [ErrForked] or [ErrDamaged]. The way on: put back what
// the log lost; or, if its history is to go on from what is left, let it go on as a
// successor ([auditlog.SuccessorOrigin], filesink's Options.Predecessor) and accept
// that with [Mirror.Accept], or jobaudit mirror --accept.
type RefusedError struct {
	// Mirrored is the newest head that the mirror holds, and MirroredSigned its
	// signed checkpoint.
	Mirrored       auditlog.Head
	MirroredSigned []byte
	// Log is the head of the log that contradicts it; its Size is 0 if there is
	// none. LogSigned is its signed checkpoint, nil if no given key has signed
	// it.
	Log       auditlog.Head
	LogSigned []byte
	Err       error
}

func (e *RefusedError) Error() string {
	signed := "signed"
	if e.LogSigned == nil {
		signed = "not signed"
	}
	return fmt.Sprintf("mirror: refused: %v (mirrored: %s at size %d, root %s, signed; the log: %s at size %d, root %s, %s); "+
		"put back what it lost, or let it go on as %s and accept that (jobaudit mirror --accept)",
		e.Err, e.Mirrored.Origin, e.Mirrored.Size, e.Mirrored.Root, e.Log.Origin, e.Log.Size, e.Log.Root, signed,
		auditlog.SuccessorOrigin(e.Mirrored.Origin))
}

func (e *RefusedError) Unwrap() error { return e.Err }
