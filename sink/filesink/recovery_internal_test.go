package filesink

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
)

// TestNobodyCanChangeWhatASinkReportsOfItsOpen: each caller gets lists of its own.
func TestNobodyCanChangeWhatASinkReportsOfItsOpen(t *testing.T) {
	s := &Sink{recovery: jobaudit.Recovery{
		TornHeads: make([]tlog.Tree, 1), TornFiles: make([]string, 1), Overrides: make([]string, 1), Warnings: make([]string, 1), Policies: make([]jobaudit.Hash, 1),
	}}
	one, two := reflect.ValueOf(s.Recovery()), reflect.ValueOf(s.Recovery())
	lists := 0
	for i := range one.NumField() {
		if one.Field(i).Kind() == reflect.Slice {
			lists++
			require.Equal(t, 1, one.Field(i).Len(), "%s is not filled here", one.Type().Field(i).Name)
			require.NotEqual(t, one.Field(i).Pointer(), two.Field(i).Pointer(), one.Type().Field(i).Name)
		}
	}
	require.Equal(t, 5, lists)
}
