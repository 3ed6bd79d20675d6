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
		return sinktest.Medium{
			Open: func(context.Context) (jobaudit.AuditSink, error) {
				store, err := OpenStore(path)
				return Sink{store}, err
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
