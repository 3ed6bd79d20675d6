package mirror_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestAStoreThatIsAwayForDaysIsCaughtUpWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, origin)
		l, store := newLog(t, k), newStore()
		records := sinktest.Records(3)
		l.batch(string(records[0].Bytes()))
		away := true
		store.fail = func(int) (bool, bool) { return away, false }
		var r reports
		o := options(&r, k)
		var seen mirror.Status
		o.OnLag = func(s mirror.Status) { seen = s }
		m, err := mirror.Start(t.Context(), l, store, o)
		require.NoError(t, err)
		time.Sleep(72 * time.Hour)
		synctest.Wait()
		l.batch(string(records[1].Bytes()), string(records[2].Bytes()))
		require.ErrorIs(t, m.Status().Err, errStore)
		calls := store.calls
		require.Less(t, calls, 3*24*60+10) // a call a minute, and no more

		store.mu.Lock()
		away = false
		store.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.NoError(t, m.Status().Err)
		require.EqualValues(t, 3, m.Status().Head.Size)
		require.Equal(t, m.Status(), seen)
		require.NoError(t, m.Close(t.Context()))
		require.Equal(t, l.lines, mirrored(t, store, 0, k))
	})
}

func TestTheLagIsWhatIsDurableAndNotMirrored(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	records := sinktest.Records(5)
	l.batch(string(records[0].Bytes()), string(records[1].Bytes()))
	var r reports
	m := newMirror(t, l, store, options(&r, k))
	require.NoError(t, m.Sync(t.Context()))
	require.Zero(t, m.Status().Age(time.Now()))
	for _, record := range records[2:] {
		l.batch(string(record.Bytes()))
	}
	store.fail = func(int) (bool, bool) { return true, false }
	require.ErrorIs(t, m.Sync(t.Context()), errStore)
	s := m.Status()
	require.EqualValues(t, 3, s.Lag())
	oldest := records[2].Event().Time
	require.Equal(t, oldest, s.Oldest)
	require.Equal(t, time.Minute, s.Age(oldest.Add(time.Minute)))
	require.Zero(t, s.Age(oldest.Add(-time.Hour))) // a clock that is behind
}

func TestTheLastPassMirrorsWhatWasWrittenBeforeClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, origin)
		l, store := newLog(t, k), newStore()
		var r reports
		m, err := mirror.Start(t.Context(), l, store, options(&r, k))
		require.NoError(t, err)
		synctest.Wait()
		l.append(3, "event")
		require.NoError(t, m.Close(t.Context()))
		require.Equal(t, l.lines, mirrored(t, store, 0, k))
		require.NoError(t, m.Close(t.Context()))
	})
}

func TestARefusedLogIsLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, origin)
		l, store := newLog(t, k), newStore()
		l.append(3, "event")
		l.append(3, "event")
		sync1(t, l, store, k)
		short := l.cut(3)
		var r reports
		m, err := mirror.Start(t.Context(), short, store, options(&r, k))
		require.NoError(t, err)
		synctest.Wait()
		require.ErrorIs(t, m.Status().Err, mirror.ErrShrunken)
		short.mu.Lock() // the files are put back
		short.lines, short.tree = l.lines, l.tree
		short.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.NoError(t, m.Status().Err)
		require.NoError(t, m.Close(t.Context()))
	})
}

func TestAnIdleMirrorSaysThatItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, origin)
		l, store := newLog(t, k), newStore()
		l.append(3, "event")
		var r reports
		o := options(&r, k)
		o.Interval = time.Minute
		m, err := mirror.Start(t.Context(), l, store, o)
		require.NoError(t, err)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		reader, err := mirror.OpenReader(t.Context(), store, nil)
		require.NoError(t, err)
		at, err := reader.Contact(t.Context())
		require.NoError(t, err)
		require.Less(t, time.Since(at), 2*time.Hour)
		require.Less(t, len(store.objects), 40)
		require.NoError(t, m.Close(t.Context()))
	})
}

func TestStartEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, origin)
		var r reports
		ctx, cancel := context.WithCancel(t.Context())
		m, err := mirror.Start(ctx, newLog(t, k), newStore(), options(&r, k))
		require.NoError(t, err)
		cancel()
		synctest.Wait()
		require.NoError(t, m.Close(t.Context()))
	})
}
