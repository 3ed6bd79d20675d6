package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/auditlog"
	samples "github.com/jobaudit/jobaudit/bench/corpus"
	"github.com/jobaudit/jobaudit/bench/cost"
)

type duration = time.Duration

// largeHeap lets the garbage collector run as rarely as beside 256 MB that live:
// the benchmarks themselves keep about 4.
const largeHeap = "GOGC=6400"

// buildRoot builds the test binary of the root package once: it alone can measure
// what the library does not export.
func (e *env) buildRoot() error {
	if e.root != "" {
		return nil
	}
	binary := filepath.Join(e.dir, "root.test")
	if err := build(e.ctx, binary, "."); err != nil {
		return err
	}
	e.root = binary
	return nil
}

func build(ctx context.Context, binary, pkg string) error {
	c := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, pkg)
	c.Dir = ".."
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go test -c %s in the folder above: %w: %s", pkg, err, out)
	}
	return nil
}

var figure = regexp.MustCompile(`([0-9.]+) (\S+)`)

// benchmark runs one benchmark of a test binary and returns its figures by their
// units.
func (e *env) benchmark(binary, name, count string, setting ...string) (map[string]float64, *exec.Cmd, error) {
	c := exec.CommandContext(e.ctx, binary, "-test.run", "^$", "-test.bench", "^"+name, "-test.benchmem", "-test.benchtime", count)
	c.Env = append(c.Environ(), setting...)
	c.Dir = ".."
	out, err := c.CombinedOutput()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w: %s", name, err, out)
	}
	found := map[string]float64{}
	for line := range bytes.Lines(out) {
		if !bytes.HasPrefix(line, []byte("Benchmark")) {
			continue
		}
		for _, m := range figure.FindAllSubmatch(line, -1) {
			v, _ := strconv.ParseFloat(string(m[1]), 64) // the expression lets nothing else through
			found[string(m[2])] = v
		}
	}
	if len(found) == 0 {
		return nil, nil, errors.New(name + ": there is no such benchmark")
	}
	return found, c, nil
}

// rootBenchmark measures a benchmark of the root package in a process of its own,
// by what the process takes more than one that does it once.
func (e *env) rootBenchmark(name, setting string) func(int) (cost.Cost, error) {
	cpuOf := func(c *exec.Cmd) time.Duration { return c.ProcessState.UserTime() + c.ProcessState.SystemTime() }
	var start time.Duration
	return func(n int) (cost.Cost, error) {
		var settings []string
		if setting != "" {
			settings = append(settings, setting)
		}
		if start == 0 {
			_, c, err := e.benchmark(e.root, name, "1x", settings...)
			if err != nil {
				return cost.Cost{}, err
			}
			start = cpuOf(c)
		}
		found, c, err := e.benchmark(e.root, name, fmt.Sprint(n, "x"), settings...)
		if err != nil {
			return cost.Cost{}, err
		}
		return cost.Cost{
			Wall: time.Duration(found["ns/op"] * float64(n)), CPU: max(cpuOf(c)-start, 1),
			Allocs: found["allocs/op"] * float64(n), Bytes: found["B/op"] * float64(n),
		}, nil
	}
}

// loggers are the peers at their fastest documented settings: typed fields, no
// caller, no sampling, one line each.
func loggers(w io.Writer) map[string]func() error {
	z := zerolog.New(w)
	core := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(w), zap.InfoLevel))
	s := slog.New(slog.NewJSONHandler(w, nil))
	ctx := context.Background()
	return map[string]func() error{
		"zerolog": func() error {
			l := z.Info().Time("time", time.Now())
			for _, m := range samples.Members {
				l = l.Str(m.Name, m.Value)
			}
			l.RawJSON("inputs", samples.Inputs).Send()
			return nil
		},
		"zap": func() error {
			var room [20]zap.Field
			f := append(room[:0], zap.Time("time", time.Now()), zap.Any("inputs", samples.Inputs))
			for _, m := range samples.Members {
				f = append(f, zap.String(m.Name, m.Value))
			}
			core.Info("", f...)
			return nil
		},
		"slog": func() error {
			var room [20]slog.Attr
			a := append(room[:0], slog.Any("inputs", samples.Inputs))
			for _, m := range samples.Members {
				a = append(a, slog.String(m.Name, m.Value))
			}
			s.LogAttrs(ctx, slog.LevelInfo, "", a...)
			return nil
		},
		"encoding/json": func() error {
			v := make(map[string]any, len(samples.Members)+2)
			for _, m := range samples.Members {
				v[m.Name] = m.Value
			}
			v["time"], v["inputs"] = time.Now(), samples.Inputs
			return json.NewEncoder(w).Encode(v)
		},
	}
}

