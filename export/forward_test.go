package export_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// scripted is a target that answers as it is told to, and then takes everything.
type scripted struct {
	answers []error
	refuses func(jobaudit.Record) bool
	calls   [][]uuid.UUID
}

func (s *scripted) Send(_ context.Context, records []jobaudit.Record) error {
	var ids []uuid.UUID
	refused := 0
	for _, r := range records {
		ids = append(ids, r.ID())
		if s.refuses != nil && s.refuses(r) {
			refused++
		}
	}
	s.calls = append(s.calls, ids)
	if len(s.answers) > 0 {
		err := s.answers[0]
		s.answers = s.answers[1:]
		return err
	}
	if refused > 0 {
		return &export.RefusedError{Rejected: int64(refused), Reason: "no"}
	}
	return nil
}

func reading(records []jobaudit.Record) func(context.Context) iter.Seq2[jobaudit.Record, error] {
	return func(context.Context) iter.Seq2[jobaudit.Record, error] { return each(records) }
}

func ids(records []jobaudit.Record) (list []uuid.UUID) {
	for _, r := range records {
		list = append(list, r.ID())
	}
	return list
}

func TestEachEventIsSentUntilTheTargetHasTakenIt(t *testing.T) {
	records := golden(t)
	synctest.Test(t, func(t *testing.T) {
		errDown := errors.New("connection refused")
		target := &scripted{answers: []error{errDown, errDown, errDown}}
		var lags []time.Duration
		began := time.Now()
		progress, err := export.Forward(t.Context(), target, reading(records), &export.ForwardOptions{
			Batch: 4,
			Now:   func() time.Time { return records[0].Time().Add(time.Since(began)) },
			OnError: func(p export.Progress, err error) {
				require.ErrorIs(t, err, errDown)
				require.Zero(t, p.Sent)
				lags = append(lags, p.Lag)
			},
		})
		require.NoError(t, err)
		require.Equal(t, []time.Duration{0, time.Second, 3 * time.Second}, lags)
		require.EqualValues(t, len(records), progress.Sent)
		require.Equal(t, records[len(records)-1].ID(), progress.Last)
		var sent []uuid.UUID
		for _, call := range target.calls[3:] {
			require.LessOrEqual(t, len(call), 4)
			sent = append(sent, call...)
		}
		require.Equal(t, ids(records), sent)
	})
}

func TestWhatIsOnlyPartlyTakenIsNoSuccessAndTheEventAtFaultIsNamed(t *testing.T) {
	records := golden(t)
	bad := records[5]
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		target := &scripted{refuses: func(r jobaudit.Record) bool { return r.ID() == bad.ID() && r.Type() == bad.Type() }}
		var last error
		alone := 0
		progress, err := export.Forward(ctx, target, reading(records), &export.ForwardOptions{
			Batch: 16,
			OnError: func(_ export.Progress, err error) {
				last = err
				if refused, ok := errors.AsType[*export.RefusedError](err); ok && refused.ID != uuid.Nil {
					if alone++; alone == 3 {
						cancel()
					}
				}
			},
		})
		require.ErrorIs(t, err, context.Canceled)
		refused, ok := errors.AsType[*export.RefusedError](last)
		require.True(t, ok)
		require.Equal(t, bad.ID(), refused.ID)
		require.EqualValues(t, 5, progress.Sent, "those before it are out, and none behind it counts")
		require.Equal(t, records[4].ID(), progress.Last)
	})
}

func TestOnceTheFirstErrorEndsIt(t *testing.T) {
	errDown := errors.New("down")
	progress, err := export.Forward(t.Context(), &scripted{answers: []error{errDown}}, reading(golden(t)), &export.ForwardOptions{Once: true})
	require.ErrorIs(t, err, errDown)
	require.Zero(t, progress.Sent)
}

func TestAnErrorOfReadingComesBehindWhatWasRead(t *testing.T) {
	errGone := errors.New("gone")
	target := &scripted{}
	records := golden(t)[:3]
	progress, err := export.Forward(t.Context(), target, func(context.Context) iter.Seq2[jobaudit.Record, error] {
		return func(yield func(jobaudit.Record, error) bool) {
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
			}
			yield(jobaudit.Record{}, errGone)
		}
	}, nil)
	require.ErrorIs(t, err, errGone)
	require.EqualValues(t, 3, progress.Sent)
}

