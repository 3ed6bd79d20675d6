package filesink

import (
	"errors"
	"fmt"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

var (
	// ErrClosed is returned by Append after Close.
	ErrClosed = errors.New("filesink: closed")

	// ErrLocked means that another writer has the log open: another process,
	// or another Sink in this one. A log has one writer at a time.
	ErrLocked = disk.ErrLocked

	// ErrNotRegular means that a pipe, a device or a directory stands where one
	// of the log's files should be.
	ErrNotRegular = disk.ErrNotRegular

	// ErrNotDurable means that a Reader finds an event under a head that a crash
	// may still take back. The writer says within a second that it is durable.
	ErrNotDurable = errors.New("the event is not known to be durable yet")

	// ErrNothingVerified is what Verify returns of a log that holds no
	// committed event: there was nothing to compare, so nothing is proven. An
	// emptied log looks like one that was never written; a head kept outside
	// tells them apart.
	ErrNothingVerified = errors.New("the log holds no committed event: nothing was verified")

	// ErrMissingAnchor means that an anchor holds no head although the log has
	// entries. [Options.AllowMissingAnchor] switches the check off.
	ErrMissingAnchor = errors.New("the anchor holds no head, but the log has entries: put it back, or set Options.AllowMissingAnchor once if it was lost, which gives up noticing a rollback until now")

	// ErrReplaced means that the log's files or its directory were removed,
	// replaced or cut underneath the open Sink. It acknowledges nothing any
	// more; close it and see to the directory.
	ErrReplaced = errors.New("the log's files were changed by somebody else")

	// ErrDamaged means that entries which were acknowledged are missing or
	// damaged. Verify says which.
	ErrDamaged = errors.New("the log is damaged")
)

// A RefusedError says why [Open] does not write to a directory, with the heads
// that contradict each other as evidence. Nothing in the directory but caches was changed.
//
// Err is [ErrMissingAnchor], [ErrDamaged], one of auditlog's errors about
// signed text when the log is not of the given key, or a
// [*auditlog.HeadError] when an anchor is ahead of the log (it was rolled back
// or cut short) or not on its history.
//
// After a directory was restored on purpose, see [Options.Predecessor].
type RefusedError struct {
	Dir string
	// Log is the newest head in the directory, as far as it can be read; it is
	// not verified when Err says that the log is of another key. Its Size is 0
	// when there is none.
	Log auditlog.Head
	// Anchor names the anchor that Outside is from.
	Anchor string
	// Outside is the newest head known outside the log.
	Outside auditlog.Head
	Err     error
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("log %s refused: %v", e.Dir, e.Err)
	if e.Anchor != "" {
		text += fmt.Sprintf(" (the log ends at size %d, root %s; anchor %s at size %d, root %s)",
			e.Log.Size, e.Log.Root, e.Anchor, e.Outside.Size, e.Outside.Root)
	}
	return text
}

func (e *RefusedError) Unwrap() error { return e.Err }
