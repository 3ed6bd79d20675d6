// Package jobcheck checks what the records of a log say of each other: that
// streams have no gaps, that their links hold, that no event ID stands twice
// and that jobs change state as they may.
//
// The checks go in two rounds. While the log is read, [Checks.Leaf] takes from
// each record a few facts of fixed size and sorts them into partitions: by
// stream, by job and by event ID. When the log has been read, [Checks.Finish]
// checks the partitions, each by itself and on all cores: what belongs
// together is in one, in the order of the log. Facts beyond a bound go to a
// temporary file.
//
// IDs are kept whole, hashes as fingerprints with a random seed.
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
	streamFact = 16 + 4*8 // stream; index, seq, hash, prev
	jobFact    = 16 + 2*8 // job; execution, index<<8 | type
	eventFact  = 16 + 8   // ID; index
	resumeFact = 16 + 3*8 + 16
)

// Checks are the checks of one log. They are for one goroutine.
type Checks struct {
	mixer mixer
	shift int // of a fingerprint, to its partition
	spill *spill

	streams, jobs, events, resumes *facts

	records int64
	line    lineFacts
	strict  *parsers
	// unparsable are lines that are no records.
	unparsable Notes
	recoveries []Recovery
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
		spill: s, shift: 64 - bits.TrailingZeros(uint(parts)),
		streams: newFacts(s, streamFact, parts), jobs: newFacts(s, jobFact, parts),
		events: newFacts(s, eventFact, parts), resumes: newFacts(s, resumeFact, parts),
	}
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	for i := range c.mixer {
		c.mixer[i] = binary.LittleEndian.Uint64(seed[8*i:])
	}
	if parseAll {
		c.strict = newParsers()
	}
	return c
}

// Close lets go of the temporary file and of goroutines.
func (c *Checks) Close() {
	if c.strict != nil {
		c.strict.wait()
	}
	c.spill.close()
}

// Leaf takes the facts from the next line of the log.
func (c *Checks) Leaf(l auditlog.Leaf) error {
	c.records++
	f := &c.line
	if !scanLine(l.Bytes, f) {
		r, err := jobaudit.ParseRecord(l.Bytes)
		if err != nil {
			c.unparsable.add(noRecord(l.Index, err))
			return nil
		}
		e := r.Event()
		*f = factsOf(&e)
	} else if c.strict != nil {
		c.strict.parse(l)
	}
	if f.typ == codeOpened {
		c.opened(l)
	}
	c.keep(l, f)
	return c.spill.err
}

func noRecord(index int64, err error) Finding {
	return Finding{Kind: Unparsable, Since: index, Index: index, Expected: "a record", Found: err.Error()}
}

// keep adds the facts to their partitions.
func (c *Checks) keep(l auditlog.Leaf, f *lineFacts) {
	le := binary.LittleEndian
	index := uint64(l.Index)
	fact := c.streams.add(int(c.mixer.id(&f.stream) >> c.shift))
	copy(fact, f.stream[:])
	le.PutUint64(fact[16:], index)
	le.PutUint64(fact[24:], f.seq)
	le.PutUint64(fact[32:], c.mixer.hash(&l.Hash))
	var prev uint64
	if f.seq > 1 {
		prev = c.mixer.hash(&f.prev)
	}
	le.PutUint64(fact[40:], prev)

	fact = c.events.add(int(c.mixer.id(&f.id) >> c.shift))
	copy(fact, f.id[:])
	le.PutUint64(fact[16:], index)

	if f.job != uuid.Nil {
		fact = c.jobs.add(int(c.mixer.id(&f.job) >> c.shift))
		copy(fact, f.job[:])
		var execution uint64
		if f.execution != uuid.Nil {
			execution = c.mixer.id(&f.execution) | 1
		}
		le.PutUint64(fact[16:], execution)
		le.PutUint64(fact[24:], index<<8|uint64(f.typ))
	}
	if f.resumed {
		fact = c.resumes.add(int(c.mixer.id(&f.after.stream) >> c.shift))
		copy(fact, f.after.stream[:])
		le.PutUint64(fact[16:], f.after.seq)
		le.PutUint64(fact[24:], c.mixer.hash(&f.after.hash))
		le.PutUint64(fact[32:], index)
		copy(fact[40:], f.job[:])
	}
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
	Transition auditlog.Kind = "illegal_transition"

	Ghost     auditlog.Kind = "execution_without_end"
	Unapplied auditlog.Kind = "unapplied_event"
	Dangling  auditlog.Kind = "dangling_resume"
)

// A Result is what was read and found.
type Result struct {
	Records, Jobs, Streams      int64
	Ghosts, Unapplied, Dangling Notes

	unparsable, duplicates, broken, resumed, transitions Notes
}

// Findings returns what is wrong, in the order of the log, and how many
// findings more there were.
func (f *Result) Findings() (list []Finding, more int) {
	for _, c := range []*Notes{&f.unparsable, &f.duplicates, &f.broken, &f.resumed, &f.transitions} {
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
	if c.strict != nil {
		for _, f := range c.strict.wait() {
			c.unparsable.add(f)
		}
	}
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
