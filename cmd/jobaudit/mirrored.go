package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// isMirror tells whether a source is a mirror: mirror:DIRECTORY, s3://BUCKET/PREFIX,
// or a directory that holds one. #N behind it names a branch.
func isMirror(source string) bool {
	if strings.HasPrefix(source, "mirror:") || isBucket(source) {
		return true
	}
	path, _ := splitBranch(source)
	return exists(filepath.Join(path, "branches", "001")) && !exists(filepath.Join(path, "entries"))
}

// splitBranch splits the number of a branch off, 0 for none.
func splitBranch(source string) (target string, branch int) {
	if i := strings.LastIndexByte(source, '#'); i >= 0 {
		if n, err := strconv.Atoi(source[i+1:]); err == nil && n > 0 {
			return source[:i], n
		}
	}
	return source, 0
}

// openStore opens what a mirror lies in: the one place that knows what that can be.
func (a *app) openStore(ctx context.Context, target string, create bool) (mirror.Store, error) {
	if isBucket(target) {
		return a.openBucket(ctx, target)
	}
	path := strings.TrimPrefix(strings.TrimPrefix(target, "mirror:"), "//")
	d, err := mirror.OpenDirectory(path, create)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there: jobaudit mirror --create makes it, once, so that a disk that is not mounted is not taken for it: %w", path, err)
	}
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, d.Close)
	return d, nil
}

// mirrored is a log in a mirror.
type mirrored struct {
	app    *app
	name   string
	store  mirror.Store
	branch int
	keys   []note.Verifier // it is read with, if not nil; else with those of the given ones that are its
	said   *sync.Map       // of texts
}

func (a *app) openMirror(ctx context.Context, source string) (log, error) {
	target, branch := splitBranch(source)
	store, err := a.openStore(ctx, target, false)
	if err != nil {
		return nil, err
	}
	return &mirrored{app: a, name: source, store: store, branch: branch, said: &sync.Map{}}, nil
}

func (m *mirrored) String() string { return m.name }

// reader opens the mirror for reading. With keys what it reads is signed; without,
// nobody has proven which branch is the log's, and it says so.
func (m *mirrored) reader(ctx context.Context, keys []note.Verifier) (*mirror.Reader, error) {
	r, err := mirror.OpenReader(ctx, m.store, &mirror.ReaderOptions{Keys: keys, Branch: m.branch, OnError: func(err error) { m.say(err.Error()) }})
	if err == nil && len(keys) == 0 && m.branch == 0 && len(r.Branches()) > 1 {
		m.say(fmt.Sprintf("not verified: branch %d of %d is shown, and anybody who may write to the mirror can add one; TARGET#1 is the first, and jobaudit verify says which are a successor's",
			r.Branch().Number, len(r.Branches())))
	}
	return r, err
}

// say tells something about the mirror, once.
func (m *mirrored) say(text string) {
	text = plain(text)
	if _, said := m.said.LoadOrStore(text, true); !said {
		fmt.Fprintf(m.app.err, "jobaudit: %s: %s\n", plain(m.name), text)
	}
}

func (m *mirrored) records(ctx context.Context, q jobaudit.Query, contains string, unread *int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		if err := m.read(ctx, &place{}, q, contains, unread, func(r jobaudit.Record) bool { return yield(r, nil) }); err != nil {
			yield(jobaudit.Record{}, err)
		}
	}
}

// place is how far a mirror was read.
type place struct {
	index int64
	parts map[int]int64 // of the branch that was read, as partsOf has them; nil before the first time
}

// goOn moves the place to a branch: if that has left the one that was read, to where
// it did.
func (p *place) goOn(r *mirror.Reader) {
	parts := partsOf(r.Branches(), r.Branch().Number)
	both := int64(0)
	for n, size := range p.parts {
		both = max(both, min(size, parts[n]))
	}
	if p.parts != nil {
		p.index = min(p.index, both)
	}
	p.parts = parts
}

// partsOf says of which branches a branch is made, and up to which size of each.
func partsOf(all []mirror.Branch, number int) map[int]int64 {
	parts, size := map[int]int64{}, int64(math.MaxInt64)
	for i := len(all) - 1; i >= 0; i-- { // a base comes before what leaves it
		if all[i].Number == number {
			parts[number] = size
			number, size = all[i].Base, min(size, all[i].Size)
		}
	}
	return parts
}

