package verifier_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/internal/tools/verifier"
	"github.com/jobaudit/jobaudit/story"
)

// history makes random events of one job: several writers, each with a stream,
// who record whatever comes to their minds.
type history struct {
	*rand.Rand
	job        string
	streams    []stream
	executions []string
	ids        []string // of all events
	at         time.Time
}

type stream struct {
	id   string
	seq  int
	prev string // hash
	log  int
}

func (h *history) id(version byte) string {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(h.Uint32())
	}
	id[6], id[8] = id[6]&0x0f|version<<4, id[8]&0x3f|0x80
	return id.String()
}

func pick[T any](h *history, list []T) T { return list[h.IntN(len(list))] }

func newHistory(seed uint64, logs int) *history {
	h := &history{Rand: rand.New(rand.NewPCG(seed, 9)), at: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)}
	h.job = h.id(4)
	for range 1 + h.IntN(4) {
		h.streams = append(h.streams, stream{id: h.id(7), log: h.IntN(logs)})
	}
	for range 1 + h.IntN(3) {
		h.executions = append(h.executions, h.id(7))
	}
	return h
}

var types = []string{
	"job.submitted", "job.submitted", "job.deduplicated", "job.authorized", "job.denied", "job.started", "job.started",
	"attempt.started", "job.heartbeat", "job.logged", "job.logged", "job.succeeded", "job.failed", "job.cancelled",
	"job.corrected", "attempt.failed", "attempt.deferred", "attempt.lost", "attempt.superseded", "attempt.late",
	"job.succeeded", "audit.lost", "job.invented",
}

var phases = map[string]string{
	"job.submitted": "submission", "job.deduplicated": "submission", "job.authorized": "authorization",
	"job.denied": "authorization", "job.succeeded": "outcome", "job.failed": "outcome", "job.cancelled": "outcome",
	"job.corrected": "outcome", "audit.lost": "",
}

var states = map[string]string{
	"job.submitted": "pending", "job.deduplicated": "cancelled", "job.succeeded": "success", "job.failed": "failed",
	"job.cancelled": "cancelled",
}

// data is what an event of the type may hold.
func (h *history) data(typ string) string {
	failure := pick(h, []string{`"error":{"code":"ERROR","message":"m` + fmt.Sprint(h.IntN(3)) + `"}`, `"error":{"code":"X","message":{"$jobaudit":"dropped","rule":"taint"}}`})
	switch typ {
	case "job.deduplicated":
		return `"existing":"` + h.id(7) + `"`
	case "job.denied":
		return `"decision":{"allowed":false,"by":"p"` + pick(h, []string{"", `,"reason":"no"`}) + `}`
	case "job.logged":
		return `"line":` + pick(h, []string{`"a"`, `"b"`, `{"$jobaudit":"truncated","size":9000,"head":"x"}`, `{"$jobaudit":"dropped","rule":"jwt"}`})
	case "job.succeeded":
		return pick(h, []string{"", `"output":{"n":1}`, `"impact":"some"`})
	case "job.failed", "job.cancelled", "attempt.failed", "attempt.late":
		return failure
	}
	return ""
}

// next makes the next event of some stream, and says which log it is in.
func (h *history) next() (line []byte, log int) {
	s := &h.streams[h.IntN(len(h.streams))]
	typ, id := pick(h, types), h.id(7)
	execution := pick(h, append(h.executions, ""))
	if n := h.IntN(3); n == 0 && typ == "job.failed" || typ == "attempt.lost" || n == 0 && typ == "job.cancelled" {
		// A verdict has a stream of its own, and others may reach it too.
		id = "ffffffff-" + strings.Repeat(fmt.Sprintf("%x", len(typ)%16), 4) + "-8000-8000-00000000000" + fmt.Sprint(h.IntN(2))
		s = &stream{id: h.id(7), log: s.log}
	}
	s.seq++
	h.at = h.at.Add(time.Duration(h.IntN(5000)-2000) * time.Microsecond) // clocks go back
	var b strings.Builder
	fmt.Fprintf(&b, `{"schemaVersion":"1.0.0","id":"%s","type":"%s"`, id, typ)
	phase, known := phases[typ]
	if !known {
		phase = "execution"
	}
	if phase != "" {
		fmt.Fprintf(&b, `,"phase":"%s"`, phase)
	}
	const layout = "2006-01-02T15:04:05.000000Z"
	fmt.Fprintf(&b, `,"time":"%s"`, h.at.Format(layout))
	if h.IntN(8) == 0 {
		fmt.Fprintf(&b, `,"reconstructed":{"queueTime":"%s"}`, h.at.Add(-time.Hour).Format(layout))
	}
	fmt.Fprintf(&b, `,"stream":{"id":"%s","seq":%d`, s.id, s.seq)
	switch {
	case s.seq > 1:
		fmt.Fprintf(&b, `,"prev":"%s"`, s.prev)
	case h.IntN(2) == 0:
		if from := pick(h, h.streams); from.id != s.id && from.seq > 0 {
			fmt.Fprintf(&b, `,"after":{"stream":"%s","seq":%d,"hash":"%s"}`, from.id, from.seq, from.prev)
		}
	}
	state := states[typ]
	if state == "" {
		state = pick(h, []string{"running", "cancelled"})
	}
	fmt.Fprintf(&b, `},"job":{"id":"%s","state":"%s","attempt":%d`, h.job, state, h.IntN(4))
	if execution != "" {
		fmt.Fprintf(&b, `,"executionId":"%s"`, execution)
	}
	fmt.Fprintf(&b, `,"rootId":"%s"},"correlationId":"%s"`, h.job, h.job)
	if len(h.ids) > 0 && h.IntN(2) == 0 {
		fmt.Fprintf(&b, `,"causationId":"%s"`, pick(h, h.ids))
	}
	fmt.Fprintf(&b, `,"requestId":"%s","who":{"principal":{"kind":"user","id":"u%d","assurance":"claimed"},"orgId":"o"},"what":{"action":"a"`, h.job, h.IntN(2))
	if typ == "job.submitted" {
		fmt.Fprintf(&b, `,"inputs":%d`, h.IntN(2))
	}
	b.WriteString(`},"where":{"system":"s","environment":"e","host":"h","instance":"i","version":"v"},"why":{"trigger":"manual","reason":"r"}`)
	if data := h.data(typ); data != "" {
		b.WriteString(`,"data":{` + data + `}`)
	}
	b.WriteString("}")
	line = []byte(b.String())
	hash := sha256.Sum256(append([]byte{0}, line...))
	s.prev = base64.StdEncoding.EncodeToString(hash[:])
	h.ids = append(h.ids, id)
	return line, s.log
}

