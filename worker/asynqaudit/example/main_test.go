package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheExampleTellsEachJobsStory(t *testing.T) {
	if testing.Short() {
		t.Skip("needs redis-server")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var out bytes.Buffer
	require.NoError(t, run(ctx, &out))
	text := out.String()
	require.Equal(t, 5, strings.Count(text, "job.submitted"), "the operator's act is one")
	require.Equal(t, 3, strings.Count(text, "job.succeeded"), "two of them at the second attempt")
	require.Equal(t, 2, strings.Count(text, "attempt.failed"))
	require.Equal(t, 1, strings.Count(text, "job.failed"), "the digest returned nil, too late")
	require.Contains(t, text, "TIMEOUT")
	require.Contains(t, text, "deleted by user bob, job ")
	require.Contains(t, text, "a task was found in its queue without a submitted job")
	require.Contains(t, text, "1 mail sent")
}
