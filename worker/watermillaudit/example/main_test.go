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
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var out bytes.Buffer
	require.NoError(t, run(ctx, &out))
	text := out.String()
	t.Log("\n" + text)
	require.Equal(t, 6, strings.Count(text, "job.submitted"), "three orders, two mails, one message in the poison queue")
	require.Equal(t, 4, strings.Count(text, "job.succeeded"))
	require.Equal(t, 1, strings.Count(text, "attempt.failed"), "the warehouse was busy")
	require.Equal(t, 1, strings.Count(text, "job.failed"))
	require.Contains(t, text, "not in stock")
	require.Contains(t, text, "a message was delivered without a submitted job")
	require.Equal(t, 2, strings.Count(text, "1 mail sent"))
}
