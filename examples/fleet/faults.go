package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// fault is something that befalls a node. It returns what the mirror says then,
// and the keys of the log.
type fault struct {
	name string
	do   func(ctx context.Context, n node) (said error, keys []note.Verifier, err error)
	want error // what the mirror has to say, nil for nothing
	// branch is where the events of before the fault are.
	branch int
}

var faults = []fault{
	{"killed", killed, nil, 1},
	{"killed while its mirror wrote", killed, nil, 1},
	{"the disk is lost, and restored from the mirror", lost, nil, 1},
	{"wiped, and a new log with the same key", wiped, mirror.ErrShrunken, 1},
	{"rolled back to an older copy", rolledBack, mirror.ErrShrunken, 1},
	{"rolled back and written on: a fork", forked, mirror.ErrForked, 1},
	{"rolled back, and goes on as an accepted successor", succeeded, nil, 1},
	{"an event is changed on its disk", changed, mirror.ErrDamaged, 1},
	{"its clock is ahead by a day", skewed, nil, 1},
	{"the mirror cannot be reached for a while", cutOff, nil, 1},
}

// suffer lets a node work, befalls it with a fault, and checks that its mirror has
// what was reported, and says what it should.
func (n node) suffer(ctx context.Context, f fault) (found string, err error) {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return "", err
	}
	reported, err := n.work(ctx, 20)
	if err != nil {
		return "", err
	}
	said, keys, err := f.do(ctx, n)
	if err != nil {
		return "", err
	}
	switch {
	case f.want == nil && said != nil:
		return "", fmt.Errorf("the mirror refuses an honest log: %w", said)
	case f.want != nil && !errors.Is(said, f.want):
		return "", fmt.Errorf("the mirror does not notice it: %w", errors.Join(said, f.want))
	}
	head, err := n.restore(ctx, filepath.Join(n.dir, "proof"), f.branch, keys...)
	if err != nil {
		return "", err
	}
	if head.Size < reported {
		return "", fmt.Errorf("%d events were reported as mirrored, and the mirror has %d", reported, head.Size)
	}
	if f.want != nil {
		return "named: " + f.want.Error(), nil
	}
	return "nothing to say: the history is whole", nil
}

func (n node) verifier() ([]note.Verifier, *filesink.Key, error) {
	key, err := n.key(1)
	if err != nil {
		return nil, nil, err
	}
	return []note.Verifier{key.Verifier()}, key, nil
}

// killed starts the program again after it was killed.
func killed(ctx context.Context, n node) (error, []note.Verifier, error) {
	keys, _, err := n.verifier()
	if err != nil {
		return nil, nil, err
	}
	if _, err := n.work(ctx, 60); err != nil {
		return nil, nil, err
	}
	_, said := n.pass(ctx, keys...)
	return said, keys, nil
}

// lost loses log, key and anchor, and goes on as a successor of what was restored.
func lost(ctx context.Context, n node) (error, []note.Verifier, error) {
	keys, _, err := n.verifier()
	if err != nil {
		return nil, nil, err
	}
	if err := os.RemoveAll(n.dir); err != nil {
		return nil, nil, err
	}
	if _, err := n.restore(ctx, n.log(), 0, keys...); err != nil {
		return nil, nil, err
	}
	next, err := n.key(2)
	if err != nil {
		return nil, nil, err
	}
	if err := n.append(ctx, next, &filesink.Options{Predecessor: keys[0]}, nil); err != nil {
		return nil, nil, err
	}
	keys = append(keys, next.Verifier())
	_, said := n.pass(ctx, keys...)
	return said, keys, nil
}

// wiped removes the log and its anchor: a new one begins, with fewer events.
func wiped(ctx context.Context, n node) (error, []note.Verifier, error) {
	keys, key, err := n.verifier()
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(os.RemoveAll(n.log()), os.Remove(filepath.Join(n.dir, "key-1.anchor"))); err != nil {
		return nil, nil, err
	}
	if err := n.append(ctx, key, nil, nil); err != nil {
		return nil, nil, err
	}
	_, said := n.pass(ctx, keys...)
	return said, keys, nil
}

