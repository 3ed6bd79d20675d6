package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
)

// A SquattedError says that an object stands where one of the mirror's belongs,
// and that it does not verify: somebody else has put it there, or it is damaged.
// The mirror passes it by.
type SquattedError struct {
	// Name is the object's.
	Name string
	Err  error
}

func (e *SquattedError) Error() string {
	return fmt.Sprintf("mirror: the object %s is not the mirror's, and was passed by: %v", e.Name, e.Err)
}

func (e *SquattedError) Unwrap() error { return e.Err }

// ErrNoMirror means that a store holds no mirror.
var ErrNoMirror = errors.New("there is no mirror")

// A target is a mirror in a store: what writing and reading it have in common.
type target struct {
	store  Store
	keys   []note.Verifier
	report func(error)
	unread *unread // what may not be read is noted here if it is not nil
}

// branches reads the branches, in the order of their numbers. What is none is
// reported and passed by.
func (t *target) branches(ctx context.Context) ([]Branch, error) {
	var all []Branch
	for name, err := range t.store.List(ctx, branchPrefix, "") {
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(strings.TrimPrefix(name, branchPrefix))
		if err != nil || n < 1 || n > maxBranch || branchName(n) != name {
			t.report(&SquattedError{name, errors.New("no branch has this name")})
			continue
		}
		b, err := t.branch(ctx, n, all)
		if err != nil {
			return nil, err
		}
		if b.Number != 0 {
			all = append(all, b)
		}
	}
	return all, nil
}

// branch reads the record of a branch whose base is one of those before it: the
// first version that is one.
func (t *target) branch(ctx context.Context, n int, before []Branch) (Branch, error) {
	for data, err := range t.store.Get(ctx, branchName(n), maxRecord) {
		if t.refusedBranch(n, err) {
			break
		}
		if err != nil {
			return Branch{}, err
		}
		b, err := parseBranch(data, n)
		if err == nil && b.Base > 0 && !hasBranch(before, b.Base, b.Origin) {
			err = fmt.Errorf("its base, branch %d of %s, is not there", b.Base, b.Origin)
		}
		if err == nil {
			return b, nil
		}
		t.report(&SquattedError{branchName(n), err})
	}
	return Branch{}, nil
}

func hasBranch(all []Branch, n int, origin string) bool {
	for _, b := range all {
		if b.Number == n && b.Origin == origin {
			return true
		}
	}
	return false
}

// made leaves out the branches that [Mirror.Accept] did not make, and reports them:
// nobody signs a branch's record, so that a log that was written again could be
// mirrored and restored from one that somebody put there who may put objects. Accept
// makes one for a head by a later successor than all that the mirror holds.
func (t *target) made(ctx context.Context, all []Branch) (made []Branch, err error) {
	if len(t.keys) == 0 || len(all) < 2 {
		return all, nil
	}
	latest, size := -1, int64(0)
	for _, b := range all {
		is := -1
		if b.Base > 0 {
			c, err := openCheckpoint([]byte(b.Log), t.keys)
			if err == nil {
				_, is = auditlog.SplitOrigin(c.Head().Origin)
			}
			if err == nil && is <= latest {
				err = fmt.Errorf("%s, whose head it names, is no later successor than the mirror holds", c.Head().Origin)
			}
			if err == nil && !hasBranch(made, b.Base, b.Origin) {
				err = fmt.Errorf("its base, branch %d, was not made so either", b.Base)
			}
			if err != nil {
				t.report(&SquattedError{branchName(b.Number), fmt.Errorf("no successor made this branch: %w", err)})
				continue
			}
		}
		if n := len(made); n > 0 {
			t.unreadChoice(made[n-1].Number, size)
		}
		made = append(made, b)
		f, err := t.newest(ctx, b.Number, maxSize)
		if err != nil {
			return nil, err
		}
		if size = 0; f != nil {
			size = f.size()
			_, n := auditlog.SplitOrigin(f.claimed.Origin)
			latest = max(latest, n)
		}
	}
	return made, nil
}

