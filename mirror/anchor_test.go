package mirror_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func (l *memLog) checkpoint(t *testing.T) auditlog.Checkpoint {
	t.Helper()
	c, err := auditlog.OpenCommit([]byte(l.lines[len(l.lines)-1]), l.key.verifier)
	require.NoError(t, err)
	return c
}

func TestAnAnchorKeepsTheNewestHeadThatIsSigned(t *testing.T) {
	k, store := newKey(t, origin), newStore()
	l := newLog(t, k)
	var r reports
	a, err := mirror.NewAnchor(store, []note.Verifier{k.verifier}, &mirror.AnchorOptions{OnError: r.add})
	require.NoError(t, err)
	_, err = a.Latest(t.Context())
	require.ErrorIs(t, err, auditlog.ErrNoHead)
	for range 12 {
		l.append(1, "event")
		require.NoError(t, a.Put(t.Context(), l.checkpoint(t)))
		require.NoError(t, a.Put(t.Context(), l.checkpoint(t)))
		latest, err := a.Latest(t.Context())
		require.NoError(t, err)
		require.Equal(t, l.checkpoint(t).Signed(), latest)
	}
	// Another history of the same size is not taken, and nobody's object counts.
	other := newLog(t, k)
	other.append(12, "other")
	_, ok := errors.AsType[*auditlog.HeadError](a.Put(t.Context(), other.checkpoint(t)))
	require.True(t, ok)
	store.objects["anchors/0000000000000000.9007199254740992"] = [][]byte{[]byte("squatted")}
	store.objects["anchors/x"] = [][]byte{[]byte("squatted")}
	latest, err := a.Latest(t.Context())
	require.NoError(t, err)
	require.Equal(t, l.checkpoint(t).Signed(), latest)
	require.NotEmpty(t, r.squatted())
}

func TestAnAnchorWithAnIntervalStoresNoMoreThanThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, store := newKey(t, origin), newStore()
		l := newLog(t, k)
		a, err := mirror.NewAnchor(store, []note.Verifier{k.verifier}, &mirror.AnchorOptions{Interval: time.Minute})
		require.NoError(t, err)
		for range 120 {
			l.append(1, "event")
			require.NoError(t, a.Put(t.Context(), l.checkpoint(t)))
			time.Sleep(time.Second)
		}
		require.Len(t, store.objects, 2)
	})
}

func TestALogIsOpenedOnlyIfTheAnchorInTheStoreAgrees(t *testing.T) {
	dir, store := t.TempDir(), newStore()
	key, err := filesink.LoadOrCreateKey(dir+"/log", dir+"/key", origin)
	require.NoError(t, err)
	a, err := mirror.NewAnchor(store, []note.Verifier{key.Verifier()}, nil)
	require.NoError(t, err)
	open := func(dir, anchor string) (*filesink.Sink, error) {
		return filesink.Open(t.Context(), dir, key, &filesink.Options{Anchor: a, AnchorPath: anchor, AllowMissingAnchor: true})
	}
	s, err := open(dir+"/log", dir+"/anchor")
	require.NoError(t, err)
	require.NoError(t, s.Append(t.Context(), sinktest.Records(2)))
	require.NoError(t, s.Close())
	_, err = open(dir+"/another", dir+"/another-anchor")
	refused, ok := errors.AsType[*filesink.RefusedError](err)
	require.True(t, ok)
	require.EqualValues(t, 2, refused.Outside.Size)
}
