// Package jobcheck checks what the records of a log say of each other: that
// streams have no gaps, that their links hold and that no event ID stands twice.
// What else is odd is a note: executions without an end, events without effect in
// their job's state or foreign to it, streams that resume what is not here. Another
// log may explain it, or a person who can write to a queue, and to nothing else,
// may have caused it.
//
// The checks go in two rounds. While the log is read, [Checks.Inspect] takes a
// few facts of fixed size from each record, and [Checks.Leaf] sorts them into
// partitions: by stream, by job and by event ID. When the log has been read, [Checks.Finish]
// checks the partitions, each by itself and on all cores: what belongs
// together is in one, in the order of the log. Facts beyond a bound go to a
// temporary file.
//
// IDs are kept whole, hashes as fingerprints with a random seed.
//
// The verifications of all sinks use it: the rules must not exist twice.
package jobcheck

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
)

// The sizes of the facts in bytes.
const (
	streamFact = 16 + 4*8 // stream; index, seq, prev, hash
	jobFact    = 16 + 4*8 // job; execution, index<<8 | type, subject, stream
	eventFact  = 16 + 8   // ID; index
	resumeFact = 16 + 3*8 + 16
)

// Checks are the checks of one log. They are for one goroutine, but for
// [Checks.Inspect].
type Checks struct {
	mixer mixer
	shift int // of a fingerprint, to its partition
	spill *spill

	streams, jobs, events, resumes *facts

	records int64
	// parseAll: every record is parsed in whole.
	parseAll bool
	// parsed is the note of a record that had to be parsed.
	parsed note
	// unparsable are lines that are no records.
	unparsable Notes
	recoveries []Recovery
	// companionOf are heads of the logs that acts in this one are about.
	companionOf []auditlog.Head
}

// New prepares for a log of so many bytes. With parseAll every record is parsed
// in whole, otherwise as far as its job.
func New(size int64, parseAll bool) *Checks {
	// About 10,000 records in a partition fit into a core's cache.
	parts := 1
	for int64(parts) < size/(10_000*700) && parts < 1024 {
		parts *= 2
	}
	s := &spill{limit: maxBlocks}
	c := &Checks{
		parseAll: parseAll,
		spill:    s, shift: 64 - bits.TrailingZeros(uint(parts)),
		streams: newFacts(s, streamFact, parts), jobs: newFacts(s, jobFact, parts),
		events: newFacts(s, eventFact, parts), resumes: newFacts(s, resumeFact, parts),
	}
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	for i := range c.mixer {
		c.mixer[i] = binary.LittleEndian.Uint64(seed[8*i:])
	}
	return c
}

// Close lets go of the temporary file.
func (c *Checks) Close() { c.spill.close() }

// Leaf keeps the facts of the next line of the log.
func (c *Checks) Leaf(l auditlog.Leaf) error {
	c.records++
	n := note(l.Notes)
	if len(n) == 0 || n.has(flagBad) {
		r, err := jobaudit.ParseRecord(l.Bytes)
		if err != nil {
			c.unparsable.add(noRecord(l.Index, err))
		}
		if len(n) == 0 {
			if err != nil {
				return nil
			}
			e := r.Event()
			f := factsOf(&e)
			c.parsed = c.appendNote(c.parsed[:0], &f, 0)
			n = c.parsed
		}
	}
	if eventCode(n[0]) == codeOpened {
		c.opened(l)
	}
	c.keep(uint64(l.Index), c.mixer.hash(digestOf(&l.Hash)), n)
	return c.spill.err
}

func noRecord(index int64, err error) Finding {
	return Finding{Kind: Unparsable, Since: index, Index: index, Expected: "a record", Found: err.Error()}
}

// A Finding is about the record at Index, and rests on records from Since on.
type Finding struct {
	Kind            auditlog.Kind
	Since, Index    int64
	Event, Job      uuid.UUID
	Expected, Found string
}

// The kinds of findings, and of notes.
const (
	Unparsable auditlog.Kind = "unparsable_record"
	Duplicate  auditlog.Kind = "duplicate_event"
	Stream     auditlog.Kind = "broken_stream"
	Resume     auditlog.Kind = "broken_resume"

	Ghost     auditlog.Kind = "execution_without_end"
	Unapplied auditlog.Kind = "unapplied_event"
	Dangling  auditlog.Kind = "dangling_resume"
	Foreign   auditlog.Kind = "foreign_event"
)

// A Result is what was read and found.
type Result struct {
	Records, Jobs, Streams      int64
	Ghosts, Unapplied, Dangling Notes
	// Foreign are records that contradict their job's submission. Somebody who can
	// write to a queue can cause them: they say nothing against the log.
	Foreign Notes

	unparsable, duplicates, broken, resumed Notes
}

// Findings returns what is wrong, in the order of the log, and how many
// findings more there were.
func (f *Result) Findings() (list []Finding, more int) {
	for _, c := range []*Notes{&f.unparsable, &f.duplicates, &f.broken, &f.resumed} {
		list = append(list, c.list...)
		more += int(c.more)
	}
	slices.SortStableFunc(list, func(a, b Finding) int { return cmp.Compare(a.Index, b.Index) })
	if extra := len(list) - maxFindings; extra > 0 {
		list, more = list[:maxFindings], more+extra
	}
	return list, more
}

const (
	maxFindings = 1000
	// maxNotes bounds what is kept of one kind.
	maxNotes = 100
)

// Notes are the findings of one kind with the lowest indices, and the number
// of the others. They may be added to by several goroutines.
type Notes struct {
	mu   sync.Mutex
	list []Finding
	more int64
}

// First returns the first ones, at most 100.
func (c *Notes) First() []Finding { return c.list }

// Total returns how many there are.
func (c *Notes) Total() int64 { return int64(len(c.list)) + c.more }

func (c *Notes) add(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, _ := slices.BinarySearchFunc(c.list, f, func(a, b Finding) int { return cmp.Compare(a.Index, b.Index) })
	if i >= maxNotes {
		c.more++
		return
	}
	if len(c.list) == maxNotes {
		c.list = c.list[:maxNotes-1]
		c.more++
	}
	c.list = slices.Insert(c.list, i, f)
}

// Finish is the second round. It is called once.
func (c *Checks) Finish(ctx context.Context) (*Result, error) {
	found := &Result{Records: c.records}
	found.unparsable.list, found.unparsable.more = c.unparsable.list, c.unparsable.more

	var next, jobs, streams atomic.Int64
	parts := len(c.streams.parts)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for worker := range errs {
		wg.Go(func() {
			k := &checker{Checks: c, found: found, block: make([]byte, blockSize)}
			for errs[worker] == nil {
				part := int(next.Add(1)) - 1
				if part >= parts {
					return
				}
				errs[worker] = k.check(ctx, part, &jobs, &streams)
			}
		})
	}
	wg.Wait()
	found.Jobs, found.Streams = jobs.Load(), streams.Load()
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("job checks: %w", err)
		}
	}
	return found, nil
}

// check does the checks of one partition.
func (c *checker) check(ctx context.Context, part int, jobs, streams *atomic.Int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.checkEvents(part); err != nil {
		return err
	}
	n, err := c.checkStreams(part)
	streams.Add(int64(n))
	if err != nil {
		return err
	}
	n, err = c.checkJobs(part)
	jobs.Add(int64(n))
	return err
}
