package filesink_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
)

// anchored returns the size of the head that the default anchor holds.
func (p place) anchored(t *testing.T) int64 {
	t.Helper()
	signed, err := os.ReadFile(p.anchorPath())
	require.NoError(t, err)
	c, err := auditlog.OpenCheckpoint(signed, p.key.Verifier())
	require.NoError(t, err)
	return c.Head().Size
}

func TestTheAnchorFollowsWithinASecond(t *testing.T) {
	p := newPlace(t)
	synctest.Test(t, func(t *testing.T) {
		s := p.open(t, nil)
		require.Zero(t, p.anchored(t), "there before the first commit")
		store(t, s, 3, sinktest.Records(3)...)
		require.EqualValues(t, 3, p.anchored(t), "with the first commit")
		for n := int64(6); n <= 12; n += 3 {
			store(t, s, 3, sinktest.Records(3)...)
			require.EqualValues(t, n-3, p.anchored(t), "off the commit path")
			time.Sleep(time.Second)
			synctest.Wait()
			require.EqualValues(t, n, p.anchored(t))
		}
		store(t, s, 3, sinktest.Records(3)...)
		require.NoError(t, s.Close())
		require.EqualValues(t, 15, p.anchored(t), "at Close")
	})
}

func TestAnAnchorAtEveryCommitClosesTheWindow(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, &filesink.Options{AnchorEveryCommit: true})
	for n := int64(3); n <= 12; n += 3 {
		store(t, s, 3, sinktest.Records(3)...)
		require.Equal(t, n, p.anchored(t))
	}
}

// A brokenAnchor cannot be reached after a while.
type brokenAnchor struct {
	auditlog.Anchor
	mu     sync.Mutex
	broken bool
}

var errUnreachable = errors.New("unreachable")

func (a *brokenAnchor) set(broken bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken = broken
}

func (a *brokenAnchor) Put(ctx context.Context, c auditlog.Checkpoint) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.broken {
		return errUnreachable
	}
	return a.Anchor.Put(ctx, c)
}

func TestAnAnchorThatCannotBeReachedIsToldAndStopsNothing(t *testing.T) {
	p := newPlace(t)
	var told []error
	a := &brokenAnchor{Anchor: filesink.FileAnchor(p.keyPath() + ".elsewhere")}
	s := p.open(t, &filesink.Options{Anchor: a, OnError: func(err error) { told = append(told, err) }})
	a.set(true)
	store(t, s, 3, sinktest.Records(3)...) // the first of a segment, which is anchored at once
	require.Len(t, told, 1)
	require.ErrorIs(t, told[0], errUnreachable)
	require.EqualValues(t, 3, p.anchored(t), "the others get the head")
	require.ErrorIs(t, s.Close(), errUnreachable, "the log is closed all the same")
	p.open(t, nil)
}

func TestWhatIsNotAnchoredIsNotAcknowledgedWhereEachCommitIsAnchored(t *testing.T) {
	p := newPlace(t)
	var told []error
	a := &brokenAnchor{Anchor: filesink.FileAnchor(p.keyPath() + ".elsewhere")}
	s := p.open(t, &filesink.Options{Anchor: a, AnchorEveryCommit: true, OnError: func(err error) { told = append(told, err) }})
	records := sinktest.Records(9)
	store(t, s, 3, records[:3]...)
	a.set(true)
	for range 3 {
		require.ErrorIs(t, s.Append(t.Context(), records[3:6]), errUnreachable)
	}
	require.ErrorIs(t, s.Append(t.Context(), records[:3]), errUnreachable, "nor what was stored before")
	require.NotEmpty(t, told)
	require.EqualValues(t, 6, p.anchored(t), "the others get the head")
	a.set(false)
	require.NoError(t, s.Append(t.Context(), records[3:6]))
	store(t, s, 3, records...)
	requireRecords(t, records, read(t, s, jobaudit.Query{}))
	require.NoError(t, s.Close())
	_, found := p.findingsOf(t, s.Checkpoint().Head())
	require.Empty(t, found)
}

// A deafAnchor does not look at its context.
type deafAnchor struct {
	auditlog.Anchor
	hang chan struct{}
}

func (a deafAnchor) Put(ctx context.Context, c auditlog.Checkpoint) error {
	<-a.hang
	return a.Anchor.Put(ctx, c)
}

func TestAnAnchorThatIgnoresItsContextHoldsUpNobody(t *testing.T) {
	p := newPlace(t)
	p.write(t, nil, 3, sinktest.Records(3)...)
	head := p.newestCommit(t)
	a := deafAnchor{filesink.FileAnchor(filepath.Join(t.TempDir(), "anchor")), make(chan struct{})}
	bounded := filesink.Bounded(a)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, bounded.Put(ctx, head), context.Canceled)
	require.Error(t, bounded.Put(t.Context(), head), "one call at a time, and this one comes back")
	close(a.hang)
	for bounded.Put(t.Context(), head) != nil { // until the first one is through
	}
	signed, err := bounded.Latest(t.Context())
	require.NoError(t, err)
	require.Equal(t, head.Signed(), signed)
}

