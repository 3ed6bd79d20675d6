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
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/auditlog"
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
func (e *env) rootBenchmark(name, setting string) func(int) (cost, error) {
	cpuOf := func(c *exec.Cmd) time.Duration { return c.ProcessState.UserTime() + c.ProcessState.SystemTime() }
	var start time.Duration
	return func(n int) (cost, error) {
		var settings []string
		if setting != "" {
			settings = append(settings, setting)
		}
		if start == 0 {
			_, c, err := e.benchmark(e.root, name, "1x", settings...)
			if err != nil {
				return cost{}, err
			}
			start = cpuOf(c)
		}
		found, c, err := e.benchmark(e.root, name, fmt.Sprint(n, "x"), settings...)
		if err != nil {
			return cost{}, err
		}
		return cost{
			wall: time.Duration(found["ns/op"] * float64(n)), cpu: max(cpuOf(c)-start, 1),
			allocs: found["allocs/op"] * float64(n), bytes: found["B/op"] * float64(n),
		}, nil
	}
}

// The submission of BenchmarkRun has 17 members with a text in them; these are the
// same texts, in as many members.
var members = []struct{ name, value string }{
	{"schemaVersion", "1.0.0"}, {"id", "019c22d9-fd65-7300-9855-acddd212117c"}, {"type", "job.submitted"}, {"phase", "before"},
	{"stream", "019c22d9-fd65-7300-9855-acddd212117d"}, {"job", "019c22d9-fd65-7300-9855-acddd212117e"}, {"state", "pending"},
	{"root", "019c22d9-fd65-7300-9855-acddd212117e"}, {"correlation", "019c22d9-fd65-7300-9855-acddd212117e"},
	{"request", "019c22d9-fd65-7300-9855-acddd212117e"}, {"principal", "ann"}, {"org", "acme"}, {"action", "deploy"},
	{"policy", "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}, {"system", "worker"}, {"reason", "asked by support"},
}

var inputs = json.RawMessage(`{"repo":"acme/site"}`)

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
			for _, m := range members {
				l = l.Str(m.name, m.value)
			}
			l.RawJSON("inputs", inputs).Send()
			return nil
		},
		"zap": func() error {
			var room [20]zap.Field
			f := append(room[:0], zap.Time("time", time.Now()), zap.Any("inputs", inputs))
			for _, m := range members {
				f = append(f, zap.String(m.name, m.value))
			}
			core.Info("", f...)
			return nil
		},
		"slog": func() error {
			var room [20]slog.Attr
			a := append(room[:0], slog.Any("inputs", inputs))
			for _, m := range members {
				a = append(a, slog.String(m.name, m.value))
			}
			s.LogAttrs(ctx, slog.LevelInfo, "", a...)
			return nil
		},
		"encoding/json": func() error {
			v := make(map[string]any, len(members)+2)
			for _, m := range members {
				v[m.name] = m.value
			}
			v["time"], v["inputs"] = time.Now(), inputs
			return json.NewEncoder(w).Encode(v)
		},
	}
}

func encodeRow(e *env) ([]variant, func(), error) {
	if err := e.buildRoot(); err != nil {
		return nil, nil, err
	}
	l := loggers(io.Discard)
	vs := []variant{{name: "jobaudit", run: e.rootBenchmark("BenchmarkEvent$", largeHeap), least: 600_000}}
	for _, name := range []string{"zerolog", "zap", "slog", "encoding/json"} {
		vs = append(vs, variant{name: name, run: in(each(l[name]))})
	}
	return vs, nothing, nil
}

func recordRow(e *env) ([]variant, func(), error) {
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
	return []variant{
		{name: "jobaudit", run: e.rootBenchmark("BenchmarkRecord$", largeHeap), least: 150_000},
		{name: "zerolog and SHA-256, as many bytes", run: in(each(hashed))},
	}, nothing, nil
}

func redactRow(e *env) ([]variant, func(), error) {
	if err := e.buildRoot(); err != nil {
		return nil, nil, err
	}
	var ns, of float64 // of the newest round
	ours := func(n int) (cost, error) {
		found, _, err := e.benchmark(e.root, "BenchmarkRedactBeside$/^paths and scan$", "300x")
		ns, of = found["ns/record"], found["of-encoding/json"]
		return cost{wall: duration(ns * float64(n)), cpu: duration(ns * float64(n))}, err
	}
	theirs := func(n int) (cost, error) {
		if of == 0 {
			return cost{}, errors.New("the benchmark gives no ratio")
		}
		return cost{wall: duration(ns / of * float64(n)), cpu: duration(ns / of * float64(n))}, nil
	}
	return []variant{{name: "paths and scan", run: ours, least: 1000}, {name: "encoding/json", run: theirs, least: 1000}}, nothing, nil
}

func scanRow(e *env) ([]variant, func(), error) {
	binary := filepath.Join(e.dir, "secrets.test")
	if err := build(e.ctx, binary, "./internal/secrets"); err != nil {
		return nil, nil, err
	}
	ours := func(n int) (cost, error) {
		found, _, err := e.benchmark(binary, "BenchmarkFind$/^records$/^table$", "2000x")
		if err == nil && found["MB/s"] == 0 {
			err = errors.New("the benchmark gives no rate")
		}
		took := duration(float64(n) * 1e3 / max(found["MB/s"], 1)) // an operation is one byte
		return cost{wall: took, cpu: took}, err
	}
	fixed := func(n int) (cost, error) { return cost{wall: duration(n) * 4, cpu: duration(n) * 4}, nil }
	return []variant{{name: "scan, a byte", run: ours, least: 1 << 20}, {name: "250 MB a second", run: fixed, least: 1 << 20}}, nothing, nil
}

func proveRow(*env) ([]variant, func(), error) {
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
	return []variant{{name: "auditlog", run: in(each(ours))}, {name: "x/mod/sumdb/tlog", run: in(each(theirs))}}, nothing, nil
}
