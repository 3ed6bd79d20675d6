package pgsink_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// What the sequencer's password can write, a gigabyte in a cell, is a finding for the auditor
// and not the end of his process.
func TestNoCellDecidesHowMuchMemoryVerifyTakes(t *testing.T) {
	url, k, _ := writtenLog(t)
	size := int(committed(t, url))
	sequencer := logins(t, url)["sequencer"]
	execute(t, sequencer, `INSERT INTO jobaudit.refused (n, position, id, line, writer, reason)
		SELECT 1000 + n, 0, gen_random_uuid(), 'x', 'w', repeat('r', 1000000) FROM generate_series(1, 130) n`)
	for i := size; i < size+2; i++ {
		execute(t, sequencer, `INSERT INTO jobaudit.events (idx, id, writer, line, type, time)
			VALUES ($1, gen_random_uuid(), 'w', convert_to(repeat('x', 60000000), 'UTF8'), 't', now())`, i)
	}
	execute(t, sequencer, `INSERT INTO jobaudit.commits (size, prev, line) VALUES ($1, $2, convert_to(repeat('x', 60000000), 'UTF8'))`, size+2, size)
	execute(t, sequencer, `INSERT INTO jobaudit.acting (principal, idx) SELECT n || repeat('x', 2000), $1 FROM generate_series(1, 60000) n`, size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := pgsink.Verify(t.Context(), url, &pgsink.VerifyOptions{Keys: []note.Verifier{k.Verifier}})
	runtime.ReadMemStats(&after)
	require.ErrorAs(t, err, new(*pgsink.VerifyError))
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(120_000_000), "more than one of the cells was read")
	require.Less(t, len(err.Error()), 10_000)

	// A sequencer does not read the newest commit whole either.
	opts := k.options()
	reported := make(chan error, 100)
	s, err := pgsink.NewSequencer(url, opts, &pgsink.Options{OnError: func(err error) { reported <- err }})
	require.NoError(t, err)
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	require.ErrorContains(t, <-reported, "the newest commit")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(120_000_000))
}

// Who reads the log, or copies it, reads no more of a cell either.
func TestNoCellDecidesHowMuchMemoryAReaderTakes(t *testing.T) {
	url, _, _ := writtenLog(t)
	sink := open(t, url, &pgsink.Options{Settle: time.Nanosecond, OnError: func(error) {}})
	size := int(committed(t, url))
	sequencer := logins(t, url)["sequencer"]
	for i := size; i < size+2; i++ {
		execute(t, sequencer, `INSERT INTO jobaudit.events (idx, id, writer, line, type, time)
			VALUES ($1, gen_random_uuid(), 'w', convert_to(repeat('x', 60000000), 'UTF8'), 't', now())`, i)
	}
	execute(t, sequencer, `INSERT INTO jobaudit.commits (size, prev, line) VALUES ($1, $2, convert_to(repeat('x', 60000000), 'UTF8'))`, size+2, size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read, unreadable, lines := 0, 0, 0
	for _, err := range sink.Records(t.Context(), jobaudit.Query{}) {
		if err != nil {
			require.ErrorAs(t, err, new(*jobaudit.UnreadableError))
			unreadable++
			continue
		}
		read++
	}
	for line, err := range sink.Lines(t.Context(), 0) {
		require.NoError(t, err)
		require.LessOrEqual(t, len(line), 65536)
		lines++
	}
	runtime.ReadMemStats(&after)
	require.GreaterOrEqual(t, read, size, "some wait besides")
	require.Equal(t, 2, unreadable)
	require.Greater(t, lines, size+2)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(40_000_000))
}

// Nor does how many principals an event seems to have acted for, and how long their names are.
func TestNoPrincipalsDecideHowMuchMemoryVerifyTakes(t *testing.T) {
	url, k, _ := writtenLog(t)
	execute(t, logins(t, url)["sequencer"], `INSERT INTO jobaudit.acting (principal, idx)
		SELECT n || repeat('x', 150000), 5 FROM generate_series(1, 1500) n`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := pgsink.Verify(t.Context(), url, &pgsink.VerifyOptions{Keys: []note.Verifier{k.Verifier}})
	runtime.ReadMemStats(&after)
	found, ok := errors.AsType[*pgsink.VerifyError](err)
	require.True(t, ok, "%v", err)
	require.Len(t, found.Findings, 1)
	require.Equal(t, pgsink.KindColumns, found.Findings[0].Kind)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(40_000_000))
	require.Less(t, len(err.Error()), 10_000)
}

// A log that holds nothing proves nothing: an emptied one looks like it.
func TestAnEmptyLogIsNotVerified(t *testing.T) {
	url, k := database(t), newKey(t)
	for _, opts := range []*pgsink.VerifyOptions{nil, {Keys: []note.Verifier{k.Verifier}}} {
		_, err := pgsink.Verify(t.Context(), url, opts)
		require.ErrorIs(t, err, pgsink.ErrNothingVerified)
	}
}
