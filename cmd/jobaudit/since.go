package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/story"
)

// maxSince bounds the events that since holds in memory and prints.
const maxSince = 100_000

func (a *app) sinceCommand() *cobra.Command {
	var s since
	var lost []string
	cmd := &cobra.Command{
		Use:   "since HEADS SOURCE... --key VKEY",
		Short: "What happened since the heads that I kept, and that nothing before them changed",
		Long: `Print what happened since a head that was kept, and prove that nothing before it
changed: the log still leads to that head, and from there to its newest durable
one. Of several heads of one log each is proven, and the events since the largest
are printed. HEADS is a file with the kept heads of all the logs, one behind the other, as
jobaudit checkpoint prints them:
  jobaudit checkpoint web/log >> heads; jobaudit checkpoint worker/log >> heads

With --keep the newest heads are written there when all is well: for the next time,
with the same file as HEADS or another. Those of other logs stay as they are. Keep it
where the logs' writers cannot change it. Several logs are printed as one, causes before what they caused.

It exits with 1 if a log does not hold all that it held. A head that a restore or a crash
took from it is contradicted each time, until --accept-loss names it: then the whole log is
verified, which has to say so itself, and --keep leaves that head out.`,
		Args:              wrongly(cobra.MinimumNArgs(2)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readFile(args[0], 1<<20)
			if err != nil {
				return fmt.Errorf("the heads that were kept: %w", err)
			}
			if s.heads, err = splitNotes(text); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if len(s.heads) == 0 {
				return fmt.Errorf("%s holds no signed head: jobaudit checkpoint prints one", args[0])
			}
			s.proven = make([]bool, len(s.heads))
			for _, text := range lost {
				head, err := readHead(text)
				if err != nil {
					return err
				}
				s.lost = append(s.lost, head)
			}
			return a.since(cmd.Context(), &s, args[1:])
		},
	}
	cmd.Flags().StringArrayVar(&s.keys, "key", nil, "a log's verifier key, as text or in a file; may be repeated")
	cmd.Flags().StringVar(&s.keep, "keep", "", "write the newest heads to this file when all is well")
	cmd.Flags().StringArrayVar(&lost, "accept-loss", nil, "a kept head, as a file or as SIZE:ROOT, that its log is known not to hold any more, if the log says so too; may be repeated")
	cmd.Flags().BoolVar(&s.asJSON, "json", false, "print the events as they are stored, and nothing else")
	return cmd
}

// since is one call of the command.
type since struct {
	heads  [][]byte
	keys   []string
	keep   string
	asJSON bool
	lost   []auditlog.Head // as --accept-loss names them
	// newest are the heads that the logs have now, and proven says of which of heads.
	newest [][]byte
	proven []bool
	left   int // events beyond those that are held
}

// splitNotes takes signed notes apart that stand one behind the other. What is none is an
// error: a head that was cut off would be forgotten, and with it what it could show.
func splitNotes(text []byte) (notes [][]byte, err error) {
	var one []byte
	signed, ended := false, false // ended: the empty line behind the head has come
	for line := range bytes.Lines(text) {
		signature := bytes.HasPrefix(line, []byte("— "))
		if signed && !signature {
			notes, one, signed, ended = append(notes, one), nil, false, false
		}
		blank := len(bytes.TrimSpace(line)) == 0
		if len(one) == 0 && blank {
			continue
		}
		if ended && !signed && !signature {
			break
		}
		one, signed, ended = append(one, line...), signed || signature, ended || blank
	}
	if signed {
		notes, one = append(notes, one), nil
	}
	for _, note := range notes {
		if _, _, err := headOf(note); err != nil {
			one = note
		}
	}
	if one != nil && len(notes) > 0 {
		first, _, _ := bytes.Cut(one, []byte{'\n'})
		return nil, fmt.Errorf("a head in it is not whole, or its signature is cut off: the one that begins with %s", quoted(string(first)))
	}
	return notes, nil
}

func (a *app) since(ctx context.Context, s *since, names []string) error {
	var logs []iter.Seq2[jobaudit.Record, error]
	var changed error
	for _, name := range names {
		records, err := a.sinceOf(ctx, s, name)
		if errors.Is(err, errFindings) {
			changed = err // the others are looked at all the same
			continue
		}
		if err != nil {
			return err
		}
		logs = append(logs, each(records))
	}
	merged := story.Merge(logs...)
	if len(logs) == 1 {
		merged = logs[0]
	}
	if err := a.happened(s, merged); err != nil {
		return err
	}
	if changed != nil || s.keep == "" {
		return changed
	}
	return replaceFile(s.keep, bytes.Join(append(s.newest, a.others(s)...), []byte("\n")))
}

