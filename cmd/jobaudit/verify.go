package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

func (a *app) verifyCommand() *cobra.Command {
	var keys, anchors, lost, companions, companionKeys []string
	var asJSON bool
	opts := &filesink.VerifyOptions{}
	cmd := &cobra.Command{
		Use:   "verify SOURCE... --key VKEY [--anchor FILE]",
		Short: "Prove the log, and that its records agree",
		Long: `Prove that each record is what was signed for, that the log agrees with heads
kept elsewhere, and that what the records say agrees.

It prints how far that came:
  L0  the hashes agree
  L1  the given key signed them
  L2  the log agrees with the given anchors

Of several logs each is verified with the keys and anchors of its origin, and that one of
those is of no log is a finding. One that cannot be read is named, and the others are verified;
the exit code is 3 then, or 1 if there are findings, too.

Only an anchor shows that a log was cut short, rolled back, or rewritten by the
holder of its key. Read it from a place where that person could not change it.`,
		Args:              wrongly(cobra.MinimumNArgs(1)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if opts.Keys, err = readKeys(keys); err != nil {
				return err
			}
			a.keys = opts.Keys
			for _, file := range anchors {
				signed, err := readInput(file)
				if err != nil {
					return fmt.Errorf("anchor: %w", err)
				}
				opts.Checkpoints = append(opts.Checkpoints, signed)
			}
			for _, text := range lost {
				head, err := readHead(text)
				if err != nil {
					return err
				}
				opts.AcceptLoss = append(opts.AcceptLoss, head)
			}
			if opts.Companions, err = a.companions(cmd.Context(), companions, companionKeys); err != nil {
				return err
			}
			if len(args) > 1 {
				return a.verifyAll(cmd.Context(), args, opts, asJSON)
			}
			source, err := a.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.verify(cmd.Context(), source, opts, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&keys, "key", nil, "verifier key, as text or in a file; once for each log of a line of successors, oldest first")
	flags.StringArrayVar(&anchors, "anchor", nil, "file with a signed head that was kept elsewhere; may be repeated")
	flags.StringArrayVar(&lost, "accept-loss", nil, "a head, as a file or as SIZE:ROOT, that the log is known not to hold any more: a note if the log says so too, and never L2; may be repeated")
	flags.StringArrayVar(&companions, "companion", nil, "companion log, as jobaudit act writes: the heads that it names must be on this log's history; may be repeated")
	flags.StringArrayVar(&companionKeys, "companion-key", nil, "verifier key of the companion, as text or in a file; once for each, in the same order")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	flags.BoolVar(&opts.ParseAll, "parse-all", false, "parse each record in whole, as is always done of a database; takes some ten times as long")
	flags.BoolVar(&opts.Quick, "quick", false, "check the signature of a commit line only where no later one covers it; much faster on logs of small batches")
	return cmd
}

// report is what is known of a log, whatever it lies in.
type report struct {
	filesink.Report
	// Waiting counts the events that are accepted and have no place in the log
	// yet; nobody has signed for them. A directory has none.
	Waiting int64
}

func (d directory) verify(ctx context.Context, opts *filesink.VerifyOptions) (report, error) {
	r, err := filesink.Verify(ctx, d.path, opts)
	return report{Report: r}, err
}

// verify verifies a log and prints what comes of it.
func (a *app) verify(ctx context.Context, source log, opts *filesink.VerifyOptions, asJSON bool) error {
	done := a.progress(opts, source)
	report, err := source.verify(ctx, opts)
	done()
	var found filesink.VerifyError
	if e, ok := errors.AsType[*filesink.VerifyError](err); ok {
		found = *e
	} else if err != nil {
		return err
	}
	if asJSON {
		err = a.reportJSON(report, found)
	} else if text := anothersKey(report, found, opts.Keys); text != "" {
		_, err = fmt.Fprintf(a.out, "%s %s\n", a.bad("NOT VERIFIED"), plain(text))
	} else {
		err = a.report(report, found, len(opts.Checkpoints) > 0, opts.Companions)
	}
	switch {
	case err != nil:
		return err
	case len(found.Findings) > 0:
		return errFindings
	case report.Level == auditlog.Unverified:
		return fmt.Errorf("the log in %s is empty: there is nothing to verify", source)
	}
	return nil
}

// anothersKey says in one sentence, in place of a finding for each commit, that nothing in
// a log is signed by the given keys; "" if something is, or if there is more to say.
func anothersKey(r report, found filesink.VerifyError, keys []note.Verifier) string {
	if r.Head.Size > 0 || len(found.Findings) == 0 || len(keys) == 0 {
		return ""
	}
	var names []string
	for _, key := range keys {
		names = append(names, key.Name())
	}
	for _, f := range found.Findings {
		if f.Kind != auditlog.KindOrigin && f.Kind != auditlog.KindKey {
			return ""
		}
	}
	given := "the key of " + strings.Join(names, " and ")
	if first := found.Findings[0]; first.Kind == auditlog.KindOrigin {
		return fmt.Sprintf("This is the log %s, and what was given is %s: give its own key, and look whether this is the log that you mean.", first.Found, given)
	}
	return fmt.Sprintf("Nothing in this log is signed by %s that was given, though it has that name: it is the key of another log of the same name, or somebody without the key has written this one.", given)
}

// progress shows how far the verification has come, if somebody watches. There is nothing
// to show before it is known how much there is.
func (a *app) progress(opts *filesink.VerifyOptions, source log) (done func()) {
	if !isTerminal(a.err) {
		return func() {}
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(a.err), progressbar.OptionSetDescription("verifying"), progressbar.OptionThrottle(65 * time.Millisecond),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth(),
	}
	if _, ok := source.(*database); ok {
		options = append(options, progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("events"))
	} else {
		options = append(options, progressbar.OptionShowBytes(true))
	}
	bar := progressbar.NewOptions64(1, options...)
	bar.StartWithoutRender() // what is read before the first figure takes time, too
	shown := false
	opts.Progress = func(read, total int64) {
		shown = true
		bar.ChangeMax64(max(total, 1))
		_ = bar.Set64(read) // it is only for show
	}
	return func() {
		if shown {
			_ = bar.Clear()
		}
	}
}

// report prints for people.
func (a *app) report(r report, found filesink.VerifyError, anchored bool, companions []filesink.Report) error {
	var b strings.Builder
	if n := len(found.Findings) + found.More; n > 0 {
		fmt.Fprintf(&b, "%s %s\n", a.bad("NOT VERIFIED"), count(n, "finding"))
	} else {
		fmt.Fprintf(&b, "%s %s\n", a.good("verified "+r.Level.String()), meaning[r.Level])
	}
	b.WriteString(figures(r))
	for _, c := range companions {
		b.WriteString(row("companion", "%s, verified %s, names %s", c.Head.Origin, c.Level, count(len(c.CompanionOf), "head")))
	}
	for _, h := range r.CompanionOf[max(0, len(r.CompanionOf)-1):] {
		b.WriteString(row("about", "%s, last at size %d", h.Origin, h.Size))
	}
	for _, f := range found.Findings {
		fmt.Fprintf(&b, "\n%s", a.finding(a.bad("finding"), f))
	}
	if found.More > 0 {
		fmt.Fprintf(&b, "\nand %s more\n", count(found.More, "finding"))
	}
	for _, n := range r.Notes {
		if !counted[n.Kind] {
			fmt.Fprintf(&b, "\n%s", a.finding("note", n))
		}
	}
	if len(found.Findings) == 0 && !anchored {
		fmt.Fprintln(&b, a.faint("Without --anchor it cannot be seen whether the log was cut short or rewritten."))
	}
	_, err := fmt.Fprint(a.out, b.String())
	return err
}

// row prints a name and what it stands for.
func row(name, format string, args ...any) string {
	return fmt.Sprintf("  %-9s %s\n", name, plain(fmt.Sprintf(format, args...)))
}

// figures say what was read.
func figures(r report) string {
	rows := []string{
		row("log", "%s", r.Head.Origin),
		row("head", "size %d, root %s", r.Head.Size, r.Head.Root),
		row("durable", "%s", durable(r)),
		row("read", "%s in %s, %s, %s", count(r.Records, "record"), count(r.Commits, "commit"), count(r.Segments, "segment"), count(r.Bytes, "byte")),
		row("jobs", "%s in %s", count(r.Jobs, "job"), count(r.Streams, "stream")),
	}
	if r.Anchored > 0 {
		rows = append(rows, row("anchor", "agrees up to size %d", r.Anchored))
	}
	if r.Waiting > 0 {
		rows = append(rows, row("waiting", "%s accepted and without a place in the log yet: nobody has signed for them", count(r.Waiting, "event")))
	}
	if r.Writing {
		rows = append(rows, row("writer", "the log is being written: what is not committed yet was not looked at"))
	}
	for _, n := range []struct {
		n          int64
		what, says string
	}{
		{r.Ghosts, "execution", "without an end: running, or ghosts"},
		{r.Unapplied, "event", "without effect: behind a job's end, submitted twice, or without a start here"},
		{r.Foreign, "event", "of another organization, action, root or correlation than its job's submission"},
		{r.Dangling, "stream", "resumed from a record of another log, or by another hash than it has here"},
	} {
		if n.n > 0 {
			rows = append(rows, row("note", "%s %s", count(n.n, n.what), n.says))
		}
	}
	return strings.Join(rows, "")
}

// durable says which head is safe to keep.
func durable(r report) string {
	switch {
	case r.Durable.Size == 0:
		return "no head is known to be durable yet: keep none"
	case r.Durable.Size == r.Head.Size:
		return "this head is safe to keep as an anchor"
	}
	return fmt.Sprintf("verified to %d; %d is safe to keep, root %s", r.Head.Size, r.Durable.Size, r.Durable.Root)
}

// readHead reads a head that is given as a file with a signed checkpoint, or as
// SIZE:ROOT, which is of any origin.
func readHead(text string) (auditlog.Head, error) {
	var h auditlog.Head
	if signed, err := readInput(text); err == nil {
		lines := strings.Split(string(signed), "\n")
		if len(lines) > 3 {
			h.Origin, text = lines[0], lines[1]+":"+lines[2]
		}
	}
	size, root, ok := strings.Cut(text, ":")
	n, err := strconv.ParseInt(size, 10, 64)
	hash, hashErr := tlog.ParseHash(root)
	if !ok || err != nil || hashErr != nil {
		return h, usagef("--accept-loss %q is no head: give a file that holds one, or SIZE:ROOT", plain(text))
	}
	h.Size, h.Root = n, hash
	return h, nil
}

// counted are the kinds of notes that figures counts.
var counted = map[auditlog.Kind]bool{filesink.KindGhost: true, filesink.KindUnapplied: true, filesink.KindForeign: true, filesink.KindDangling: true}

// finding prints a finding, or a note, on some lines.
func (a *app) finding(label string, f filesink.Finding) string {
	title := string(f.Kind)
	if f.Index >= 0 {
		title += fmt.Sprintf(" at index %d", f.Index)
	}
	if f.End > f.First {
		title += fmt.Sprintf(", batch %d to %d", f.First, f.End-1)
	}
	rows := []string{label + " " + plain(title) + "\n"}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, row(name, "%s", value))
		}
	}
	if f.JobID != uuid.Nil {
		add("job", f.JobID.String())
	}
	if f.EventID != uuid.Nil {
		add("event", f.EventID.String())
	}
	if f.Offset >= 0 {
		add("place", fmt.Sprintf("byte %d of %s", f.Offset, f.Segment))
	}
	add("expected", f.Expected)
	add("found", f.Found)
	add("because", f.Explained)
	return strings.Join(rows, "")
}

