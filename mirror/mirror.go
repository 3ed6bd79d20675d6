package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
)

// Options adjust a [Mirror].
type Options struct {
	// Keys are the log's verifier keys, oldest first: one, or one for each log
	// of a line of successors. They are required, and must come from elsewhere
	// than the log.
	Keys []note.Verifier
	// Interval is how long [Start] waits between two passes that found nothing
	// more. While the store fails it waits longer, up to a minute or this.
	// Default: 1 s. Each pass that finds something stores at least two objects.
	Interval time.Duration
	// ChunkSize is the size in bytes up to which batches are put into one chunk.
	// Memory is two of them, or two batches. Default: 4 MiB; at most 1 GiB.
	ChunkSize int
	// Contact is how long nothing may be stored before an object says that the
	// mirror still runs: an idle log is told from a dead one by it. Default: 1 h;
	// negative: never.
	Contact time.Duration
	// OnLag, if not nil, is called after every pass with how far the mirror has
	// come, also when the pass failed. It must not wait.
	OnLag func(Status)
	// OnError is called with each error of a pass that [Start] makes, and with
	// each [*SquattedError]. It must not wait. Default: slog.Default.
	OnError func(error)
}

func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if len(opts.Keys) == 0 {
		return opts, errors.New("mirror: no verifier key is given: what nobody proves may be a copy of anything")
	}
	if opts.Interval <= 0 {
		opts.Interval = time.Second
	}
	if opts.ChunkSize <= 0 {
		opts.ChunkSize = 4 << 20
	}
	opts.ChunkSize = min(opts.ChunkSize, 1<<30)
	if opts.Contact == 0 {
		opts.Contact = time.Hour
	}
	if opts.OnError == nil {
		opts.OnError = func(err error) { slog.Default().Error("job audit mirror", slog.Any("error", err)) }
	}
	return opts, nil
}

// A Status says how far a mirror has come. A Status is a plain value.
type Status struct {
	// Branch is the number of the branch that is written, 0 before the store
	// was read.
	Branch int
	// Head is the newest mirrored head: chunk and head are stored and the store
	// has said so. Its Size is 0 before that. Signed is its signed checkpoint.
	Head   auditlog.Head
	Signed []byte
	// Durable is the size of the log's newest durable head, as far as the log
	// could be read.
	Durable int64
	// Oldest is the time of the oldest durable event that is not mirrored, as
	// that event has it; zero if there is none.
	Oldest time.Time
	// Err is what the last pass failed with, nil if it did not.
	Err error
}

// Lag returns how many durable events are not mirrored.
func (s Status) Lag() int64 { return max(0, s.Durable-s.Head.Size) }

// Age returns for how long the oldest durable event that is not mirrored has
// waited, by a clock that is now at that time; 0 if there is none.
func (s Status) Age(now time.Time) time.Duration {
	if s.Oldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(s.Oldest))
}

// A Mirror copies one log to one store. It is safe for concurrent use; passes are
// made one after the other.
type Mirror struct {
	source Source
	target target
	opts   Options

	pass     sync.Mutex // guards what follows: one pass at a time
	all      []Branch
	at       *fold // what is mirrored; nil before the store was read
	unread   error // of what may name another branch as the newest
	agreed   bool  // the log was found to have the mirrored head
	contact  time.Time
	buf      []byte     // of the chunk at hand
	snapshot sync.Mutex // guards status
	status   Status

	stop    context.CancelFunc // of Start
	stopped chan struct{}
}

// New returns a Mirror that makes a pass when [Mirror.Sync] is called. It touches
// neither log nor store.
func New(source Source, store Store, o *Options) (*Mirror, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Mirror{source: source, opts: opts, target: target{store: store, keys: opts.Keys, report: opts.OnError}}
	return m, nil
}

// Status returns how far the mirror has come.
func (m *Mirror) Status() Status {
	m.snapshot.Lock()
	defer m.snapshot.Unlock()
	return m.status
}