// others are the kept heads of logs that were not looked at: they stay, as nobody has
// proven what came behind them.
func (a *app) others(s *since) (heads [][]byte) {
	for i, signed := range s.heads {
		if !s.proven[i] {
			heads = append(heads, signed)
			origin, _, _ := bytes.Cut(signed, []byte{'\n'})
			fmt.Fprintf(a.err, "jobaudit: the head of %s is kept as it was: its log was not looked at\n", plain(string(origin)))
		}
	}
	return heads
}

// sinceOf proves one log, and returns the events since its kept head.
func (a *app) sinceOf(ctx context.Context, s *since, name string) (records []jobaudit.Record, err error) {
	source, err := a.evidenceSource(ctx, name, s.keys)
	if err != nil {
		return nil, err
	}
	kept, err := a.keptHeads(s, name, source)
	if err != nil {
		return nil, err
	}
	if kept, err = a.withoutLost(ctx, s, name, source, kept); err != nil {
		return nil, err
	}
	from, to := auditlog.Head{}, source.Head.Head()
	if len(kept) > 0 {
		from = kept[len(kept)-1]
	}
	unread := 0
	var heads []auditlog.Head
	for _, h := range append(kept, to) {
		heads = append(heads, auditlog.Head{Size: h.Size, Root: h.Root}) // of any origin: successors share a tree
	}
	_, err = auditlog.Verify(ctx, source.Segments, &auditlog.Options{Keys: source.Keys, Heads: heads, Quick: true}, func(leaf auditlog.Leaf) error {
		if leaf.Index < from.Size || leaf.Index >= to.Size {
			return nil
		}
		r, err := jobaudit.ParseRecord(bytes.Clone(leaf.Bytes))
		switch {
		case err != nil:
			unread++
		case len(records) < maxSince:
			records = append(records, r)
		default:
			s.left++
		}
		return nil
	})
	if found, ok := errors.AsType[*auditlog.VerifyError](err); ok {
		a.changed(name, kept, found.Findings)
		return nil, errFindings
	}
	if err != nil {
		return nil, err
	}
	a.unreadable(unread)
	s.newest = append(s.newest, source.Head.Signed())
	if !s.asJSON {
		fmt.Fprintf(a.out, "%s %s: nothing changed up to size %d, and %s since\n", a.good("proven"), plain(to.Origin), from.Size, count(max(to.Size-from.Size, 0), "event"))
	}
	return records, nil
}

// changed prints what is wrong with a log, and how a loss is accepted.
func (a *app) changed(name string, kept []auditlog.Head, findings []auditlog.Finding) {
	fmt.Fprintf(a.err, "%s %s is not the log that it was at %s, or is damaged behind it\n", a.bad("CHANGED"), plain(name), heldHeads(kept))
	for _, f := range findings[:min(5, len(findings))] {
		fmt.Fprintf(a.err, "  %s\n", plain(f.String()))
	}
	for _, h := range kept {
		if lists(outsideHeads(findings), h) {
			fmt.Fprintf(a.err, "  the head of %s of size %d is not of this log any more; if it was lost in a restore or a crash that is known, give --accept-loss %d:%s\n", plain(h.Origin), h.Size, h.Size, h.Root)
		}
	}
}

// lists reports whether a list has this head, of its origin unless either has none.
func lists(list []auditlog.Head, h auditlog.Head) bool {
	return slices.ContainsFunc(list, func(l auditlog.Head) bool {
		return l.Size == h.Size && l.Root == h.Root && (l.Origin == "" || h.Origin == "" || l.Origin == h.Origin)
	})
}

// outsideHeads are the heads by which something was found.
func outsideHeads(findings []auditlog.Finding) (heads []auditlog.Head) {
	for _, f := range findings {
		if f.Head != (auditlog.Head{}) {
			heads = append(heads, f.Head)
		}
	}
	return heads
}

