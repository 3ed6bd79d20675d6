// Command bench measures jobaudit beside what people would use instead and what it
// cannot beat: the same work done by a bare loop, within the same run, as a ratio.
//
//	cd bench && go run .            every row
//	go run . -quick                 the same with shorter rounds
//	go run . -row run-1,durable-64  some rows
//	go run . -json results.json -svg results.svg
//
// The rows are run in rounds in which ours and the others take turns; a ratio is
// the median of the rounds. It exits with 1 if a row misses its mark, and with 2 if
// a row could not be measured. README.md has the newest results.
//
// The other programs of this package are benchmarks (go test -bench .).
//
// Peers are in this module alone: zerolog and zap are the fastest loggers of
// structured lines in wide use, slog is the standard library's, x/mod/sumdb/tlog is
// Go's own transparency log. Those that take long to compile, and the adapters to
// queues, are in a module and a program of their own, in the folder peers.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jobaudit/jobaudit/bench/cost"
)

func main() {
	quick := flag.Bool("quick", false, "fewer and shorter rounds")
	only := flag.String("row", "", "measure these rows only, separated by commas")
	jsonFile := flag.String("json", "", "write the results to this file as JSON")
	svgFile := flag.String("svg", "", "write the ratios to this file as bars")
	flag.Parse()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // filesink warns of logs on temporary storage
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if text := os.Getenv(memoryVariable); text != "" {
		if err := mirrorMany(ctx, text); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(2)
		}
		return
	}
	os.Exit(run(ctx, *quick, *only, *jsonFile, *svgFile))
}

// machine is what the results depend on beside the code.
type machine struct {
	Time, Go, OS, CPU, Commit string
	Procs                     int
	LoadBefore, LoadAfter     string
	Others                    float64 // the part of the processors that other programs had; -1 where it is not known
	Noisy                     bool    // they had more than a fourth
}

func run(ctx context.Context, quick bool, only, jsonFile, svgFile string) int {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing of it is needed
	e := &env{ctx: ctx, dir: dir, quick: quick, rounds: 9, slice: 300 * time.Millisecond}
	defer e.endChild()
	if quick {
		e.rounds, e.slice = 3, 60*time.Millisecond
	}
	if err := known(only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	m := here(ctx)
	m.print()
	others := since()
	var results []result
	for _, r := range rows() {
		if only != "" && !slices.Contains(strings.Split(only, ","), r.name) || ctx.Err() != nil {
			continue
		}
		res := e.measure(r)
		res.print()
		results = append(results, res)
	}
	m.LoadAfter = load()
	e.endChild()
	if m.Others = others(); m.Others >= 0 {
		fmt.Printf("\nOther programs had %.0f %% of the processors.\n", 100*m.Others)
	}
	if m.Noisy = m.Others > 0.25; m.Noisy {
		fmt.Println("That is too much: repeat it before judging.")
	}
	code := summary(results)
	for file, write := range map[string]func() ([]byte, error){
		jsonFile: func() ([]byte, error) {
			return json.MarshalIndent(struct {
				Machine machine
				Rows    []result
			}{m, results}, "", "  ")
		},
		svgFile: func() ([]byte, error) { return []byte(drawing(results)), nil },
	} {
		if file == "" {
			continue
		}
		text, err := write()
		if err == nil {
			err = os.WriteFile(file, text, 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			code = 2
		}
	}
	return code
}

// known reports names of rows that there are not.
func known(only string) error {
	for name := range strings.SplitSeq(only, ",") {
		if only != "" && !slices.ContainsFunc(rows(), func(r row) bool { return r.name == name }) {
			return fmt.Errorf("there is no row %q", name)
		}
	}
	return nil
}

func here(ctx context.Context) machine {
	m := machine{
		Time: time.Now().UTC().Format(time.RFC3339), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH,
		CPU: "unknown", Procs: runtime.GOMAXPROCS(0), LoadBefore: load(), Commit: "unknown",
	}
	// A program of go run is not stamped with its commit.
	if text, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(text))
	}
	text, _ := os.ReadFile("/proc/cpuinfo") // elsewhere it stays unknown
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			m.CPU = strings.TrimSpace(strings.TrimLeft(name, "\t :"))
			break
		}
	}
	return m
}

func (m machine) print() {
	fmt.Printf("%s, %s, %s, %d processors (%s), load %s, commit %s\n\n", m.Time, m.Go, m.OS, m.Procs, m.CPU, m.LoadBefore, m.Commit)
}

// load is the average of the last minute, as Linux tells it.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}

// since returns a function that tells which part of the processors other programs had
// since then, -1 where the system does not tell as Linux does.
func since() func() float64 {
	began, all, ours := time.Now(), processorTime(), cost.Tree()
	return func() float64 {
		now := processorTime()
		if all == 0 || now == 0 {
			return -1
		}
		others := now - all - (cost.Tree() - ours)
		return max(others.Seconds(), 0) / (time.Since(began).Seconds() * float64(runtime.NumCPU()))
	}
}

// processorTime is how long the machine's processors were not idle, what a hypervisor gave
// to others included; 0 where it is not known. The unit is a hundredth of a second.
func processorTime() (sum time.Duration) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) { // cpu user nice system idle iowait irq softirq steal, and parts of these
		n, err := strconv.ParseInt(field, 10, 64)
		if err == nil && i <= 8 && i != 4 && i != 5 {
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}
