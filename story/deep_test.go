package story_test

import (
	"bytes"
	"encoding/binary"
	"iter"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/story"
)

// counted counts what is written.
type counted struct{ lines, bytes int }

func (c *counted) Write(p []byte) (int, error) {
	c.lines += bytes.Count(p, []byte("\n"))
	c.bytes += len(p)
	return len(p), nil
}

// chain is a job below a job below a job: ancestry is what programs say.
func chain(t *testing.T, depth int) iter.Seq2[jobaudit.Record, error] {
	w := &writer{stream: 1, job: 1, parent: 2, root: 3}
	line := w.event(t, 0, jobaudit.JobStarted, jobaudit.Running, "").Bytes()
	number := func(kind byte, n int) []byte {
		job := uuid.MustParse("01980000-0000-7000-8000-000000000000")
		job[9] = kind
		binary.BigEndian.PutUint32(job[12:], uint32(n))
		return []byte(job.String())
	}
	return func(yield func(jobaudit.Record, error) bool) {
		for i := range depth {
			own := bytes.ReplaceAll(line, []byte(id("job", 1).String()), number(1, i))
			own = bytes.ReplaceAll(own, []byte(id("job", 2).String()), number(1, (i+1)%(depth+depth%2))) // of an even depth, a circle
			own = bytes.ReplaceAll(own, []byte(id("event", 1, 1).String()), number(2, i))
			own = bytes.ReplaceAll(own, []byte(id("stream", 1).String()), number(3, i))
			r, err := jobaudit.ParseRecord(own)
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func treeIsAsLongAsItsJobs(t *testing.T, depth int) {
	var c counted
	require.NoError(t, story.Tree(&c, chain(t, depth)))
	require.Equal(t, depth, c.lines)
	require.Less(t, c.bytes, depth*500)
}

func TestATreeIsAsLongAsItsJobsHoweverDeepTheyAreSaidToBe(t *testing.T) {
	for _, depth := range []int{size.Times(10_000, 1_000), size.Times(9_999, 999)} {
		treeIsAsLongAsItsJobs(t, depth)
	}
}

func TestSoakATreeIsAsLongAsItsJobsHoweverDeepTheyAreSaidToBe(t *testing.T) {
	size.Soak(t)
	treeIsAsLongAsItsJobs(t, 1_000_000)
}