// Sync makes one pass: it mirrors what is durable in the log when it begins. It
// returns nil when all of that is mirrored. A [*RefusedError] means that the log
// contradicts its mirror; any other error that log or store could not be read or
// written, or that a line is not under a signature of the keys. The log of a successor
// is not refused while an object cannot be read that may be the branch of
// [Mirror.Accept] for it. Called again it goes on where it was.
func (m *Mirror) Sync(ctx context.Context) error {
	m.pass.Lock()
	defer m.pass.Unlock()
	returned, err := apart(func() error { return m.sync(ctx) })
	if !returned {
		m.at = nil // half changed, perhaps: the store is read again
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok && m.unread != nil {
		accepted := false
		_, wild := apart(func() error { accepted = m.mayBeAccepted(ctx, refused); return nil })
		if accepted || wild != nil {
			// The log may go on from what was accepted there: that accuses nobody.
			err = fmt.Errorf("mirror: %w; without it: %v", m.unread, err)
		} else {
			// Nobody accepts such a log, whatever the object is that somebody put there.
			err = fmt.Errorf("%w; also, %w", err, m.unread)
		}
		m.at = nil // the store is read again
	}
	return m.note(ctx, err)
}

// apart calls on a goroutine of its own what calls others' code: a log, a store, a
// function of the options. One that panics, or ends its goroutine, gives an error, and
// the process and its jobs go on. It says whether the call returned.
func apart(do func() error) (returned bool, err error) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("mirror: the store or the log, or what is told of it, panicked with a %T", p)
			} else if !returned {
				err = errors.New("mirror: the store or the log, or what is told of it, ended its goroutine")
			}
		}()
		err = do()
		returned = true
	}()
	<-ended
	return returned, err
}

func (m *Mirror) sync(ctx context.Context) error {
	if err := m.resume(ctx); err != nil {
		return err
	}
	m.agreed = false
	for {
		// Again each time, as the store may hold more than was known.
		if source, ok := m.source.(knowing); ok {
			source.KnownDurable(m.at.size())
		}
		size, err := m.source.Size(ctx)
		if err != nil {
			return fmt.Errorf("mirror: the log: %w", err)
		}
		m.setStatus(func(s *Status) { s.Durable = size })
		if m.at.size() > size {
			return m.shrunken(ctx, size)
		}
		if err := m.until(ctx, size); err != nil {
			return err
		}
		if m.at.size() <= size {
			return m.touch(ctx)
		}
		// The log has grown meanwhile, or the store holds more than was known.
	}
}

// knowing is a Source that cannot always tell which of its heads are durable. What
// is mirrored is: without this, a log whose writer was killed right behind its mirror
// would be accused.
type knowing interface{ KnownDurable(size int64) }

// until mirrors the log up to a size at least, and finds out whether the log has
// the mirrored head.
func (m *Mirror) until(ctx context.Context, size int64) error {
	for m.at.size() < size || m.at.size() == size && !m.agreed {
		before := m.at.size()
		if err := m.advance(ctx); err != nil {
			return err
		}
		if m.at.size() == before && (before < size || !m.agreed) {
			return fmt.Errorf("mirror: the log says that %d events are durable, and it has no good commit line of a size between %d and that", size, before)
		}
	}
	return nil
}

// resume reads from the store how far the mirror has come.
func (m *Mirror) resume(ctx context.Context) error {
	if m.at != nil {
		return nil
	}
	t := m.target.noting()
	all, err := t.branches(ctx)
	if err == nil && len(all) == 0 {
		all, err = m.first(ctx)
	}
	if err == nil {
		all, err = t.made(ctx, all)
	}
	if err != nil {
		return fmt.Errorf("mirror: the store: %w", err)
	}
	origin := m.origin()
	if all[0].Origin != origin {
		return fmt.Errorf("mirror: the store holds the mirror of %s: give another one for %s", all[0].Origin, origin)
	}
	last := len(all) - 1
	at, err := m.target.begin(ctx, all, last, maxSize)
	if err == nil && at.size() < all[last].Size {
		_, err = m.target.walk(ctx, all, indexOf(all, all[last].Base), at, all[last].Size, nil)
	}
	if err != nil {
		return fmt.Errorf("mirror: the store: %w", err)
	}
	m.all, m.agreed = all, false
	m.unread = t.unreadBranch(all[last].Number)
	m.setAt(at)
	return m.readContact(ctx)
}

// origin is that of the first log in the line of successors.
func (m *Mirror) origin() string {
	first, _ := auditlog.SplitOrigin(m.opts.Keys[0].Name())
	return first
}

// first makes a store a mirror.
func (m *Mirror) first(ctx context.Context) ([]Branch, error) {
	data, err := Branch{Format: branchFormat, Number: 1, Origin: m.origin()}.encode()
	if err != nil {
		return nil, err
	}
	err = m.target.store.Put(ctx, branchName(1), data)
	if err != nil && !errors.Is(err, ErrExists) {
		return nil, err
	}
	t := m.target.noting()
	all, err := t.branches(ctx)
	if err == nil && len(all) == 0 {
		err = t.unreadBranch(0)
	}
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s is taken by something else: give another store", branchName(1))
	}
	return all, err
}

