package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/mirror"
)

// registryFormat is the format of a registry file.
const registryFormat = "jobaudit.registry/v1"

// registry is a registry file: the logs that should exist.
type registry struct {
	Format string          `json:"format"`
	Logs   []registeredLog `json:"logs"`
	// Targets are directories under which each log or mirror has to be one of
	// these.
	Targets []string `json:"targets"`
}

// registeredLog is a log that should exist.
type registeredLog struct {
	Name string `json:"name"`
	// Source is what jobaudit verify takes: the log's mirror, or the log.
	Source string `json:"source"`
	// Keys are its verifier keys, oldest first, with those of its successors.
	Keys []string `json:"keys"`
	// Alive is how often it must give a sign of life, as in 15m.
	Alive string `json:"alive"`
	// Written is how often there must be an event, which is signed; a mirror's
	// sign of life is not. Optional.
	Written string `json:"written"`

	keys           []note.Verifier
	alive, written time.Duration
}

// checkFinding is something that is wrong with one log.
type checkFinding struct {
	Log    string `json:"log"`
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}

// checking is one call of jobaudit check.
type checking struct {
	app      *app
	now      time.Time
	kept     map[string]string // newest signed heads of the last call, by log
	findings []checkFinding
}

func (a *app) checkCommand() *cobra.Command {
	var state string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check REGISTRY",
		Short: "Check that all logs that should exist are there, alive, and only grew",
		Long: `Check the logs that a registry file names: that each is there, that it gave a sign
of life in time, that it has not shrunk or forked, and that nothing lies under the
registry's targets that it does not name. It is fit for cron.

The file is JSON:
  {"format": "jobaudit.registry/v1",
   "logs": [{"name": "web-1", "source": "/mirrors/web-1", "keys": ["VKEY"], "alive": "15m"}],
   "targets": ["/mirrors"]}
A source is a log's mirror, or the log itself. A sign of life is the newest event,
or the last time that the mirror said that it runs. Nobody signs the latter, and who can
write to the mirror can pretend it; "written": "24h" asks for an event, too. With --state the newest heads are
kept in a file, and compared the next time; keep it where the logs' writers cannot
change it.

It prints the SHA-256 of the registry: what it says is worth as much as that file.
It looks at the newest events, proves that the newest is under the log's signed head, and that
they go on from the kept head (from the first event on where the source keeps no hashes, as a
database): jobaudit verify proves a whole log.
It exits with 1 if something is wrong, with 3 if a target could not be looked at, or the state not be kept.`,
		Args: wrongly(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.check(cmd.Context(), args[0], state, asJSON)
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "file that keeps the newest heads from one call to the next")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func (a *app) check(ctx context.Context, file, state string, asJSON bool) error {
	text, err := readInput(file)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	r, err := parseRegistry(text)
	if err != nil {
		return err
	}
	c := &checking{app: a, now: time.Now(), kept: map[string]string{}}
	if err := c.readState(state); err != nil {
		return err
	}
	for _, l := range r.Logs {
		if err := c.log(ctx, l); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.find(l.Name, "unreadable", err.Error())
		}
	}
	// What was found is said, whatever cannot be done beside it.
	failed := errors.Join(c.unregistered(r), c.writeState(state))
	if err := c.print(fmt.Sprintf("%x", sha256.Sum256(text)), len(r.Logs), asJSON); err != nil || failed != nil {
		return errors.Join(failed, err)
	}
	if len(c.findings) > 0 {
		return errFindings
	}
	return nil
}

