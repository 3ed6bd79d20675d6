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

// fault is something that befalls a node.
type fault struct {
	name string
	do   func(*befallen) error
	want error // what the mirror has to say of the node, nil for nothing
}

var faults = []fault{
	{"killed, and started again", killed, nil},
	{"its mirror is killed at every step", killedAtEveryStep, nil},
	{"its disk is lost, and restored from the mirror", lost, nil},
	{"wiped, and a new log with the same key", wiped, mirror.ErrShrunken},
	{"rolled back to an older copy", rolledBack, mirror.ErrShrunken},
	{"rolled back and written on: a fork", forked, mirror.ErrForked},
	{"rolled back, and goes on as an accepted successor", succeeded, nil},
	{"an event is changed on its disk", changed, mirror.ErrDamaged},
	{"its clock is a day ahead, then a day behind", skewed, nil},
	{"the network is cut while it works", cutOff, nil},
}

// befallen is a node while it is befallen with a fault.
type befallen struct {
	*node
	ctx  context.Context
	key1 *filesink.Key
	keys []note.Verifier // of the log and its successors
	said error           // by the mirror
}

// suffer befalls a node with a fault, and checks that its mirror has what was
// reported, and says what it should.
func (n *node) suffer(ctx context.Context, f fault) (found string, err error) {
	key, err := n.key(1)
	if err != nil {
		return "", err
	}
	before := n.reported
	b := &befallen{node: n, ctx: ctx, key1: key, keys: []note.Verifier{key.Verifier()}}
	if err := f.do(b); err != nil {
		return "", err
	}
	switch {
	case f.want == nil && b.said != nil:
		return "", fmt.Errorf("the mirror refuses an honest log: %w", b.said)
	case f.want != nil && !errors.Is(b.said, f.want):
		return "", fmt.Errorf("the mirror does not notice it: %w", errors.Join(b.said, f.want))
	}
	head, err := n.restore(ctx, filepath.Join(n.dir, "proof"), 1, b.keys)
	if err != nil {
		return "", err
	}
	if head.Size < n.reported || n.reported < before {
		return "", fmt.Errorf("%d events were reported as mirrored, and the mirror has %d", n.reported, head.Size)
	}
	if f.want == nil {
		return fmt.Sprintf("%d events, the history is whole", head.Size), nil
	}
	refused, ok := errors.AsType[*mirror.RefusedError](b.said)
	if !ok {
		return "", fmt.Errorf("it is refused without both heads: %w", b.said)
	}
	return fmt.Sprintf("%d events; named: %s: %v", head.Size, refused.Mirrored.Origin, f.want), nil
}

// mirrored is what the mirror says now.
func (b *befallen) mirrored() { b.said = b.pass(b.ctx, b.keys) }

// goOn lets the log go on under its own key.
func (b *befallen) goOn() error { return b.append(b.ctx, b.key1, nil, nil) }

// succeed lets the log go on as a successor, with a new key.
func (b *befallen) succeed() error {
	next, err := b.key(2)
	if err != nil {
		return err
	}
	if err := b.append(b.ctx, next, &filesink.Options{Predecessor: b.keys[0]}, nil); err != nil {
		return err
	}
	b.keys = append(b.keys, next.Verifier())
	return nil
}

func killed(b *befallen) error {
	for range 3 {
		if err := b.work(b.ctx, b.reported+20); err != nil {
			return err
		}
	}
	b.mirrored()
	return nil
}

// killedAtEveryStep kills the program at each call on its mirror's store, before
// and behind what the call does, until it gets through two jobs.
func killedAtEveryStep(b *befallen) error {
	for step, killed := 1, true; killed; step++ {
		killed = false
		for _, behind := range []bool{false, true} {
			p, err := b.start(b.ctx, step, behind)
			if err != nil {
				return err
			}
			passes := 0
			err = p.until(func(int64, int64) bool { passes++; return passes == 2 })
			p.kill()
			if err != nil && !errors.Is(err, errEnded) {
				return err
			}
			killed = killed || err != nil
		}
	}
	b.mirrored()
	return nil
}