func encodeRow(e *env) ([]cost.Variant, func(), error) {
	if err := e.buildRoot(); err != nil {
		return nil, nil, err
	}
	l := loggers(io.Discard)
	vs := []cost.Variant{{Name: "jobaudit", Run: e.rootBenchmark("BenchmarkEvent$", largeHeap), Least: 600_000}}
	for _, name := range []string{"zerolog", "zap", "slog", "encoding/json"} {
		vs = append(vs, cost.Variant{Name: name, Run: cost.In(cost.Each(l[name]))})
	}
	rows, err := e.peerRows("loggers")
	return append(vs, rows["encode"]...), nothing, err
}

func recordRow(e *env) ([]cost.Variant, func(), error) {
	if err := e.buildRoot(); err != nil {
		return nil, nil, err
	}
	var line bytes.Buffer
	zero := loggers(&line)["zerolog"]
	var kept [1024][]byte
	i, pad := 0, make([]byte, 1200) // an event has so much more: what is beside the texts, and its place
	hashed := func() error {
		line.Reset()
		if err := zero(); err != nil {
			return err
		}
		line.Write(pad[:max(1030-line.Len(), 0)])
		kept[i%len(kept)] = bytes.Clone(line.Bytes())
		sum := sha256.Sum256(kept[i%len(kept)])
		kept[i%len(kept)][0] = sum[0]
		i++
		return nil
	}
	return []cost.Variant{
		{Name: "jobaudit", Run: e.rootBenchmark("BenchmarkRecord$", largeHeap), Least: 150_000},
		{Name: "zerolog and SHA-256, as many bytes", Run: cost.In(cost.Each(hashed))},
	}, nothing, nil
}

func redactRow(e *env) ([]cost.Variant, func(), error) {
	if err := e.buildRoot(); err != nil {
		return nil, nil, err
	}
	var ns, of float64 // of the newest round
	ours := func(n int) (cost.Cost, error) {
		found, _, err := e.benchmark(e.root, "BenchmarkRedactBeside$/^paths and scan$", "300x")
		ns, of = found["ns/record"], found["of-encoding/json"]
		return cost.Cost{Wall: duration(ns * float64(n)), CPU: duration(ns * float64(n))}, err
	}
	theirs := func(n int) (cost.Cost, error) {
		if of == 0 {
			return cost.Cost{}, errors.New("the benchmark gives no ratio")
		}
		return cost.Cost{Wall: duration(ns / of * float64(n)), CPU: duration(ns / of * float64(n))}, nil
	}
	rows, err := e.peerRows("loggers")
	return append([]cost.Variant{
		{Name: "paths and scan", Run: ours, Least: 1000}, {Name: "encoding/json", Run: theirs, Least: 1000},
	}, rows["redact"]...), nothing, err
}