// parseRegistry reads a registry file.
func parseRegistry(text []byte) (*registry, error) {
	var r registry
	if err := readJSON(text, &r, true); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if r.Format != registryFormat {
		return nil, fmt.Errorf("registry: its format is %q, and %q is wanted", r.Format, registryFormat)
	}
	seen := map[string]bool{}
	for i := range r.Logs {
		l := &r.Logs[i]
		if l.Name == "" || seen[l.Name] {
			return nil, fmt.Errorf("registry: log %d has no name, or that of another: %q", i, l.Name)
		}
		seen[l.Name] = true
		if l.Source == "" || len(l.Keys) == 0 {
			return nil, fmt.Errorf("registry: log %q needs a source and its verifier keys", l.Name)
		}
		for _, text := range l.Keys {
			key, err := note.NewVerifier(text)
			if err != nil {
				return nil, fmt.Errorf("registry: log %q: %q is no verifier key", l.Name, text)
			}
			l.keys = append(l.keys, key)
		}
		var err error
		if l.alive, err = time.ParseDuration(l.Alive); err != nil || l.alive <= 0 {
			return nil, fmt.Errorf("registry: log %q: alive is %q, and a time as in 15m is wanted", l.Name, l.Alive)
		}
		if l.Written == "" {
			continue
		}
		if l.written, err = time.ParseDuration(l.Written); err != nil || l.written <= 0 {
			return nil, fmt.Errorf("registry: log %q: written is %q, and a time as in 24h is wanted", l.Name, l.Written)
		}
	}
	return &r, nil
}

func (c *checking) find(log, kind, detail string) {
	c.findings = append(c.findings, checkFinding{log, kind, detail})
}

