package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jobaudit/jobaudit/bench/cost"
)

// env is what the measurements of one run have in common.
type env struct {
	ctx    context.Context
	dir    string // for files; removed in the end
	rounds int
	slice  time.Duration // of one variant in one round, about
	quick  bool
	root   string   // the test binary of the root package, once it is built
	peers  string   // the program in the folder of that name, once it is built
	child  *process // it, as it measures some rows
}

// row is one line of the table: ours, which is the first variant, beside others. The
// ratio is to the second of them.
type row struct {
	name, what string
	wall       bool    // the ratio is of wall time, else of CPU time
	memory     bool    // the ratio is of bytes
	best       bool    // the ratio is to the best of the others, whichever that is
	rate       bool    // the ratio is of rates, so that more is better
	mark       float64 // at most, or, of rates, at least; 0 for none
	allocs     float64 // the most allocations of ours; 0 for no mark
	setup      func(*env) ([]cost.Variant, func(), error)
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
	Beside         int // which of the figures the ratio is to
	AllocsMark     float64
	Seconds        float64 // that the row took, with what it sets up
	Error, Verdict string
}

// measure lets the variants of a row take turns.
func (e *env) measure(r row) (res result) {
	res = result{Row: r.name, What: r.what, Of: cpuTimes, Mark: r.mark, AtLeast: r.rate, AllocsMark: r.allocs}
	switch {
	case r.wall:
		res.Of = wallTimes
	case r.memory:
		res.Of = bytesUsed
	}
	begun := time.Now()
	defer func() { res.Seconds = time.Since(begun).Seconds() }()
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

func (e *env) takeTurns(r *row, variants []cost.Variant, res *result) error {
	counts, err := e.countsOf(variants)
	if err != nil {
		return err
	}
	rounds := make([][]figures, len(variants))
	for range e.rounds {
		for i, v := range variants {
			if err := e.ctx.Err(); err != nil {
				return err
			}
			c, err := v.Run(counts[i])
			if err != nil {
				return fmt.Errorf("%s: %w", v.Name, err)
			}
			n := float64(counts[i])
			rounds[i] = append(rounds[i], figures{v.Name, float64(c.Wall) / n, float64(c.CPU) / n, c.Allocs / n, c.Bytes / n})
		}
	}
	for i, v := range variants {
		res.Figures = append(res.Figures, figures{
			v.Name,
			medianOf(rounds[i], func(f figures) float64 { return f.NsWall }), medianOf(rounds[i], func(f figures) float64 { return f.NsCPU }),
			medianOf(rounds[i], func(f figures) float64 { return f.Allocs }), medianOf(rounds[i], func(f figures) float64 { return f.Bytes }),
		})
	}
	res.compare(r, rounds)
	return nil
}

// countsOf warms the variants up, and finds out how many operations make a slice.
func (e *env) countsOf(variants []cost.Variant) ([]int, error) {
	counts := make([]int, len(variants))
	for i, v := range variants {
		n := max(v.Least, v.Fixed, 1)
		for {
			c, err := v.Run(n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v.Name, err)
			}
			if v.Fixed > 0 {
				break
			}
			if c.Wall >= e.slice/4 || n >= 1<<24 {
				n = max(int(float64(n)*float64(e.slice)/float64(c.Wall)), v.Least, 1)
				break
			}
			n *= 4
		}
		counts[i] = n
	}
	return counts, nil
}

// compare sets the ratio: of each round one, and their median.
func (r *result) compare(of *row, rounds [][]figures) {
	measure := func(f figures) float64 {
		switch {
		case of.wall:
			return f.NsWall
		case of.memory:
			return f.Bytes
		}
		return f.NsCPU
	}
	r.Beside = 1
	for i := range r.Figures {
		if of.best && i > 1 && measure(r.Figures[i]) < measure(r.Figures[r.Beside]) {
			r.Beside = i
		}
	}
	var ratios []float64
	for i, ours := range rounds[0] {
		ratio := measure(ours) / measure(rounds[r.Beside][i])
		if of.rate {
			ratio = 1 / ratio
		}
		ratios = append(ratios, ratio)
	}
	slices.Sort(ratios)
	r.Ratio, r.Low, r.High = ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1]
}

func medianOf(rounds []figures, of func(figures) float64) float64 {
	all := make([]float64, len(rounds))
	for i, f := range rounds {
		all[i] = of(f)
	}
	slices.Sort(all)
	return all[len(all)/2]
}
