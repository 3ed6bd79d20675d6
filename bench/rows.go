package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/bench/cost"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// rows are the rows of the table, in its order.
func rows() []row {
	all := []row{
		{name: "encode", what: "one event of 17 fields as bytes, beside loggers", mark: 0.7, setup: encodeRow},
		{name: "record", what: "the same encoded, placed, hashed and kept, beside zerolog and SHA-256", mark: 1.1, setup: recordRow},
		{name: "run-1", what: "a job through Run, inputs redacted, into a sink that costs nothing; heap as of 256 MB", mark: 2.2, allocs: 28, setup: runRow("Run", "BenchmarkRun$")},
		{name: "run-32", what: "the same with 32 callers", mark: 2.5, allocs: 28, setup: runRow("Run", "BenchmarkRunTogether$")},
		{name: "wrap", what: "the same job by a function that Wrap has made of a plain one", mark: 2.2, allocs: 28, setup: runRow("Wrap", "BenchmarkWrap$")},
		{name: "durable-1", what: "filesink, one caller, beside a write and an fsync", wall: true, mark: 1.5, setup: oneCallerRow},
	}
	for _, writers := range []int{64, 1024} {
		mark := 0.0
		if writers == 1024 {
			mark = 0.85
		}
		all = append(all, row{
			name: fmt.Sprint("durable-", writers), wall: true, rate: true, mark: mark, setup: togetherRow(writers),
			what: fmt.Sprintf("filesink, %d callers, beside a loop that gathers, hashes, signs, writes and fsyncs", writers),
		})
	}
	for _, t := range []struct {
		callers int
		mark    float64
	}{{1, 15}, {64, 9}, {1024, 5}} {
		all = append(all, row{
			name: fmt.Sprint("tessera-", t.callers), wall: true, rate: true, best: true, mark: t.mark, setup: tesseraRow(t.callers),
			what: fmt.Sprintf("filesink, callers at once: %d, beside the best of Tessera's settings", t.callers),
		})
	}
	all = append(all,
		row{name: "verify", what: "the proof of a log, beside hashing its leaves and nodes on all cores", wall: true, rate: true, mark: 0.75, setup: verifyRow(false)},
		row{name: "verify-checks", what: "the same with the checks of what its records say", wall: true, rate: true, mark: 0.6, setup: verifyRow(true)},
		row{name: "prove", what: "a proof of one record in a tree in memory, checked, beside x/mod/sumdb/tlog", mark: 1.2, setup: proveRow},
		row{name: "redact", what: "what is stored of a record of ten fields, scanned, beside encoding/json of it", mark: 0.5, setup: redactRow},
		row{name: "scan", what: "the scan of texts for secrets, beside 250 MB a second", wall: true, rate: true, mark: 1, setup: scanRow},
		row{name: "removed", what: "the search of a text for 2,048 removed values, beside 100 MB a second", wall: true, rate: true, mark: 1, setup: removedRow},
		row{name: "bulk", what: "each of 1,000 jobs that SubmitAll stores in filesink, beside 12 µs", mark: 1, setup: bulkRow},
		row{name: "growth", what: "an Append to a log of 100,000 records, beside one of 1,000", mark: 1.2, setup: growthRow},
		row{name: "mirror", what: "a log mirrored to a directory, beside a loop that reads, folds, checks each signature and puts", wall: true, rate: true, mark: 0.7, setup: mirrorRow},
		row{name: "mirror-p50", what: "an Append at half of the greatest rate with a mirror, beside one without, median", wall: true, mark: 1.1, setup: latencyRow(50)},
		row{name: "mirror-p99", what: "the same, 99th percentile", wall: true, mark: 1.1, setup: latencyRow(99)},
		row{name: "mirror-memory", what: "the greatest resident size of mirroring 10⁶ events, beside 10⁵ and 10 MB", memory: true, mark: 1, setup: memoryRow},
	)
	for _, queue := range []string{"asynq", "river"} {
		all = append(all, queueRows(queue)...)
	}
	return all
}

// queueRows are the rows of an adapter, which another program measures.
func queueRows(queue string) []row {
	return []row{
		{name: queue, what: "the CPU time that the adapter and filesink add to a job in the worker's process", mark: 1, setup: queueRow(queue, queue)},
		{name: queue + "-busy", what: "jobs with a millisecond of work, beside the queue alone", wall: true, rate: true, mark: 0.9, setup: queueRow(queue, queue+"-busy")},
		{name: queue + "-p50", what: "what an enqueue waits longer, beside an fsync, median", wall: true, mark: 1.5, setup: queueRow(queue, queue+"-p50")},
		{name: queue + "-p99", what: "the same, 99th percentile, beside the median fsync", wall: true, mark: 3, setup: queueRow(queue, queue+"-p99")},
	}
}