var meaning = map[auditlog.Level]string{
	auditlog.Unverified: "nothing was compared",
	auditlog.Consistent: "the hashes agree",
	auditlog.Signed:     "every record is signed by the given key",
	auditlog.Anchored:   "every record is signed by the given key, and the log agrees with the anchor",
}

// reportJSON prints for programs.
func (a *app) reportJSON(r report, found filesink.VerifyError) error {
	type object = map[string]any
	line, err := json.Marshal(object{
		"verified": len(found.Findings) == 0 && r.Level != auditlog.Unverified,
		"level":    r.Level.String(),
		"head":     object{"origin": r.Head.Origin, "size": r.Head.Size, "root": r.Head.Root},
		"durable":  object{"size": r.Durable.Size, "root": r.Durable.Root},
		"anchored": r.Anchored,
		"records":  r.Records, "jobs": r.Jobs, "streams": r.Streams,
		"commits": r.Commits, "segments": r.Segments, "bytes": r.Bytes,
		"tail":    object{"segment": r.Tail.Segment, "offset": r.Tail.Offset, "bytes": r.Tail.Bytes},
		"writing": r.Writing, "waiting": r.Waiting, "companionOf": headList(r.CompanionOf),
		"ghosts": r.Ghosts, "unapplied": r.Unapplied, "dangling": r.Dangling, "foreign": r.Foreign,
		"findings": list(found.Findings), "more": found.More,
		"notes": list(r.Notes),
	})
	if err != nil {
		return err
	}
	return a.printJSON(line)
}

// headList is never null.
func headList(heads []auditlog.Head) []map[string]any {
	out := []map[string]any{}
	for _, h := range heads {
		out = append(out, map[string]any{"origin": h.Origin, "size": h.Size, "root": h.Root})
	}
	return out
}

// list is never null.
func list(findings []filesink.Finding) []filesink.Finding {
	if findings == nil {
		return []filesink.Finding{}
	}
	return findings
}

// readID reads an ID given as an argument.
func readID(name, text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 || id == uuid.Nil { // which would select everything
		return uuid.Nil, usagef("%s %s is no UUID of anything: it has 36 characters, as in 0195b17e-4f80-7000-8000-0028ca4d5fa2", name, quoted(text))
	}
	return id, nil
}
