package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/story"
)

// evidenceCommands are those that make evidence and check it.
func (a *app) evidenceCommands() []*cobra.Command {
	return []*cobra.Command{a.proveCommand(), a.checkProofCommand(), a.sinceCommand(), a.reportCommand(), a.checkReportCommand(), a.reviewCommand()}
}

// segments are a log's lines as auditlog.Verify takes them.
func (a *app) segments(ctx context.Context, source log, keys []note.Verifier) ([]auditlog.Segment, error) {
	lines := func(of func() (filesink.Lines, error)) []auditlog.Segment {
		return []auditlog.Segment{{Name: source.String(), Open: func() (io.ReadCloser, error) {
			from, err := of()
			if err != nil {
				return nil, err
			}
			return pour(ctx, from), nil
		}}}
	}
	switch l := source.(type) {
	case directory:
		reader, err := filesink.OpenReader(l.path)
		if err != nil {
			return nil, err
		}
		a.closers = append(a.closers, reader.Close)
		return reader.Segments()
	case *database:
		return lines(func() (filesink.Lines, error) { return l.sink.Lines, nil }), nil
	case *mirrored:
		return lines(func() (filesink.Lines, error) {
			reader, err := l.reader(ctx, keys)
			if err != nil {
				return nil, err
			}
			return reader.Lines, nil
		}), nil
	}
	return nil, fmt.Errorf("%s cannot be read line by line", source)
}

// pour makes a file of a log's lines while it is read.
func pour(ctx context.Context, lines filesink.Lines) io.ReadCloser {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		out := bufio.NewWriterSize(w, 256<<10)
		for line, err := range lines(ctx, 0) {
			if err == nil {
				_, err = out.Write(append(line[:len(line):len(line)], '\n'))
			}
			if err != nil {
				_ = w.CloseWithError(err)
				return
			}
		}
		_ = w.CloseWithError(out.Flush()) // nil is the end of the file
	}()
	return closing{r, cancel}
}

// closing ends what writes into a pipe when the pipe is closed.
type closing struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (c closing) Close() error {
	c.cancel()
	return c.PipeReader.Close()
}

// evidenceSource opens a log to be proven under its newest durable head.
func (a *app) evidenceSource(ctx context.Context, name string, flags []string) (evidence.Source, error) {
	var s evidence.Source
	source, err := a.open(ctx, name)
	if err != nil {
		return s, err
	}
	if m, ok := source.(*mirrored); ok && len(flags) > 0 {
		line, err := m.line(ctx)
		if err != nil {
			return s, err
		}
		keys, err := a.keysFor(ctx, source, line, flags)
		if err != nil {
			return s, err
		}
		for _, k := range keys {
			m.keys = append(m.keys, k)
		}
	}
	signed, err := source.newest(ctx, true)
	if err != nil {
		return s, err
	}
	origin, _, err := headOf(signed)
	if err != nil {
		return s, fmt.Errorf("%s: %w", source, err)
	}
	keys, err := a.keysFor(ctx, source, origin, flags)
	if err != nil {
		return s, err
	}
	key := keys[len(keys)-1]
	for _, k := range keys {
		s.Keys = append(s.Keys, k)
		if k.Name() == origin {
			key = k
		}
	}
	s.VerifierKey = key.text
	if s.Head, err = auditlog.OpenCheckpoint(signed, key); err != nil {
		return s, fmt.Errorf("%s: its newest head: %w", source, err)
	}
	s.Segments, err = a.segments(ctx, source, s.Keys)
	return s, err
}

