package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/story"
)

// A log is a source that was opened.
type log interface {
	// String names it, for people.
	fmt.Stringer
	// records iterates over the records that match. contains, if not empty, is
	// a text that they have: others need not be parsed. Lines that are no
	// records are counted.
	records(ctx context.Context, q jobaudit.Query, contains string, unread *int) iter.Seq2[jobaudit.Record, error]
	// tail iterates over the newest n records that match, oldest first, and if
	// follow is set over those to come, until ctx ends.
	tail(ctx context.Context, q jobaudit.Query, n int, follow bool, unread *int) iter.Seq2[jobaudit.Record, error]
	// newest returns the newest commit line's signed note, which is not
	// verified. A durable one is safe to keep.
	newest(ctx context.Context, durable bool) ([]byte, error)
	// key looks for the log's verifier key where it may lie.
	key(ctx context.Context) (verifierKey, error)
	prove(ctx context.Context, id uuid.UUID, key note.Verifier) (auditlog.Proof, error)
	verify(ctx context.Context, opts *filesink.VerifyOptions) (report, error)
	// copy copies the log to a directory.
	copy(ctx context.Context, dir string, keys []note.Verifier) (auditlog.Checkpoint, error)
}

// directory reads a log's entries as they are. Unlike a [filesink.Reader] it
// goes on behind lines that cannot be read and behind damage, so that what is left of a
// damaged log can be seen. It verifies nothing. Where the log's key lies beside it
// and has signed the indexes, they tell where a job, a correlation or a time is.
type directory struct {
	path string
	// scans, if not nil, is told when the log is read in whole, how much that is, and why.
	scans func(size int64, why string)
}

// open opens a source: the one place that knows what a source can be: a
// directory, written as a path or as file:PATH, a database, or a mirror.
func (a *app) open(ctx context.Context, source string) (log, error) {
	scheme, rest, found := strings.Cut(source, ":")
	switch {
	case isDatabase(source):
		return a.openDatabase(ctx, source)
	case isMirror(source):
		return a.openMirror(ctx, source)
	case !found || strings.ContainsAny(scheme, `/\.`) || len(scheme) < 2:
		return a.directory(source)
	case scheme == "file":
		return a.directory(strings.TrimPrefix(rest, "//"))
	case exists(source):
		return a.directory(source)
	}
	return nil, usagef("%q: no source of the kind %q is known; a source is a directory, file:DIRECTORY, mirror:TARGET, s3://BUCKET/PREFIX, or postgres://…", plain(source), plain(scheme))
}

// largeScan is from how many bytes on it is said that a log is read in whole.
const largeScan = 16 << 20

// directory is a log's directory, of which it is said once when all of it is read.
func (a *app) directory(path string) (log, error) {
	if err := isLog(path); err != nil {
		return nil, err
	}
	told := false
	return directory{path, func(size int64, why string) {
		if size >= largeScan && !told {
			told = true
			fmt.Fprintf(a.err, "jobaudit: reading all %d MiB of %s, as %s\n", size>>20, plain(path), why)
		}
	}}, nil
}

// scanning says that the log is read in whole.
func (d directory) scanning(why string) {
	if d.scans == nil {
		return
	}
	var size int64
	entries, _ := os.ReadDir(filepath.Join(d.path, "entries")) // what cannot be read is said by who reads it
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			size += info.Size()
		}
	}
	d.scans(size, why)
}

