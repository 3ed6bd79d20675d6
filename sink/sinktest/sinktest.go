// Package sinktest holds implementations of [jobaudit.AuditSink] to the
// contract that its comment states. It is a table of named clauses; a failure
// quotes the rule that was broken.
//
//	func TestConformance(t *testing.T) {
//		sinktest.Run(t, func(ctx context.Context) (sinktest.Medium, error) {
//			dir := t.TempDir()
//			return sinktest.Medium{
//				Open: func(ctx context.Context) (jobaudit.AuditSink, error) { return mysink.Open(ctx, dir) },
//				// … Bytes, Hang, Fail, Prove
//			}, nil
//		}, sinktest.Traits{})
//	}
//
// The zero [Traits] is the whole contract. What a sink does not promise, or
// what a test cannot do to its medium, is waived by a trait, by name; the
// waived cases say which trait waived them and nothing is left out silently.
package sinktest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit"
)

// Medium is what a sink keeps its records on: a directory, a database schema,
// a bucket. The suite asks for a new and empty one for each case.
type Medium struct {
	// Open opens a sink over the medium, which holds what earlier sinks over it
	// stored. The suite opens one sink at a time and closes it, if it is an
	// io.Closer, before it opens the next. Required.
	Open func(ctx context.Context) (jobaudit.AuditSink, error)

	// Bytes iterates over everything that lies on the medium, in pieces that a
	// record's line does not straddle: files, rows, objects. Without it the
	// trait Opaque must be set.
	Bytes func(ctx context.Context) iter.Seq2[[]byte, error]

	// Hang makes the medium stop: a write that reaches it waits until heal is
	// called. Fail lets the next healthy writes (system calls, statements,
	// requests: the medium's own unit) succeed and makes each one after them
	// fail until heal is called. heal is called once. Without the two, the
	// trait NoFaults must be set.
	Hang func() (heal func())
	Fail func(healthy int) (heal func())

	// Replace puts other bytes, as many, in the place of the line of a stored
	// record, as damage would, without the knowledge of the sink that is open.
	// Without it the trait Irreplaceable must be set.
	Replace func(ctx context.Context, r jobaudit.Record, line []byte) error

	// Prove returns nil if the sink, which Open returned, can prove to somebody
	// who does not trust it that the record is in its log. Without it the trait
	// Unproven must be set.
	Prove func(ctx context.Context, sink jobaudit.AuditSink, r jobaudit.Record) error
}

// Traits declares what a sink does not promise. The zero value promises
// everything.
type Traits struct {
	// What the sink does not do.

	WriteOnly   bool // it is no [jobaudit.AuditReader]: what it stored is never looked at
	AtLeastOnce bool // a record that is sent again may be stored again, and conflicts go unnoticed
	Unordered   bool // it is read in no particular order, and batches mix
	Volatile    bool // what it stored is gone when it is closed
	Unproven    bool // it has no proofs
	NoClose     bool // it is no io.Closer
	NoTail      bool // it has no method Tail, which [jobaudit.AuditReader] describes

	// What a test cannot do to its medium.

	NoFaults      bool // make it fail or hang
	Opaque        bool // see its bytes
	Irreplaceable bool // put other bytes in the place of stored ones
}

// trait names a field of Traits.
type trait string

const (
	writeOnly   trait = "WriteOnly"
	atLeastOnce trait = "AtLeastOnce"
	unordered   trait = "Unordered"
	volatile    trait = "Volatile"
	unproven    trait = "Unproven"
	noClose     trait = "NoClose"
	noTail      trait = "NoTail"
	noFaults    trait = "NoFaults"
	opaque      trait = "Opaque"

	irreplaceable trait = "Irreplaceable"
)

func (t Traits) has(name trait) bool {
	return map[trait]bool{
		writeOnly: t.WriteOnly, atLeastOnce: t.AtLeastOnce, unordered: t.Unordered, volatile: t.Volatile,
		unproven: t.Unproven, noClose: t.NoClose, noTail: t.NoTail, noFaults: t.NoFaults, opaque: t.Opaque,
		irreplaceable: t.Irreplaceable,
	}[name]
}

// Violation is a clause that a sink does not keep.
type Violation struct {
	Case string // the clause's name
	Rule string // what the contract says
	Err  error  // what the sink did instead
}

func (v *Violation) Error() string {
	return fmt.Sprintf("sinktest: %s: %v\n\tthe rule: %s", v.Case, v.Err, v.Rule)
}

func (v *Violation) Unwrap() error { return v.Err }

// Run checks each clause in a subtest. open returns a new and empty medium; it
// may use t to make one and to clean up. A case that the traits waive is
// skipped and says why.
func Run(t *testing.T, open func(ctx context.Context) (Medium, error), traits Traits) {
	t.Helper()
	for _, c := range clauses() {
		t.Run(c.name, func(t *testing.T) {
			if name, waived := c.waivedBy(traits); waived {
				t.Skipf("waived by Traits.%s", name)
			}
			if err := c.check(t.Context(), open, traits); err != nil {
				t.Error(err)
			}
		})
	}
}