// withoutLost leaves out of the kept heads those whose loss is accepted: as jobaudit verify
// does, only where the log itself says that it lost them.
func (a *app) withoutLost(ctx context.Context, s *since, name string, source evidence.Source, kept []auditlog.Head) (rest []auditlog.Head, err error) {
	listed := func(h auditlog.Head) bool { return lists(s.lost, h) }
	if !slices.ContainsFunc(kept, listed) {
		return kept, nil
	}
	log, err := a.open(ctx, name)
	if err != nil {
		return nil, err
	}
	report, err := log.verify(ctx, &filesink.VerifyOptions{Keys: source.Keys, Heads: kept, AcceptLoss: s.lost, Quick: true})
	if found, ok := errors.AsType[*filesink.VerifyError](err); ok {
		a.changed(name, kept, auditlogFindings(found.Findings))
		return nil, errFindings
	}
	if err != nil {
		return nil, err
	}
	missing := outsideHeads(auditlogFindings(report.Notes))
	for _, h := range kept {
		if !listed(h) || !lists(missing, h) {
			rest = append(rest, h)
			continue
		}
		fmt.Fprintf(a.err, "jobaudit: the head of %s of size %d is lost, which is accepted\n", plain(h.Origin), h.Size)
	}
	return rest, nil
}

func auditlogFindings(findings []filesink.Finding) (bare []auditlog.Finding) {
	for _, f := range findings {
		bare = append(bare, f.Finding)
	}
	return bare
}

// heldHeads names the heads that were kept of one log.
func heldHeads(kept []auditlog.Head) string {
	if len(kept) == 0 {
		return "no head that was kept"
	}
	newest := kept[len(kept)-1].Size
	if len(kept) == 1 {
		return fmt.Sprintf("the head of size %d", newest)
	}
	return fmt.Sprintf("each of the %d heads that were kept, up to size %d", len(kept), newest)
}

// keptHeads are all kept heads of a log, or of one that it continues, by size. Each has
// to be proven: of two that contradict each other the log agrees with one at most, and
// to leave the other aside would hide that the log was written again.
func (a *app) keptHeads(s *since, name string, source evidence.Source) (kept []auditlog.Head, err error) {
	line, _ := auditlog.SplitOrigin(source.Head.Head().Origin)
	var unsigned error
	for i, signed := range s.heads {
		for _, key := range source.Keys {
			c, err := auditlog.OpenCheckpoint(signed, key)
			if err == nil {
				s.proven[i] = true
				kept = append(kept, c.Head())
				break
			}
			if !errors.Is(err, auditlog.ErrOrigin) {
				unsigned = err
			}
		}
	}
	switch {
	case unsigned != nil:
		fmt.Fprintf(a.err, "%s the head of %s that was kept: %s\n", a.bad("CHANGED"), plain(line), plain(unsigned.Error()))
		return nil, errFindings
	case len(kept) == 0:
		return nil, fmt.Errorf("no head of the log %s was kept, which %s holds: jobaudit checkpoint prints one to begin with; if the log has a successor, give the --key of each", line, name)
	}
	slices.SortStableFunc(kept, func(x, y auditlog.Head) int { return cmp.Compare(x.Size, y.Size) })
	return kept, nil
}

// happened prints events, and how many of each type there were.
func (a *app) happened(s *since, records iter.Seq2[jobaudit.Record, error]) error {
	types := map[jobaudit.EventType]int{}
	for r, err := range records {
		if err == nil {
			types[r.Type()]++
			err = a.event(r, &filters{}, s.asJSON)
		}
		if err != nil {
			return err
		}
	}
	if s.left > 0 {
		fmt.Fprintf(a.err, "jobaudit: %s more are proven and not printed; jobaudit list prints them\n", count(s.left, "event"))
	}
	if s.asJSON || len(types) == 0 {
		return nil
	}
	var parts []string
	for t, n := range types {
		parts = append(parts, fmt.Sprintf("%d %s", n, t))
	}
	slices.SortFunc(parts, func(x, y string) int { return cmp.Compare(x[strings.Index(x, " "):], y[strings.Index(y, " "):]) })
	_, err := fmt.Fprintf(a.out, "%s\n", plain(strings.Join(parts, ", ")))
	return err
}

// replaceFile writes a file as a whole, or not at all.
func replaceFile(name string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		return syncDirectory(filepath.Dir(name))
	}
	_ = os.Remove(f.Name())
	return err
}