// log checks one log.
func (c *checking) log(ctx context.Context, l registeredLog) error {
	opened, err := c.app.open(ctx, l.Source)
	if err != nil {
		c.find(l.Name, "missing", err.Error())
		return nil
	}
	source, err := c.app.mirrorSource(ctx, opened, l.keys)
	if errors.Is(err, mirror.ErrNoMirror) || errors.Is(err, fs.ErrNotExist) {
		c.find(l.Name, "missing", err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	head, newest, err := c.newest(ctx, opened, source, l.keys)
	if errors.Is(err, auditlog.ErrNoHead) {
		c.find(l.Name, "missing", "it holds no event that is known to be durable")
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.compare(ctx, l, source, head); err != nil {
		return err
	}
	if m, ok := opened.(*mirrored); ok {
		wrong, _, err := m.branches(ctx, l.keys)
		if err != nil {
			return err
		}
		for _, f := range wrong {
			c.find(l.Name, "forked", f.Found+", and no registered successor has signed it")
		}
	}
	if newest.IsZero() {
		c.find(l.Name, "changed", "its newest event is not the one under its newest head, so that nothing shows that the log is alive: see jobaudit verify")
		return nil
	}
	return c.life(ctx, l, source, newest)
}

// newest returns a log's newest head, which a key has to have signed, and the time of its
// newest event. An event that does not lead to that head has none: without the key anybody
// can date it.
func (c *checking) newest(ctx context.Context, opened log, source mirror.Source, keys []note.Verifier) (head auditlog.Checkpoint, at time.Time, err error) {
	size, err := source.Size(ctx)
	if err != nil {
		return head, at, err
	}
	err = auditlog.ErrNoHead
	var last []byte
	var by note.Verifier
	for line, lineErr := range source.Lines(ctx, max(size-1, 0)) {
		if lineErr != nil {
			return head, at, lineErr
		}
		if !auditlog.IsCommit(line) {
			last = append(last[:0], line...)
			continue
		}
		for _, by = range keys {
			if head, err = auditlog.OpenCommit(line, by); err == nil {
				break
			}
		}
	}
	r, unread := jobaudit.ParseRecord(last)
	if err != nil || unread != nil {
		return head, at, err
	}
	leads, err := c.leads(ctx, opened, source, head, by, r)
	if leads {
		at = r.Event().Time
	}
	return head, at, err
}

// leads reports whether a record is the last one under a head.
func (c *checking) leads(ctx context.Context, opened log, source mirror.Source, head auditlog.Checkpoint, by note.Verifier, r jobaudit.Record) (bool, error) {
	index := head.Head().Size - 1
	if _, ok := source.(*mirror.Reader); ok {
		return true, nil // it proves what it yields
	}
	if s, ok := source.(interface{ Hashes() tlog.HashReader }); ok {
		if _, err := auditlog.Prove(head, index, r.Bytes(), s.Hashes()); err == nil {
			return true, nil
		}
	}
	if p, err := opened.prove(ctx, r.ID(), by); err == nil && p.Index() == index && bytes.Equal(p.Leaf(), r.Bytes()) {
		return true, nil
	}
	// Stored hashes may be behind, or damaged: the events decide.
	var tree auditlog.Tree
	for line, err := range source.Lines(ctx, 0) {
		if err != nil {
			return false, err
		}
		if auditlog.IsCommit(line) {
			continue
		}
		tree.Append(nil, auditlog.HashLeaf(line))
		if tree.Size() == head.Head().Size {
			return tree.Root() == head.Head().Root && bytes.Equal(line, r.Bytes()), nil
		}
	}
	return false, nil
}

// compare compares a log with the head of the last call.
func (c *checking) compare(ctx context.Context, l registeredLog, source mirror.Source, head auditlog.Checkpoint) error {
	kept, err := openKept(c.kept[l.Name], l.keys)
	if err != nil {
		return err
	}
	was, is := kept.Head(), head.Head()
	switch {
	case was.Size == 0:
	case is.Size < was.Size:
		c.find(l.Name, "shrunken", fmt.Sprintf("it ends at size %d, root %s; it was at size %d, root %s", is.Size, is.Root, was.Size, was.Root))
		return nil // the larger head is kept
	default:
		forked, err := grown(ctx, source, was, is)
		if err != nil {
			return err
		}
		if forked != "" {
			c.find(l.Name, "forked", forked)
			return nil
		}
	}
	c.kept[l.Name] = string(head.Signed())
	return nil
}

func openKept(signed string, keys []note.Verifier) (c auditlog.Checkpoint, err error) {
	if signed == "" {
		return c, nil
	}
	for _, key := range keys {
		if c, err = auditlog.OpenCheckpoint([]byte(signed), key); err == nil {
			return c, nil
		}
	}
	return c, fmt.Errorf("the head that was kept: %w", err)
}

// grown proves that a log at its newest head begins with the whole log at the head that
// was kept, and else says how it differs. That a commit line of that size is there proves
// nothing: who has the key can copy the old one into a log that he has written again.
func grown(ctx context.Context, source mirror.Source, was, is auditlog.Head) (forked string, err error) {
	if was.Size == is.Size {
		return differs(was, is.Root), nil
	}
	if s, ok := source.(interface{ Hashes() tlog.HashReader }); ok {
		proof, err := tlog.ProveTree(is.Size, was.Size, s.Hashes())
		if err == nil && tlog.CheckTree(proof, is.Size, is.Root, was.Size, was.Root) == nil {
			return "", nil
		}
		// The stored hashes may be behind, or damaged: the events decide.
	}
	if r, ok := source.(*mirror.Reader); ok {
		return mirrorGrown(ctx, r, was, is)
	}
	var tree auditlog.Tree
	for line, err := range source.Lines(ctx, 0) {
		if err != nil {
			return "", err
		}
		if auditlog.IsCommit(line) {
			continue
		}
		tree.Append(nil, auditlog.HashLeaf(line))
		if tree.Size() == was.Size {
			if forked = differs(was, tree.Root()); forked != "" {
				return forked, nil
			}
		}
		if tree.Size() == is.Size {
			return leads(is, tree.Root()), nil
		}
	}
	return "", fmt.Errorf("its newest head has size %d, and its events end at %d", is.Size, tree.Size())
}

// mirrorGrown is grown for a mirror, whose reader proves each commit line that it
// yields from the head where it begins: one pass over what is new is enough.
func mirrorGrown(ctx context.Context, r *mirror.Reader, was, is auditlog.Head) (forked string, err error) {
	met := false
	for line, err := range r.Lines(ctx, was.Size-1) {
		if err != nil {
			return "", err
		}
		head, err := auditlog.CommitHead(line)
		switch {
		case err != nil:
		case head.Size == was.Size:
			if forked = differs(was, head.Root); forked != "" {
				return forked, nil
			}
			met = true
		case head.Size > was.Size && !met:
			return fmt.Sprintf("it has no head of size %d; it had one, of root %s", was.Size, was.Root), nil
		case head.Size == is.Size:
			return leads(is, head.Root), nil
		}
	}
	return "", fmt.Errorf("its newest head, of size %d, is not at its end", is.Size)
}

// differs says so if a log has another root at a size than it had.
func differs(was auditlog.Head, root tlog.Hash) string {
	if root == was.Root {
		return ""
	}
	return fmt.Sprintf("at size %d it has root %s; it had root %s", was.Size, root, was.Root)
}

// leads says so if a log's events do not lead to its newest head.
func leads(is auditlog.Head, root tlog.Hash) string {
	if root == is.Root {
		return ""
	}
	return fmt.Sprintf("its newest head has root %s at size %d, and its events lead to root %s", is.Root, is.Size, root)
}

// life checks when the log last gave a sign of life. An event from the future is
// none.
func (c *checking) life(ctx context.Context, l registeredLog, source mirror.Source, newest time.Time) error {
	if ahead := newest.Sub(c.now); ahead > l.alive {
		c.find(l.Name, "clock", fmt.Sprintf("its newest event is dated %s, %s from now", newest.UTC().Format(time.RFC3339), ahead.Round(time.Second)))
		newest = time.Time{}
	}
	if l.written > 0 && c.now.Sub(newest) > l.written {
		c.find(l.Name, "silent", fmt.Sprintf("its newest event is of %s; one every %s is expected", newest.UTC().Format(time.RFC3339), l.written))
		return nil
	}
	if r, ok := source.(*mirror.Reader); ok {
		contact, err := r.Contact(ctx)
		if err != nil {
			return err
		}
		if contact.After(newest) && contact.Sub(c.now) <= l.alive {
			newest = contact
		}
	}
	if c.now.Sub(newest) > l.alive {
		c.find(l.Name, "silent", fmt.Sprintf("its last sign of life was at %s; one every %s is expected", newest.UTC().Format(time.RFC3339), l.alive))
	}
	return nil
}

// unregistered looks for logs under the targets that the registry does not name.
func (c *checking) unregistered(r *registry) error {
	known := map[string]bool{}
	for _, l := range r.Logs {
		path, _ := splitBranch(strings.TrimPrefix(strings.TrimPrefix(l.Source, "mirror:"), "file:"))
		known[clean(path)] = true
	}
	var failed error
	for _, target := range r.Targets {
		entries, err := os.ReadDir(target)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("registry: target: %w", err))
			continue
		}
		for _, e := range entries {
			path := filepath.Join(target, e.Name())
			if e.IsDir() && (isMirror(path) || exists(filepath.Join(path, "entries"))) && !known[clean(path)] {
				c.find(path, "unregistered", "a log lies there that the registry does not name")
			}
		}
	}
	return failed
}

func clean(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		return absolute
	}
	return path
}

func (c *checking) readState(file string) error {
	if file == "" {
		return nil
	}
	text, err := readInput(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = readJSON(text, &c.kept, false)
	}
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

func (c *checking) writeState(file string) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(c.kept, "", " ")
	if err != nil {
		return err
	}
	if err := replaceFile(file, append(text, '\n')); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

func (c *checking) print(digest string, logs int, asJSON bool) error {
	slices.SortStableFunc(c.findings, func(a, b checkFinding) int { return strings.Compare(a.Log, b.Log) })
	if asJSON {
		if c.findings == nil {
			c.findings = []checkFinding{}
		}
		line, err := json.Marshal(map[string]any{"registry": digest, "logs": logs, "findings": c.findings})
		if err != nil {
			return err
		}
		return c.app.printJSON(line)
	}
	for _, f := range c.findings {
		fmt.Fprintf(c.app.out, "%s %-12s %s: %s\n", c.app.bad("finding"), f.Kind, plain(f.Log), plain(f.Detail))
	}
	_, err := fmt.Fprintf(c.app.out, "%s checked, %s; registry SHA-256 %s\n", count(logs, "log"), count(len(c.findings), "finding"), digest)
	return err
}
