package mirror

import (
	"context"
	"errors"
	"iter"
)

// ErrExists is what a Store's Put returns, wrapped or not, when an object of that
// name is there.
var ErrExists = errors.New("an object of that name is there")

// A Store holds objects under names. It never changes or removes one. A name has
// one or more parts of letters, digits, dots and hyphens between slashes, at most
// 100 bytes in all.
//
// Implementations are safe for concurrent use. A call may fail at any time and
// for any reason; one that fails may or may not have been carried out.
type Store interface {
	// Put stores an object of this name if there is none, and else returns
	// ErrExists. When it returns nil the object is durable, whole, and what
	// was stored has been compared with data by a checksum.
	Put(ctx context.Context, name string, data []byte) error
	// Get yields what is stored under a name: nothing if nothing is, one object,
	// or several where the store keeps versions, the oldest first. Of an object
	// of more than most bytes it yields the first most+1, and reads no more: who
	// may put objects must not decide how much memory a reader needs. An error
	// ends the iteration.
	Get(ctx context.Context, name string, most int64) iter.Seq2[[]byte, error]
	// List yields the names that begin with prefix and are not less than from,
	// in ascending order of their bytes. An error ends the iteration.
	List(ctx context.Context, prefix, from string) iter.Seq2[string, error]
}

// A Source is a log that yields its lines. [filesink.Sink], [filesink.Reader],
// [pgsink.Sink] and [Reader] are sources.
//
// [filesink.Sink]: https://pkg.go.dev/github.com/jobaudit/jobaudit/sink/filesink#Sink
// [filesink.Reader]: https://pkg.go.dev/github.com/jobaudit/jobaudit/sink/filesink#Reader
// [pgsink.Sink]: https://pkg.go.dev/github.com/jobaudit/jobaudit/sink/pgsink#Sink
type Source interface {
	// Size returns the size of the newest durable head, 0 if there is none.
	Size(ctx context.Context) (int64, error)
	// Lines yields the log's lines without their line feeds, from the event
	// with this index on: events and, behind each batch, its commit line. It
	// ends with a durable commit line. A line is only good until the next one.
	Lines(ctx context.Context, from int64) iter.Seq2[[]byte, error]
}
