package filesink

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/auditlog"
)

// maxNamed bounds the jobs that a finding about stray bytes names.
const maxNamed = 10

// noteIgnored makes notes of interrupted writes that were made again, and names
// the jobs in bytes that are none.
func (v *verification) noteIgnored() error {
	for _, i := range v.report.Ignored {
		v.report.Notes = append(v.report.Notes, Finding{Finding: auditlog.Finding{
			Kind: KindRewritten, Index: -1, Commit: -1, Segment: i.Segment, Offset: i.Offset,
			Found: fmt.Sprintf("%d bytes of an interrupted write, which was made again in the next file", i.Bytes),
		}})
	}
	for i := range v.findings {
		f := &v.findings[i]
		if f.Kind != auditlog.KindStray {
			continue
		}
		jobs, err := v.jobsBehind(f.Segment, f.Offset)
		if err != nil {
			return err
		}
		f.Found += jobs.String()
		if len(jobs.ids) == 1 && !jobs.more {
			f.JobID = jobs.ids[0]
		}
	}
	return nil
}

// namedJobs are the jobs that lines name.
type namedJobs struct {
	lines int64
	ids   []uuid.UUID
	more  bool
}

// String says it behind the number of bytes.
func (n namedJobs) String() string {
	text := fmt.Sprintf(", %d lines", n.lines)
	if len(n.ids) == 0 {
		return text + " that name no job"
	}
	ids := make([]string, len(n.ids))
	for i, id := range n.ids {
		ids[i] = id.String()
	}
	text += " that name the jobs " + strings.Join(ids, ", ")
	if n.more {
		text += " and others"
	}
	return text
}

// jobsBehind reads what a segment holds from an offset on.
func (v *verification) jobsBehind(segment string, offset int64) (n namedJobs, err error) {
	f, err := v.dir.Open(entriesDir + "/" + segment)
	if err != nil {
		return n, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(io.NewSectionReader(f, offset, 1<<62), maxLine+1)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			n.lines++
		}
		job := salvage(bytes.TrimSuffix(line, []byte{'\n'})).job
		switch {
		case job == uuid.Nil || slices.Contains(n.ids, job):
		case len(n.ids) == maxNamed:
			n.more = true
		default:
			n.ids = append(n.ids, job)
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if err := v.ctx.Err(); err != nil {
			return n, err
		}
	}
}
