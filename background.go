package jobaudit

import (
	"cmp"
	"context"
	"errors"
)

// Log records a line that the job has printed.
func (t *Trail) Log(ctx context.Context, line string) {
	passed := t.door.text(line)
	t.report(ctx, "log", t.note(JobLogged, func(d *draft) { d.data.line = &passed }))
}

// Heartbeat records that the job is alive, and how far it has come.
func (t *Trail) Heartbeat(ctx context.Context, p Progress) {
	t.mu.Lock()
	t.progress = &p
	t.mu.Unlock()
	t.report(ctx, "heartbeat", t.beat())
}

// beat records a heartbeat with the newest progress.
func (t *Trail) beat() error {
	return t.note(JobHeartbeat, func(d *draft) {
		d.data.heartbeat = &heartbeatData{progress: t.progress}
		if t.patience > 0 {
			d.data.heartbeat.deadline = d.time.Add(t.patience)
		}
	})
}

// Snapshot records the state of a resource before or after the job changed
// it. Resource and Digest are required.
func (t *Trail) Snapshot(ctx context.Context, s Snapshot) {
	err := checkIdentifiers([]struct{ field, value string }{
		{"data.snapshot.resource", s.Resource}, {"data.snapshot.digest", s.Digest},
	})
	switch {
	case err != nil:
	case s.Resource == "":
		err = &FieldError{Field: "data.snapshot.resource", Problem: "is required"}
	case s.Digest == "":
		err = &FieldError{Field: "data.snapshot.digest", Problem: "is required"}
	}
	if err != nil {
		t.report(ctx, "snapshot", err)
		return
	}
	data := &snapshotData{resource: t.door.text(s.Resource), after: s.After, digest: s.Digest, summary: t.textOf(s.Summary)}
	t.report(ctx, "snapshot", t.note(JobSnapshot, func(d *draft) { d.data.snapshot = data }))
}

// Retrying records that the attempt has failed and that its queue will run the
// job again. The job stays running; the next start is another execution.
func (t *Trail) Retrying(ctx context.Context, err error) {
	data := t.errorData(err)
	t.report(ctx, "retry", t.note(AttemptFailed, func(d *draft) {
		d.data.err = cmp.Or(t.panicked, data)
		t.open = false
	}))
}

// errBufferFull is told to OnError when events begin to be dropped.
var errBufferFull = errors.New("the buffer is full: events are dropped, and counted in an audit.lost event")

// Deferring records that the attempt ends without having failed and that its
// queue will bring the job back: a snooze, a shutdown. The job stays as it is;
// the next start is another execution.
func (t *Trail) Deferring(ctx context.Context, reason string) {
	data := &errorData{code: CodeDeferred, message: t.door.text(reason)}
	t.report(ctx, "defer", t.note(AttemptDeferred, func(d *draft) {
		d.data.err = data
		t.open = false
	}))
}

// note records an event that no caller waits for.
func (t *Trail) note(typ EventType, fill func(*draft)) error {
	if t.rec.closed.Load() {
		return ErrClosed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d, err := t.advance(typ)
	if err != nil {
		return err
	}
	fill(&d)
	stored, err := t.rec.courier.offer(t.stream, t.seal(&d, background))
	if err == nil && !stored && t.rec.courier.lose(t.stream, &d) {
		err = errBufferFull
	}
	return err
}
