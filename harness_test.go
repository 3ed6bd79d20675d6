package jobaudit_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

var source = jobaudit.Source{System: "worker", Environment: "test", Host: "host", Version: "v1"}

func submission() jobaudit.Submission {
	return jobaudit.Submission{
		Action:    "rebuild-index",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ann", Verified: true},
		OrgID:     "acme",
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "asked by support"},
	}
}

// complaints collects what OnError is told.
type complaints struct {
	mu   sync.Mutex
	list []*jobaudit.AuditError
}

func (c *complaints) add(_ context.Context, err *jobaudit.AuditError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, err)
}

func (c *complaints) all() []*jobaudit.AuditError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

// open opens a Recorder that fails the test if it complains, unless opts say
// where complaints go.
func open(t *testing.T, sink jobaudit.AuditSink, opts *jobaudit.Options) *jobaudit.Recorder {
	t.Helper()
	if opts == nil {
		opts = &jobaudit.Options{}
	}
	if opts.OnError == nil {
		opts.OnError = func(_ context.Context, err *jobaudit.AuditError) { t.Errorf("complaint: %v", err) }
	}
	rec, err := jobaudit.Open(t.Context(), sink, source, opts)
	require.NoError(t, err)
	return rec
}

// events reads all events of a sink and holds every stream to the format: no
// gap, each event linked to the one before it, no ID twice.
func events(t *testing.T, sink jobaudit.AuditReader) []jobaudit.Event {
	t.Helper()
	type end struct {
		seq  uint64
		hash jobaudit.Hash
	}
	var list []jobaudit.Event
	streams := map[uuid.UUID]end{}
	ids := map[uuid.UUID]bool{}
	for r, err := range sink.Records(context.Background(), jobaudit.Query{}) {
		require.NoError(t, err)
		parsed, err := jobaudit.ParseRecord(r.Bytes())
		require.NoError(t, err)
		require.Equal(t, r, parsed, "a minted record is what its bytes say")
		e := r.Event()
		require.False(t, ids[e.ID], "event %s stands twice", e.ID)
		ids[e.ID] = true
		last := streams[e.Stream.ID]
		require.Equal(t, last.seq+1, e.Stream.Seq, "stream %s has a gap before %s", e.Stream.ID, e.Type)
		require.Equal(t, last.hash, e.Stream.Prev, "stream %s is not linked at %s", e.Stream.ID, e.Type)
		streams[e.Stream.ID] = end{e.Stream.Seq, r.Hash()}
		list = append(list, e)
	}
	return list
}

// of returns the events of these types.
func of(list []jobaudit.Event, types ...jobaudit.EventType) []jobaudit.Event {
	var found []jobaudit.Event
	for _, e := range list {
		if slices.Contains(types, e.Type) {
			found = append(found, e)
		}
	}
	return found
}

func types(list []jobaudit.Event) []jobaudit.EventType {
	var found []jobaudit.EventType
	for _, e := range list {
		found = append(found, e.Type)
	}
	return found
}

func jobOf(t *testing.T, sink jobaudit.AuditReader, job uuid.UUID) jobaudit.Job {
	t.Helper()
	j, err := jobaudit.Replay(sink.Records(context.Background(), jobaudit.Query{JobID: job}))
	require.NoError(t, err)
	return j
}

// run runs fn as a job and returns the job's ID and what Run returned.
func run(ctx context.Context, rec *jobaudit.Recorder, fn func(context.Context) error) (uuid.UUID, error) {
	s := submission()
	s.ID = uuid.Must(uuid.NewV7())
	return s.ID, rec.Run(ctx, s, fn)
}

func trail(ctx context.Context) *jobaudit.Trail {
	t, ok := jobaudit.FromContext(ctx)
	if !ok {
		panic("the context carries no Trail")
	}
	return t
}

var _ jobaudit.AuditReader = (*memsink.Sink)(nil)
