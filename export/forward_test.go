package export_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
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

func TestABatchThatWasWrittenInPartIsWrittenAgainWithTheHeaderThatIsMissing(t *testing.T) {
	encoder, err := export.New(export.CSV, nil)
	require.NoError(t, err)
	w := &limited{n: 100}
	target := export.NewWriter(w, encoder, true)
	require.ErrorIs(t, target.Send(t.Context(), golden(t)[:1]), errFull)
	w.Reset()
	w.n = 1 << 20
	require.NoError(t, target.Send(t.Context(), golden(t)[:1]))
	require.NoError(t, target.Send(t.Context(), golden(t)[1:2]))
	require.Equal(t, 1, bytes.Count(w.Bytes(), encoder.Header()))
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
