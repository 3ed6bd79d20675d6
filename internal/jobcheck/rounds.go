package jobcheck

import (
	"encoding/binary"
	"fmt"

	"github.com/jobaudit/jobaudit/auditlog"
)

func word(fact []byte, at int) uint64 { return binary.LittleEndian.Uint64(fact[at:]) }

// finding is a finding about the record at index that rests on the records from
// since.
func finding(kind auditlog.Kind, since, index uint64) Finding {
	return Finding{Kind: kind, Since: int64(min(since, index)), Index: int64(index)}
}

// checker is the memory of one goroutine of the second round.
type checker struct {
	*Checks
	found *Result
	block []byte

	prints  printSet
	first   table[ident, uint64]
	ends    table[ident, streamEnd]
	resumed table[place, []resumption]
	states  table[ident, jobState]
	runs    table[execution, run]
}

// checkEvents finds event IDs that stand twice. Most logs have none, so it
// looks for fingerprints that stand twice first.
func (c *checker) checkEvents(part int) error {
	c.prints.reset(c.events.len(part))
	twice := false
	err := c.events.each(part, c.block, func(fact []byte) {
		if c.prints.add(c.mixer.id(identAt(fact, 0))) {
			twice = true
		}
	})
	if err != nil || !twice {
		return err
	}
	return c.findDuplicates(part)
}

func (c *checker) findDuplicates(part int) error {
	first := &c.first
	first.reset(c.events.len(part))
	return c.events.each(part, c.block, func(fact []byte) {
		id, index := identAt(fact, 0), word(fact, 16)
		was, again := first.at(c.mixer.id(id), id)
		if !again {
			*was = index
			return
		}
		f := finding(Duplicate, *was, index)
		f.Event = id.uuid()
		f.Expected, f.Found = "an ID of its own", fmt.Sprintf("the ID of the record at index %d", *was)
		c.found.duplicates.add(f)
	})
}

// streamEnd is the newest record of a stream so far.
type streamEnd struct {
	index, seq, hash uint64
	resumed          bool // a record of the stream is resumed
}

// resumption is a stream's first record that says after which one it comes.
type resumption struct {
	hash, index uint64
	job         ident
	signed      bool // by a signed Carrier's word
	settled     bool
}

type place struct {
	stream ident
	seq    uint64
}

// checkStreams checks that each stream counts on from 1 and links to its own
// hashes, and that resumed records have the hashes that they are resumed by.
// It returns the number of streams.
func (c *checker) checkStreams(part int) (int, error) {
	resumed, ends := &c.resumed, &c.ends
	ends.reset(c.streams.len(part) / 4)
	if err := c.readResumes(part); err != nil {
		return 0, err
	}
	streams := 0
	err := c.streams.each(part, c.block, func(fact []byte) {
		id := identAt(fact, 0)
		print := c.mixer.id(id)
		now := streamEnd{index: word(fact, 16), seq: word(fact, 24), hash: word(fact, 40)}
		end, _ := ends.at(print, id)
		if end.seq == 0 {
			streams++
		}
		switch {
		case now.seq != end.seq+1:
			f := finding(Stream, end.index, now.index)
			if end.seq == 0 { // what is missing may have stood anywhere before
				f.Since = 0
			}
			f.Expected, f.Found = fmt.Sprintf("seq %d in stream %s", end.seq+1, id.uuid()), fmt.Sprintf("seq %d", now.seq)
			c.found.broken.add(f)
		case now.seq > 1 && word(fact, 32) != end.hash:
			f := finding(Stream, end.index, now.index)
			f.Expected = fmt.Sprintf("the hash of seq %d in stream %s, at index %d", end.seq, id.uuid(), end.index)
			f.Found = "another hash"
			c.found.broken.add(f)
		}
		now.resumed = end.resumed
		*end = now
		if now.resumed {
			c.settle(print, id, now)
		}
	})
	for i := range resumed.entries {
		for _, r := range resumed.entries[i].value {
			if !r.settled {
				p := resumed.entries[i].key
				f := finding(Dangling, r.index, r.index)
				f.Job = r.job.uuid()
				f.Found = fmt.Sprintf("resumes seq %d of stream %s, which is not in this log", p.seq, p.stream.uuid())
				c.found.Dangling.add(f)
			}
		}
	}
	return streams, err
}

