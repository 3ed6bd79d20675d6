package filesink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/jobaudit/jobaudit/auditlog"
)

// checkAnchors compares the head that was found with those kept outside. The
// anchors of a predecessor are evidence only.
func (o *opening) checkAnchors() error {
	var err error
	o.outside = nil
	if o.base = o.head; o.head.IsZero() || o.head.Head().Origin != o.key.signer.Name() {
		if o.base, err = o.tree.Sign(o.key.signer); err != nil {
			return err
		}
	}
	if o.head.Head().Origin != "" && o.head.Head().Origin != o.key.signer.Name() {
		o.readPredecessor()
	}
	for _, a := range o.anchors {
		if err := o.checkAnchor(a); err != nil {
			return err
		}
	}
	return nil
}

func (o *opening) checkAnchor(a *kept) error {
	outside, err := o.compare(a)
	if err != nil && !errors.Is(err, auditlog.ErrNoHead) && !o.rebuilt && o.cache != nil {
		// The hashes are a cache: they are rebuilt before a finding is reported.
		if _, wrong := errors.AsType[*auditlog.HeadError](err); wrong && o.outsideSize(outside) <= o.base.Head().Size {
			if err := o.rebuild(o.base); err != nil {
				return err
			}
			outside, err = o.compare(a)
		}
	}
	switch {
	case err == nil:
		a.head = outside
		o.see(outside.Head())
		return nil
	case errors.Is(err, auditlog.ErrNoHead):
		return o.missing(a)
	case errors.Is(err, auditlog.ErrFormat):
		return &RefusedError{Dir: o.path, Log: o.base.Head(), Anchor: a.name, Err: fmt.Errorf("the anchor holds no signed head (is it empty, cut short, or another file?): put back what it held; or remove it and set Options.AllowMissingAnchor once, which gives up noticing a rollback until now: %w", err)}
	case signedWrongly(err):
		return &RefusedError{Dir: o.path, Log: o.base.Head(), Anchor: a.name, Err: fmt.Errorf("the anchor is of another log or another key: set Options.AnchorPath or Options.Anchor to the one of this log, a successor to a new one: %w", err)}
	case !outside.IsZero():
		return &RefusedError{Dir: o.path, Log: o.base.Head(), Anchor: a.name, Outside: outside.Head(), Err: fmt.Errorf("%w. %s", err, o.asSuccessor())}
	default:
		return fmt.Errorf("anchor %s: %w", a.name, err)
	}
}

func (o *opening) outsideSize(c auditlog.Checkpoint) int64 { return c.Head().Size }

func (o *opening) compare(a *kept) (auditlog.Checkpoint, error) {
	ctx, cancel := context.WithTimeout(o.ctx, anchorTimeout)
	defer cancel()
	hashes := (&treeCache{}).hashes()
	if o.cache != nil {
		hashes = o.cache.hashes()
	}
	return auditlog.CheckAnchor(ctx, a.Anchor, o.base, o.key.verifier, hashes)
}

// missing decides about an anchor without a head.
func (o *opening) missing(a *kept) error {
	const override = "allow-missing-anchor"
	switch {
	case o.head.IsZero(), o.head.Head().Origin != o.key.signer.Name():
		return nil // a new log, and putFirst will put its first head
	case !o.opts.AllowMissingAnchor:
		return &RefusedError{Dir: o.path, Log: o.base.Head(), Anchor: a.name, Err: ErrMissingAnchor}
	case len(o.recovery.Overrides) == 0:
		o.recovery.Overrides = append(o.recovery.Overrides, override)
	}
	return nil
}

func (o *opening) see(h auditlog.Head) {
	if o.outside == nil || h.Size > o.outside.Size {
		o.outside = &h
	}
}

// readPredecessor looks for the predecessor's newest head outside: in its own
// default anchor.
func (o *opening) readPredecessor() {
	old, ok := o.opts.Predecessor.(*Key)
	if !ok {
		return // its anchor is kept elsewhere, at a place that is not known
	}
	signed, err := newFileAnchor(o.opts.disk, old.path+anchorSuffix).Latest(o.ctx)
	if err != nil {
		return // the report says that no such head is known
	}
	if c, err := auditlog.OpenCheckpoint(signed, old.verifier); err == nil {
		o.see(c.Head())
	}
}

func signedWrongly(err error) bool {
	return errors.Is(err, auditlog.ErrFormat) || errors.Is(err, auditlog.ErrOrigin) ||
		errors.Is(err, auditlog.ErrUnknownKey) || errors.Is(err, auditlog.ErrSignature)
}

// putFirst puts a head to each anchor that has none.
func (o *opening) putFirst() error {
	for _, a := range o.anchors {
		if !a.head.IsZero() {
			continue
		}
		ctx, cancel := context.WithTimeout(o.ctx, anchorTimeout)
		err := a.Put(ctx, o.base)
		cancel()
		if err != nil {
			if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
				err = fmt.Errorf("it cannot be written there; a key may lie on a read-only mount, its anchor may not: set Options.AnchorPath: %w", err)
			}
			return fmt.Errorf("anchor %s: %w", a.name, err)
		}
		a.head = o.base
	}
	return nil
}
