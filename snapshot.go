package jobaudit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Snapshot records the state of a resource before or after the job changed it.
// Resource is required, and Digest or Value. It is read before Snapshot returns,
// which does not wait for the sink; what is wrong is reported to OnError. See
// [RegistryOptions.RequireSnapshots] for actions that must have both.
func (t *Trail) Snapshot(ctx context.Context, s Snapshot) {
	if t.opened("") != nil {
		return
	}
	t.report(ctx, "snapshot", t.snapshot(s))
}

func (t *Trail) snapshot(s Snapshot) error {
	var value content
	if s.Value != nil {
		digest, err := t.digest(s.Resource, s.Value)
		if err != nil {
			return err
		}
		s.Digest = cmp.Or(s.Digest, digest)
		if _, stream := s.Value.(io.Reader); !stream {
			value = t.sanitizer.output(s.Value)
		}
	}
	if err := checkStrings(given{"data.snapshot.resource", s.Resource}, given{"data.snapshot.digest", s.Digest}); err != nil {
		return err
	}
	data := &snapshotData{
		resource: t.sanitizer.text(s.Resource), after: s.After, digest: t.rec.opts.Redactors.safe(s.Digest),
		summary: t.textOf(s.Summary), value: value.json,
	}
	return t.offer(JobSnapshot, func(d *draft) {
		d.data.snapshot = data
		if value.redaction != nil {
			d.redaction = value.redaction
		}
		t.snapshots.add(s.Resource, s.After)
	})
}

// digest is that of a value or a reader, keyed as pseudonyms are: without the
// key, which state it is of cannot be found out by trying.
func (t *Trail) digest(resource string, v any) (digest string, err error) {
	g := t.rec.opts.Redactors
	if g == nil || g.pseudonyms == nil {
		return "", &FieldError{Field: "PseudonymKey", Problem: "is required to digest the state of a resource"}
	}
	defer func() { // the value's own methods may panic
		if p := recover(); p != nil {
			err = fmt.Errorf("the state of a resource could not be read: it panicked with a %T", p)
		}
	}()
	mac, text := g.pseudonyms.Digest(t.sub.OrgID, resource)
	switch v := v.(type) {
	case io.Reader:
		_, _ = mac.Write([]byte("bytes\n"))
		_, err = io.Copy(mac, v)
	case []byte:
		_, _ = mac.Write([]byte("bytes\n"))
		_, _ = mac.Write(v)
	default:
		var canonical []byte
		canonical, err = canonicalJSON(v)
		_, _ = mac.Write([]byte("json\n"))
		_, _ = mac.Write(canonical)
	}
	if err != nil {
		return "", errors.New("the state of a resource could not be read") // the error may quote it
	}
	return text(), nil
}

// canonicalJSON is one JSON text for a value, whatever order its maps, or the
// JSON that it is, have.
func canonicalJSON(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // which keeps the digits of a number
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}

// snapshots is what a Trail has recorded of the state of resources.
type snapshots struct {
	before, after bool
	open          []string // resources with a snapshot before and none after
	forgotten     int      // how many more there are
}

// maxOpenSnapshots bounds what is remembered of resources.
const maxOpenSnapshots = 1_000

func (s *snapshots) add(resource string, after bool) {
	at := slices.Index(s.open, resource)
	switch {
	case after:
		s.after = true
		switch {
		case at >= 0:
			s.open = slices.Delete(s.open, at, at+1)
		case s.forgotten > 0:
			s.forgotten--
		}
	default:
		s.before = true
		switch {
		case at >= 0:
		case len(s.open) < maxOpenSnapshots:
			s.open = append(s.open, resource)
		default:
			s.forgotten++
		}
	}
}

// missing names the snapshots that an action requires and its job has not: one
// before its change, and one after it of each resource that it has one of before.
func (s *snapshots) missing() (names []string) {
	if !s.before {
		names = append(names, "before")
	}
	if !s.after || len(s.open) > 0 || s.forgotten > 0 {
		names = append(names, "after")
	}
	return names
}

// snapshotsAtEnd says, at the end of a job whose action requires snapshots, which
// are missing: in the outcome's event if the job has succeeded, and by an error if
// it has, or if a snapshot before the change has none after it. mu is held.
func (t *Trail) snapshotsAtEnd(d *draft) error {
	g := t.rec.opts.Redactors
	if g == nil || !slices.Contains(g.opts.RequireSnapshots, t.sub.Action) {
		return nil
	}
	if d.typ == JobSucceeded {
		d.data.missing = t.snapshots.missing()
	}
	switch n := len(t.snapshots.open); {
	case n > 0:
		return fmt.Errorf("%d resources have a snapshot before the change and none after it", n)
	case len(d.data.missing) > 0:
		return errors.New("the action requires snapshots before and after the change, and one is missing")
	}
	return nil
}

// SetAffected says how many of what the job has changed, beside what SetImpact
// says in words, so that it can be added up: 1,000 and "records". The count is
// from 0 to 2⁵³; the unit is required. It is stored with the outcome; what is
// wrong is reported to OnError and not stored.
func (t *Trail) SetAffected(ctx context.Context, count int64, unit string) {
	if t.opened("") != nil {
		return
	}
	err := checkStrings(given{"data.affected.unit", unit})
	if problem := fieldsByPath()["data.affected.count"].CheckInteger(count); problem != "" {
		err = &FieldError{Field: "data.affected.count", Problem: problem}
	}
	if err != nil {
		t.report(ctx, "affected", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.affected = &affectedData{count: count, unit: t.rec.opts.Redactors.safe(unit)}
}