func records(t *testing.T, lines [][]byte) iter.Seq2[jobaudit.Record, error] {
	t.Helper()
	var list []jobaudit.Record
	for _, line := range lines {
		r, err := jobaudit.ParseRecord(line)
		require.NoError(t, err, "%s", line)
		list = append(list, r)
	}
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range list {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// asFolded is a job in the form that the page's fold has.
func asFolded(j jobaudit.Job) verifier.Job {
	id := func(id uuid.UUID) string {
		if id == uuid.Nil {
			return ""
		}
		return id.String()
	}
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format("2006-01-02T15:04:05.000000Z")
	}
	f := verifier.Job{
		ID: id(j.ID), State: string(j.State), CreatedAt: at(j.CreatedAt), StartedAt: at(j.StartedAt), CompletedAt: at(j.CompletedAt),
		Output: string(j.Output), Inputs: string(j.Metadata.Inputs), Logs: j.Logs,
		RequestID: id(j.Metadata.RequestID), UserID: j.Metadata.UserID, OrgID: j.Metadata.OrgID, Action: j.Metadata.Action,
		CorrelationID: id(j.CorrelationID), ParentID: id(j.ParentID), RootID: id(j.RootID), RetryOf: id(j.RetryOf),
		Attempt: int(j.Attempt), Incomplete: j.Incomplete,
	}
	if j.Error != nil {
		f.ErrorCode, f.ErrorMessage = string(j.Error.Code), j.Error.Message
	}
	for _, x := range j.Executions {
		f.Executions = append(f.Executions, verifier.Execution{
			ID: id(x.ID), Stream: id(x.Stream), StartedAt: at(x.StartedAt), EndedAt: at(x.EndedAt), End: string(x.End),
			Attempt: int(x.Attempt), Late: x.Late,
		})
	}
	for _, u := range j.Unapplied {
		f.Unapplied = append(f.Unapplied, u.EventID.String()+" "+string(u.Cause))
	}
	return f
}

// requireSameJob compares the fold of the page with that of the code.
// It reports false if the events follow each other in a circle.
func requireSameJob(t *testing.T, seed uint64, what string, logs ...[][]byte) bool {
	t.Helper()
	page, pageErr := verifier.Fold(logs...)
	if errors.Is(pageErr, verifier.ErrCircle) {
		return false
	}
	all := records(t, logs[0])
	if len(logs) > 1 {
		all = story.Merge(all, records(t, logs[1]))
	}
	job, err := jobaudit.Replay(all)
	require.Equal(t, err == nil, pageErr == nil, "seed %d, %s: the code says %v, the page %v", seed, what, err, pageErr)
	want := asFolded(job)
	if len(page.Logs) == 0 && len(want.Logs) == 0 {
		page.Logs, want.Logs = nil, nil
	}
	if !reflect.DeepEqual(want, page) {
		require.Equal(t, want, page, "seed %d, %s: the code, and then the page; of\n%s", seed, what, flat(logs))
	}
	return true
}

func flat(logs [][][]byte) string {
	var b strings.Builder
	for n, log := range logs {
		for _, line := range log {
			fmt.Fprintf(&b, "log %d: %s\n", n, line)
		}
	}
	return b.String()
}

// Each history of events is folded in the order in which they came, doubled,
// shuffled, and split over two logs.
func TestAJobIsWhatThePageSaysThatItsEventsAddUpTo(t *testing.T) {
	histories := uint64(300)
	if testing.Short() {
		histories = 100
	}
	foldHistories(t, 0, histories)
}

func TestSoakAJobIsWhatThePageSaysThatItsEventsAddUpTo(t *testing.T) {
	foldHistories(t, size.Soak(t), 20_000)
}

func foldHistories(t *testing.T, from, histories uint64) {
	t.Helper()
	events, circles := 0, 0
	for seed := from; seed != from+histories; seed++ {
		h := newHistory(seed, 2)
		logs := make([][][]byte, 2)
		var all [][]byte
		for range 1 + h.IntN(12) {
			line, log := h.next()
			all, logs[log] = append(all, line), append(logs[log], line)
		}
		events += len(all)
		if slices.ContainsFunc(logs, func(log [][]byte) bool { return len(log) == 0 }) {
			logs = [][][]byte{all}
		}
		if !requireSameJob(t, seed, "in order", all) {
			circles++
			continue
		}
		requireSameJob(t, seed, "doubled", slices.Concat(all, all))
		requireSameJob(t, seed, "in several logs", logs...)
		slices.Reverse(logs)
		requireSameJob(t, seed, "in several logs, the other way round", logs...)
		h.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		requireSameJob(t, seed, "shuffled", all)
	}
	t.Logf("%d histories of %d events; %d of them in a circle", histories, events, circles)
	require.Less(t, circles, int(histories/20))
}