func queueRow(queue, row string) func(*env) ([]cost.Variant, func(), error) {
	return func(e *env) ([]cost.Variant, func(), error) {
		rows, err := e.peerRows(queue)
		return rows[row], nothing, err
	}
}

// tesseraRow is ours of a row of durability beside all settings of Tessera.
func tesseraRow(callers int) func(*env) ([]cost.Variant, func(), error) {
	setup := togetherRow(callers)
	if callers == 1 {
		setup = oneCallerRow
	}
	return func(e *env) ([]cost.Variant, func(), error) {
		rows, err := e.peerRows("tessera")
		if err != nil {
			return nil, nil, err
		}
		vs, done, err := setup(e)
		if err != nil {
			return nil, nil, err
		}
		return append(vs[:1:1], rows[fmt.Sprint("durable-", callers)]...), done, nil
	}
}

func nothing() {}

// program is the tb of a row: what fails ends the row.
type program struct {
	env *env
}

type failure struct{ error }

func (program) Helper()                    {}
func (p program) Context() context.Context { return p.env.ctx }
func (program) Fatal(args ...any)          { panic(failure{fmt.Errorf("%s", fmt.Sprintln(args...))}) }

func (p program) TempDir() string {
	dir, err := os.MkdirTemp(p.env.dir, "row")
	if err != nil {
		p.Fatal(err)
	}
	return dir
}

// caught turns what Fatal ended into an error.
func caught(err *error) {
	switch p := recover().(type) {
	case nil:
	case failure:
		*err = p.error
	default:
		panic(p)
	}
}

func runRow(name, benchmark string) func(*env) ([]cost.Variant, func(), error) {
	return func(e *env) ([]cost.Variant, func(), error) {
		if err := e.buildRoot(); err != nil {
			return nil, nil, err
		}
		return []cost.Variant{
			{Name: name + ", large heap", Run: e.rootBenchmark(benchmark, largeHeap), Least: 12_000},
			{Name: "encode, place and hash, large heap", Run: e.rootBenchmark("BenchmarkFloor$", largeHeap), Least: 12_000},
			{Name: name + ", heap of 4 MB", Run: e.rootBenchmark(benchmark, ""), Least: 12_000},
			{Name: "encode, place and hash, heap of 4 MB", Run: e.rootBenchmark("BenchmarkFloor$", ""), Least: 12_000},
		}, nothing, nil
	}
}

func oneCallerRow(e *env) (vs []cost.Variant, done func(), err error) {
	defer caught(&err)
	b := program{e}
	base := b.TempDir()
	s := openLog(b, base)
	f, err := os.Create(filepath.Join(base, "bare"))
	if err != nil {
		return nil, nil, err
	}
	commit := make([]byte, 300) // as long as a commit line
	of := func(store func(jobaudit.Record) error) func(int) (cost.Cost, error) {
		return func(n int) (c cost.Cost, err error) {
			defer caught(&err)
			all := records(b, n) // what makes them is no part of it
			return cost.In(func(int) error {
				for _, r := range all {
					if err := store(r); err != nil {
						return err
					}
				}
				return nil
			})(n)
		}
	}
	ours := of(func(r jobaudit.Record) error { return s.Append(e.ctx, []jobaudit.Record{r}) })
	bare := of(func(r jobaudit.Record) error {
		if _, err := f.Write(append(r.Bytes(), commit...)); err != nil {
			return err
		}
		return f.Sync()
	})
	return []cost.Variant{{Name: "filesink", Run: ours}, {Name: "write and fsync", Run: bare}}, func() { _, _ = s.Close(), f.Close() }, nil
}

// togetherRow has so many callers store one event at a time, each several.
func togetherRow(writers int) func(*env) ([]cost.Variant, func(), error) {
	return func(e *env) ([]cost.Variant, func(), error) {
		b := program{e}
		of := func(f func(tb, string, []jobaudit.Record, int) (took duration)) func(int) (cost.Cost, error) {
			return func(n int) (c cost.Cost, err error) {
				defer caught(&err)
				all := records(b, max(n/writers, 1)*writers)
				var took duration
				c, err = cost.In(func(int) error { took = f(b, b.TempDir(), all, writers); return nil })(n)
				c.Wall = took * duration(n) / duration(len(all)) // without what opens and closes the log
				return c, err
			}
		}
		return []cost.Variant{
			{Name: "filesink", Run: of(oursTogether), Least: 20 * writers},
			{Name: "bare loop", Run: of(bareTogether), Least: 20 * writers},
		}, nothing, nil
	}
}

