package filesink_test

import (
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// A remoteSigner signs as something elsewhere does: slowly, not at all, wrongly.
type remoteSigner struct {
	note.Signer
	mu    sync.Mutex
	wait  chan struct{}
	err   error
	wrong bool
	calls atomic.Int64
}

func (s *remoteSigner) Sign(msg []byte) ([]byte, error) {
	s.calls.Add(1)
	s.mu.Lock()
	wait, err, wrong := s.wait, s.err, s.wrong
	s.mu.Unlock()
	if wait != nil {
		<-wait
	}
	if err != nil {
		return nil, err
	}
	sig, err := s.Signer.Sign(msg)
	if wrong && err == nil {
		sig[5] ^= 1
	}
	return sig, err
}

func (s *remoteSigner) set(wait chan struct{}, err error, wrong bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wait, s.err, s.wrong = wait, err, wrong
}

// remote is a log whose key is elsewhere.
func remote(t *testing.T, timeout time.Duration) (place, *remoteSigner, *filesink.Options) {
	t.Helper()
	secret, public, err := auditlog.GenerateKey(origin)
	require.NoError(t, err)
	signer, err := note.NewSigner(secret)
	require.NoError(t, err)
	r := &remoteSigner{Signer: signer}
	base := t.TempDir()
	p := place{base: base, dir: filepath.Join(base, "log")}
	p.key, err = filesink.NewKeyWithin(timeout, r, public)
	require.NoError(t, err)
	require.Equal(t, public, p.key.String())
	return p, r, &filesink.Options{AnchorPath: filepath.Join(base, "anchor"), OnError: func(error) {}}
}

func TestASlowSignerMakesBatchesLarger(t *testing.T) {
	p, signer, opts := remote(t, time.Hour)
	s := p.open(t, opts)
	records := sinktest.Records(60)
	store(t, s, 1, records[0])
	before := signer.calls.Load()
	wait := make(chan struct{})
	signer.set(wait, nil, false)
	var appends sync.WaitGroup
	appendOne := func(r jobaudit.Record) {
		appends.Go(func() { _ = s.Append(t.Context(), []jobaudit.Record{r}) })
	}
	appendOne(records[1])
	for signer.calls.Load() == before { // until it is asked
		runtime.Gosched()
	}
	for _, r := range records[2:] {
		appendOne(r)
	}
	for filesink.Waiting(s) < len(records)-2 {
		runtime.Gosched()
	}
	close(wait)
	appends.Wait()
	require.EqualValues(t, 2, signer.calls.Load()-before, "one signature for all that came meanwhile")
	require.Len(t, read(t, s, jobaudit.Query{}), len(records))
	require.NoError(t, s.Close())
	p.verify(t, s.Checkpoint().Head())
}

func TestALateSignatureServesTheSameHead(t *testing.T) {
	p, signer, opts := remote(t, time.Millisecond)
	signer.set(nil, nil, false)
	var s *filesink.Sink
	var err error
	for s == nil { // a millisecond is short for an open
		s, err = filesink.Open(t.Context(), p.dir, p.key, opts)
		if err != nil {
			require.ErrorIs(t, err, filesink.ErrSigner)
		}
	}
	records := sinktest.Records(6)
	wait := make(chan struct{})
	signer.set(wait, nil, false)
	before := signer.calls.Load()
	for range 3 {
		require.ErrorIs(t, s.Append(t.Context(), records[:3]), filesink.ErrSigner)
	}
	require.EqualValues(t, 1, signer.calls.Load()-before, "one call for one head")
	close(wait)
	for s.Append(t.Context(), records[:3]) != nil {
	}
	for s.Append(t.Context(), records) != nil {
	}
	requireRecords(t, records, read(t, s, jobaudit.Query{}))
	_ = s.Close()
	verify(t, p.dir, []note.Verifier{p.key.Verifier()})
}

func TestASignerThatIsDownOrWrongStopsAcknowledgementsAndNoMore(t *testing.T) {
	p, signer, opts := remote(t, time.Hour)
	s := p.open(t, opts)
	records := sinktest.Records(9)
	store(t, s, 3, records[:3]...)
	down := errors.New("the session is gone")
	signer.set(nil, down, false)
	require.ErrorIs(t, s.Append(t.Context(), records[3:6]), down)
	signer.set(nil, nil, true)
	require.ErrorIs(t, s.Append(t.Context(), records[3:6]), filesink.ErrSigner)
	requireRecords(t, records[:3], read(t, s, jobaudit.Query{}))
	verify(t, p.dir, []note.Verifier{p.key.Verifier()}) // nothing wrong was written
	signer.set(nil, nil, false)
	store(t, s, 3, records...)
	require.NoError(t, s.Close())
	p.verify(t, s.Checkpoint().Head())
}

func TestASignerAndItsVerifierKeyBelongTogether(t *testing.T) {
	secret, public, err := auditlog.GenerateKey(origin)
	require.NoError(t, err)
	signer, err := note.NewSigner(secret)
	require.NoError(t, err)
	_, other, err := auditlog.GenerateKey(origin)
	require.NoError(t, err)
	var refused *filesink.KeyError
	for _, key := range []string{"", "nonsense", other} {
		_, err = filesink.NewKey(signer, key)
		require.ErrorAs(t, err, &refused)
	}
	_, err = filesink.NewKey(nil, public)
	require.ErrorAs(t, err, &refused)
	key, err := filesink.NewKey(signer, public)
	require.NoError(t, err)
	_, err = filesink.Open(t.Context(), t.TempDir(), key, nil)
	require.ErrorAs(t, err, &refused, "there is nowhere to put the anchor")
}

// A strangeSigner may do something else than sign.
type strangeSigner struct {
	note.Signer
	do atomic.Pointer[func()]
}

func (s *strangeSigner) Sign(msg []byte) ([]byte, error) {
	if do := s.do.Load(); do != nil {
		(*do)()
	}
	return s.Signer.Sign(msg)
}

func TestASignerThatPanicsOrEndsItsGoroutineGivesAnError(t *testing.T) {
	secret, public, err := auditlog.GenerateKey(origin)
	require.NoError(t, err)
	signer, err := note.NewSigner(secret)
	require.NoError(t, err)
	strange := &strangeSigner{Signer: signer}
	base := t.TempDir()
	p := place{base: base, dir: filepath.Join(base, "log")}
	p.key, err = filesink.NewKeyWithin(time.Hour, strange, public)
	require.NoError(t, err)
	s := p.open(t, &filesink.Options{AnchorPath: filepath.Join(base, "anchor"), OnError: func(error) {}})
	records := sinktest.Records(3)
	for _, do := range []func(){func() { panic("the session is gone") }, runtime.Goexit} {
		strange.do.Store(&do)
		for range 5 {
			require.ErrorIs(t, s.Append(t.Context(), records), filesink.ErrSigner)
		}
	}
	strange.do.Store(nil)
	store(t, s, 3, records...)
	require.NoError(t, s.Close())
	p.verify(t, s.Checkpoint().Head())
}

func TestLateSignaturesThatNobodyComesForDoNotMakeAKeyUnusable(t *testing.T) {
	p, signer, _ := remote(t, time.Millisecond)
	wait := make(chan struct{})
	signer.set(wait, nil, false)
	key := filesink.SignerOf(p.key)
	for i := range 4 {
		_, err := key.Sign([]byte{byte(i)})
		require.ErrorIs(t, err, filesink.ErrSigner)
	}
	_, err := key.Sign([]byte("one more"))
	require.ErrorContains(t, err, "have not come back", "calls that hang are bounded")
	close(wait)
	signer.set(nil, nil, false)
	for range 1_000_000 { // until the calls have come back
		if _, err = key.Sign([]byte("another")); err == nil {
			break
		}
		runtime.Gosched()
	}
	require.NoError(t, err)
}
