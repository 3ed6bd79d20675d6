//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/fsck"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/bench/corpus"
	"github.com/jobaudit/jobaudit/bench/cost"
)

// origin is the name of the logs.
const origin = "example.com/bench"

// tesseraRows are logs of Tessera's in POSIX storage with so many callers, and its
// check of a whole log.
func tesseraRows(ctx context.Context) (cost.Rows, func(), error) {
	klog.SetSlogLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	dir, err := os.MkdirTemp("", "tessera")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := func() {
		cancel()
		_ = os.RemoveAll(dir) // with the rest of what is temporary
	}
	rows := cost.Rows{}
	for _, callers := range []int{1, 64, 1024} {
		row := fmt.Sprint("durable-", callers)
		for _, s := range settings(uint(callers)) {
			rows[row] = append(rows[row], s.variant(ctx, dir, callers))
		}
	}
	check, err := checked(ctx, dir)
	rows["verify"] = []cost.Variant{check}
	return rows, done, err
}

// setting is one way of running a log.
type setting struct {
	note       string
	size       uint          // of a batch at most
	age        time.Duration // of a batch at most
	checkpoint time.Duration // between two signed heads
	memory     uint          // entries whose copies are found, or 0
	published  bool          // whether a caller waits for a signed head that has the entry
}

// settings are Tessera's own and those that suit so many callers, of whom each waits
// for its entry: a batch for all of them is complete when each has called. All but the
// last ask for less than our log gives, which has signed a head when Append returns.
func settings(callers uint) []setting {
	const size, age, checkpoint = tessera.DefaultBatchMaxSize, tessera.DefaultBatchMaxAge, tessera.DefaultCheckpointInterval
	return []setting{
		{note: " (its defaults)", size: size, age: age, checkpoint: checkpoint},
		{size: callers, age: age, checkpoint: checkpoint},
		{size: max(callers/2, 1), age: 5 * time.Millisecond, checkpoint: checkpoint},
		{size: max(callers, size), age: time.Millisecond, checkpoint: checkpoint},
		{note: ", antispam in memory", size: callers, age: age, checkpoint: checkpoint, memory: tessera.DefaultAntispamInMemorySize},
		{note: ", head awaited", size: callers, age: age, checkpoint: 100 * time.Millisecond, published: true},
	}
}

func (s setting) String() string {
	return fmt.Sprintf("Tessera: batch %d or %v, head each %v%s", s.size, s.age, s.checkpoint, s.note)
}

// variant has the callers add entries, each one after another, to a log that is made
// when it is first asked for.
func (s setting) variant(ctx context.Context, dir string, callers int) cost.Variant {
	var add func(*tessera.Entry) error
	least := 4 * callers // the first need not wait for a signed head, or for a batch that is under way
	if quick() {
		least = 2 * callers
	}
	return cost.Variant{Name: s.String(), Least: least, Run: func(n int) (cost.Cost, error) {
		if add == nil {
			l, err := openTessera(ctx, dir, s)
			if err != nil {
				return cost.Cost{}, err
			}
			add = l.add
		}
		each := max(n/callers, 1)
		records, err := corpus.Records(each * callers)
		if err != nil {
			return cost.Cost{}, err
		}
		c, err := cost.In(func(int) error { return together(callers, each, records, add) })(n)
		part := float64(n) / float64(each*callers)
		return cost.Cost{
			Wall: time.Duration(float64(c.Wall) * part), CPU: time.Duration(float64(c.CPU) * part), Allocs: c.Allocs * part, Bytes: c.Bytes * part,
		}, err
	}}
}

func together(callers, each int, records []jobaudit.Record, add func(*tessera.Entry) error) error {
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for _, r := range records[i*each : (i+1)*each] {
				if err := add(tessera.NewEntry(r.Bytes())); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// tesseraLog is an open log.
type tesseraLog struct {
	add      func(*tessera.Entry) error // waits until the entry is durable
	start    tessera.AddFn
	reader   tessera.LogReader
	verifier note.Verifier
	shutdown func(context.Context) error
}

func openTessera(ctx context.Context, dir string, s setting) (*tesseraLog, error) {
	path, err := os.MkdirTemp(dir, "log")
	if err != nil {
		return nil, err
	}
	secret, public, err := note.GenerateKey(nil, origin)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, err
	}
	l := &tesseraLog{}
	if l.verifier, err = note.NewVerifier(public); err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: path})
	if err != nil {
		return nil, err
	}
	options := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithBatching(s.size, s.age).WithCheckpointInterval(s.checkpoint)
	if s.memory > 0 {
		options = options.WithAntispam(s.memory, nil)
	}
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return nil, err
	}
	l.start, l.shutdown, l.reader = appender.Add, shutdown, reader
	l.add = func(e *tessera.Entry) error {
		_, err := l.start(ctx, e)()
		return err
	}
	if s.published {
		awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 5*time.Millisecond)
		l.add = func(e *tessera.Entry) error {
			_, _, err := awaiter.Await(ctx, l.start(ctx, e))
			return err
		}
	}
	return l, nil
}

// checked checks a log of as many records as the row verify has, of the same kind.
func checked(ctx context.Context, dir string) (cost.Variant, error) {
	var l *tesseraLog
	return cost.Variant{Name: "Tessera fsck, on all cores", Run: func(n int) (cost.Cost, error) {
		if l == nil {
			var err error
			if l, err = writtenTessera(ctx, dir); err != nil {
				return cost.Cost{}, err
			}
		}
		return cost.In(cost.Each(func() error {
			return fsck.New(origin, l.verifier, l.reader, leaves, fsck.Opts{N: uint(runtime.GOMAXPROCS(0))}).Check(ctx)
		}))(n)
	}}, nil
}

func writtenTessera(ctx context.Context, dir string) (*tesseraLog, error) {
	records, err := corpus.Jobs(ctx, 30_000)
	if err != nil {
		return nil, err
	}
	l, err := openTessera(ctx, dir, setting{size: 4096, age: time.Second, checkpoint: 100 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	var waiting []tessera.IndexFuture
	for i, r := range records {
		waiting = append(waiting, l.start(ctx, tessera.NewEntry(r.Bytes())))
		if len(waiting) < 4096 && i < len(records)-1 {
			continue
		}
		for _, stored := range waiting {
			if _, err := stored(); err != nil {
				return nil, err
			}
		}
		waiting = waiting[:0]
	}
	return l, l.shutdown(ctx)
}

// leaves are the hashes of a bundle's entries.
func leaves(bundle []byte) ([][]byte, error) {
	var b api.EntryBundle
	if err := b.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	hashes := make([][]byte, 0, len(b.Entries))
	for _, entry := range b.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}
