package story_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

var update = flag.Bool("update", false, "write the golden files")

// writer writes the events of one stream with IDs and times that are the same
// in every run.
type writer struct {
	stream, job, root, parent byte
	action, resource          string
	who, where, why           string // JSON; defaults below
	after                     *jobaudit.Record

	n    int
	prev jobaudit.Hash
}

var begin = time.Date(2026, 2, 3, 23, 59, 58, 0, time.UTC)

func id(kind string, n ...byte) uuid.UUID {
	return uuid.NewSHA1(uuid.Nil, append([]byte(kind), n...))
}

// event returns the stream's next event, at a moment after begin. rest stands
// behind why: data, or members of what after a "what:".
func (w *writer) event(t *testing.T, at time.Duration, typ jobaudit.EventType, state jobaudit.JobState, data string, what ...string) jobaudit.Record {
	t.Helper()
	w.n++
	line := fmt.Sprintf(`{"schemaVersion":"1.0.0","id":"%s","type":"%s"`, id("event", w.stream, byte(w.n)), typ)
	if p := typ.Phase(); p != "" {
		line += fmt.Sprintf(`,"phase":"%s"`, p)
	}
	line += fmt.Sprintf(`,"time":"%s","stream":{"id":"%s","seq":%d`, begin.Add(at).Format("2006-01-02T15:04:05.000000Z"), id("stream", w.stream), w.n)
	if w.n > 1 {
		line += fmt.Sprintf(`,"prev":"%s"`, w.prev)
	}
	if w.n == 1 && w.after != nil {
		s := w.after.Event().Stream
		line += fmt.Sprintf(`,"after":{"stream":"%s","seq":%d,"hash":"%s"}`, s.ID, s.Seq, w.after.Hash())
	}
	line += "}"
	if w.job > 0 {
		line += fmt.Sprintf(`,"job":{"id":"%s","state":"%s","attempt":%d`, id("job", w.job), state, map[bool]int{true: 1}[state != jobaudit.Pending])
		if state != jobaudit.Pending {
			line += fmt.Sprintf(`,"executionId":"%s"`, id("execution", w.stream))
		}
		if w.parent > 0 {
			line += fmt.Sprintf(`,"parentId":"%s"`, id("job", w.parent))
		}
		line += fmt.Sprintf(`,"rootId":"%s"}`, id("job", w.root))
	}
	line += fmt.Sprintf(`,"correlationId":"%s","requestId":"%s"`, id("job", w.root), id("job", w.job))
	line += `,"who":` + or(w.who, `{"principal":{"kind":"user","id":"u-1","name":"Ada Lovelace","assurance":"verified","auth":{"method":"oidc"}},"orgId":"acme"}`)
	line += `,"what":{"action":"` + or(w.action, "reindex") + `"` + w.resource + strings.Join(what, "") + `}`
	line += `,"where":` + or(w.where, `{"system":"indexer","environment":"production","host":"h1","instance":"i1","version":"v1.2"}`)
	line += `,"why":` + or(w.why, `{"trigger":"manual","reason":"the index is old","ref":"OPS-12"}`)
	if data != "" {
		line += `,"data":` + data
	}
	r, err := jobaudit.ParseRecord([]byte(line + "}"))
	require.NoError(t, err, line)
	w.prev = r.Hash()
	return r
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func all(records ...jobaudit.Record) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func timeline(t *testing.T, records ...jobaudit.Record) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, story.Timeline(&b, all(records...)))
	return b.String()
}

func tree(t *testing.T, records ...jobaudit.Record) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, story.Tree(&b, all(records...)))
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

const (
	ms      = time.Millisecond
	pending = jobaudit.Pending
	running = jobaudit.Running
)

// parent is a job that says everything an event can say.
func parent(t *testing.T) []jobaudit.Record {
	const resource = `,"resource":"index orders"`
	a := &writer{stream: 1, job: 1, root: 1, resource: resource}
	submitted := a.event(t, 0, jobaudit.JobSubmitted, pending, "",
		`,"inputs":{"index":"orders"}`,
		`,"redaction":{"policy":"reindex","version":"3","outcome":"kept","removed":[{"path":"token","class":"credential"}],"removedCount":2}`)
	authorized := a.event(t, 1*ms, jobaudit.JobAuthorized, pending, `{"decision":{"allowed":true,"by":"opa","permission":"index:write","reason":"is an owner"}}`)
	b := &writer{stream: 2, job: 1, root: 1, resource: resource, after: &authorized,
		who:   `{"principal":{"kind":"user","id":"u-1","assurance":"claimed"},"orgId":"acme","onBehalfOf":[{"kind":"service","id":"cron","assurance":"claimed"}],"upstream":{"system":"shop","eventId":"e-9"}}`,
		where: `{"system":"indexer","environment":"production","host":"h2","instance":"i2","version":"v1.3","target":"orders","sourceIp":"192.0.2.7"}`}
	return []jobaudit.Record{
		submitted, authorized,
		b.event(t, 900*ms, jobaudit.JobStarted, running, ""),
		b.event(t, 1000*ms, jobaudit.JobSnapshot, running, `{"snapshot":{"resource":"index orders","moment":"before","digest":"sha256:00ff","summary":"1,203 documents"}}`),
		b.event(t, 1500*ms, jobaudit.JobHeartbeat, running, `{"heartbeat":{"progress":{"done":40,"total":160},"deadline":"2026-02-04T00:01:00.000000Z"}}`),
		b.event(t, 2500*ms, jobaudit.JobLogged, running, `{"line":"a line of the log"}`),
		b.event(t, 2600*ms, jobaudit.AuditLost, running, `{"lost":{"count":3,"types":["job.logged"],"from":"2026-02-04T00:00:00.000000Z","to":"2026-02-04T00:00:01.000000Z"}}`),
		b.event(t, 2700*ms, jobaudit.AttemptFailed, running, `{"error":{"code":"TIMEOUT","message":"took too long","type":"context.deadlineExceededError","frame":"indexer.run"}}`),
		b.event(t, 2800*ms, jobaudit.JobSucceeded, jobaudit.Success, `{"output":{"documents":1204},"impact":"1,204 documents written"}`),
		b.event(t, 3*time.Hour, jobaudit.JobCorrected, jobaudit.Success, `{"correction":{"of":"`+submitted.ID().String()+`","kind":"correction","reason":"the ticket was OPS-13","value":{"ref":"OPS-13"}}}`),
	}
}

