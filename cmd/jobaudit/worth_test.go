package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// A build from modified source is a finding also where the log was opened after a crash.
func TestARecoveryHidesNoModifiedBuildFromAReview(t *testing.T) {
	e := jobaudit.Event{Type: jobaudit.AuditOpened}
	e.Data.Recovery = []byte(`{"torn":{"bytes":3}}`)
	e.Data.Environment.VCS.Modified = true
	var kinds []string
	for kind := range worth(e) {
		kinds = append(kinds, kind)
	}
	require.Equal(t, []string{"recovery", "modified"}, kinds)
}