func scanRow(e *env) ([]cost.Variant, func(), error) {
	binary := filepath.Join(e.dir, "secrets.test")
	if err := build(e.ctx, binary, "./internal/secrets"); err != nil {
		return nil, nil, err
	}
	ours := func(n int) (cost.Cost, error) {
		found, _, err := e.benchmark(binary, "BenchmarkFind$/^records$/^table$", "2000x")
		if err == nil && found["MB/s"] == 0 {
			err = errors.New("the benchmark gives no rate")
		}
		took := duration(float64(n) * 1e3 / max(found["MB/s"], 1)) // an operation is one byte
		return cost.Cost{Wall: took, CPU: took}, err
	}
	return []cost.Variant{{Name: "scan, a byte", Run: ours, Least: 1 << 20}, cost.Always("250 MB a second", 4)}, nothing, nil
}

// removedRow searches 16 KiB in which none of the values is. What a loop over the bytes
// costs that looks for one of them, or for a few, is no search for 2,048 values: it is
// beside for what no search can be faster than.
func removedRow(e *env) ([]cost.Variant, func(), error) {
	binary := filepath.Join(e.dir, "taint.test")
	if err := build(e.ctx, binary, "./internal/taint"); err != nil {
		return nil, nil, err
	}
	of := func(set string) func(n int) (cost.Cost, error) {
		return func(n int) (cost.Cost, error) {
			found, _, err := e.benchmark(binary, "BenchmarkMatch$/^"+set+"_in_prose$", "300x")
			if err == nil && found["MB/s"] == 0 {
				err = errors.New("the benchmark gives no rate")
			}
			took := duration(float64(n) * 1e3 / max(found["MB/s"], 1)) // an operation is one byte
			return cost.Cost{Wall: took, CPU: took}, err
		}
	}
	text := []byte(strings.Repeat("rebuilding the index of acme/site: 1,000 documents, 3 shards, https://host.example.org/path?q=1; ", 170))
	pass := func(find func([]byte) int) func(int) (cost.Cost, error) {
		return cost.In(func(n int) error {
			for ; n > 0; n -= len(text) {
				if find(text[:min(n, len(text))]) >= 0 {
					return errors.New("found what is not there")
				}
			}
			return nil
		})
	}
	return []cost.Variant{
		{Name: "values of chance, a byte", Run: of("random"), Least: 1 << 20},
		cost.Always("100 MB a second", 10),
		{Name: "values that begin as the text does", Run: of("prose"), Least: 1 << 20},
		{Name: "bytes.IndexByte", Run: pass(func(b []byte) int { return bytes.IndexByte(b, '~') })},
		{Name: "bytes.IndexAny of eight", Run: pass(func(b []byte) int { return bytes.IndexAny(b, "~^@!|{}$") })},
	}, nothing, nil
}

func proveRow(*env) ([]cost.Variant, func(), error) {
	const size = 1 << 16
	var tree auditlog.Tree
	var stored []tlog.Hash
	var lines [][]byte
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i := range int64(size) {
		line := fmt.Appendf(nil, `{"record":%d}`, i)
		tree.Append(nil, auditlog.HashLeaf(line))
		more, err := tlog.StoredHashes(i, line, read)
		if err != nil {
			return nil, nil, err
		}
		stored, lines = append(stored, more...), append(lines, line)
	}
	secret, _, err := auditlog.GenerateKey("example.com/bench")
	if err != nil {
		return nil, nil, err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, nil, err
	}
	head, err := tree.Sign(signer)
	if err != nil {
		return nil, nil, err
	}
	root, err := tlog.TreeHash(size, read)
	if err != nil {
		return nil, nil, err
	}
	at := int64(0)
	next := func() int64 { at = (at + 7919) % size; return at }
	ours := func() error {
		i := next()
		_, err := auditlog.Prove(head, i, lines[i], read)
		return err
	}
	theirs := func() error {
		i := next()
		proof, err := tlog.ProveRecord(size, i, read)
		if err != nil {
			return err
		}
		return tlog.CheckRecord(proof, size, root, i, tlog.RecordHash(lines[i]))
	}
	return []cost.Variant{{Name: "auditlog", Run: cost.In(cost.Each(ours))}, {Name: "x/mod/sumdb/tlog", Run: cost.In(cost.Each(theirs))}}, nothing, nil
}