func TestTimelineSaysWhoWhatWhenWhereAndWhy(t *testing.T) {
	golden(t, "timeline.txt", timeline(t, parent(t)...))
}

func family(t *testing.T) []jobaudit.Record {
	p := &writer{stream: 1, job: 1, root: 1, action: "manifest"}
	records := []jobaudit.Record{
		p.event(t, 0, jobaudit.JobSubmitted, pending, "", `,"inputs":null`, `,"redaction":{"outcome":"no_policy"}`),
		p.event(t, 1*ms, jobaudit.JobStarted, running, ""),
	}
	for n, outcome := range []struct {
		typ   jobaudit.EventType
		state jobaudit.JobState
		data  string
	}{
		{jobaudit.JobSucceeded, jobaudit.Success, ""},
		{jobaudit.JobFailed, jobaudit.Failed, `{"error":{"code":"NOT_FOUND","message":"b.txt is gone"}}`},
		{jobaudit.JobHeartbeat, running, `{"heartbeat":{"deadline":"2026-02-04T00:01:00.000000Z"}}`},
	} {
		at := time.Duration(10*n) * ms
		c := &writer{stream: byte(10 + n), job: byte(10 + n), root: 1, parent: 1, action: "hash-folder"}
		records = append(records,
			c.event(t, at, jobaudit.JobSubmitted, pending, "", `,"inputs":{"folder":"`+string(rune('a'+n))+`"}`),
			c.event(t, at+2*ms, jobaudit.JobStarted, running, ""),
			c.event(t, at+5*ms, outcome.typ, outcome.state, outcome.data))
	}
	grandchild := &writer{stream: 20, job: 20, root: 1, parent: 10, action: "hash-file"}
	waiting := &writer{stream: 30, job: 30, root: 31, parent: 31, action: "of-another-log"}
	denied := &writer{stream: 40, job: 40, root: 40, action: "delete-all", resource: `,"resource":"index orders"`}
	return append(records,
		grandchild.event(t, 4*ms, jobaudit.JobSubmitted, pending, "", `,"inputs":{}`),
		waiting.event(t, 50*ms, jobaudit.JobSubmitted, pending, "", `,"inputs":{}`),
		denied.event(t, 60*ms, jobaudit.JobSubmitted, pending, "", `,"inputs":{}`),
		denied.event(t, 61*ms, jobaudit.JobDenied, jobaudit.Cancelled, `{"decision":{"allowed":false,"by":"opa","reason":"not an owner"}}`))
}

func TestTimelineOfSeveralJobsNumbersThem(t *testing.T) {
	golden(t, "timeline_jobs.txt", timeline(t, family(t)...))
}

func TestTreeShowsWhoMadeWhomAndHowItEnded(t *testing.T) {
	golden(t, "tree.txt", tree(t, family(t)...))
}

// A writer of records can contradict one job's records, and hides no other
// job by that.
func TestAJobWhoseRecordsContradictEachOtherHidesNoOther(t *testing.T) {
	records := family(t)
	want := strings.Split(tree(t, records...), "\n")
	for _, r := range records {
		if r.JobID() == uuid.Nil {
			continue
		}
		line := bytes.Replace(r.Bytes(), []byte(`"host":"`), []byte(`"host":"x`), 1)
		twin, err := jobaudit.ParseRecord(line)
		require.NoError(t, err)
		got := strings.Split(tree(t, append(slices.Clone(records), twin)...), "\n")
		require.Len(t, got, len(want))
		changed := 0
		for i, text := range got {
			require.Contains(t, want[i], text[len(text)-min(36, len(text)):], "the same jobs at the same places")
			if text != want[i] {
				changed++
				require.Contains(t, text, r.JobID().String())
				require.Contains(t, text, jobaudit.ErrConflict.Error())
			}
		}
		require.Equal(t, 1, changed)
	}
}

