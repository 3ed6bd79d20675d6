//go:build !race

package size

// Race tells whether the test was built with the race detector: with it a
// sync.Pool forgets at random, so that allocations cannot be counted.
const Race = false
