package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheExampleTellsHowEachLetterEnded(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs a PostgreSQL server of its own")
	}
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out))
	require.Equal(t, `letter {"to":"Lisbon"} for ada: success, attempts: 1 (River: completed)
letter {"to":"Nowhere"} for ada: failed, attempts: 2, error: no such place (River: discarded)
letter {"to":"Oslo"} for ada: success, attempts: 2 (River: completed)
reconciled with River's table: 3 jobs, 0 to add
`, out.String())
}