// lost loses log, key and anchor, and goes on as a successor of what was restored.
func lost(b *befallen) error {
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	if _, err := b.restore(b.ctx, b.log(), 0, b.keys); err != nil {
		return err
	}
	if err := b.succeed(); err != nil {
		return err
	}
	b.mirrored()
	return nil
}

// wiped removes the log and its anchor: a new one begins, with fewer events.
func wiped(b *befallen) error {
	if err := errors.Join(os.RemoveAll(b.log()), os.Remove(b.anchor()), b.goOn()); err != nil {
		return err
	}
	b.mirrored()
	return nil
}

// rollBack puts log and anchor back to what they were before some more work.
func (b *befallen) rollBack() error {
	// What the kill left is made good first, as the copy is of a log that was closed.
	if err := b.goOn(); err != nil {
		return err
	}
	old := filepath.Join(b.dir, "old")
	anchor, err := os.ReadFile(b.anchor())
	if err == nil {
		err = os.CopyFS(old, os.DirFS(b.log()))
	}
	if err == nil {
		err = b.work(b.ctx, b.reported+40)
	}
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(b.log()), os.Rename(old, b.log()), os.WriteFile(b.anchor(), anchor, 0o600))
}

func rolledBack(b *befallen) error {
	err := b.rollBack()
	b.mirrored()
	return err
}

func forked(b *befallen) error {
	err := b.rollBack()
	for size := int64(0); err == nil && size <= b.reported; size += 4 { // longer than the mirror
		err = b.goOn()
	}
	b.mirrored()
	return err
}

func succeeded(b *befallen) error {
	if err := errors.Join(b.rollBack(), b.succeed()); err != nil {
		return err
	}
	if b.mirrored(); !errors.Is(b.said, mirror.ErrShrunken) && !errors.Is(b.said, mirror.ErrForked) {
		return fmt.Errorf("the mirror took it without an operator: %w", b.said)
	}
	b.said = b.mirror(b.ctx, b.keys, func(m *mirror.Mirror) error {
		if _, err := m.Accept(b.ctx, mirror.Acceptance{By: "the example's operator", Reason: "restored from a snapshot on purpose"}); err != nil {
			return err
		}
		return m.Sync(b.ctx)
	})
	return nil
}

// changed changes an event behind what is mirrored.
func changed(b *befallen) error {
	if b.mirrored(); b.said != nil {
		return b.said
	}
	if err := b.goOn(); err != nil {
		return err
	}
	segments, err := filepath.Glob(filepath.Join(b.log(), "entries", "*.jsonl"))
	if err != nil {
		return err
	}
	file := segments[len(segments)-1]
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	i := bytes.LastIndex(text, []byte(afterTheFault))
	if i < 0 {
		return errors.New("the event to be changed is not there")
	}
	text[i] ^= 1
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	if b.mirrored(); b.said == nil { // what is good before it was mirrored first
		b.mirrored()
	}
	return nil
}

func skewed(b *befallen) error {
	for _, by := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		if err := b.append(b.ctx, b.key1, nil, func() time.Time { return time.Now().Add(by) }); err != nil {
			return err
		}
	}
	b.mirrored()
	return nil
}

// cutOff cuts the network while the program works, and connects it again. The jobs
// go on meanwhile, and are mirrored then.
func cutOff(b *befallen) error {
	p, err := b.start(b.ctx, 0, false)
	if err != nil {
		return err
	}
	defer p.kill()
	behind := func(durable, mirrored int64) bool { return durable > mirrored+8 }
	level := func(durable, mirrored int64) bool { return mirrored == durable }
	if err := errors.Join(p.until(level), b.where.cut(b.name, true), p.until(behind), b.where.cut(b.name, false), p.until(level)); err != nil {
		return err
	}
	p.kill()
	b.mirrored()
	return nil
}