func (m *Mirror) branch() int { return m.all[len(m.all)-1].Number }

// advance mirrors one chunk, if there is more.
func (m *Mirror) advance(ctx context.Context) error {
	r := reading{Mirror: m, ctx: ctx, at: *m.at, good: *m.at, data: m.buf[:0]}
	err := r.read()
	m.buf = r.data
	if r.good.size() == m.at.size() {
		m.agreed = m.agreed || r.agreed
		return err // nothing more, or nothing good
	}
	// What is good is mirrored, whatever follows it.
	m.agreed = m.agreed || r.agreed
	after, own, putErr := m.putChunk(ctx, r.data, &r.good)
	if putErr == nil {
		putErr = m.putHead(ctx, after)
	}
	if putErr != nil {
		return putErr
	}
	m.setAt(after)
	m.contact = time.Now()
	if !own {
		m.agreed = false // the store had another chunk there: is it the log's?
	}
	return nil
}

// putChunk stores a chunk that leads to a fold. If a good one is there it goes on
// behind that: it returns the fold, and whether the chunk is the one given.
func (m *Mirror) putChunk(ctx context.Context, data []byte, after *fold) (*fold, bool, error) {
	name := chunkName(m.branch(), m.at.size())
	for n := range maxSlots {
		err := m.target.store.Put(ctx, slot(name, n), data)
		if err == nil {
			return after, true, nil
		}
		if !errors.Is(err, ErrExists) {
			return nil, false, fmt.Errorf("mirror: the store: %w", err)
		}
		there, err := m.target.version(ctx, slot(name, n), m.at, max(usualChunk, 2*int64(len(data))))
		if err != nil {
			return nil, false, fmt.Errorf("mirror: the store: %w", err)
		}
		if there.after != nil {
			return there.after, bytes.Equal(there.data, data), nil
		}
		if there.long {
			m.target.tooLong([]string{slot(name, n)})
		}
	}
	return nil, false, m.taken(name)
}

// putHead stores a head.
func (m *Mirror) putHead(ctx context.Context, f *fold) error {
	name := headName(m.branch(), f.size())
	data := encodeHead(f)
	for n := range maxSlots {
		err := m.target.store.Put(ctx, slot(name, n), data)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrExists) {
			return fmt.Errorf("mirror: the store: %w", err)
		}
		there, err := m.target.head(ctx, m.branch(), slot(name, n))
		switch {
		case err != nil:
			return fmt.Errorf("mirror: the store: %w", err)
		case there == nil:
			continue
		case there.claimed.Root != f.claimed.Root:
			return &RefusedError{
				Mirrored: there.claimed, MirroredSigned: there.head.Signed(), Log: f.claimed, LogSigned: f.head.Signed(),
				Err: fmt.Errorf("%w: a signed head of the same size and another root is stored", ErrForked),
			}
		}
		return nil
	}
	return m.taken(name)
}

func (m *Mirror) taken(name string) error {
	return fmt.Errorf("mirror: %s and %d names behind it are taken by something else: find out who can write to the store, and give another one", name, maxSlots-1)
}

func (m *Mirror) setAt(f *fold) {
	m.at = f
	m.setStatus(func(s *Status) {
		s.Branch, s.Head = m.branch(), f.claimed
		if s.Signed = nil; !f.head.IsZero() {
			s.Signed = f.head.Signed()
		}
	})
}

func (m *Mirror) setStatus(set func(*Status)) {
	m.snapshot.Lock()
	defer m.snapshot.Unlock()
	set(&m.status)
}

// note says what came of a pass. It returns the pass's error, or what it failed with
// itself.
func (m *Mirror) note(ctx context.Context, err error) error {
	var oldest time.Time
	_, wild := apart(func() error { oldest = m.oldest(ctx); return nil })
	if err == nil {
		err = wild
	}
	m.setStatus(func(s *Status) { s.Oldest, s.Err = oldest, err })
	if m.opts.OnLag == nil {
		return err
	}
	if _, wild := apart(func() error { m.opts.OnLag(m.Status()); return nil }); err == nil {
		err = wild
	}
	return err
}

// oldest returns the time of the oldest durable event that is not mirrored, as far as the
// log tells.
func (m *Mirror) oldest(ctx context.Context) time.Time {
	s := m.Status()
	if s.Lag() == 0 {
		return time.Time{}
	}
	for line, err := range m.source.Lines(ctx, s.Head.Size) {
		if err == nil {
			if r, err := jobaudit.ParseRecord(line); err == nil {
				return r.Event().Time
			}
		}
		break
	}
	return time.Time{}
}