// rollBack puts log and anchor back to what they were before some more work.
func rollBack(ctx context.Context, n node) ([]note.Verifier, *filesink.Key, error) {
	keys, key, err := n.verifier()
	if err != nil {
		return nil, nil, err
	}
	// What the kill left is made good first, as the copy is of a log that was closed.
	if err := n.append(ctx, key, nil, nil); err != nil {
		return nil, nil, err
	}
	old := filepath.Join(n.dir, "old")
	anchor, err := os.ReadFile(filepath.Join(n.dir, "key-1.anchor"))
	if err == nil {
		err = os.CopyFS(old, os.DirFS(n.log()))
	}
	if err != nil {
		return nil, nil, err
	}
	if _, err := n.work(ctx, 80); err != nil {
		return nil, nil, err
	}
	return keys, key, errors.Join(os.RemoveAll(n.log()), os.Rename(old, n.log()), os.WriteFile(filepath.Join(n.dir, "key-1.anchor"), anchor, 0o600))
}

func rolledBack(ctx context.Context, n node) (error, []note.Verifier, error) {
	keys, _, err := rollBack(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	_, said := n.pass(ctx, keys...)
	return said, keys, nil
}

func forked(ctx context.Context, n node) (error, []note.Verifier, error) {
	keys, key, err := rollBack(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	for range 30 { // longer than the mirror
		if err := n.append(ctx, key, nil, nil); err != nil {
			return nil, nil, err
		}
	}
	_, said := n.pass(ctx, keys...)
	return said, keys, nil
}

func succeeded(ctx context.Context, n node) (error, []note.Verifier, error) {
	keys, _, err := rollBack(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	next, err := n.key(2)
	if err != nil {
		return nil, nil, err
	}
	if err := n.append(ctx, next, &filesink.Options{Predecessor: keys[0]}, nil); err != nil {
		return nil, nil, err
	}
	keys = append(keys, next.Verifier())
	if _, said := n.pass(ctx, keys...); !errors.Is(said, mirror.ErrShrunken) && !errors.Is(said, mirror.ErrForked) {
		return nil, nil, fmt.Errorf("the mirror took it without an operator: %w", said)
	}
	reader, err := filesink.OpenReader(n.log(), keys...)
	if err != nil {
		return nil, nil, err
	}
	defer reader.Close()
	store, err := mirror.OpenDirectory(n.store, false)
	if err != nil {
		return nil, nil, err
	}
	defer store.Close()
	m, err := mirror.New(reader, store, &mirror.Options{Keys: keys})
	if err != nil {
		return nil, nil, err
	}
	if _, err := m.Accept(ctx, mirror.Acceptance{By: "the example's operator", Reason: "restored from a snapshot on purpose"}); err != nil {
		return nil, nil, err
	}
	return m.Sync(ctx), keys, nil
}

// changed changes an event behind what is mirrored.
func changed(ctx context.Context, n node) (error, []note.Verifier, error) {
	keys, key, err := n.verifier()
	if err != nil {
		return nil, nil, err
	}
	if _, err := n.pass(ctx, keys...); err != nil {
		return nil, nil, err
	}
	if err := n.append(ctx, key, nil, nil); err != nil {
		return nil, nil, err
	}
	segments, err := filepath.Glob(filepath.Join(n.log(), "entries", "*.jsonl"))
	if err != nil {
		return nil, nil, err
	}
	file := segments[len(segments)-1]
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	i := bytes.LastIndex(b, []byte("work-after-the-fault"))
	if i < 0 {
		return nil, nil, errors.New("the event to be changed is not there")
	}
	b[i] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return nil, nil, err
	}
	_, said := n.pass(ctx, keys...)
	if said == nil { // what is good before it was mirrored first
		_, said = n.pass(ctx, keys...)
	}
	return said, keys, nil
}

func skewed(ctx context.Context, n node) (error, []note.Verifier, error) {
	keys, key, err := n.verifier()
	if err != nil {
		return nil, nil, err
	}
	if err := n.append(ctx, key, nil, func() time.Time { return time.Now().Add(24 * time.Hour) }); err != nil {
		return nil, nil, err
	}
	_, said := n.pass(ctx, keys...)
	return said, keys, nil
}

// cutOff takes the store away, and brings it back.
func cutOff(ctx context.Context, n node) (error, []note.Verifier, error) {
	keys, key, err := n.verifier()
	if err != nil {
		return nil, nil, err
	}
	if err := os.Rename(n.store, n.store+"-away"); err != nil {
		return nil, nil, err
	}
	if err := n.append(ctx, key, nil, nil); err != nil {
		return nil, nil, err
	}
	if _, err := n.pass(ctx, keys...); err == nil {
		return nil, nil, errors.New("the mirror says that it reached a store that is away")
	}
	if err := os.Rename(n.store+"-away", n.store); err != nil {
		return nil, nil, err
	}
	_, said := n.pass(ctx, keys...)
	return said, keys, nil
}
