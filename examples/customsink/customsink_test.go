package main

import (
	"bytes"
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// The store's own file cannot be made to fail or to hang from here, and a
// table has no proofs. Everything else holds.
func TestTheSinkKeepsTheContract(t *testing.T) {
	sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
		path := filepath.Join(t.TempDir(), "records")
		var store *Store // that is open
		return sinktest.Medium{
			Open: func(context.Context) (sink jobaudit.AuditSink, err error) {
				store, err = OpenStore(path)
				return Sink{store}, err
			},
			Replace: func(_ context.Context, r jobaudit.Record, line []byte) error {
				store.mu.Lock()
				defer store.mu.Unlock()
				i := slices.IndexFunc(store.rows, func(row Row) bool { return row.Key == r.ID().String() })
				store.rows[i].Value = string(line)
				return nil
			},
			Bytes: func(context.Context) iter.Seq2[[]byte, error] {
				return func(yield func([]byte, error) bool) { yield(os.ReadFile(path)) }
			},
		}, nil
	}, sinktest.Traits{NoTail: true, NoFaults: true, Unproven: true})
}

func TestTheSinkHasLessThan40LinesOfCode(t *testing.T) {
	source, err := os.ReadFile("sink.go")
	require.NoError(t, err)
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "sink.go", source, parser.SkipObjectResolution)
	require.NoError(t, err)
	lines := 0
	for _, decl := range file.Decls {
		if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.IMPORT {
			continue
		}
		lines += 1 + files.Position(decl.End()).Line - files.Position(decl.Pos()).Line
	}
	t.Logf("%d lines", lines)
	require.Less(t, lines, 40)
	require.Greater(t, lines, 20, "the count counts")
}

func TestTheExampleTellsWhatTheStoreHolds(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, filepath.Join(t.TempDir(), "records")))
	require.Equal(t, `audit.opened             service customsink: a recorder was opened
job.submitted   pending  user ada: to see it work
job.authorized  pending  user ada: to see it work
job.started     running  user ada: to see it work
job.logged      running  user ada: to see it work
job.logged      running  user ada: to see it work
job.logged      running  user ada: to see it work
job.succeeded   success  user ada: to see it work
audit.closed             service customsink: a recorder was closed
`, out.String())
}
