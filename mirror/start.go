package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// maxWait bounds the time between two passes while they fail.
const maxWait = time.Minute

// Start mirrors a log until [Mirror.Close] or until ctx ends. It does not wait for
// the store: one that is away at the start is tried again, like one that goes
// away later. The error is about the options.
func Start(ctx context.Context, source Source, store Store, o *Options) (*Mirror, error) {
	m, err := New(source, store, o)
	if err != nil {
		return nil, err
	}
	ctx, m.stop = context.WithCancel(ctx)
	m.stopped = make(chan struct{})
	go func() {
		defer close(m.stopped)
		m.run(ctx)
	}()
	return m, nil
}

func (m *Mirror) run(ctx context.Context) {
	wait := m.opts.Interval
	for {
		err := m.Sync(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			m.tell(err)
			wait = min(2*wait, max(maxWait, m.opts.Interval))
		} else {
			wait = m.opts.Interval
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// tell calls OnError. What that does otherwise does not end the mirror.
func (m *Mirror) tell(err error) {
	if _, wild := apart(func() error { m.opts.OnError(err); return nil }); wild != nil {
		slog.Default().Error("job audit mirror: Options.OnError did not return", slog.Any("error", err))
	}
}

// Close ends what [Start] began, after one last pass, for which it waits as long
// as ctx allows. Close the mirror after the recorder and before the sink. It may
// be called again, and does nothing after [New].
func (m *Mirror) Close(ctx context.Context) error {
	if m.stop == nil {
		return nil
	}
	m.stop()
	select {
	case <-m.stopped:
	case <-ctx.Done():
		return fmt.Errorf("mirror: close: %w", ctx.Err())
	}
	return m.Sync(ctx)
}

// contactRecord is an object that says that the mirror runs.
type contactRecord struct {
	Format string    `json:"format"`
	Time   time.Time `json:"time"`
	Branch int       `json:"branch"`
	Size   int64     `json:"size"`
	Root   tlog.Hash `json:"root"`
}

const contactFormat = "jobaudit.mirror/contact/v1"

// contactName sorts later times first.
func contactName(t time.Time) string {
	return fmt.Sprintf("%s%016d.%d", contactPrefix, maxSize-t.Unix(), t.Unix())
}

// contactTime returns the time that a name tells.
func contactTime(name string) (time.Time, bool) {
	_, digits, _ := strings.Cut(strings.TrimPrefix(name, contactPrefix), ".")
	seconds, err := strconv.ParseInt(digits, 10, 64)
	t := time.Unix(seconds, 0)
	return t, err == nil && contactName(t) == name
}

// readContact finds out when something was last said.
func (m *Mirror) readContact(ctx context.Context) error {
	t, _, err := m.target.newestContact(ctx)
	if err != nil {
		return fmt.Errorf("mirror: the store: %w", err)
	}
	m.contact = t
	return nil
}

// newestContact returns the newest time that a contact's name tells, and the name.
func (t *target) newestContact(ctx context.Context) (at time.Time, name string, err error) {
	for name, err := range t.store.List(ctx, contactPrefix, contactName(time.Now().Add(contactAhead))) {
		if err != nil {
			return at, "", err
		}
		if at, ok := contactTime(name); ok {
			return at, name, nil
		}
	}
	return at, "", nil
}

// contactAhead is by how much a mirror's clock may be ahead of ours: a name from
// the far future would stand before all others for ever.
const contactAhead = 25 * time.Hour

// touch says that the mirror runs, if nothing else has said it for a while.
func (m *Mirror) touch(ctx context.Context) error {
	now := time.Now()
	if since := now.Sub(m.contact); m.opts.Contact < 0 || since >= 0 && since < m.opts.Contact {
		return nil
	}
	data, err := json.Marshal(contactRecord{contactFormat, now.UTC().Truncate(time.Second), m.branch(), m.at.size(), m.at.claimed.Root})
	if err == nil {
		err = m.target.store.Put(ctx, contactName(now), append(data, '\n'))
	}
	if err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("mirror: the store: %w", err)
	}
	m.contact = now
	return nil
}
