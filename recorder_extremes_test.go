package jobaudit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// parsingSink is a memsink that holds each record to what is promised of all:
// it reads back as what it was.
type parsingSink struct {
	*memsink.Sink
	t       testing.TB
	records atomic.Int64
}

func (s *parsingSink) Append(ctx context.Context, records []jobaudit.Record) error {
	for _, r := range records {
		again, err := jobaudit.ParseRecord(r.Bytes())
		if err != nil {
			s.t.Errorf("a record was written that cannot be read: %v\n%.2000s", err, r.Bytes())
			return err
		}
		if !reflect.DeepEqual(again, r) {
			s.t.Errorf("a record reads back as another:\n%.2000s", r.Bytes())
		}
		if c := r.Carrier(); r.JobID() != uuid.Nil {
			if _, err := jobaudit.ParseCarrier(c.String()); err != nil {
				s.t.Errorf("a record's Carrier cannot be read: %v\n%.2000s", err, r.Bytes())
			}
		}
		s.records.Add(1)
	}
	return s.Sink.Append(ctx, records)
}

// The extremes of each kind of argument.
var (
	extremeStrings = []string{
		"", "x", " ", "\t", "\u200b", "\u3164", "\x00", "a\x00b", "\u202eb", "\xff", "a\xed\xa0\x80", "\u2028", "$jobaudit",
		`{"$jobaudit":"dropped","rule":"x"}`, strings.Repeat("x", 256), strings.Repeat("x", 257), strings.Repeat("€", 85),
		strings.Repeat("€", 86), strings.Repeat(`"`, 128), strings.Repeat(`"`, 129), strings.Repeat("\x01", 43),
		strings.Repeat("y", 1_025), strings.Repeat("\xff", 1_025), strings.Repeat("\x01", 5_000), strings.Repeat("z", 46_700),
		strings.Repeat("é\n", 40_000), "job.submitted", "cascade", "user", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	extremeInts = []int64{
		0, 1, -1, 2, 1<<31 - 1, 1 << 31, -1 << 31, 1<<53 - 1, 1 << 53, 1<<53 + 1, math.MaxInt64, math.MinInt64,
	}
	extremeTimes = []time.Time{
		{}, time.Unix(0, 0), time.Unix(-1, 0), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(math.MaxInt64/2, 0),
		time.Unix(math.MinInt64/2, 0), time.Date(2026, 1, 2, 3, 4, 5, 6789, time.FixedZone("", 14*3600)),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -12*3600)), time.Date(1970, 1, 1, 5, 0, 0, 0, time.FixedZone("", 12*3600)),
	}
	extremeIDs = []uuid.UUID{
		{}, uuid.Max, uuid.MustParse("7d444840-9dc0-01d1-b245-5ffdce74fad2"), uuid.MustParse("7d444840-9dc0-91d1-b245-5ffdce74fad2"),
		uuid.MustParse("7d444840-9dc0-41d1-0245-5ffdce74fad2"), uuid.MustParse("7d444840-9dc0-41d1-f245-5ffdce74fad2"),
		uuid.MustParse("7d444840-9dc0-11d1-b245-5ffdce74fad2"), uuid.MustParse("7d444840-9dc0-41d1-b245-5ffdce74fad2"),
		uuid.MustParse("01980000-0000-7000-8000-000000000001"), uuid.MustParse("01980000-0000-8000-8000-000000000001"),
	}
)