// A target that is down is waited for with two batches in memory, however long the
// log is.
func TestATargetThatIsDownIsWaitedForWithTwoBatchesInMemory(t *testing.T) {
	record := golden(t)[0]
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		read := 0
		down := &scripted{answers: slices.Repeat([]error{errors.New("down")}, 100)}
		_, err := export.Forward(ctx, down, func(context.Context) iter.Seq2[jobaudit.Record, error] {
			return func(yield func(jobaudit.Record, error) bool) {
				for yield(record, nil) {
					read++
				}
			}
		}, &export.ForwardOptions{Batch: 10, OnError: func(export.Progress, error) {
			if len(down.calls) == 50 {
				cancel()
			}
		}})
		require.ErrorIs(t, err, context.Canceled)
		require.LessOrEqual(t, read, 22)
	})
}

func TestAnErrorOfTheCallersStoreEndsIt(t *testing.T) {
	errStore := errors.New("the position cannot be kept")
	progress, err := export.Forward(t.Context(), &scripted{}, reading(golden(t)[:1]), &export.ForwardOptions{
		OnSent: func(export.Progress) error { return errStore },
	})
	require.ErrorIs(t, err, errStore)
	require.EqualValues(t, 1, progress.Sent)
}

// tearing is a writer that now and then takes a part of what it is given.
type tearing struct {
	*rand.Rand
	content []byte
	heals   bool
}

func (w *tearing) Write(p []byte) (int, error) {
	n := len(p)
	var err error
	if !w.heals && w.IntN(2) == 0 {
		n, err = w.IntN(len(p)+1), errFull
	}
	w.content = append(w.content, p[:n]...)
	return n, err
}

// tearingFile can be cut back, unless that fails.
type tearingFile struct {
	tearing
	cannot bool
	others string // what somebody else has appended
}

func (f *tearingFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += int64(len(f.content))
	case io.SeekEnd:
		offset += int64(len(f.content) + len(f.others))
	}
	return offset, nil
}

func (f *tearingFile) Truncate(size int64) error {
	if f.cannot {
		return errFull
	}
	f.content = f.content[:size]
	return nil
}

// tearingOSFile is a file, to which a disk that fills up takes a part.
type tearingOSFile struct {
	*os.File
	*rand.Rand
	heals bool
}

func (f *tearingOSFile) Write(p []byte) (int, error) {
	if f.heals || f.IntN(2) == 0 {
		return f.File.Write(p)
	}
	n, err := f.File.Write(p[:f.IntN(len(p)+1)])
	return n, errors.Join(err, errFull)
}

// Wherever a batch is torn, what stands in the output is one header and whole events, all
// of them, in every format and to every kind of writer.
func TestNoEventIsWrittenBehindHalfOfOne(t *testing.T) {
	records := golden(t)
	if more := spoiled(t); len(more) > 20 {
		records = append(records, more[:size.Times(20, 5)]...)
	}
	for _, format := range export.Formats() {
		encoder, err := export.New(format, nil)
		require.NoError(t, err)
		var encoded [][]byte
		for _, r := range records {
			encoded = append(encoded, encoder.Append(nil, r))
		}
		for seed := range uint64(size.Times(12, 6)) {
			random := rand.New(rand.NewPCG(seed, 1))
			var w io.Writer
			var heal func() []byte
			switch seed % 6 {
			case 0:
				pipe := &tearing{Rand: random}
				w, heal = pipe, func() []byte { pipe.heals = true; return pipe.content }
			case 1, 2, 3:
				file := &tearingFile{tearing: tearing{Rand: random}, cannot: seed%6 == 2}
				if seed%6 == 3 {
					file.others = "of another program"
				}
				w, heal = file, func() []byte { file.heals = true; return file.content }
			default:
				flags := os.O_CREATE | os.O_RDWR
				if seed%6 == 4 {
					flags |= os.O_APPEND
				}
				name := filepath.Join(t.TempDir(), "out")
				opened, err := os.OpenFile(name, flags, 0o600)
				require.NoError(t, err)
				defer opened.Close()
				file := &tearingOSFile{File: opened, Rand: random}
				w, heal = file, func() []byte {
					file.heals = true
					content, err := os.ReadFile(name)
					require.NoError(t, err)
					return content
				}
			}
			target := export.NewWriter(w, encoder, true)
			for left := records; len(left) > 0; {
				n := min(len(left), 1+random.IntN(20))
				if target.Send(t.Context(), left[:n]) == nil {
					left = left[n:]
				}
				if random.IntN(50) == 0 { // others send to it, too
					_ = target.Send(t.Context(), records[:1])
				}
			}
			heal()
			require.NoError(t, target.Send(t.Context(), records[:1]))
			content, found := bytes.CutPrefix(heal(), encoder.Header())
			require.True(t, found, "%s, seed %d: the header", format, seed)
			seen := make([]bool, len(records))
			for len(content) > 0 {
				i := slices.IndexFunc(encoded, func(e []byte) bool { return bytes.HasPrefix(content, e) })
				require.GreaterOrEqual(t, i, 0, "%s, seed %d: half of an event before %.200q", format, seed, content)
				content = content[len(encoded[i]):]
				for j := range encoded { // some differ in what the format does not hold
					seen[j] = seen[j] || bytes.Equal(encoded[i], encoded[j])
				}
			}
			require.NotContains(t, seen, false, "%s, seed %d", format, seed)
		}
	}
}

