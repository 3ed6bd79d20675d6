package main

import (
	"context"
	"errors"
	"iter"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/pgsink"
)

// isDatabase tells whether a source is a database's URL.
func isDatabase(source string) bool {
	return strings.HasPrefix(source, "postgres://") || strings.HasPrefix(source, "postgresql://")
}

// database is a log in PostgreSQL. Its user needs the reader's role.
type database struct {
	url  string
	sink *pgsink.Sink
}

func (a *app) openDatabase(ctx context.Context, source string) (log, error) {
	// Pooled costs a round trip or two, and needs no word from the user that there is a pooler.
	sink, err := pgsink.Open(ctx, source, &pgsink.Options{Pooled: true, OnError: func(error) {}})
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, sink.Close)
	return &database{source, sink}, nil
}

// String is the URL without what may be a secret.
func (d *database) String() string { return bareURL(d.url) }

func bareURL(source string) string {
	u, err := url.Parse(source)
	if err != nil {
		return "the database"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func (d *database) records(ctx context.Context, q jobaudit.Query, _ string, unread *int) iter.Seq2[jobaudit.Record, error] {
	return readable(d.sink.Records(ctx, q), unread)
}

// readable counts the records that cannot be read and leaves them out.
func readable(records iter.Seq2[jobaudit.Record, error], unread *int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for r, err := range records {
			if _, ok := errors.AsType[*jobaudit.UnreadableError](err); ok {
				*unread++
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// tail yields what waits for its place too, unless it is to follow: then the
// order has to be final.
func (d *database) tail(ctx context.Context, q jobaudit.Query, n int, follow bool, unread *int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		last := jobaudit.Record{}
		if follow {
			var err error
			if last, err = d.lastPlaced(ctx); err != nil {
				yield(jobaudit.Record{}, err)
				return
			}
		}
		newest, err := d.newestRecords(ctx, q, last, n, unread)
		if err != nil {
			yield(jobaudit.Record{}, err)
			return
		}
		for _, r := range slices.Backward(newest) {
			if !yield(r, nil) {
				return
			}
		}
		if !follow {
			return
		}
		q.After = last.ID()
		for r, err := range readable(d.sink.Tail(ctx, q), unread) {
			if err != nil && ctx.Err() != nil {
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// newestRecords reads the newest n records that match, newest first: those up
// to last, if that is one.
func (d *database) newestRecords(ctx context.Context, q jobaudit.Query, last jobaudit.Record, n int, unread *int) (newest []jobaudit.Record, err error) {
	q.NewestFirst = true
	if last.Len() > 0 {
		q.After = last.ID()
		if q.Match(last) {
			newest = append(newest, last)
		}
	}
	for r, err := range readable(d.sink.Records(ctx, q), unread) {
		if len(newest) >= n {
			break
		}
		if err != nil {
			return nil, err
		}
		newest = append(newest, r)
	}
	return newest[:min(n, len(newest))], nil
}

// lastPlaced returns the newest record that has its place, the zero Record if
// there is none.
func (d *database) lastPlaced(ctx context.Context) (jobaudit.Record, error) {
	w, err := d.sink.Waiting(ctx)
	if err != nil || w.Size == 0 {
		return jobaudit.Record{}, err
	}
	for line, err := range d.sink.Lines(ctx, w.Size-1) {
		if err != nil {
			return jobaudit.Record{}, err
		}
		return jobaudit.ParseRecord(line)
	}
	return jobaudit.Record{}, nil
}

// newest is durable: a head is seen when its transaction has committed.
func (d *database) newest(ctx context.Context, _ bool) ([]byte, error) {
	w, err := d.sink.Waiting(ctx)
	if err != nil {
		return nil, err
	}
	var commit []byte
	for line, err := range d.sink.Lines(ctx, max(w.Size-1, 0)) {
		if err != nil {
			return nil, err
		}
		if auditlog.IsCommit(line) {
			commit = line
		}
	}
	if commit == nil {
		return nil, errors.New("the log in " + d.String() + " has no commit")
	}
	return signedNote(commit)
}

func (d *database) key(context.Context) (verifierKey, error) {
	return verifierKey{}, usagef("no key lies beside a database: it has to be given")
}

func (d *database) prove(ctx context.Context, id uuid.UUID, key note.Verifier) (auditlog.Proof, error) {
	return d.sink.Prove(ctx, id, key)
}

func (d *database) copy(ctx context.Context, dir string, keys []note.Verifier) (auditlog.Checkpoint, error) {
	return filesink.CopyLines(ctx, d.sink.Lines, dir, keys)
}

// verify verifies the database, and returns what it found as of a directory.
func (d *database) verify(ctx context.Context, opts *filesink.VerifyOptions) (report, error) {
	var companions []pgsink.Companion
	for _, c := range opts.Companions {
		companions = append(companions, pgsink.Companion{Report: c.Report, CompanionOf: c.CompanionOf})
	}
	r, err := pgsink.Verify(ctx, d.url, &pgsink.VerifyOptions{
		Keys: opts.Keys, Heads: opts.Heads, Checkpoints: opts.Checkpoints, Quick: opts.Quick, Progress: opts.Progress,
		Companions: companions, AcceptLoss: opts.AcceptLoss,
	})
	result := report{Waiting: r.Waiting, Report: filesink.Report{
		Report: r.Report, Records: r.Records, Jobs: r.Jobs, Streams: r.Streams,
		Ghosts: r.Ghosts, Unapplied: r.Unapplied, Dangling: r.Dangling, Foreign: r.Foreign, CompanionOf: r.CompanionOf, Notes: findings(r.Notes),
	}}
	if found, ok := errors.AsType[*pgsink.VerifyError](err); ok {
		wrong := &filesink.VerifyError{Findings: findings(found.Findings), More: found.More}
		if both, ok := err.(interface{ Unwrap() []error }); ok { // not everything could be read
			wrong.Findings = append(wrong.Findings, filesink.Finding{Finding: auditlog.Finding{
				Kind: "unread", Index: -1, Commit: -1, Offset: -1, End: result.Head.Size, Expected: "a log that can be read", Found: both.Unwrap()[1].Error(),
			}})
		}
		return result, wrong
	}
	if err == nil {
		result.Durable = r.Head
	}
	return result, err
}

func findings(list []pgsink.Finding) (same []filesink.Finding) {
	for _, f := range list {
		same = append(same, filesink.Finding{Finding: f.Finding, EventID: f.EventID, JobID: f.JobID, Explained: f.Explained})
	}
	return same
}
