package mirror

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/auditlog"
)

// anchorPrefix begins the names of an anchor's heads.
const anchorPrefix = "anchors/"

// AnchorOptions adjust an [Anchor]. The zero value, like nil, gives the defaults.
type AnchorOptions struct {
	// Interval is how long to wait between two heads that are stored, as each is
	// an object that stays. A Put before that stores nothing and returns nil: the
	// anchor is behind the log then, which is normal, so Interval is not for
	// filesink's AnchorEveryCommit. Default: every head is stored.
	Interval time.Duration
	// OnError is called with each [*SquattedError]. It must not wait. Default:
	// nothing is.
	OnError func(error)
}

// An Anchor keeps a log's heads in a [Store], each as an object of its own: the
// newest is the first by name. Where the store is under lock, nobody takes back a
// head. It is an auditlog.Checker, and safe for concurrent use. Of what is in the
// store only heads count that one of its keys has signed.
type Anchor struct {
	target target
	opts   AnchorOptions

	mu     sync.Mutex
	stored time.Time // when a head was last stored
}

var _ auditlog.Checker = (*Anchor)(nil)

// NewAnchor returns the anchor of the log that keys have signed. It touches
// nothing.
func NewAnchor(store Store, keys []note.Verifier, o *AnchorOptions) (*Anchor, error) {
	if len(keys) == 0 {
		return nil, errors.New("mirror: an anchor needs the log's verifier key")
	}
	a := &Anchor{}
	if o != nil {
		a.opts = *o
	}
	if a.opts.OnError == nil {
		a.opts.OnError = func(error) {}
	}
	a.target = target{store: store, keys: keys, report: a.opts.OnError}
	return a, nil
}

func anchorName(size int64) string {
	return fmt.Sprintf("%s%016d.%d", anchorPrefix, maxSize-size, size)
}

// Put stores a head.
func (a *Anchor) Put(ctx context.Context, c auditlog.Checkpoint) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if since := time.Since(a.stored); a.opts.Interval > 0 && since >= 0 && since < a.opts.Interval {
		return nil
	}
	for n := range maxSlots {
		name := slot(anchorName(c.Head().Size), n)
		err := a.target.store.Put(ctx, name, c.Signed())
		if errors.Is(err, ErrExists) {
			var there auditlog.Checkpoint
			there, err = a.open(ctx, name, c.Head().Size)
			switch {
			case a.target.refused(name, err, nil):
				continue
			case err == nil && there.IsZero():
				continue // taken by something else
			case err == nil && there.Head() != c.Head():
				err = &auditlog.HeadError{Log: c.Head(), Outside: there.Head()}
			}
		}
		if err != nil {
			return fmt.Errorf("mirror: anchor: %w", err)
		}
		a.stored = time.Now()
		return nil
	}
	return fmt.Errorf("mirror: anchor: %s and %d names behind it are taken by something else", anchorName(c.Head().Size), maxSlots-1)
}

// Latest returns the newest stored head that one of the keys has signed. If a larger one
// may not be read, the error wraps [fs.ErrPermission]: nobody knows what it says.
func (a *Anchor) Latest(ctx context.Context) ([]byte, error) {
	var unread *unreadObject // the largest
	for name, err := range a.target.store.List(ctx, anchorPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("mirror: anchor: %w", err)
		}
		_, rest, _ := strings.Cut(strings.TrimPrefix(name, anchorPrefix), ".")
		digits, _, _ := strings.Cut(rest, ".")
		size, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || size < 0 || size > maxSize || !strings.HasPrefix(name, anchorName(size)) {
			a.opts.OnError(&SquattedError{name, errors.New("no head has this name")})
			continue
		}
		c, err := a.open(ctx, name, size)
		switch {
		case a.target.refused(name, err, nil):
			unread = larger(unread, &unreadObject{name, size, err})
		case err != nil:
			return nil, fmt.Errorf("mirror: anchor: %w", err)
		case c.IsZero():
		case unread == nil || unread.at <= size:
			return c.Signed(), nil
		default:
			return nil, fmt.Errorf("mirror: anchor: %w", unread.error())
		}
	}
	if unread != nil {
		return nil, fmt.Errorf("mirror: anchor: %w", unread.error())
	}
	return nil, auditlog.ErrNoHead
}

// Check compares the log's head with the newest stored one that a key has signed, as
// [auditlog.Checker] says.
func (a *Anchor) Check(ctx context.Context, head auditlog.Checkpoint, prove func(size int64) (tlog.TreeProof, error)) ([]byte, error) {
	signed, err := a.Latest(ctx)
	if err != nil {
		return nil, err
	}
	return signed, auditlog.CompareKept(signed, head, prove)
}

// open reads a head: the first version that is signed, zero if none is.
func (a *Anchor) open(ctx context.Context, name string, size int64) (auditlog.Checkpoint, error) {
	for data, err := range a.target.store.Get(ctx, name, maxHead) {
		if err != nil {
			return auditlog.Checkpoint{}, err
		}
		c, err := openCheckpoint(data, a.target.keys)
		if err == nil && c.Head().Size != size {
			err = fmt.Errorf("it holds the head of size %d", c.Head().Size)
		}
		if err == nil {
			return c, nil
		}
		a.opts.OnError(&SquattedError{name, err})
	}
	return auditlog.Checkpoint{}, nil
}