func verifyRow(checks bool) func(*env) ([]cost.Variant, func(), error) {
	return func(e *env) (vs []cost.Variant, done func(), err error) {
		defer caught(&err)
		b := program{e}
		all := jobs(b, 30_000) // two segments
		var c corpus
		for _, r := range all {
			c.bytes = r.AppendTo(c.bytes)
			c.ends = append(c.ends, len(c.bytes))
		}
		dir, key := writtenLog(b, all, 1000)
		segments := segmentsOf(b, dir)
		keys := []note.Verifier{key.Verifier()}
		ours := func() error {
			report, err := auditlog.Verify(e.ctx, segments, &auditlog.Options{Keys: keys}, nil)
			if err == nil && report.Level != auditlog.Signed {
				err = fmt.Errorf("not verified: %v", report)
			}
			return err
		}
		if checks {
			ours = func() error {
				report, err := filesink.Verify(e.ctx, dir, &filesink.VerifyOptions{Keys: keys})
				if err == nil && (report.Level != auditlog.Signed || report.Records != int64(len(c.ends))) {
					err = fmt.Errorf("not verified: %v", report)
				}
				return err
			}
		}
		var peers []cost.Variant
		if !checks {
			rows, err := e.peerRows("tessera")
			if err != nil {
				return nil, nil, err
			}
			peers = rows["verify"]
		}
		return append([]cost.Variant{
			{Name: "verify", Run: cost.In(cost.Each(ours))},
			{Name: "hash leaves and nodes", Run: cost.In(cost.Each(func() error { c.hashTree(); return nil }))},
			{Name: "hash leaves", Run: cost.In(cost.Each(func() error { c.hashOnAllCores(); return nil }))},
		}, peers...), nothing, nil
	}
}

// hashTree hashes the leaves, and as many nodes as a tree over them has.
func (c *corpus) hashTree() {
	c.hashOnAllCores()
	var a, b tlog.Hash
	var wg sync.WaitGroup
	const shares = 2
	for range shares {
		wg.Go(func() {
			h := a
			for range len(c.ends) / shares {
				h = tlog.NodeHash(h, b)
			}
		})
	}
	wg.Wait()
}

func bulkRow(e *env) (vs []cost.Variant, done func(), err error) {
	defer caught(&err)
	b := program{e}
	s := openLog(b, b.TempDir())
	rec, err := jobaudit.Open(e.ctx, s, jobaudit.Source{System: "bench", Environment: "bench"}, nil)
	if err != nil {
		return nil, nil, err
	}
	const jobs = 1000
	list := slices.Repeat([]jobaudit.Submission{{
		Action: "reindex", Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "u-1", Verified: true},
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old", Ref: "OPS-12"},
	}}, jobs)
	together := func(n int) error {
		for range n / jobs {
			if _, err := rec.SubmitAll(e.ctx, list); err != nil {
				return err
			}
		}
		return nil
	}
	alone := func(n int) error {
		for i := range n {
			if _, err := rec.Submit(e.ctx, list[i%jobs]); err != nil {
				return err
			}
		}
		return nil
	}
	whole := func(f func(int) error, unit int) func(int) (cost.Cost, error) {
		return func(n int) (cost.Cost, error) {
			n = (n + unit - 1) / unit * unit
			return cost.In(f)(n)
		}
	}
	return []cost.Variant{
			{Name: "SubmitAll of 1,000", Run: whole(together, jobs), Least: jobs},
			cost.Always("12 µs", 12*time.Microsecond),
			{Name: "Submit, one by one", Run: whole(alone, 1)},
		}, func() {
			_ = rec.Close(e.ctx) // what was measured is stored
			_ = s.Close()
		}, nil
}

func growthRow(e *env) (vs []cost.Variant, done func(), err error) {
	defer caught(&err)
	b := program{e}
	sized := func(size int) (*filesink.Sink, func(int) error) {
		s := openLog(b, b.TempDir())
		for left := size; left > 0; left -= 1000 {
			if err := s.Append(e.ctx, records(b, 1000)); err != nil {
				b.Fatal(err)
			}
		}
		return s, func(n int) (err error) {
			defer caught(&err)
			for range n / 100 {
				if err := s.Append(e.ctx, records(b, 100)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	large, appendLarge := sized(100_000)
	small, appendSmall := sized(1_000)
	return []cost.Variant{
		{Name: "100,000 records", Run: hundreds(cost.In(appendLarge)), Least: 100},
		{Name: "1,000 records", Run: hundreds(cost.In(appendSmall)), Least: 100},
	}, func() { _, _ = large.Close(), small.Close() }, nil
}

// hundreds rounds the number of operations, which go a hundred at a time.
func hundreds(run func(int) (cost.Cost, error)) func(int) (cost.Cost, error) {
	return func(n int) (cost.Cost, error) {
		whole := (n + 99) / 100 * 100
		c, err := run(whole)
		part := float64(n) / float64(whole)
		c.Wall, c.CPU = duration(float64(c.Wall)*part), duration(float64(c.CPU)*part)
		c.Allocs, c.Bytes = c.Allocs*part, c.Bytes*part
		return c, err
	}
}