// extremeValues are contents that are not easily stored.
func extremeValues() []any {
	cyclic := map[string]any{}
	cyclic["self"] = cyclic
	var deep any = 1
	for range 1_000 {
		deep = []any{deep}
	}
	values := []any{
		nil, math.NaN(), math.Inf(-1), map[string]any{"a": math.NaN()}, cyclic, deep, make([]int, 100_000), make(chan int), func() {},
		json.RawMessage(`{"a":1,"a":2}`), json.RawMessage("{\n\"a\" :\n1}"), json.RawMessage(`{"a":"\ud800"}`), json.RawMessage("nonsense"),
		json.RawMessage(strings.Repeat("[", 120) + strings.Repeat("]", 120)), map[string]any{"$jobaudit": 1, "\xff": "\xff"},
		map[float64]string{math.NaN(): "x"}, []byte{0xff, 0}, [2]any{uint64(math.MaxUint64), math.Copysign(0, -1)}, time.Time{}, panicky{}, &panicky{},
		strings.Repeat("\x01", 20_000),
	}
	for _, s := range extremeStrings {
		values = append(values, s, map[string]any{s: s})
	}
	return values
}

type panicky struct{}

func (panicky) MarshalJSON() ([]byte, error) { panic("no") }
func (panicky) Error() string                { panic("no") }
func (panicky) Unwrap() error                { panic("no") }
func (panicky) JobErrorCode() string         { panic("no") }

type texts string

func (e texts) Error() string        { return string(e) }
func (e texts) JobErrorCode() string { return string(e) }
func (e texts) JobErrorText() string { return string(e) }

type keysOf []string

func (k keysOf) Erase(string) ([]string, error) { return k, nil }

// chooser gives arguments: extremes, mostly, of its own choice.
type chooser struct{ next func(n int) int }

// locked lets a Recorder's goroutines ask too.
func locked(next func(int) int) func(int) int {
	var mu sync.Mutex
	return func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return next(n)
	}
}

func pick[T any](c chooser, from []T) T { return from[c.next(len(from))] }

func (c chooser) text() string            { return pick(c, extremeStrings) }
func (c chooser) id() uuid.UUID           { return pick(c, extremeIDs) }
func (c chooser) value() any              { return pick(c, extremeValues()) }
func (c chooser) duration() time.Duration { return time.Duration(pick(c, extremeInts)) }

// fill sets the exported fields of a struct, each, now and then, to an extreme.
func (c chooser) fill(v reflect.Value) {
	for _, f := range v.Fields() {
		if f.CanSet() && c.next(8) == 0 {
			c.set(f)
		}
	}
}

func (c chooser) set(f reflect.Value) {
	switch f.Interface().(type) {
	case uuid.UUID:
		f.Set(reflect.ValueOf(c.id()))
		return
	case time.Time:
		f.Set(reflect.ValueOf(pick(c, extremeTimes)))
		return
	case netip.Addr:
		f.Set(reflect.ValueOf(pick(c, []netip.Addr{
			{}, netip.MustParseAddr("::1"), netip.MustParseAddr("fe80::1%" + strings.Repeat("z", 300)),
			netip.MustParseAddr("fe80::1%\x00"), netip.MustParseAddr("::ffff:1.2.3.4"),
		})))
		return
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(c.text())
	case reflect.Bool:
		f.SetBool(c.next(2) == 0)
	case reflect.Int, reflect.Int64:
		if n := pick(c, extremeInts); !f.OverflowInt(n) {
			f.SetInt(n)
		}
	case reflect.Struct:
		for _, field := range f.Fields() {
			if field.CanSet() {
				c.set(field)
			}
		}
	case reflect.Slice:
		n := pick(c, []int{0, 1, 15, 16, 17, 400})
		list := reflect.MakeSlice(f.Type(), n, n)
		for i := range n {
			if i < 20 {
				c.set(list.Index(i))
			} else {
				list.Index(i).Set(list.Index(i - 20))
			}
		}
		f.Set(list)
	case reflect.Interface:
		if v := c.value(); v != nil {
			f.Set(reflect.ValueOf(v))
		}
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
	}
}

func (c chooser) submission() jobaudit.Submission {
	s := goldenSubmission()
	if c.next(2) == 0 {
		s = plainSubmission()
	}
	s.ID = uuid.Nil
	c.fill(reflect.ValueOf(&s).Elem())
	return s
}