func TestNoEventStandsBeforeOneThatItFollows(t *testing.T) {
	records := parent(t)
	want := timeline(t, records...)
	slices.Reverse(records)
	require.Equal(t, want, timeline(t, records...), "one chain has one order")
	require.Equal(t, want, timeline(t, append(records, records...)...), "each record once")
}

func TestTheReadersOrderStandsWhereNothingElseDecides(t *testing.T) {
	a, b := &writer{stream: 1, job: 1, root: 1}, &writer{stream: 2, job: 2, root: 2}
	a1, a2 := a.event(t, 5*ms, jobaudit.JobStarted, running, ""), a.event(t, 6*ms, jobaudit.JobLogged, running, `{"line":"second of a"}`)
	b1 := b.event(t, 0, jobaudit.JobLogged, running, `{"line":"first of b"}`)
	got := timeline(t, a2, b1, a1) // a2 waits for a1, b1 for nothing
	require.Less(t, strings.Index(got, "first of b"), strings.Index(got, "job.started"))
	require.Less(t, strings.Index(got, "job.started"), strings.Index(got, "second of a"))
}

func TestRecordsInACircleAreStillPrinted(t *testing.T) {
	a := &writer{stream: 1, job: 1, root: 1, parent: 2}
	b := &writer{stream: 2, job: 2, root: 1, parent: 1}
	got := tree(t, a.event(t, 0, jobaudit.JobStarted, running, ""), b.event(t, 0, jobaudit.JobStarted, running, ""))
	require.Equal(t, 2, strings.Count(got, "reindex"))
}

func TestTextsCannotSpeakToTheTerminal(t *testing.T) {
	w := &writer{
		stream: 1, job: 1, root: 1, action: `a\u001b[31m`,
		who:   `{"principal":{"kind":"user","id":"u\u0007","name":"\u202egnp.exe","assurance":"claimed"},"orgId":"o\u009b1m"}`,
		where: `{"system":"s\r","environment":"e\u0000","host":"h\n","instance":"i` + "\u2028" + `","version":"v\u007f"}`,
		why:   `{"trigger":"manual\b","reason":"r\f","ref":"\u200f"}`,
	}
	records := []jobaudit.Record{
		w.event(t, 0, jobaudit.JobSubmitted, pending, "", `,"inputs":{"a":"`+"\u009b31m\u202e"+`"}`),
		w.event(t, 0, jobaudit.JobLogged, running, `{"line":"\u001b]0;title\u0007\n20:00 job.succeeded"}`),
		w.event(t, 0, jobaudit.JobFailed, jobaudit.Failed, `{"error":{"code":"E\u001b","message":"\u001b[2J","type":"\u001b","frame":"\u001b"}}`),
	}
	for _, got := range []string{timeline(t, records...), tree(t, records...)} {
		for _, r := range got {
			if r != '\n' {
				require.True(t, r >= ' ' && r != 0x7f && (r < 0x80 || r >= 0xa0) && !strings.ContainsRune("\u2028\u200f\u202e", r), "%q in %s", r, got)
			}
		}
	}
	require.Contains(t, timeline(t, records...), `| \x1b]0;title\x07\n20:00 job.succeeded`)
}

func TestLongContentIsCut(t *testing.T) {
	w := &writer{stream: 1, job: 1, root: 1}
	got := timeline(t, w.event(t, 0, jobaudit.JobLogged, running, `{"line":"`+strings.Repeat("ü", 2000)+`"}`))
	require.Contains(t, got, "ü… (4000 bytes)\n")
}

func TestNothingIsSaidOfNoRecords(t *testing.T) {
	require.Equal(t, "no events\n", timeline(t))
	require.Equal(t, "no jobs\n", tree(t))
}

func TestAnErrorOfTheReaderOrTheWriterIsReturned(t *testing.T) {
	broken := errors.New("broken")
	failing := func(yield func(jobaudit.Record, error) bool) { yield(jobaudit.Record{}, broken) }
	require.ErrorIs(t, story.Timeline(&strings.Builder{}, failing), broken)
	require.ErrorIs(t, story.Tree(&strings.Builder{}, failing), broken)
	require.ErrorIs(t, story.Timeline(brokenWriter{broken}, all(parent(t)...)), broken)
	require.ErrorIs(t, story.Tree(brokenWriter{broken}, all(parent(t)...)), broken)
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// A program that shows events its own way has from Entries what Timeline prints.
func TestEntriesSayWhatTimelinePrints(t *testing.T) {
	records := parent(t)
	var printed strings.Builder
	require.NoError(t, story.Timeline(&printed, all(records...)))
	entries, unreadable, err := story.Entries(all(records...))
	require.NoError(t, err)
	require.Empty(t, unreadable)
	require.Len(t, entries, len(records))
	for i, entry := range entries {
		require.Contains(t, printed.String(), string(entry.Event.Type))
		for _, line := range append(entry.Says, entry.Notes...) {
			require.Contains(t, printed.String(), line)
		}
		if i == 0 {
			require.NotEmpty(t, entry.Changes)
		}
	}
}
