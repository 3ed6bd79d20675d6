package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets the test's own program be the processes.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && !strings.HasPrefix(os.Args[1], "-") {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestAKilledWorkersJobHasOneStory(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a program and starts five processes")
	}
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out))
	require.Contains(t, out.String(), `web: the vase for grace: ordered
web: the book for ada: ordered
web: the ring for mallory: not paid, and no trace is left
worker: packing the vase
worker: killed
keeper: the worker of the vase is silent: attempt lost
worker: packing the book
keeper: River has given a job up, which it tells nobody: 1 end added to the log
`)
	shown := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d+ +\S+ +(\S+)`).FindAllStringSubmatch(out.String(), -1)
	var types []string
	for _, line := range shown {
		if line[1] != "job.heartbeat" { // as many as there was time for
			types = append(types, line[1])
		}
	}
	require.Equal(t, []string{"job.submitted", "job.authorized", "job.started", "attempt.lost", "job.failed"}, types, "%s", out.String())
	require.Contains(t, out.String(), "user grace (verified)")
	require.Contains(t, out.String(), "verified L2")
	require.NotContains(t, out.String(), "mallory\n")
}
