// Package slogaudit writes the log lines that a job prints with log/slog to the job's
// own record, as job.logged events, beside wherever they go already.
//
//	slog.SetDefault(slog.New(slogaudit.New(slog.Default().Handler(), nil)))
//
// A line belongs to the job whose context it is logged with, as by
// [slog.InfoContext]: inside [jobaudit.Recorder.Run] that is the context which the
// function gets. Lines without such a context, as of [slog.Info], go to the handler
// behind and nowhere else.
//
// # Debug lines do not belong there
//
// From slog.LevelInfo on, lines are recorded; [Options] has another level. Debug
// lines are left out for good reasons:
//
//   - A record is kept for years and cannot be shortened. Debug lines are most of
//     what programs print, and nobody asks for them after a week.
//   - They share the job's buffer with its heartbeats and snapshots, and crowd them
//     out: what a full buffer drops is counted, and gone.
//   - They hold variables: of all texts they are the likeliest to hold a secret that
//     nothing recognises.
//   - An auditor reads who did what and why. A hundred lines about a cache between two
//     answers hide both.
//
// What the record must say, say with the calls that are made for it: an outcome's
// impact, a snapshot, an output that a policy keeps.
//
// # What becomes of a line
//
// It is the message and then the attributes as name=value, as slog's text handler
// writes them, without time and level "INFO": the event has its own time. It is
// searched for secrets and compared with what was removed from the job's inputs, and
// a line that fails is dropped as a whole, with its attributes: see
// docs/redaction.md. Lines over 4,096 bytes are cut. A line that cannot be recorded
// is reported to Options.OnError of the Recorder; logging returns no error for it and
// does not wait.
//
// A Recorder that logs its own errors through this handler does so outside of any
// job's context, so they do not become events.
package slogaudit

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit"
)

// Options are the optional parts of a [Handler]. The zero value, like nil, gives
// the defaults.
type Options struct {
	// Level is the least level that is recorded. The handler behind has its own.
	// Default: slog.LevelInfo.
	Level slog.Leveler
}

// Handler hands log lines on, and records those of jobs. It is safe for concurrent
// use, as far as the handler behind it is.
type Handler struct {
	next  slog.Handler
	level slog.Leveler
	steps []func(slog.Handler) slog.Handler // the attributes and groups given so far
}

// New returns a handler in front of another. A nil next drops what is handed on.
func New(next slog.Handler, opts *Options) *Handler {
	h := &Handler{next: next, level: slog.LevelInfo}
	if next == nil {
		h.next = slog.DiscardHandler
	}
	if opts != nil && opts.Level != nil {
		h.level = opts.Level
	}
	return h
}

// Enabled reports whether the line goes anywhere: to the handler behind, or to the
// record of a job.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.records(ctx, level) || h.next.Enabled(ctx, level)
}

func (h *Handler) records(ctx context.Context, level slog.Level) bool {
	_, inJob := jobaudit.FromContext(ctx)
	return inJob && level >= h.level.Level()
}

// Handle records the line, if it is a job's and of a sufficient level, and hands it
// on. The error is that of the handler behind.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if h.records(ctx, r.Level) {
		if trail, ok := jobaudit.FromContext(ctx); ok {
			trail.Log(ctx, h.line(ctx, r))
		}
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs returns a handler whose lines have these attributes.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup returns a handler whose further attributes stand below a name.
func (h *Handler) WithGroup(name string) slog.Handler {
	return h.with(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *Handler) with(step func(slog.Handler) slog.Handler) *Handler {
	return &Handler{next: step(h.next), level: h.level, steps: append(slices.Clip(h.steps), step)}
}

// lines are buffers for lines.
var lines = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// line is what is recorded. slog's own handler writes the attributes, so that values
// that hide themselves (slog.LogValuer) do so here too.
func (h *Handler) line(ctx context.Context, r slog.Record) string {
	buf, ok := lines.Get().(*bytes.Buffer)
	if !ok {
		buf = new(bytes.Buffer)
	}
	defer lines.Put(buf)
	buf.Reset()
	var to slog.Handler = slog.NewTextHandler(buf, nil)
	for _, step := range h.steps {
		to = step(to)
	}
	bare := slog.NewRecord(time.Time{}, slog.LevelInfo, "", 0) // the event has its own time
	r.Attrs(func(a slog.Attr) bool {
		bare.AddAttrs(a)
		return true
	})
	_ = to.Handle(ctx, bare) // a buffer takes everything
	said := r.Message
	if r.Level != slog.LevelInfo {
		said = r.Level.String() + " " + said
	}
	return said + strings.TrimSuffix(strings.TrimPrefix(buf.String(), `level=INFO msg=""`), "\n")
}