func filled[T any](c chooser, v T) T {
	c.fill(reflect.ValueOf(&v).Elem())
	return v
}

func (c chooser) err() error {
	return pick(c, []error{nil, errors.New(c.text()), texts(c.text()), panicky{}, context.Canceled, fmt.Errorf("%w", texts(c.text()))})
}

// calls makes n calls of all that is exported, each with arguments at their
// extremes, and returns how many there were that recorded something.
func (c chooser) calls(t testing.TB, n int) {
	sink := &parsingSink{Sink: memsink.New(nil), t: t}
	registry, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true, PseudonymKey: make([]byte, 32), RequireSnapshots: []string{"sweep"}},
		jobaudit.NewRedactor("sweep", "1", jobaudit.InputPaths[any](jobaudit.Keep("*")), jobaudit.OutputPaths[any](jobaudit.Keep("*"))))
	require.NoError(t, err)
	opts := jobaudit.Options{Redactors: registry, Heartbeat: -1, OnError: func(context.Context, *jobaudit.AuditError) {}}
	if c.next(3) == 0 {
		opts.Now = func() time.Time { return pick(c, extremeTimes) }
	}
	if c.next(3) == 0 {
		opts.NewID = func() uuid.UUID {
			if id := c.id(); id.Version() != 7 { // two events of one ID are a conflict
				return id
			}
			return uuid.Must(uuid.NewV7())
		}
	}
	if c.next(2) == 0 {
		opts.Heartbeat = c.duration()
	}
	if c.next(4) == 0 {
		c.set(reflect.ValueOf(&opts.Environment).Elem())
		c.set(reflect.ValueOf(&opts.CompanionOf).Elem())
	}
	where := goldenSource
	if c.next(4) == 0 {
		where = filled(c, where)
	}
	r, err := jobaudit.Open(t.Context(), sink, where, &opts)
	if err != nil {
		require.ErrorAs(t, err, new(*jobaudit.FieldError), "Open: %v", err)
		return
	}
	var trails []*jobaudit.Trail
	for range n {
		c.call(t, r, sink, &trails)
	}
	require.NoError(t, r.Close(t.Context()))
	extremeRecords.Add(sink.records.Load())
}

var extremeRecords atomic.Int64

