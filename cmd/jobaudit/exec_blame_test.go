package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A program that was told to read its configuration again, and fails hours later, was not
// cancelled: nobody would look for it among what failed.
func TestAProgramIsCancelledOnlyByTheSignalThatEndedIt(t *testing.T) {
	now := time.Now()
	hangUp := func(ago time.Duration) sent { return sent{"SIGHUP", 1, now.Add(-ago)} }
	term := func(ago time.Duration) sent { return sent{"SIGTERM", 15, now.Add(-ago)} }
	for name, tc := range map[string]struct {
		how   outcome
		sent  []sent
		cause string
		says  string
	}{
		"success":                  {outcome{}, []sent{term(0)}, "", ""},
		"nothing was sent":         {outcome{code: 3}, nil, "", "exit status 3"},
		"its own signal":           {outcome{signal: "SIGTERM", number: 15}, []sent{term(time.Hour), hangUp(time.Minute)}, "SIGTERM", "ended by SIGTERM"},
		"the code of its signal":   {outcome{code: 143}, []sent{term(time.Hour)}, "SIGTERM", "exit status 143"},
		"a failure just behind":    {outcome{code: 3}, []sent{term(5 * time.Second)}, "SIGTERM", "exit status 3"},
		"a reload, hours before":   {outcome{code: 3}, []sent{hangUp(3 * time.Hour)}, "", "exit status 3 (SIGHUP was sent to it 3h0m0s before)"},
		"a reload, seconds before": {outcome{code: 3}, []sent{hangUp(3 * time.Second)}, "", "exit status 3 (SIGHUP was sent to it 3s before)"},
		"killed by somebody else":  {outcome{signal: "SIGKILL", number: 9}, []sent{term(time.Minute)}, "", "ended by SIGKILL (SIGTERM was sent to it 1m0s before)"},
	} {
		tc.how.blame(tc.sent, now)
		require.Equal(t, tc.cause, tc.how.cause, name)
		if err := tc.how.err(); tc.says != "" {
			require.EqualError(t, err, tc.says, name)
		}
	}
}