func TestOnlyAWholeSuccessOfAnOTLPReceiverIsOne(t *testing.T) {
	tests := []struct {
		name, body string
		status     int
		taken      bool
		refused    int64
	}{
		{"a success", `{}`, 200, true, 0},
		{"a success that says so", `{"partialSuccess":{"rejectedLogRecords":"0"}}`, 200, true, 0},
		{"a warning", `{"partialSuccess":{"errorMessage":"deprecated"}}`, 200, true, 0},
		{"no content, as of Loki", ``, 204, true, 0},
		{"a partial success", `{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too\nold"}}`, 200, false, 2},
		{"a partial success with a number", `{"partialSuccess":{"rejectedLogRecords":1}}`, 200, false, 1},
		{"a partial success with no number", `{"partialSuccess":{"rejectedLogRecords":"many"}}`, 200, false, 0},
		{"the page of a proxy", `<html>log in</html>`, 200, false, -1},
		{"a wrong request", `{"message":"no"}`, 400, false, 0},
		{"a request that is too large", ``, 413, false, 0},
		{"no authorization", ``, 401, false, -1},
		{"an overload", ``, 503, false, -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer x" {
					t.Error("the headers are wrong")
				}
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			}))
			defer server.Close()
			target := export.NewOTLP(server.URL, http.Header{"Authorization": {"Bearer x"}}, server.Client())
			err := target.Send(t.Context(), golden(t)[:2])
			if test.taken {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.NotContains(t, err.Error(), "\n")
			refused, ok := errors.AsType[*export.RefusedError](err)
			require.Equal(t, test.refused >= 0, ok, err)
			if ok {
				require.Equal(t, test.refused, refused.Rejected)
			}
		})
	}
}

func TestATargetThatIsNotThereIsAnErrorWithItsAddress(t *testing.T) {
	server := httptest.NewServer(nil)
	address := strings.TrimPrefix(server.URL, "http://")
	server.Close()
	encoder, err := export.New(export.Syslog, nil)
	require.NoError(t, err)
	require.ErrorContains(t, export.NewSyslog(address, encoder, nil).Send(t.Context(), golden(t)[:1]), address)
	require.ErrorContains(t, export.NewOTLP(server.URL, nil, nil).Send(t.Context(), golden(t)[:1]), address)
}

func TestARedirectionIsNoAnswerAndTakesNothingElsewhere(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was followed") }))
	defer elsewhere.Close()
	for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect} {
		server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		for _, client := range []*http.Client{nil, server.Client()} {
			err := export.NewOTLP(server.URL, http.Header{"Api-Key": {"x"}}, client).Send(t.Context(), golden(t)[:1])
			require.ErrorContains(t, err, http.StatusText(status))
		}
		server.Close()
	}
}
