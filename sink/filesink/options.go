package filesink

import (
	"fmt"
	"log/slog"
	"math"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/note"
)

// Options adjust a [Sink]. The zero value, like nil, gives the defaults.
type Options struct {
	// AnchorPath moves the default anchor, a file that holds the newest head:
	// it should be where those who can change the log's directory cannot change
	// it. Default: the key's path and ".anchor". It may not be inside the
	// directory.
	AnchorPath string
	// Anchor keeps the newest head elsewhere too. A call on it gets 5 s; the
	// log is not opened while it cannot be asked.
	Anchor auditlog.Anchor
	// AnchorEveryCommit puts each head to the anchors before its events are
	// acknowledged, instead of within a second. It costs two more fsyncs per
	// commit; in return no acknowledged event can be rolled back unseen. While an
	// anchor fails, or does not answer within 5 s, Append returns an error of
	// unknown outcome; sent again, the same records succeed once the anchors hold
	// a head that covers them.
	AnchorEveryCommit bool
	// AllowMissingAnchor opens a log that has entries although an anchor holds
	// no head, and puts the log's there: a rolled-back log is not noticed. It
	// is meant for one open, after an anchor was lost or added, and is
	// recorded in [Sink.Recovery].
	AllowMissingAnchor bool

	// Predecessor is the verifier key of the log that this one continues: set
	// it, with a new key named by [auditlog.SuccessorOrigin], to go on after the
	// directory was restored from a copy on purpose, or after the old key was
	// given up or lost. The old log's anchors, and damage at its end, are
	// evidence then and no reason to refuse; [Sink.Recovery] holds both its
	// heads. Its default anchor is read if the old [Key] itself is given. Once
	// the new key has signed a commit the field excuses nothing any more and
	// may stay. Auditors need both verifier keys from elsewhere than the log.
	Predecessor note.Verifier
	// Earlier are the verifier keys of logs that Predecessor's continued itself, for a
	// directory that ends with what one of these wrote: one that was put back to before
	// Predecessor's log began, or in which that log was killed at its first commit.
	Earlier []note.Verifier

	// SegmentSize is the size in bytes at which a new file of entries is
	// begun. Memory grows with it: the newest segment's IDs are kept, some
	// 200 bytes an event, and for a moment those of the one before. Default: 64
	// MiB; at most 1 GiB.
	SegmentSize int64

	// OnError is called with what fails without making an Append fail: an anchor
	// that cannot be reached, a cache that cannot be written, an interrupted
	// segment that cannot be cut. It may be called from several goroutines and
	// must not wait. Default: slog.Default.
	OnError func(error)

	disk disk.Disk // of tests
}

const (
	defaultSegmentSize = 64 << 20
	maxSegmentSize     = 1 << 30
)

func (o *Options) withDefaults(key *Key) (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if key == nil {
		return opts, &KeyError{"", "no key was given", nil}
	}
	if opts.disk == nil {
		opts.disk = disk.OS{}
	}
	if opts.AnchorPath == "" && key.path == "" {
		return opts, &KeyError{"", "a key without a file has no anchor beside it: set Options.AnchorPath", nil}
	}
	if opts.AnchorPath == "" {
		opts.AnchorPath = key.path + anchorSuffix
	}
	if opts.SegmentSize <= 0 {
		opts.SegmentSize = defaultSegmentSize
	}
	opts.SegmentSize = min(opts.SegmentSize, maxSegmentSize)
	if opts.OnError == nil {
		opts.OnError = func(err error) { slog.Default().Error("job audit log", slog.Any("error", err)) }
	}
	return opts, opts.checkLine(key)
}

// checkLine refuses keys that are not of the logs before a key's own.
func (o *Options) checkLine(key *Key) error {
	if o.Predecessor == nil {
		if len(o.Earlier) > 0 {
			return &KeyError{key.path, "Options.Earlier is given without Options.Predecessor", nil}
		}
		return nil
	}
	before := o.Predecessor.Name()
	if next := auditlog.SuccessorOrigin(before); next != key.signer.Name() {
		return &KeyError{key.path, fmt.Sprintf("the successor of %q is named %q", before, next), nil}
	}
	for _, e := range o.Earlier {
		if !later(before, e.Name()) {
			return &KeyError{key.path, fmt.Sprintf("Options.Earlier holds the key of %q, which %q does not continue", e.Name(), before), nil}
		}
	}
	return nil
}

// later reports whether an origin is that of a later log in another one's line.
func later(origin, than string) bool {
	line, number := auditlog.SplitOrigin(origin)
	of, before := auditlog.SplitOrigin(than)
	return line == of && number > before
}

// maxBatch is how many bytes are gathered into one commit, a single Append
// with more excepted. The number of an entry's bytes has 32 bits, and maxAppend
// needs more than an int of a 32-bit machine has.
const (
	maxBatch        = 4 << 20
	maxAppend int64 = math.MaxUint32 - maxSegmentSize - maxLine
)