// newest returns the newest head of a branch with a size of at most so much that
// verifies, as a fold; nil if there is none.
func (t *target) newest(ctx context.Context, branch int, atMost int64) (*fold, error) {
	if len(t.keys) == 0 {
		return nil, nil
	}
	from := fmt.Sprintf("%s%016d", headPrefix(branch), maxSize-atMost)
	for name, err := range t.store.List(ctx, headPrefix(branch), from) {
		if err != nil {
			return nil, err
		}
		f, err := t.head(ctx, branch, name)
		if f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

// head reads a head's object: the first version that verifies, nil if none does.
func (t *target) head(ctx context.Context, branch int, name string) (f *fold, err error) {
	found, err := t.headBy(ctx, branch, name, func(data []byte) (size int64, err error) {
		if f, err = openHead(data, t.keys); err != nil {
			return 0, err
		}
		return f.size(), nil
	})
	if !found {
		return nil, err
	}
	return f, nil
}

// headBy looks for the first version of a head's object that open takes, and that is
// of the size which the name says.
func (t *target) headBy(ctx context.Context, branch int, name string, open func([]byte) (int64, error)) (bool, error) {
	size, ok := headSize(branch, name)
	if !ok {
		t.report(&SquattedError{name, errors.New("no head has this name")})
		return false, nil
	}
	for data, err := range t.store.Get(ctx, name, maxHead) {
		if t.refusedHead(branch, size, name, err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		is, err := open(data)
		if err == nil && is != size {
			err = fmt.Errorf("it holds the head of size %d", is)
		}
		if err == nil {
			return true, nil
		}
		t.report(&SquattedError{name, err})
	}
	return false, nil
}

// chunk reads the chunk that goes on from a fold: the first object under its
// name, or under those to use when that is taken, that verifies. It returns nil if
// there is none, and else the fold behind it.
func (t *target) chunk(ctx context.Context, b Branch, at *fold) (data []byte, after *fold, err error) {
	if t.unread != nil {
		t.unread.chunk = nil
	}
	found, long, err := t.slots(ctx, b.Number, at, usualChunk)
	if err != nil || found.after != nil || len(long) == 0 {
		t.tooLong(long)
		return found.data, found.after, err
	}
	size, err := t.covered(ctx, b)
	if err != nil || size <= at.size() {
		t.tooLong(long)
		return nil, nil, err
	}
	if len(t.keys) == 0 {
		return nil, nil, fmt.Errorf("%s has more than %d bytes, and without a verifier key nothing proves that they are the log's: give the keys (jobaudit restore --key makes a log of a mirror): %w",
			long[0], usualChunk, &MissingError{b.Number, at.size(), size})
	}
	found, long, err = t.slots(ctx, b.Number, at, maxChunk)
	t.tooLong(long)
	return found.data, found.after, err
}

// slots looks for a chunk of at most so many bytes under all names that it may
// have. It returns the names of longer objects.
func (t *target) slots(ctx context.Context, branch int, at *fold, most int64) (found lookup, long []string, err error) {
	name := chunkName(branch, at.size())
	found, err = t.version(ctx, name, at, most)
	if found.after != nil || err != nil || !found.taken {
		return found, nil, err
	}
	if found.long {
		long = append(long, name)
	}
	for name, err := range t.store.List(ctx, name+".", "") {
		if err != nil {
			return lookup{}, nil, err
		}
		found, err = t.version(ctx, name, at, most)
		if found.long {
			long = append(long, name)
		}
		if found.after != nil || err != nil {
			return found, long, err
		}
	}
	return lookup{}, long, nil
}

// tooLong reports objects that were not read to their ends.
func (t *target) tooLong(names []string) {
	for _, name := range names {
		t.report(&SquattedError{name, errors.New("it is longer than a chunk is that no head covers; a mirror that was killed while it had a greater ChunkSize can have left it, too")})
	}
}

// covered returns how many events the newest head of a branch covers: their chunks
// have to be there. Without keys that is what the head claims.
func (t *target) covered(ctx context.Context, b Branch) (int64, error) {
	if len(t.keys) > 0 {
		f, err := t.newest(ctx, b.Number, maxSize)
		if f == nil || err != nil {
			return 0, err
		}
		return f.size(), nil
	}
	size, _, err := t.claimed(ctx, b)
	return size, err
}

// claimed returns size and name of the newest head of a branch that has the form of
// one, which no key has proven. What only has a head's name claims nothing: anybody
// who may put objects can give that to one, of any size.
func (t *target) claimed(ctx context.Context, b Branch) (int64, string, error) {
	for name, err := range t.store.List(ctx, headPrefix(b.Number), "") {
		if err != nil {
			return 0, "", err
		}
		var size int64
		found, err := t.headBy(ctx, b.Number, name, func(data []byte) (_ int64, err error) {
			size, err = claimedSize(data, b.Origin)
			return size, err
		})
		if found || err != nil {
			return size, name, err
		}
	}
	return 0, "", nil
}

// lookup is what was found under a name.
type lookup struct {
	data  []byte
	after *fold // behind the chunk; nil if none is there
	taken bool  // there is an object
	long  bool  // there is one that was not read to its end
}

// version looks for the version of an object that is the chunk which goes on
// from a fold, and has at most so many bytes.
func (t *target) version(ctx context.Context, name string, at *fold, most int64) (found lookup, err error) {
	for data, err := range t.store.Get(ctx, name, most) {
		if t.refusedChunk(at.size(), name, err) {
			found.taken = true
			return found, nil
		}
		if err != nil {
			return lookup{}, err
		}
		found.taken = true
		if int64(len(data)) > most {
			found.long = true
			continue
		}
		f := *at
		if err := f.chunk(data, nil); err != nil {
			t.report(&SquattedError{name, err})
			continue
		}
		found.data, found.after = data, &f
		return found, nil
	}
	return found, nil
}

// walk hands the lines of a branch to each, from a fold on, until the log is at
// the size until, or to its end if that is negative; each gets the size with the
// line, too. It leaves the fold where it came to, and returns false when each has.
func (t *target) walk(ctx context.Context, all []Branch, n int, at *fold, until int64, each func(line []byte, size int64) bool) (bool, error) {
	b := all[n]
	if b.Base > 0 && at.size() < b.Size {
		leave := b.Size
		if until >= 0 {
			leave = min(leave, until)
		}
		more, err := t.walk(ctx, all, indexOf(all, b.Base), at, leave, each)
		if !more || err != nil || leave < b.Size {
			return more, err
		}
	}
	if b.Base > 0 && at.size() == b.Size && at.tree.Root() != b.Root {
		return false, fmt.Errorf("branch %d does not begin where its record says, at size %d of branch %d", b.Number, b.Size, b.Base)
	}
	for until < 0 || at.size() < until {
		data, after, err := t.chunk(ctx, b, at)
		if err != nil {
			return false, err
		}
		if data == nil {
			if until < 0 {
				return true, nil
			}
			if err := t.unreadChunk(); err != nil {
				return false, err
			}
			return false, &MissingError{b.Number, at.size(), until}
		}
		if until >= 0 && after.size() > until {
			if data, after, err = cut(data, at, until); err != nil {
				return false, err
			}
		}
		if !eachLine(data, at.size(), each) {
			return false, nil
		}
		*at = *after
	}
	return true, nil
}

// cut takes the beginning of a chunk, up to the commit line of a size.
func cut(data []byte, at *fold, until int64) ([]byte, *fold, error) {
	f, n := *at, 0
	err := f.chunk(data, func(line []byte) bool {
		n += len(line) + 1
		return f.claimed.Size < until
	})
	if err == nil && f.claimed.Size != until {
		err = fmt.Errorf("there is no commit of size %d", until)
	}
	return data[:n], &f, err
}

// eachLine hands on the lines of a chunk that was proven.
func eachLine(data []byte, size int64, each func(line []byte, size int64) bool) bool {
	for each != nil && len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		line := data[:i]
		data = data[i+1:]
		if !auditlog.IsCommit(line) {
			size++
		}
		if !each(line, size) {
			return false
		}
	}
	return true
}

func indexOf(all []Branch, number int) int {
	for i, b := range all {
		if b.Number == number {
			return i
		}
	}
	return 0
}

// begin returns the fold from which walk comes to an index with the least to read.
func (t *target) begin(ctx context.Context, all []Branch, n int, from int64) (*fold, error) {
	b := all[n]
	if b.Base > 0 && from < b.Size {
		return t.begin(ctx, all, indexOf(all, b.Base), from)
	}
	f, err := t.newest(ctx, b.Number, from)
	switch {
	case err != nil:
		return nil, err
	case f != nil && f.size() >= b.Size:
		return f, nil
	case b.Base > 0:
		return t.begin(ctx, all, indexOf(all, b.Base), b.Size)
	}
	return &fold{keys: t.keys}, nil
}
