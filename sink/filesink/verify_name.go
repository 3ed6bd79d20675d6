package filesink

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
)

// name says of which event and job the findings are, and gives those of the
// job checks their places and batches. It reads the segments concerned again,
// and all of them if a damaged record's job has to be told from its stream.
func (v *verification) name() error {
	n := &naming{byPlace: map[linePlace][]*subject{}, byIndex: map[int64][]*subject{}, jobs: map[uuid.UUID]map[uuid.UUID]int{}}
	for _, list := range [][]Finding{v.findings, v.report.Notes} {
		for i := range list {
			n.want(&list[i])
		}
	}
	if len(n.byPlace)+len(n.byIndex) == 0 {
		return nil
	}
	for i := range v.files {
		if err := v.scan(i, n.line); err != nil {
			return err
		}
		n.batch = n.batch[:0]
	}
	for i := range v.files {
		if len(n.jobs) == 0 {
			break
		}
		if err := v.scan(i, n.neighbour); err != nil {
			return err
		}
	}
	n.assignJobs()
	v.nameByBatch()
	return nil
}

// naming finds the records that findings are about.
type naming struct {
	byPlace map[linePlace][]*subject // of what auditlog found
	byIndex map[int64][]*subject     // of what the job checks found
	batch   []*subject               // of the batch at hand
	from    int64                    // its first index
	// jobs counts, by stream and job, what records of a stream say that are
	// not themselves in question.
	jobs map[uuid.UUID]map[uuid.UUID]int
}

// subject is the record that a finding is about.
type subject struct {
	*Finding
	stream uuid.UUID
}

type linePlace struct {
	segment string
	offset  int64
}

func (n *naming) want(f *Finding) {
	if f.Index < 0 {
		return
	}
	s := &subject{Finding: f}
	switch {
	case f.Offset < 0:
		n.byIndex[f.Index] = append(n.byIndex[f.Index], s)
	case f.Kind == auditlog.KindMissing, f.Kind == auditlog.KindGap: // it is not there
	default:
		p := linePlace{f.Segment, f.Offset}
		n.byPlace[p] = append(n.byPlace[p], s)
	}
}

// aLine is a line of a segment as name reads it.
type aLine struct {
	text  []byte
	index int64 // of a record; of a commit line, the next record's
	linePlace
}

// line takes what a line says of the wanted records.
func (n *naming) line(l aLine) {
	if auditlog.IsCommit(l.text) {
		for _, s := range n.batch {
			s.First, s.End = n.from, l.index
		}
		n.batch, n.from = n.batch[:0], l.index
		return
	}
	for _, s := range n.byPlace[l.linePlace] {
		ids := salvage(l.text)
		s.EventID, s.JobID, s.stream = ids.event, ids.job, ids.stream
		n.jobs[s.stream] = map[uuid.UUID]int{}
	}
	for _, s := range n.byIndex[l.index] {
		ids := salvage(l.text)
		s.EventID, s.JobID = ids.event, ids.job
		s.Segment, s.Offset = l.segment, l.offset
		n.batch = append(n.batch, s)
	}
	delete(n.byIndex, l.index) // what stands again at this index is ignored
}

// neighbour counts what the other records of the streams in question say, and
// of the streams that resume them.
func (n *naming) neighbour(l aLine) {
	r, err := jobaudit.ParseRecord(l.text)
	if err != nil {
		return
	}
	if len(n.byPlace[l.linePlace]) > 0 {
		return
	}
	e := r.Event()
	for _, stream := range []uuid.UUID{e.Stream.ID, e.Stream.After.Stream} {
		if jobs, ok := n.jobs[stream]; ok {
			jobs[e.Job.ID]++
		}
	}
}

// assignJobs gives each damaged record the job that the rest of its stream names.
func (n *naming) assignJobs() {
	for _, list := range n.byPlace {
		for _, s := range list {
			if jobs := n.jobs[s.stream]; len(jobs) == 1 {
				for job := range jobs {
					s.JobID = job
				}
			}
		}
	}
}

// nameByBatch names the job of findings that have none, if all that the job
// checks found in the same batch is about one.
func (v *verification) nameByBatch() {
	for i := range v.findings {
		f := &v.findings[i]
		if f.JobID != uuid.Nil || f.End <= f.First || f.Kind == auditlog.KindTruncated {
			continue
		}
		jobs := map[uuid.UUID]bool{}
		for _, n := range v.report.Notes {
			if n.Explained != "" && n.JobID != uuid.Nil && n.since < f.End && f.First <= n.Index {
				jobs[n.JobID] = true
			}
		}
		if len(jobs) == 1 {
			for job := range jobs {
				f.JobID = job
			}
		}
	}
}

// scan calls line for each line of a segment. Indices are counted as auditlog
// does: a commit line says where the next batch begins.
func (v *verification) scan(file int, line func(aLine)) error {
	if err := v.ctx.Err(); err != nil {
		return err
	}
	f, err := v.files[file].open(v.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	l := aLine{index: v.files[file].first, linePlace: linePlace{segment: v.files[file].name}}
	r := v.reader
	if r == nil { // for all segments
		r = bufio.NewReaderSize(nil, 128<<10)
		v.reader = r
	}
	r.Reset(f)
	for {
		text, err := r.ReadSlice('\n')
		read := int64(len(text))
		l.text = bytes.TrimSuffix(text, []byte("\n"))
		if errors.Is(err, bufio.ErrBufferFull) {
			l.text = bytes.Clone(l.text)
		}
		for errors.Is(err, bufio.ErrBufferFull) { // no line is as long
			text, err = r.ReadSlice('\n')
			read += int64(len(text))
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		commit := auditlog.IsCommit(l.text)
		if head, err := auditlog.CommitHead(l.text); commit && err == nil {
			l.index = head.Size
		}
		if read > 0 {
			line(l)
		}
		if err != nil {
			return nil
		}
		if !commit {
			l.index++
		}
		l.offset += read
	}
}

// salvaged is what could be read of a line that may be damaged.
type salvaged struct{ event, stream, job uuid.UUID }

// salvage reads what IDs it can. It looks for the text before each, so that
// damage elsewhere does not matter.
func salvage(line []byte) salvaged {
	s := salvaged{
		event:  idAfter(line, `{"schemaVersion":"1.0.0","id":"`, `","id":"`),
		stream: idAfter(line, `"stream":{"id":"`),
		job:    idAfter(line, `"job":{"id":"`),
	}
	// A job without a parent is its own root, and mostly its own correlation.
	if root := idAfter(line, `"rootId":"`); root != s.job && !bytes.Contains(line, []byte(`"parentId":"`)) &&
		root == idAfter(line, `"correlationId":"`) {
		s.job = root
	}
	return s
}

// idAfter returns the ID behind the first of these texts that has one.
func idAfter(line []byte, texts ...string) uuid.UUID {
	for _, text := range texts {
		i := bytes.Index(line, []byte(text))
		if i < 0 || len(line) < i+len(text)+37 || line[i+len(text)+36] != '"' {
			continue
		}
		quoted := line[i+len(text):][:36]
		if id, err := uuid.ParseBytes(quoted); err == nil && string(quoted) == id.String() {
			return id
		}
	}
	return uuid.Nil
}
