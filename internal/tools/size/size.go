// Package size tells a test in which of the sizes of the suite it runs.
//
//	make test         what each change must pass; SHORT=1 is testing.Short
//	make test-extra   EXTRA=1: tests named TestExtra… and FuzzExtra…, which need
//	                  more programs, or libraries that take minutes to compile
//	make soak         SOAK=1: tests named TestSoak…, long campaigns from a seed
//
// A test that belongs to the last two begins with [Extra] or [Soak], which skip
// it elsewhere, and bears the name by which make finds it.
package size

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Times returns how often a test repeats what finds more the longer it is done:
// so often in the whole size, and so often under testing.Short. It is for the same
// promise with fewer inputs; what is not to be done at all is skipped.
func Times(whole, short int) int {
	if testing.Short() {
		return short
	}
	return whole
}

// Extra skips the test but under make test-extra. Once there, a program that is
// missing is a failure and no reason to skip: make test-extra installs it.
func Extra(t testing.TB) {
	t.Helper()
	only(t, "EXTRA", "Extra")
}

// Soak skips the test but under make soak, and returns the seed of all that it
// chooses at random, printed: SEED=n make soak repeats the run with the same.
func Soak(t testing.TB) (seed uint64) {
	t.Helper()
	only(t, "SOAK", "Soak")
	seed, err := seedFrom(os.Getenv("SEED"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("SEED=%d", seed)
	return seed
}

func seedFrom(text string) (uint64, error) {
	if text == "" {
		return rand.Uint64(), nil
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("SEED is the number that an earlier run printed: %w", err)
	}
	return seed, nil
}

// only skips the test where the variable is not 1. A test that make would never
// find fails at once, wherever it runs.
func only(t testing.TB, variable, prefix string) {
	t.Helper()
	name := strings.TrimPrefix(t.Name(), "Test")
	if _, fuzz := t.(*testing.F); fuzz {
		name = strings.TrimPrefix(t.Name(), "Fuzz")
	}
	if !strings.HasPrefix(name, prefix) {
		t.Fatalf("%s=1 runs what is named Test%s… and Fuzz%[2]s…, so that is how this one has to be named", variable, prefix)
	}
	if os.Getenv(variable) != "1" {
		t.Skipf("runs with %s=1: see CONTRIBUTING.md", variable)
	}
}