// read reads the records that match from a place on, and moves that behind the last.
func (m *mirrored) read(ctx context.Context, at *place, q jobaudit.Query, contains string, unread *int, yield func(jobaudit.Record) bool) error {
	keys, err := m.given(ctx)
	if err != nil {
		return err
	}
	reader, err := m.reader(ctx, keys)
	if err != nil {
		return err
	}
	at.goOn(reader)
	for line, err := range m.lines(ctx, reader, keys, at.index) {
		if err != nil {
			return err
		}
		if auditlog.IsCommit(line) {
			continue
		}
		at.index++
		if contains != "" && !strings.Contains(string(line), contains) {
			continue
		}
		r, err := jobaudit.ParseRecord(line)
		if err != nil {
			*unread++
			continue
		}
		if q.Match(r) && !yield(r) {
			return nil
		}
	}
	return nil
}

func (m *mirrored) tail(ctx context.Context, q jobaudit.Query, n int, follow bool, unread *int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		var newest []jobaudit.Record
		at := &place{}
		err := m.read(ctx, at, q, "", unread, func(r jobaudit.Record) bool {
			if newest = append(newest, r); len(newest) > n {
				newest = append(newest[:0], newest[1:]...)
			}
			return true
		})
		if err != nil {
			yield(jobaudit.Record{}, err)
			return
		}
		for _, r := range newest {
			if !yield(r, nil) {
				return
			}
		}
		if !follow {
			return
		}
		left := false
		err = m.followFrom(ctx, at, q, unread, func(r jobaudit.Record) bool { left = !yield(r, nil); return !left })
		if err != nil && !left && ctx.Err() == nil {
			yield(jobaudit.Record{}, err)
		}
	}
}

// mirrorInterval is how often a mirror that is followed is looked at.
const mirrorInterval = time.Second

// follow yields the records that match from an index on, and those to come, until the
// context ends or yield says no.
func (m *mirrored) follow(ctx context.Context, index int64, q jobaudit.Query, unread *int, yield func(jobaudit.Record) bool) error {
	return m.followFrom(ctx, &place{index: index}, q, unread, yield)
}