// readResumes reads which records of this partition are resumed, by whom.
func (c *checker) readResumes(part int) error {
	t := &c.resumed
	t.reset(c.resumes.len(part))
	return c.resumes.each(part, c.block, func(fact []byte) {
		p := place{identAt(fact, 0), word(fact, 16)}
		print := c.mixer.id(p.stream)
		end, _ := c.ends.at(print, p.stream)
		end.resumed = true
		list, _ := t.at(print+p.seq, p)
		*list = append(*list, resumption{
			hash: word(fact, 24), index: word(fact, 32) >> 1, signed: word(fact, 32)&1 == 1, job: identAt(fact, 40),
		})
	})
}

// settle compares a record with what is said of it where streams resume.
func (c *checker) settle(print uint64, stream ident, now streamEnd) {
	list, ok := c.resumed.get(print+now.seq, place{stream, now.seq})
	if !ok {
		return
	}
	for i := range *list {
		r := &(*list)[i]
		if r.settled {
			continue
		}
		r.settled = true
		if r.hash == now.hash {
			continue
		}
		f := finding(Resume, now.index, r.index)
		f.Job = r.job.uuid()
		if !r.signed { // who can write to the queue can invent the hash
			f.Kind = Dangling
			f.Found = fmt.Sprintf("resumes seq %d of stream %s by another hash than it has here, at index %d", now.seq, stream.uuid(), now.index)
			c.found.Dangling.add(f)
			continue
		}
		f.Expected = fmt.Sprintf("the hash of seq %d in stream %s, at index %d", now.seq, stream.uuid(), now.index)
		f.Found = "another hash"
		c.found.resumed.add(f)
	}
}

// jobState is a job as far as its records have been read.
type jobState struct {
	state stateCode
	// whole is set if the log has the job's submission before all else; the
	// rest may be in other logs.
	whole bool
	last  uint64 // index of the newest record
	begun bool

	// submitted is set if the log has a submission; first is the first one.
	submitted, several bool
	first              submission
	// proven is the one that signed Carriers name, disputed if they name more.
	proven   submission
	disputed bool
}

type execution struct{ job, execution uint64 }

type run struct {
	start uint64
	job   ident
	ended bool
}

// checkJobs folds the jobs as far as this log tells of them. It returns their
// number.
func (c *checker) checkJobs(part int) (int, error) {
	n := c.jobs.len(part)
	states, runs := &c.states, &c.runs
	states.reset(n / 4)
	runs.reset(n / 4)
	if err := c.readSubmissions(part); err != nil {
		return 0, err
	}
	err := c.jobs.each(part, c.block, func(fact []byte) {
		id := identAt(fact, 0)
		print, x := c.mixer.id(id), word(fact, 16)
		index, typ := word(fact, 24)>>8, eventCode(fact[24])
		j, _ := states.at(print, id)
		if j.foreign(word(fact, 32)) {
			c.found.Foreign.add(foreignNote(typ, index, id))
			return
		}
		known := j.begun
		if !known {
			j.begun, j.whole, j.last = true, typ == codeSubmitted, index
			if !j.whole {
				j.state = statePending
			}
		}
		key, ran := execution{print, x}, true
		var r *run
		switch {
		case x == 0:
		case codes[typ].starts:
			if r, ran = runs.at(x, key); !ran {
				*r = run{start: index, job: id}
			}
		case codes[typ].ends:
			if r, ran = runs.get(x, key); ran {
				r.ended = true
			}
		}
		j.apply(typ, index, id, known || !j.whole, !ran, c.found)
	})
	for i := range runs.entries {
		if r := &runs.entries[i].value; !r.ended {
			f := finding(Ghost, r.start, r.start)
			f.Job = r.job.uuid()
			f.Found = "started, no end"
			c.found.Ghosts.add(f)
		}
	}
	return len(states.entries), err
}

// apply moves a job on by an event. If elsewhere is set, the event is of an
// execution that another log has the start of. What F1 gives no effect is a note:
// other logs may have what comes before it, and who writes to the queue can have
// two processes record what excludes each other.
func (j *jobState) apply(typ eventCode, index uint64, id ident, begun, elsewhere bool, found *Result) {
	since := j.last
	j.last = index
	if !begun {
		j.state = stateNone
	}
	was := j.state
	note := func(how string) {
		f := finding(Unapplied, since, index)
		f.Job = id.uuid()
		f.Found = fmt.Sprintf("%s of a job that "+how, codes[typ].typ, was)
		found.Unapplied.add(f)
	}
	switch m := typ.step(j.state); m {
	case keep:
		return
	case illegal:
		if typ != codeDeduplicated {
			j.state = codes[typ].outcome
		}
		if !j.whole || elsewhere {
			return
		}
		note("is %s here")
	case duplicate, late:
		note("is %s already")
	default:
		j.state = stateCode(m)
	}
}
