package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// env is what the measurements of one run have in common.
type env struct {
	ctx    context.Context
	dir    string // for files; removed in the end
	rounds int
	slice  time.Duration // of one variant in one round, about
	root   string        // the test binary of the root package, once it is built
}

// row is one line of the table: ours beside others.
type row struct {
	name, what string
	wall       bool    // the ratio is of wall time, else of CPU time
	memory     bool    // the ratio is of bytes
	rate       bool    // the ratio is of rates, so that more is better
	mark       float64 // at most, or, of rates, at least; 0 for none
	allocs     float64 // the most allocations of ours; 0 for no mark
	setup      func(*env) ([]variant, func(), error)
}

// variant is one way of doing the work. The first of a row is ours, the second is
// what the ratio is to.
type variant struct {
	name  string
	run   func(n int) (cost, error)
	least int // operations of one slice at least
}

// cost is what n operations took.
type cost struct {
	wall, cpu     time.Duration
	allocs, bytes float64
}

// figures are medians of the rounds, for one operation.
type figures struct {
	Name          string
	NsWall, NsCPU float64
	Allocs, Bytes float64
}

// What a ratio is of.
const (
	cpuTimes  = "CPU time"
	wallTimes = "wall time"
	bytesUsed = "memory"
)

type result struct {
	Row, What      string
	Of             string // wall time, CPU time or memory
	Ratio          float64
	Low, High      float64 // the smallest and the largest of the rounds
	Mark           float64
	AtLeast        bool
	Figures        []figures
	AllocsMark     float64
	Error, Verdict string
}

// in measures a function within this process.
func in(f func(n int) error) func(int) (cost, error) {
	return func(n int) (cost, error) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		cpu, wall := cpuTime(), time.Now()
		err := f(n)
		c := cost{wall: time.Since(wall), cpu: cpuTime() - cpu}
		runtime.ReadMemStats(&after)
		c.allocs, c.bytes = float64(after.Mallocs-before.Mallocs), float64(after.TotalAlloc-before.TotalAlloc)
		return c, err
	}
}

// each makes a function for n operations of one for one operation.
func each(f func() error) func(int) error {
	return func(n int) error {
		for range n {
			if err := f(); err != nil {
				return err
			}
		}
		return nil
	}
}

// measure lets the variants of a row take turns.
func (e *env) measure(r row) result {
	res := result{Row: r.name, What: r.what, Of: cpuTimes, Mark: r.mark, AtLeast: r.rate, AllocsMark: r.allocs}
	switch {
	case r.wall:
		res.Of = wallTimes
	case r.memory:
		res.Of = bytesUsed
	}
	variants, done, err := r.setup(e)
	if err == nil {
		defer done()
		err = e.takeTurns(&r, variants, &res)
	}
	if err != nil {
		res.Error, res.Verdict = err.Error(), "not measured"
		return res
	}
	ours := res.Figures[0]
	switch {
	case r.mark == 0:
		res.Verdict = "no mark"
	case r.rate && res.Ratio < r.mark, !r.rate && res.Ratio > r.mark, r.allocs > 0 && ours.Allocs > r.allocs+0.5:
		res.Verdict = "MISSED"
	default:
		res.Verdict = "met"
	}
	return res
}

func (e *env) takeTurns(r *row, variants []variant, res *result) error {
	counts := make([]int, len(variants))
	for i, v := range variants { // warm up, and find out how many make a slice
		n := max(v.least, 1)
		for {
			c, err := v.run(n)
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			if c.wall >= e.slice/4 || n >= 1<<24 {
				counts[i] = max(int(float64(n)*float64(e.slice)/float64(c.wall)), v.least, 1)
				break
			}
			n *= 4
		}
	}
	rounds := make([][]figures, len(variants))
	var ratios []float64
	for range e.rounds {
		for i, v := range variants {
			if err := e.ctx.Err(); err != nil {
				return err
			}
			c, err := v.run(counts[i])
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			n := float64(counts[i])
			rounds[i] = append(rounds[i], figures{v.name, float64(c.wall) / n, float64(c.cpu) / n, c.allocs / n, c.bytes / n})
		}
		last := len(rounds[0]) - 1
		ours, other := rounds[0][last], rounds[1][last]
		ratio := ours.NsCPU / other.NsCPU
		switch {
		case r.wall:
			ratio = ours.NsWall / other.NsWall
		case r.memory:
			ratio = ours.Bytes / other.Bytes
		}
		if r.rate {
			ratio = 1 / ratio
		}
		ratios = append(ratios, ratio)
	}
	for i, v := range variants {
		res.Figures = append(res.Figures, figures{
			v.name,
			medianOf(rounds[i], func(f figures) float64 { return f.NsWall }), medianOf(rounds[i], func(f figures) float64 { return f.NsCPU }),
			medianOf(rounds[i], func(f figures) float64 { return f.Allocs }), medianOf(rounds[i], func(f figures) float64 { return f.Bytes }),
		})
	}
	slices.Sort(ratios)
	res.Ratio, res.Low, res.High = ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1]
	return nil
}

func medianOf(rounds []figures, of func(figures) float64) float64 {
	all := make([]float64, len(rounds))
	for i, f := range rounds {
		all[i] = of(f)
	}
	slices.Sort(all)
	return all[len(all)/2]
}