// Check is Run without a test: it returns the clauses that the sink does not
// keep as [*Violation] errors, joined, or nil. It serves tests of test suites.
func Check(ctx context.Context, open func(ctx context.Context) (Medium, error), traits Traits) error {
	var violations []error
	for _, c := range clauses() {
		if _, waived := c.waivedBy(traits); waived {
			continue
		}
		if err := c.check(ctx, open, traits); err != nil {
			violations = append(violations, err)
		}
	}
	return errors.Join(violations...)
}

// clause is one case.
type clause struct {
	name   string
	rule   string
	waives []trait // each of them waives it
	run    func(ctx context.Context, b *bench) error
}

// clauses returns the table.
func clauses() []clause {
	return []clause{
		{"round trip", "stored records are read back to the byte", []trait{writeOnly}, roundTrip},
		{"order", "the records of an Append are stored in their order and next to each other, and read in the order of acceptance", []trait{writeOnly, unordered}, order},
		{"retry", "a record whose ID is stored already with the same bytes succeeds and is stored once", []trait{atLeastOnce}, retry},
		{"conflict", "with other bytes under a stored ID it is ErrConflict in a *RecordError that names the record; nothing behind it is stored", []trait{atLeastOnce}, conflict},
		{"malformed record", "a record that can never be stored is a *RecordError; nothing behind it in the call is stored", nil, malformedRecord},
		{"aliasing", "Append must neither change nor keep the caller's slice", []trait{writeOnly}, aliasing},
		{"concurrent writers", "Append is safe for concurrent use, and each batch stays together", nil, concurrentWriters},
		{"cancelled context", "Append returns when ctx ends, with ctx's error; the same records may be sent again", nil, cancelledContext},
		{"hung medium", "Append returns when ctx ends, with ctx's error, whatever its medium does; the same records may be sent again", []trait{noFaults}, hungMedium},
		{"failed batch", "an error means that any prefix may have been stored, and the very same batch completes it; nil means that all of it is", []trait{noFaults}, failedBatch},
		{"write after close", "a closed sink refuses records with an error", []trait{noClose}, writeAfterClose},
		{"close during writes", "Close may come at any time: what was acknowledged is stored, the rest gets an error", []trait{noClose}, closeDuringWrites},
		{"reopen", "what was acknowledged is there when the medium is opened again, and is known by its ID however long ago it was stored", []trait{volatile}, reopen},
		{"iteration", "each iteration starts from the beginning, may be left at any time, ends with ctx's error when ctx ends, and hinders no Append", []trait{writeOnly}, iteration},
		{"selection", "Records yields what Query.Match selects", []trait{writeOnly}, selection},
		{"paging", "Limit, After and NewestFirst hold; an After that is not stored is an error, yielded once", []trait{writeOnly, unordered}, paging},
		{"unreadable record", "a stored record that cannot be parsed is yielded as an error that wraps an *UnreadableError, which says where it is, and reading goes on behind it", []trait{irreplaceable, writeOnly}, unreadableRecord},
		{"jobs", "Jobs yields the jobs that their submission selects, as Replay folds them, the one that was submitted last first", []trait{writeOnly, unordered, atLeastOnce}, jobs},
		{"tail", "Tail yields what is stored and then what comes, until its limit, its context or its reader ends", []trait{noTail, writeOnly, unordered, atLeastOnce}, tail},
		{"hash link", "every stream is read back whole: seq without gaps, prev the hash of the event before", []trait{writeOnly}, hashLink},
		{"proof", "each record that is read back can be proved to be in the log", []trait{unproven, writeOnly}, proof},
		{"canary", "nothing lies on the medium but what the records say", []trait{opaque}, canary},
		{"goroutines", "Close leaves no goroutine behind, nor does a sink that needs no Close", nil, goroutines},
	}
}

// waivedBy returns the trait that waives the clause, if one does.
func (c clause) waivedBy(traits Traits) (trait, bool) {
	for _, name := range c.waives {
		if traits.has(name) {
			return name, true
		}
	}
	return "", false
}

const (
	// caseTimeout is how long a case may take. Only a sink that hangs uses it up.
	caseTimeout = time.Minute
	// grace is how long a case may go on after its context has ended.
	grace = 10 * time.Second
)

var errNoReturn = errors.New("the case does not end: some call of the sink does not return although its context has ended")

// check runs the clause on a new medium and returns nil or a *Violation.
func (c clause) check(ctx context.Context, open func(ctx context.Context) (Medium, error), traits Traits) error {
	ctx, cancel := context.WithTimeout(ctx, caseTimeout)
	defer cancel()
	b := &bench{traits: traits}
	defer b.heal()
	done := make(chan error, 1)
	go func() {
		err := errors.New("the case was ended by runtime.Goexit")
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			}
			done <- err
		}()
		err = b.run(ctx, open, c.run)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		last := time.NewTimer(grace)
		defer last.Stop()
		select {
		case err = <-done:
		case <-last.C:
			err = errNoReturn
		}
	}
	if err == nil {
		return nil
	}
	return &Violation{Case: c.name, Rule: c.rule, Err: err}
}