// askingAnchor is a checker that keeps what it can ask for a proof with.
type askingAnchor struct {
	auditlog.Checker
	checks int
	prove  func(int64) (tlog.TreeProof, error)
}

func (a *askingAnchor) Check(ctx context.Context, head auditlog.Checkpoint, prove func(int64) (tlog.TreeProof, error)) ([]byte, error) {
	a.checks, a.prove = a.checks+1, prove
	return a.Checker.Check(ctx, head, prove)
}

func TestAnAnchorThatCanCompareIsAskedWhenALogIsOpened(t *testing.T) {
	p := newPlace(t)
	file := filepath.Join(t.TempDir(), "anchor")
	checker, ok := filesink.FileAnchor(file).(auditlog.Checker)
	require.True(t, ok)
	a := &askingAnchor{Checker: checker}
	s := p.open(t, &filesink.Options{Anchor: a})
	store(t, s, 3, sinktest.Records(6)...)
	require.NoError(t, s.Close())
	old, err := os.ReadFile(file)
	require.NoError(t, err)
	s = p.open(t, &filesink.Options{Anchor: a})
	store(t, s, 3, sinktest.Records(3)...)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(file, old, 0o600)) // it is behind now, and asks for a proof
	checks := a.checks
	require.NoError(t, p.open(t, &filesink.Options{Anchor: a}).Close())
	require.Greater(t, a.checks, checks)
	_, err = a.prove(1)
	require.ErrorIs(t, err, context.Canceled, "who asks later gets no proof")

	// Ahead: the log was put back.
	_, err = filesink.Open(t.Context(), filepath.Join(p.base, "another"), p.key, &filesink.Options{Anchor: a, AnchorPath: filepath.Join(p.base, "anchor-2")})
	refused, ok := errors.AsType[*filesink.RefusedError](err)
	require.True(t, ok, "%v", err)
	require.EqualValues(t, 9, refused.Outside.Size)
}

func TestAnAnchorThatBeginsToFailIsOnRecordOnce(t *testing.T) {
	p := newPlace(t)
	a := &brokenAnchor{Anchor: filesink.FileAnchor(p.keyPath() + ".elsewhere")}
	// Each commit is the first of its segment, and so anchored at once.
	s := p.open(t, &filesink.Options{Anchor: a, SegmentSize: 1, OnError: func(error) {}})
	rec, err := jobaudit.Open(t.Context(), s, jobaudit.Source{System: "worker", Environment: "test"}, nil)
	require.NoError(t, err)
	run := func() {
		t.Helper()
		require.NoError(t, rec.Run(t.Context(), jobaudit.Submission{
			Action: "a", Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "s"},
			Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "r"},
		}, func(context.Context) error { return nil }))
	}
	for range 2 {
		a.set(true)
		run()
		run()
		a.set(false)
		run()
	}
	require.NoError(t, rec.Close(t.Context()))
	degraded := read(t, s, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditDegraded}})
	require.Len(t, degraded, 2, "each time that the trouble begins")
	require.Contains(t, degraded[0].Event().Data.Degraded.Reason, "unreachable")
	require.Zero(t, degraded[0].Event().Data.Degraded.Stream)
	require.NoError(t, s.Close())
	p.verify(t)
}

// A head that was waiting to be anchored comes behind newer ones.
func TestAnAnchorNeverGoesBack(t *testing.T) {
	for _, everyCommit := range []bool{true, false} {
		p := newPlace(t)
		other := filesink.FileAnchor(filepath.Join(p.base, "other"))
		s := p.open(t, &filesink.Options{Anchor: other, AnchorEveryCommit: everyCommit, OnError: func(err error) { t.Error(err) }})
		random := rand.New(rand.NewPCG(7, 7))
		heads := []auditlog.Checkpoint{}
		var newest [2]int64
		for range 30 {
			if random.IntN(2) == 0 || len(heads) == 0 {
				store(t, s, 2, sinktest.Records(2)...)
				heads = append(heads, s.Checkpoint())
			}
			require.NoError(t, filesink.Advance(s, heads[random.IntN(len(heads))]))
			for i, a := range []auditlog.Anchor{other, filesink.FileAnchor(p.anchorPath())} {
				signed, err := a.Latest(t.Context())
				require.NoError(t, err)
				c, err := auditlog.OpenCheckpoint(signed, p.key.Verifier())
				require.NoError(t, err)
				require.GreaterOrEqual(t, c.Head().Size, newest[i])
				newest[i] = c.Head().Size
			}
		}
		require.NoError(t, s.Close())
	}
}