// openAll opens several sources.
func (a *app) openAll(ctx context.Context, sources []string) (list sources, err error) {
	for _, s := range sources {
		l, err := a.open(ctx, s)
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

// sources are logs that are read as one.
type sources []log

// records are those of all of them. Of several it reads all that
// matches before the first is yielded, to bring it into the order of cause and
// effect.
func (s sources) records(ctx context.Context, q jobaudit.Query, contains string, unread *int) iter.Seq2[jobaudit.Record, error] {
	if len(s) == 1 {
		return s[0].records(ctx, q, contains, unread)
	}
	var logs []iter.Seq2[jobaudit.Record, error]
	for _, l := range s {
		logs = append(logs, l.records(ctx, q, contains, unread))
	}
	return story.Merge(logs...)
}

// each iterates over the records of all, one log after the other.
func (s sources) each(ctx context.Context, q jobaudit.Query, unread *int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, l := range s {
			for r, err := range l.records(ctx, q, "", unread) {
				if !yield(r, err) || err != nil {
					return
				}
			}
		}
	}
}

// String names the sources.
func (s sources) String() string {
	var names []string
	for _, l := range s {
		names = append(names, l.String())
	}
	return strings.Join(names, ", ")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// segmentFirst returns the index in a segment's name.
func segmentFirst(name string) (first int64, ok bool) {
	digits, ok := strings.CutSuffix(name, ".jsonl")
	if !ok || len(digits) != 20 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	first, err := strconv.ParseInt(digits, 10, 64)
	return first, err == nil && first <= 1<<53
}

// segments lists the files of entries, in order.
func (d directory) segments() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(d.path, "entries"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a log: it has no directory entries", d.path)
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if _, ok := segmentFirst(e.Name()); ok && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	if len(names) > 0 {
		if first, _ := segmentFirst(names[0]); first != 0 {
			return nil, fmt.Errorf("%s: %w: the first one that is there begins with event %d", d.path, filesink.ErrBeginning, first)
		}
	}
	return names, nil
}

// batch is some lines and the commit line behind them.
type batch struct {
	lines  [][]byte // good until the next batch
	commit []byte
	first  int64 // index of the first line
}

// position is how far a log has been read.
type position struct {
	segment string
	offset  int64
	index   int64
}

// batches iterates over the committed batches from a position on, which it
// moves. What follows the last commit line is left out, and what was written
// again in the next segment.
func (d directory) batches(ctx context.Context, at *position) iter.Seq2[batch, error] {
	return func(yield func(batch, error) bool) {
		names, err := d.segments()
		if err != nil {
			yield(batch{}, err)
			return
		}
		for i, name := range names {
			if name < at.segment {
				continue
			}
			first, _ := segmentFirst(name)
			if name != at.segment {
				*at = position{segment: name, index: first}
			}
			next := int64(-1)
			if i+1 < len(names) {
				next, _ = segmentFirst(names[i+1])
			}
			if !d.read(ctx, at, next, yield) {
				return
			}
		}
	}
}

// read reads one segment. It returns false when the iteration is to end.
func (d directory) read(ctx context.Context, at *position, next int64, yield func(batch, error) bool) bool {
	f, err := os.Open(filepath.Join(d.path, "entries", at.segment))
	if err != nil {
		yield(batch{}, err)
		return false
	}
	defer f.Close()
	if _, err := f.Seek(at.offset, io.SeekStart); err != nil {
		yield(batch{}, err)
		return false
	}
	r := bufio.NewReaderSize(f, auditlog.MaxLeaf+1)
	b := batch{first: at.index}
	offset := at.offset
	for at.index != next {
		if err := ctx.Err(); err != nil {
			yield(batch{}, err)
			return false
		}
		line, n, err := readLine(r)
		if errors.Is(err, io.EOF) {
			return true // what is there is not committed
		}
		if err != nil {
			yield(batch{}, err)
			return false
		}
		offset += n
		if !auditlog.IsCommit(line) {
			b.lines = append(b.lines, line)
			continue
		}
		at.offset, at.index = offset, b.first+int64(len(b.lines))
		if head, err := auditlog.CommitHead(line); err == nil {
			at.index = head.Size
		}
		b.commit = line
		if !yield(b, nil) {
			return false
		}
		b = batch{lines: b.lines[:0], first: at.index}
	}
	return true
}

// readLine reads a line and gives its length with the line feed. Of one that is
// too long for a log it gives the beginning.
func readLine(r *bufio.Reader) (line []byte, n int64, err error) {
	piece, err := r.ReadSlice('\n')
	line, n = bytes.Clone(piece), int64(len(piece))
	for errors.Is(err, bufio.ErrBufferFull) {
		piece, err = r.ReadSlice('\n')
		n += int64(len(piece))
	}
	return bytes.TrimSuffix(line, []byte{'\n'}), n, err
}

func (d directory) String() string { return d.path }

func (d directory) records(ctx context.Context, q jobaudit.Query, contains string, unread *int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		served, why := d.indexed(ctx, q, unread, yield)
		if served {
			return
		}
		d.scanning(why)
		may := maybe(q, contains)
		var at position
		for b, err := range d.batches(ctx, &at) {
			if err != nil {
				yield(jobaudit.Record{}, err)
				return
			}
			for _, line := range b.lines {
				if !may(line) {
					continue
				}
				r, err := jobaudit.ParseRecord(line)
				if err != nil {
					*unread++
					continue
				}
				if q.Match(r) && !yield(r, nil) {
					return
				}
			}
		}
	}
}

// indexed yields what matches by the log's indexes. It reports false, and has
// yielded nothing, if they do not serve, and why: the log is read in whole then.
func (d directory) indexed(ctx context.Context, q jobaudit.Query, unread *int, yield func(jobaudit.Record, error) bool) (served bool, why string) {
	if q.JobID == uuid.Nil && q.CorrelationID == uuid.Nil && q.Since.IsZero() && q.Until.IsZero() {
		return false, "only a job, a correlation and a time (--since, --until) are looked up in indexes"
	}
	key, err := d.key(ctx)
	if err != nil {
		return false, "its indexes are worth nothing without the log's key, which does not lie beside it"
	}
	r, err := filesink.OpenReader(d.path, key)
	if err != nil {
		return false, "its indexes cannot be used: " + err.Error()
	}
	defer r.Close()
	bad, first := 0, true
	for record, err := range r.Records(ctx, q) {
		_, one := errors.AsType[*jobaudit.UnreadableError](err)
		if first && err != nil {
			return false, "its indexes do not agree with it: " + err.Error()
		}
		if one {
			bad++
			continue
		}
		first = false
		if !yield(record, err) || err != nil {
			*unread += bad
			return true, ""
		}
	}
	*unread += bad
	return true, ""
}

// maybe returns a function that tells, without parsing, which lines may match:
// those that hold one of the texts, which | parts, and the query's own.
// A line that writes a character as an escape may hold a text in another form.
func maybe(q jobaudit.Query, contains string) func([]byte) bool {
	var all [][]byte
	for _, text := range []string{q.Action, q.Resource, q.OrgID, q.PrincipalID, q.ActingFor, string(q.ErrorCode)} {
		quoted := `"` + text + `"`
		if encoded, err := json.Marshal(text); err == nil && text != "" && string(encoded) == quoted {
			all = append(all, []byte(quoted))
		}
	}
	var any [][]byte
	for text := range strings.SplitSeq(contains, "|") {
		any = append(any, []byte(text))
	}
	var types [][]byte
	for _, t := range q.Types {
		types = append(types, []byte(t))
	}
	holds := func(line []byte, texts [][]byte) bool {
		return len(texts) == 0 || slices.ContainsFunc(texts, func(t []byte) bool { return bytes.Contains(line, t) })
	}
	return func(line []byte) bool {
		if !holds(line, any) || !holds(line, types) {
			return false
		}
		for _, text := range all {
			if !bytes.Contains(line, text) {
				return bytes.Contains(line, []byte(`\u`)) || bytes.Contains(line, []byte(`\/`))
			}
		}
		return true
	}
}

// unreadable reports lines that were left out.
func (a *app) unreadable(n int) {
	if n > 0 {
		fmt.Fprintf(a.err, "jobaudit: %s left out that cannot be read: see jobaudit verify\n", count(n, "line"))
	}
}

// newest takes a head for durable whose writer has gone on behind it, or has
// said in the file checkpoint that it is durable.
func (d directory) newest(ctx context.Context, durable bool) ([]byte, error) {
	known, _ := d.known() // before the entries, which are ahead of it
	last := true
	for l, err := range d.backward(ctx) {
		if err != nil {
			return nil, err
		}
		if !auditlog.IsCommit(l.text) {
			continue
		}
		head, err := auditlog.CommitHead(l.text)
		if !durable || !last || err == nil && head == known || l.behind {
			return signedNote(l.text)
		}
		last = false
	}
	if !last {
		return nil, fmt.Errorf("the log in %s has no commit that is known to be durable yet", d.path)
	}
	return nil, fmt.Errorf("the log in %s has no commit", d.path)
}

// known returns the head in the file checkpoint. Nothing of it is verified here, so it
// speaks for the commit line of that very head only, which the caller verifies: a size
// alone, that anybody can write there, would make any head durable.
func (d directory) known() (auditlog.Head, error) {
	f, err := os.Open(filepath.Join(d.path, "checkpoint"))
	if err != nil {
		return auditlog.Head{}, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return auditlog.Head{}, filesink.ErrNotRegular
	}
	signed, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return auditlog.Head{}, err
	}
	origin, head, err := headOf(signed)
	return auditlog.Head{Origin: origin, Size: head.N, Root: head.Hash}, err
}

// signedNote takes the signed note out of a commit line.
func signedNote(commit []byte) ([]byte, error) {
	var line struct {
		Checkpoint string `json:"checkpoint"`
	}
	if err := json.Unmarshal(commit, &line); err != nil {
		return nil, fmt.Errorf("commit line: %w", err)
	}
	return []byte(line.Checkpoint), nil
}
