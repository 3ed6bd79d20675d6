// Package cost measures what operations cost: in this process, in another one that
// serves its measurements, and on which processors.
package cost

import (
	"runtime"
	"time"
)

// Cost is what some operations took.
type Cost struct {
	Wall, CPU     time.Duration
	Allocs, Bytes float64
}

// Minus is what was taken more than by the other.
func (c Cost) Minus(other Cost) Cost {
	return Cost{c.Wall - other.Wall, c.CPU - other.CPU, c.Allocs - other.Allocs, c.Bytes - other.Bytes}
}

// Variant is one way of doing a row's work.
type Variant struct {
	Name string
	Run  func(n int) (Cost, error) `json:"-"`

	// Least is how many operations a slice has at the least; Fixed, if it is not
	// zero, how many it has.
	Least, Fixed int
}

// In measures a function within this process.
func In(f func(n int) error) func(int) (Cost, error) {
	return func(n int) (Cost, error) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		cpu, wall := CPU(), time.Now()
		err := f(n)
		c := Cost{Wall: time.Since(wall), CPU: CPU() - cpu}
		runtime.ReadMemStats(&after)
		c.Allocs, c.Bytes = float64(after.Mallocs-before.Mallocs), float64(after.TotalAlloc-before.TotalAlloc)
		return c, err
	}
}

// Each makes a function for n operations of one for one operation.
func Each(f func() error) func(int) error {
	return func(n int) error {
		for range n {
			if err := f(); err != nil {
				return err
			}
		}
		return nil
	}
}

// Always is a variant each of whose operations takes so long: a limit.
func Always(name string, took time.Duration) Variant {
	return Variant{Name: name, Run: func(n int) (Cost, error) {
		return Cost{Wall: time.Duration(n) * took, CPU: time.Duration(n) * took}, nil
	}}
}