// keysFor are the given keys that may have signed a log with this origin or one
// that it continues, or else the one that lies beside it.
func (a *app) keysFor(ctx context.Context, source log, origin string, flags []string) (keys []verifierKey, err error) {
	if len(flags) == 0 {
		key, err := source.key(ctx)
		if err != nil {
			return nil, fmt.Errorf("no --key is given: %w", err)
		}
		return []verifierKey{key}, nil
	}
	line, _ := auditlog.SplitOrigin(origin)
	for _, flag := range flags {
		key, ok := a.read[flag] // a pipe is read once
		if !ok {
			if key, err = readKey(flag); err != nil {
				return nil, err
			}
			if a.read == nil {
				a.read = map[string]verifierKey{}
			}
			a.read[flag] = key
		}
		if name, _ := auditlog.SplitOrigin(key.Name()); name == line {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, usagef("--key: none of the keys is of the log %s in %s", plain(origin), source)
	}
	return keys, nil
}

// collect makes a file of evidence from logs.
func (a *app) collect(ctx context.Context, names, keys []string, scope evidence.Scope) (text []byte, sources []evidence.Source, err error) {
	for _, name := range names {
		s, err := a.evidenceSource(ctx, name, keys)
		if err != nil {
			return nil, nil, err
		}
		sources = append(sources, s)
	}
	text, err = evidence.Collect(ctx, sources, scope, &evidence.Options{Now: time.Now(), By: version(), Summarize: true})
	return text, sources, a.unproven("the log", err)
}

// unproven prints what is wrong with a log or with evidence, if err says that.
func (a *app) unproven(name string, err error) error {
	if found, ok := errors.AsType[*auditlog.VerifyError](err); ok {
		fmt.Fprintf(a.err, "%s %s does not verify, so that nothing is proven with it; see jobaudit verify\n", a.bad("NOT PROVEN"), plain(name))
		for _, f := range found.Findings[:min(5, len(found.Findings))] {
			fmt.Fprintf(a.err, "  %s\n", plain(f.String()))
		}
		return errFindings
	}
	if found, ok := errors.AsType[*evidence.Error](err); ok {
		fmt.Fprintf(a.err, "%s %s\n", a.bad("NOT PROVEN"), plain(name))
		for _, p := range found.Problems[:min(10, len(found.Problems))] {
			fmt.Fprintf(a.err, "  %s\n", plain(p.String()))
		}
		if more := len(found.Problems) - 10 + found.More; more > 0 {
			fmt.Fprintf(a.err, "  and %s more\n", count(more, "problem"))
		}
		return errFindings
	}
	return err
}

// checked prints what a file of evidence proves.
func (a *app) checked(b *evidence.Bundle, asJSON bool) error {
	if asJSON {
		if b.Statement.Summary != nil {
			fmt.Fprintln(a.err, "jobaudit: these jobs are not complete here: the file has a summary")
		}
		for r, err := range b.Records() {
			if err == nil {
				err = a.printJSON(r.Bytes())
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	events := 0
	for _, l := range b.Logs {
		events += len(l.Records)
	}
	fmt.Fprintf(a.out, "%s %s\n", a.good("proven"), count(events, "event"))
	for _, l := range b.Logs {
		h := l.Checkpoint.Head()
		fmt.Fprint(a.out, row("log", "%s, %s under the head of size %d", h.Origin, count(len(l.Records), "event"), h.Size))
	}
	a.statement(b)
	for _, n := range b.Notes {
		fmt.Fprint(a.out, row("note", "%s", n))
	}
	fmt.Fprintln(a.out)
	var jobs, audit []jobaudit.Record
	for r, err := range b.Records() {
		if err != nil {
			return err
		}
		if r.JobID() == uuid.Nil {
			audit = append(audit, r)
		} else {
			jobs = append(jobs, r)
		}
	}
	if err := story.TimelineIn(a.out, each(jobs), elsewhereIn(b)); err != nil || len(audit) == 0 {
		return err
	}
	fmt.Fprintf(a.out, "\nand, of the audit itself,\n")
	for _, r := range audit {
		if err := a.event(r, &filters{}, false); err != nil {
			return err
		}
	}
	return nil
}

// statement prints what the person who made the file says.
func (a *app) statement(b *evidence.Bundle) {
	s := b.Statement
	if s.Summary != nil {
		fmt.Fprint(a.out, row("stated", "%s of %s, too many for a file: here are failures,", count(s.Summary.Events, "event"), count(s.Summary.Jobs, "job")))
		fmt.Fprint(a.out, row("", "denials, cancellations, corrections, losses and acts;"))
		fmt.Fprint(a.out, row("", "these jobs are not complete here"))
		a.maker(s)
		return
	}
	jobs := map[uuid.UUID]bool{}
	for r := range b.Records() {
		if r.JobID() != uuid.Nil {
			jobs[r.JobID()] = true
		}
	}
	fmt.Fprint(a.out, row("complete", "%s, %s, each from its first event on without a gap", count(len(jobs), "job"), count(len(s.Streams), "stream")))
	fmt.Fprint(a.out, row("stated", "that no other stream and no later event is under these heads"))
	a.maker(s)
}

// maker says whose word a statement is.
func (a *app) maker(s evidence.Statement) {
	fmt.Fprint(a.out, row("", "which nobody signed but who made the file, %s", s.Made.UTC().Format(time.RFC3339)))
	fmt.Fprint(a.out, row("with", "%s", s.By))
}

// openEvidence opens a file of evidence.
func (a *app) openEvidence(file string, text []byte, keys []note.Verifier) (*evidence.Bundle, error) {
	b, err := evidence.Open(text, keys)
	if errors.Is(err, evidence.ErrFormat) {
		fmt.Fprintf(a.err, "%s %s: %s\n", a.bad("NOT PROVEN"), plain(file), plain(err.Error()))
		return nil, errFindings
	}
	return b, a.unproven(file, err)
}

// writeFile writes a result, to standard output for "-". A new file is readable by its
// owner only, as an export is: it holds what the log holds.
func (a *app) writeFile(name string, text []byte) error {
	if name == "-" {
		_, err := a.out.Write(text)
		return err
	}
	return os.WriteFile(name, text, 0o600)
}