func (m *mirrored) followFrom(ctx context.Context, at *place, q jobaudit.Query, unread *int, yield func(jobaudit.Record) bool) error {
	tick := time.NewTicker(mirrorInterval)
	defer tick.Stop()
	for left := false; ; {
		err := m.read(ctx, at, q, "", unread, func(r jobaudit.Record) bool { left = !yield(r); return !left })
		if err != nil || left {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// given are those of the given keys that are of the mirrored log's line of successors.
// If some are given and none is of that, it is an error.
func (m *mirrored) given(ctx context.Context) (keys []note.Verifier, err error) {
	if m.keys != nil || len(m.app.keys) == 0 {
		return m.keys, nil
	}
	line, err := m.line(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range m.app.keys {
		if first, _ := auditlog.SplitOrigin(key.Name()); first == line {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, usagef("--key: none of the keys is of the log %s in %s", plain(line), plain(m.name))
	}
	return keys, nil
}

// line returns the origin of the first log in the line of successors that is mirrored.
func (m *mirrored) line(ctx context.Context) (string, error) {
	r, err := mirror.OpenReader(ctx, m.store, &mirror.ReaderOptions{Branch: m.branch})
	if err != nil {
		return "", err
	}
	return r.Branch().Origin, nil
}

// lines are a mirror's lines. Without keys those that a head tells of and that are not
// there are no error, as anybody who may put objects into the store can have made that
// head: it is said once, and what is there is read.
func (m *mirrored) lines(ctx context.Context, r *mirror.Reader, keys []note.Verifier, from int64) iter.Seq2[[]byte, error] {
	if len(keys) > 0 {
		return r.Lines(ctx, from)
	}
	return func(yield func([]byte, error) bool) {
		var missing error
		for line, err := range present(r, &missing)(ctx, from) {
			if !yield(line, err) {
				return
			}
		}
		if missing == nil {
			return
		}
		if _, said := m.said.LoadOrStore(missingKey{}, true); !said {
			fmt.Fprintf(m.app.err, "jobaudit: %s: %s; it may lack them, or somebody who may write to it has put a head there that nobody signed: --key VKEY tells which\n", plain(m.name), plain(missing.Error()))
		}
	}
}

// missingKey stands in mirrored.said for what is missing, which changes as a mirror grows.
type missingKey struct{}

// newest is durable: nothing else is mirrored. It is the newest head that one of the given
// keys has signed, and if there is none the newest that the lines lead to.
func (m *mirrored) newest(ctx context.Context, _ bool) ([]byte, error) {
	keys, err := m.given(ctx)
	if _, others := errors.AsType[usageError](err); err != nil && !others { // who asked says whose it is
		return nil, err
	}
	if len(keys) > 0 {
		reader, err := m.reader(ctx, keys)
		if err != nil {
			return nil, err
		}
		head, err := reader.Head(ctx)
		if !errors.Is(err, auditlog.ErrNoHead) {
			return head.Signed(), err
		}
	}
	return m.claimed(ctx)
}

// claimed returns the head of the last commit line; its signature is not looked at.
func (m *mirrored) claimed(ctx context.Context) ([]byte, error) {
	reader, err := m.reader(ctx, nil)
	if err != nil {
		return nil, err
	}
	var commit []byte
	for line, err := range m.lines(ctx, reader, nil, 0) {
		if err != nil {
			return nil, err
		}
		if auditlog.IsCommit(line) {
			commit = append(commit[:0], line...)
		}
	}
	if commit == nil {
		return nil, fmt.Errorf("the mirror %s holds no commit", m)
	}
	return signedNote(commit)
}

func (m *mirrored) key(context.Context) (verifierKey, error) {
	return verifierKey{}, usagef("no key lies beside a mirror: it has to be given")
}

func (m *mirrored) copy(ctx context.Context, dir string, keys []note.Verifier) (auditlog.Checkpoint, error) {
	reader, err := m.reader(ctx, keys)
	if err != nil {
		return auditlog.Checkpoint{}, err
	}
	var missing error
	c, err := filesink.CopyLines(ctx, present(reader, &missing), dir, keys)
	if err != nil {
		return c, errors.Join(missing, err)
	}
	if missing != nil {
		err = fmt.Errorf("%s holds what is before, proven, as a copy that goes on as a successor only: %w", dir, missing)
	}
	return c, err
}

// present are a mirror's lines up to the first that is missing, which it keeps.
func present(r *mirror.Reader, missing *error) filesink.Lines {
	return func(ctx context.Context, from int64) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			for line, err := range r.Lines(ctx, from) {
				if _, lacks := errors.AsType[*mirror.MissingError](err); lacks {
					*missing = err
					return
				}
				if !yield(line, err) {
					return
				}
			}
		}
	}
}

func (m *mirrored) prove(ctx context.Context, id uuid.UUID, key note.Verifier) (proof auditlog.Proof, err error) {
	err = m.spooled(ctx, []note.Verifier{key}, func(dir string, _ auditlog.Checkpoint) error {
		reader, err := filesink.OpenReader(dir, key)
		if err != nil {
			return err
		}
		defer reader.Close()
		proof, err = reader.Prove(ctx, id, key)
		return err
	})
	return proof, err
}

// verify proves the mirror as the log that it is: a newest head that the chunks do
// not lead to is a finding, and so is a branch that no successor made.
func (m *mirrored) verify(ctx context.Context, opts *filesink.VerifyOptions) (result report, err error) {
	err = m.spooled(ctx, opts.Keys, func(dir string, head auditlog.Checkpoint) error {
		with := *opts
		if !head.IsZero() {
			with.Heads = append(with.Heads[:len(with.Heads):len(with.Heads)], head.Head())
		}
		result.Report, err = filesink.Verify(ctx, dir, &with)
		if len(opts.Checkpoints)+len(opts.Heads) == 0 && result.Level == auditlog.Anchored {
			result.Level, result.Anchored = auditlog.Signed, 0 // the mirror's own head is none from elsewhere
		}
		return err
	})
	found, ok := errors.AsType[*filesink.VerifyError](err)
	if err != nil && !ok {
		if another := m.another(ctx, opts.Keys); another != nil && result.Head.Size == 0 {
			return result, another
		}
		return result, err
	}
	wrong, notes, branchErr := m.branches(ctx, opts.Keys)
	if branchErr != nil {
		return result, branchErr
	}
	result.Notes = append(result.Notes, notes...)
	if len(wrong) > 0 {
		if found == nil {
			found = &filesink.VerifyError{}
		}
		found.Findings = append(found.Findings, wrong...)
		result.Level = auditlog.Unverified
		return result, found
	}
	return result, err
}

// another is a finding if the mirror holds a log that none of the keys has signed: what they
// have not signed is passed by, so that with them it looks empty.
func (m *mirrored) another(ctx context.Context, keys []note.Verifier) error {
	signed, err := m.claimed(ctx)
	if err != nil {
		return nil
	}
	origin, _, err := headOf(signed)
	if err != nil {
		return nil
	}
	f := auditlog.Finding{Kind: auditlog.KindOrigin, Index: -1, Commit: -1, Offset: -1, Found: origin}
	if slices.ContainsFunc(keys, func(k note.Verifier) bool { return k.Name() == origin }) {
		f.Kind = auditlog.KindKey
	}
	return &filesink.VerifyError{Findings: []filesink.Finding{{Finding: f}}}
}

// kindBranch is a branch of a mirror: a note, or a finding if no successor made it.
const kindBranch auditlog.Kind = "branch"

// branches says which branches there are, and which are not as they should be.
func (m *mirrored) branches(ctx context.Context, keys []note.Verifier) (wrong, notes []filesink.Finding, err error) {
	reader, err := m.reader(ctx, keys)
	if err != nil {
		return nil, nil, err
	}
	heads := map[int]auditlog.Head{}
	for _, b := range reader.Branches() {
		of := mirrored{app: m.app, name: m.name, store: m.store, branch: b.Number, said: m.said}
		r, err := of.reader(ctx, keys)
		if err != nil {
			return nil, nil, err
		}
		head, err := r.Head(ctx)
		if err != nil && !errors.Is(err, auditlog.ErrNoHead) {
			return nil, nil, err
		}
		heads[b.Number] = head.Head()
		if b.Base == 0 {
			continue
		}
		f := filesink.Finding{Finding: auditlog.Finding{Kind: kindBranch, Index: -1, First: b.Size, End: b.Size, Commit: -1, Offset: -1,
			Found: fmt.Sprintf("branch %d leaves branch %d, which holds %d events, at size %d and holds %d", b.Number, b.Base, heads[b.Base].Size, b.Size, heads[b.Number].Size)}}
		_, was := auditlog.SplitOrigin(heads[b.Base].Origin)
		_, is := auditlog.SplitOrigin(heads[b.Number].Origin)
		made, madeErr := openKept(b.Log, keys) // the branch may hold nothing yet
		_, by := auditlog.SplitOrigin(made.Head().Origin)
		if heads[b.Number].Size > 0 && is <= was || len(keys) > 0 && (madeErr != nil || made.IsZero() || by <= was) {
			f.Expected = "a newest head by a later successor than " + heads[b.Base].Origin
			wrong = append(wrong, f)
			continue
		}
		f.Explained = fmt.Sprintf("accepted by %s on %s: %s", b.By, b.Time.UTC().Format(time.DateOnly), b.Reason)
		notes = append(notes, f)
	}
	return wrong, notes, nil
}

// spoolSize is how large a file of entries may become.
const spoolSize = 64 << 20

// spooled writes the log to a temporary directory, as its files were, and does
// something with it and the newest head that is mirrored.
func (m *mirrored) spooled(ctx context.Context, keys []note.Verifier, do func(dir string, head auditlog.Checkpoint) error) error {
	reader, err := m.reader(ctx, keys)
	if err != nil {
		return err
	}
	head, err := reader.Head(ctx)
	if err != nil && !errors.Is(err, auditlog.ErrNoHead) {
		return err
	}
	dir, err := os.MkdirTemp("", "jobaudit-mirror-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Mkdir(filepath.Join(dir, "entries"), 0o700); err != nil {
		return err
	}
	s := &spool{dir: dir}
	var missing error // the head says so, too, where there are keys
	for line, err := range present(reader, &missing)(ctx, 0) {
		if err == nil {
			err = s.write(line)
		}
		if err != nil {
			return errors.Join(err, s.close())
		}
	}
	if err := s.close(); err != nil {
		return err
	}
	if head.IsZero() && missing != nil {
		return missing
	}
	if !head.IsZero() {
		if err := os.WriteFile(filepath.Join(dir, "checkpoint"), head.Signed(), 0o600); err != nil {
			return err
		}
	}
	return do(dir, head)
}

// spool writes files of entries.
type spool struct {
	dir    string
	index  int64
	size   int64
	ended  bool // by a commit line
	file   *os.File
	buffer *bufio.Writer
}

func (s *spool) write(line []byte) error {
	if s.file != nil && s.ended && s.size > spoolSize {
		if err := s.close(); err != nil {
			return err
		}
	}
	if s.file == nil {
		var err error
		if s.file, err = os.Create(filepath.Join(s.dir, "entries", fmt.Sprintf("%020d.jsonl", s.index))); err != nil {
			return err
		}
		s.buffer, s.size = bufio.NewWriter(s.file), 0
	}
	if s.ended = auditlog.IsCommit(line); !s.ended {
		s.index++
	}
	s.size += int64(len(line)) + 1
	_, err := s.buffer.Write(line)
	return errors.Join(err, s.buffer.WriteByte('\n'))
}

func (s *spool) close() error {
	if s.file == nil {
		return nil
	}
	err := errors.Join(s.buffer.Flush(), s.file.Close())
	s.file = nil
	return err
}