// call makes one call. An error of the audit path must name a field, or say that
// the call comes at the wrong time.
func (c chooser) call(t testing.TB, r *jobaudit.Recorder, sink *parsingSink, trails *[]*jobaudit.Trail) {
	ctx := t.Context()
	check := func(name string, err error) {
		if err == nil {
			return
		}
		_, field := errors.AsType[*jobaudit.FieldError](err)
		_, refused := errors.AsType[*jobaudit.RecordError](err)
		if refused || !field && !errors.Is(err, jobaudit.ErrTransition) && !errors.Is(err, jobaudit.ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(*trails) == 0 || c.next(6) == 0 {
		trail, err := r.Submit(ctx, c.submission())
		check("Submit", err)
		if err == nil {
			*trails = append(*trails, trail)
		}
		return
	}
	trail := pick(c, *trails)
	switch c.next(25) {
	case 0:
		check("Start", trail.Start(ctx, filled(c, jobaudit.Execution{})))
	case 1:
		check("Succeed", trail.Succeed(ctx))
	case 2:
		check("Fail", trail.Fail(ctx, c.err()))
	case 3:
		check("Cancel", trail.Cancel(ctx, c.text()))
	case 4:
		trail.Log(ctx, c.text())
	case 5:
		trail.Heartbeat(ctx, pick(c, extremeInts), pick(c, extremeInts))
	case 6:
		trail.Snapshot(ctx, filled(c, jobaudit.Snapshot{Resource: "r", Digest: "d"}))
	case 7:
		check("Correct", trail.Correct(ctx, filled(c, jobaudit.Correction{Of: extremeIDs[8], Reason: "r", Value: c.value()})))
	case 8:
		check("Authorize", trail.Authorize(ctx, filled(c, jobaudit.Decision{Allowed: true})))
	case 9:
		check("Deny", trail.Deny(ctx, filled(c, jobaudit.Decision{})))
	case 10:
		check("Deduplicate", trail.Deduplicate(ctx, c.id()))
	case 11:
		trail.Retrying(ctx, c.err())
	case 12:
		trail.Deferring(ctx, c.text())
	case 13:
		trail.SetOutput(c.value())
		trail.SetImpact(c.text())
	case 14:
		check("Skip", trail.Skip(ctx, c.text()))
	case 15:
		job := jobaudit.Job{ID: trail.JobID(), State: jobaudit.Running, Executions: []jobaudit.JobExecution{{ID: c.id(), Attempt: 1}}}
		job = filled(c, job)
		job.ID = trail.JobID()
		check("Observe", trail.Observe(job))
	case 16:
		check("Reconstruct", trail.Reconstruct(pick(c, extremeTimes), func() error { return trail.Start(ctx, jobaudit.Execution{}) }))
	case 17:
		resumed, err := r.Resume(ctx, trail.Carrier(), c.value())
		require.NoError(t, err)
		*trails = append(*trails, resumed)
		check("Submit of a resumed", resumed.Submit(ctx))
	case 18:
		child, err := r.Submit(trail.Context(ctx), c.submission())
		check("Submit of a child", err)
		if err == nil {
			*trails = append(*trails, child)
		}
	case 19:
		check("Erase", r.Erase(ctx, keysOf{c.text(), c.text(), "k"}, c.text(), c.text()))
	case 20:
		check("Act", r.Act(ctx, filled(c, goldenAct())))
	case 21:
		check("CancelBy", trail.CancelBy(ctx, filled(c, auditor), c.text()))
	case 22:
		check("EraseBy", r.EraseBy(ctx, keysOf{c.text(), "k"}, c.text(), filled(c, jobaudit.Act{Principal: auditor, Reason: "r"})))
	case 23:
		trail.SetAffected(ctx, pick(c, extremeInts), c.text())
	case 24:
		var records []jobaudit.Record
		for r, err := range sink.Records(ctx, jobaudit.Query{JobID: trail.JobID()}) {
			require.NoError(t, err)
			records = append(records, r)
		}
		if len(records) > 0 {
			_, err := r.Conclude(ctx, jobaudit.Verdict{Of: pick(c, records), Last: pick(c, records), AttemptOnly: c.next(2) == 0})
			check("Conclude", err)
		}
	}
}

// Whatever a caller says, there is an error that names the field, or a record
// that reads back as what it was.
func TestEveryCallAtItsExtremesGivesAnErrorOrARecordThatCanBeRead(t *testing.T) {
	callsAtTheirExtremes(t, 0, size.Times(500, 50))
}

func TestSoakEveryCallAtItsExtremesGivesAnErrorOrARecordThatCanBeRead(t *testing.T) {
	callsAtTheirExtremes(t, size.Soak(t), 20_000)
}

func callsAtTheirExtremes(t *testing.T, first uint64, sequences int) {
	before := extremeRecords.Load()
	for i := range sequences {
		seed := first + uint64(i)
		rng := rand.New(rand.NewPCG(18, seed))
		chooser{locked(rng.IntN)}.calls(t, 12)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d sequences of 12 calls, %d records", sequences, extremeRecords.Load()-before)
}

func FuzzCalls(f *testing.F) {
	f.Add([]byte("submit, start, log, succeed"))
	f.Fuzz(func(t *testing.T, choices []byte) {
		i := 0
		next := func(n int) int {
			if i >= len(choices) {
				return 0
			}
			i++
			return int(choices[i-1]) % n
		}
		chooser{locked(next)}.calls(t, min(len(choices)/4, 20))
	})
}
