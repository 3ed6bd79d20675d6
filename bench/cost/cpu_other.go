//go:build !unix

package cost

import "time"

var began = time.Now()

// CPU is the time that has passed: the system's own count is not read here.
func CPU() time.Duration { return time.Since(began) }

// Tree is CPU.
func Tree() time.Duration { return CPU() }
