package mirror_test

import (
	"context"
	"errors"
	"iter"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/jobaudit/jobaudit/watchdog"
)

// mirroredSink writes a log and reads its mirror.
type mirroredSink struct {
	sink   *filesink.Sink
	mirror *mirror.Mirror
	reader *mirror.Reader
}

func (s *mirroredSink) Append(ctx context.Context, records []jobaudit.Record) error {
	return errors.Join(s.sink.Append(ctx, records), s.mirror.Sync(context.WithoutCancel(ctx)))
}

func (s *mirroredSink) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return s.reader.Records(ctx, q)
}

func (s *mirroredSink) Close() error { return s.sink.Close() }

func openMirrored(ctx context.Context, base string) (*mirroredSink, error) {
	key, err := filesink.LoadOrCreateKey(base+"/log", base+"/key", origin)
	if err != nil {
		return nil, err
	}
	s := &mirroredSink{}
	if s.sink, err = filesink.Open(ctx, base+"/log", key, nil); err != nil {
		return nil, err
	}
	d, err := mirror.OpenDirectory(filepath.Join(base, "mirror"), true)
	if err != nil {
		return nil, err
	}
	keys := []note.Verifier{key.Verifier()}
	if s.mirror, err = mirror.New(s.sink, d, &mirror.Options{Keys: keys, ChunkSize: 2000}); err != nil {
		return nil, err
	}
	if err := s.mirror.Sync(ctx); err != nil {
		return nil, err
	}
	s.reader, err = mirror.OpenReader(ctx, d, &mirror.ReaderOptions{Keys: keys})
	return s, err
}

// TestAMirrorIsReadAsEveryLogIs holds a mirror to what every reader of records
// promises.
func TestAMirrorIsReadAsEveryLogIs(t *testing.T) {
	sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
		base := t.TempDir()
		return sinktest.Medium{Open: func(ctx context.Context) (jobaudit.AuditSink, error) { return openMirrored(ctx, base) }}, nil
	}, sinktest.Traits{NoFaults: true, Opaque: true, Irreplaceable: true, Unproven: true, NoTail: true})
}

func TestALineInAMirrorThatIsNoRecordIsTold(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	records := sinktest.Records(4)
	l.batch(string(records[0].Bytes()), "no record", string(records[1].Bytes()))
	l.batch(string(records[2].Bytes()), string(records[3].Bytes()))
	sync1(t, l, store, k)
	r, err := mirror.OpenReader(t.Context(), store, &mirror.ReaderOptions{Keys: []note.Verifier{k.verifier}})
	require.NoError(t, err)
	for _, newestFirst := range []bool{false, true} {
		var read []jobaudit.Record
		unreadable := 0
		for record, err := range r.Records(t.Context(), jobaudit.Query{NewestFirst: newestFirst, Limit: 3}) {
			if damage, ok := errors.AsType[*jobaudit.UnreadableError](err); ok {
				require.Equal(t, "event 1 of branch 1", damage.Place)
				unreadable++
				continue
			}
			require.NoError(t, err)
			read = append(read, record)
		}
		require.Len(t, read, 3)
		require.Equal(t, 1, unreadable)
	}
}

// TestAWatchdogFindsAJobWithoutAnEndInAMirror: the node is gone, and its log with it.
func TestAWatchdogFindsAJobWithoutAnEndInAMirror(t *testing.T) {
	s, err := openMirrored(t.Context(), t.TempDir())
	require.NoError(t, err)
	now := time.Now()
	rec, err := jobaudit.Open(t.Context(), s, jobaudit.Source{System: "worker", Environment: "test"}, &jobaudit.Options{Now: func() time.Time { return now.Add(-24 * time.Hour) }})
	require.NoError(t, err)
	trail, err := rec.Submit(t.Context(), jobaudit.Submission{
		Action: "work", Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "s"}, Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "r"},
	})
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	require.NoError(t, s.mirror.Sync(t.Context()))

	own, err := openMirrored(t.Context(), t.TempDir())
	require.NoError(t, err)
	watcher, err := jobaudit.Open(t.Context(), own, jobaudit.Source{System: "watchdog", Environment: "test"}, nil)
	require.NoError(t, err)
	w := watchdog.New(watcher, []jobaudit.AuditReader{s.reader, own.reader}, &watchdog.Options{OneShot: true, HeartbeatTimeout: time.Minute})
	report, err := w.Sweep(t.Context())
	require.NoError(t, err)
	require.Len(t, report.Findings, 1)
	require.Equal(t, trail.JobID(), report.Findings[0].JobID)
	report, err = w.Sweep(t.Context()) // what was concluded is read in the other mirror
	require.NoError(t, err)
	require.Empty(t, report.Findings)
	require.NoError(t, watcher.Close(t.Context()))
	require.NoError(t, own.Close())
	require.NoError(t, rec.Close(t.Context()))
	require.NoError(t, s.Close())
}
