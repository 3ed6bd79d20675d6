package jobaudit_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	logs "github.com/jobaudit/jobaudit/story"
)

// model folds a job as docs/format.md says, in the plainest way: it looks at all
// events for each one that it takes.
type model struct {
	records []jobaudit.Record
	events  []jobaudit.Event
}

// read takes records in the reader's order, each once.
func (m *model) read(records []jobaudit.Record) []int {
	var log []int
	for _, r := range records {
		at := slices.IndexFunc(m.records, func(have jobaudit.Record) bool { return have.ID() == r.ID() })
		if at < 0 {
			at = len(m.records)
			m.records, m.events = append(m.records, r), append(m.events, r.Event())
		}
		if !slices.Contains(log, at) {
			log = append(log, at)
		}
	}
	return log
}

// follows returns those of a list that an event follows.
func (m *model) follows(i int, list []int) (before []int) {
	e := &m.events[i]
	newest := func(stream uuid.UUID, most uint64) {
		best := -1
		for _, p := range list {
			if s := m.events[p].Stream; s.ID == stream && s.Seq <= most && (best < 0 || s.Seq > m.events[best].Stream.Seq) {
				best = p
			}
		}
		if best >= 0 && best != i {
			before = append(before, best)
		}
	}
	newest(e.Stream.ID, e.Stream.Seq-1)
	newest(e.Stream.After.Stream, e.Stream.After.Seq)
	for _, p := range list {
		if p != i && m.events[p].ID == e.CausationID {
			before = append(before, p)
		}
	}
	return before
}

// sorted returns a log's events in the order in which they are folded.
func (m *model) sorted(log []int) (order []int) {
	for len(order) < len(log) {
		at := slices.IndexFunc(log, func(i int) bool {
			return !slices.Contains(order, i) && !slices.ContainsFunc(m.follows(i, log), func(p int) bool { return !slices.Contains(order, p) })
		})
		order = append(order, log[at])
	}
	return order
}

func verdict(e *jobaudit.Event) bool { return e.ID.Version() == 8 }

// compareFlags orders false before true.
func compareFlags(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func compareIDs(a, b *jobaudit.Event) int { return bytes.Compare(a.ID[:], b.ID[:]) }

// merged returns the order of two logs.
func (m *model) merged(both ...[]int) (order []int) {
	all := make([]int, len(m.events))
	before := make([][]int, len(m.events)) // of events, and what is decided
	for i := range all {
		all[i] = i
	}
	for i := range all {
		before[i] = m.follows(i, all)
	}
	for n := range both {
		both[n] = m.sorted(both[n])
	}
	var after func(b, a int, seen map[int]bool) bool
	after = func(b, a int, seen map[int]bool) bool {
		if a == b {
			return true
		}
		if seen[b] {
			return false
		}
		seen[b] = true
		previous := slices.Clone(before[b])
		for _, log := range both {
			if at := slices.Index(log, b); at > 0 {
				previous = append(previous, log[at-1])
			}
		}
		return slices.ContainsFunc(previous, func(p int) bool { return after(p, a, seen) })
	}
	decide := func(is func(*jobaudit.Event) bool, compare func(a, b *jobaudit.Event) int) {
		var first []int
		for _, log := range both {
			if at := slices.IndexFunc(log, func(i int) bool { return is(&m.events[i]) }); at >= 0 && !slices.Contains(first, log[at]) {
				first = append(first, log[at])
			}
		}
		slices.SortFunc(first, func(a, b int) int { return compare(&m.events[a], &m.events[b]) })
		at := slices.IndexFunc(first, func(i int) bool {
			return !slices.ContainsFunc(first, func(other int) bool { return other != i && after(i, other, map[int]bool{}) })
		})
		for _, i := range first {
			if i != first[at] && !after(i, first[at], map[int]bool{}) {
				before[i] = append(before[i], first[at])
			}
		}
	}
	decide(func(e *jobaudit.Event) bool { return e.Type == jobaudit.JobSubmitted }, func(a, b *jobaudit.Event) int {
		return cmp.Or(compareFlags(!a.Who.Principal.Verified, !b.Who.Principal.Verified), compareFlags(!verdict(a), !verdict(b)), compareIDs(a, b))
	})
	decide(func(e *jobaudit.Event) bool {
		ends := []jobaudit.EventType{jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobDenied, jobaudit.JobDeduplicated}
		return slices.Contains(ends, e.Type) && e.Job.State.Terminal()
	}, func(a, b *jobaudit.Event) int {
		return cmp.Or(compareFlags(!verdict(a), !verdict(b)), compareIDs(a, b))
	})
	for len(order) < len(all) {
		var free, next []int
		for _, i := range all {
			if !slices.Contains(order, i) && !slices.ContainsFunc(before[i], func(p int) bool { return !slices.Contains(order, p) }) {
				free = append(free, i)
			}
		}
		for _, log := range both {
			if at := slices.IndexFunc(log, func(i int) bool { return !slices.Contains(order, i) }); at >= 0 && slices.Contains(free, log[at]) {
				next = append(next, log[at])
			}
		}
		if len(next) == 0 {
			next = free
		}
		order = append(order, slices.MinFunc(next, func(a, b int) int {
			x, y := &m.events[a], &m.events[b]
			return cmp.Or(compareFlags(verdict(x), verdict(y)), compareIDs(x, y))
		}))
	}
	return order
}

// modelStates is the table of the page: what an event does in the states none,
// pending, running and the terminal ones.
var modelStates = map[jobaudit.EventType][4]string{
	jobaudit.JobSubmitted:    {"pending", "duplicate", "duplicate", "duplicate"},
	jobaudit.JobDeduplicated: {"cancelled", "cancelled", "illegal", "late"},
	jobaudit.JobDenied:       {"cancelled", "cancelled", "", "late"},
	jobaudit.JobStarted:      {"running", "running", "", "late"},
	jobaudit.AttemptStarted:  {"running", "running", "", "late"},
	jobaudit.JobSucceeded:    {"illegal", "illegal", "success", "late"},
	jobaudit.JobFailed:       {"illegal", "illegal", "failed", "late"},
	jobaudit.JobCancelled:    {"cancelled", "cancelled", "cancelled", "late"},
}

func agrees(e, s *jobaudit.Event) bool {
	return e.Who.OrgID == s.Who.OrgID && e.What.Action == s.What.Action && e.Job.RootID == s.Job.RootID && e.CorrelationID == s.CorrelationID
}

// submission returns where in an order the submission stands that says whose
// job it is: the one that proofs name, or the first.
func (m *model) submission(order []int) int {
	named := map[int]bool{}
	for _, i := range order {
		e := &m.events[i]
		at := slices.IndexFunc(order, func(p int) bool {
			s := &m.events[p]
			return s.Type == jobaudit.JobSubmitted && s.Stream.ID == e.Who.Proof.Submission && agrees(e, s)
		})
		if e.Type != jobaudit.JobSubmitted && at >= 0 {
			named[at] = true
		}
	}
	if len(named) == 1 {
		for at := range named {
			return at
		}
	}
	return slices.IndexFunc(order, func(i int) bool { return m.events[i].Type == jobaudit.JobSubmitted })
}

// fold folds the events in an order.
func (m *model) fold(order []int) (job jobaudit.Job) {
	at := m.submission(order)
	job.Logs = []string{}
	begun := false
	for _, i := range order {
		e := &m.events[i]
		if at >= 0 {
			s := &m.events[order[at]]
			if !agrees(e, s) {
				job.Unapplied = append(job.Unapplied, unapplied(e, jobaudit.CauseForeign))
				continue
			}
			if e.Type == jobaudit.JobSubmitted && i != order[at] {
				u := unapplied(e, jobaudit.CauseDuplicate)
				if !bytes.Equal(e.What.Inputs, s.What.Inputs) {
					u.Inputs = e.What.Inputs
				}
				job.Unapplied = append(job.Unapplied, u)
				continue
			}
		}
		completes := e.Type == jobaudit.JobSubmitted && begun && job.Incomplete
		if !begun || completes {
			job.CreatedAt, job.CorrelationID = e.Time, e.CorrelationID
			job.ParentID, job.RootID, job.RetryOf = e.Job.ParentID, e.Job.RootID, e.Job.RetryOf
			job.Metadata = jobaudit.JobMetadata{
				RequestID: e.RequestID, UserID: e.Who.Principal.ID, OrgID: e.Who.OrgID, Action: e.What.Action, Inputs: e.What.Inputs,
			}
		}
		if !begun {
			begun, job.ID = true, e.Job.ID
			if job.Incomplete = e.Type != jobaudit.JobSubmitted; job.Incomplete {
				job.State = jobaudit.Pending
			}
		}
		if completes {
			job.Incomplete = false
			continue
		}
		late := m.step(&job, e)
		m.execute(&job, e, late)
	}
	return job
}

func unapplied(e *jobaudit.Event, cause jobaudit.Cause) jobaudit.UnappliedEvent {
	return jobaudit.UnappliedEvent{EventID: e.ID, Type: e.Type, Time: e.Time, Cause: cause, Error: modelError(e)}
}

func modelError(e *jobaudit.Event) *jobaudit.ErrorDetail {
	switch e.Type {
	case jobaudit.JobDenied:
		return &jobaudit.ErrorDetail{Code: "FORBIDDEN", Message: e.Data.Decision.Reason}
	case jobaudit.JobDeduplicated:
		return &jobaudit.ErrorDetail{Code: "DUPLICATE", Message: "duplicate of job " + e.Data.Existing.String()}
	}
	return e.Data.Error
}

// step does to the job's state what the event does, and reports whether that is
// late.
func (m *model) step(job *jobaudit.Job, e *jobaudit.Event) (late bool) {
	column := map[jobaudit.JobState]int{"": 0, "pending": 1, "running": 2, "success": 3, "failed": 3, "cancelled": 3}[job.State]
	switch word := modelStates[e.Type][column]; word {
	case "":
	case "duplicate", "illegal", "late":
		job.Unapplied = append(job.Unapplied, unapplied(e, jobaudit.Cause(word)))
		return word == "late"
	case "running":
		job.State, job.StartedAt = "running", e.Time
	case "pending":
		job.State = "pending"
	default:
		job.State, job.CompletedAt, job.Output, job.Error = jobaudit.JobState(word), e.Time, e.Data.Output, modelError(e)
	}
	return false
}

// execute does what the event does to the job's lines and executions.
func (m *model) execute(job *jobaudit.Job, e *jobaudit.Event, late bool) {
	switch e.Type {
	case jobaudit.JobLogged:
		job.Logs = append(job.Logs, e.Data.Line)
	case jobaudit.JobStarted, jobaudit.AttemptStarted:
		job.Executions = append(job.Executions, jobaudit.JobExecution{
			ID: e.Job.ExecutionID, Attempt: e.Job.Attempt, Stream: e.Stream.ID, StartedAt: e.Time, Late: late,
		})
		job.Attempt = max(job.Attempt, e.Job.Attempt)
	case jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.AttemptFailed, jobaudit.AttemptDeferred,
		jobaudit.AttemptLost, jobaudit.AttemptSuperseded, jobaudit.AttemptLate:
		for i := range job.Executions {
			x := &job.Executions[i]
			others := func(typ jobaudit.EventType, id uuid.UUID) bool {
				return typ == jobaudit.AttemptLost || typ == jobaudit.AttemptSuperseded || id.Version() == 8
			}
			if x.ID == e.Job.ExecutionID && (x.End == "" || others(x.End, m.endedBy(x)) && !others(e.Type, e.ID)) {
				x.EndedAt, x.End = e.Time, e.Type
			}
		}
	}
}

// endedBy returns the ID of the event that ended an execution: the times of all
// events differ.
func (m *model) endedBy(x *jobaudit.JobExecution) uuid.UUID {
	at := slices.IndexFunc(m.events, func(e jobaudit.Event) bool { return e.Time.Equal(x.EndedAt) })
	return m.events[at].ID
}

// chance makes random histories of one job.
type chance struct {
	*rand.Rand
	t          *testing.T
	n          int
	executions []uuid.UUID
	streams    []*chanceStream
}

type chanceStream struct {
	id      uuid.UUID
	records []jobaudit.Record
}

func (c *chance) uuid(version byte) uuid.UUID {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(c.Uint32())
	}
	id[6], id[8] = id[6]&0x0f|version<<4, id[8]&0x3f|0x80
	return id
}

func oneOf[T any](c *chance, list ...T) T { return list[c.IntN(len(list))] }

var modelTypes = []jobaudit.EventType{
	jobaudit.JobSubmitted, jobaudit.JobDeduplicated, jobaudit.JobAuthorized, jobaudit.JobDenied, jobaudit.JobStarted,
	jobaudit.JobHeartbeat, jobaudit.JobLogged, jobaudit.JobSnapshot, jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled,
	jobaudit.JobCorrected, jobaudit.AttemptStarted, jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost,
	jobaudit.AttemptSuperseded, jobaudit.AttemptLate, jobaudit.AuditLost, "job.later",
}

// event adds an event to a stream.
func (c *chance) event(s *chanceStream, typ jobaudit.EventType, all []jobaudit.Record) jobaudit.Record {
	c.n++
	version := byte(7)
	if c.IntN(6) == 0 {
		version = 8
	}
	place := fmt.Sprintf(`{"id":"%s","seq":%d`, s.id, len(s.records)+1)
	if n := len(s.records); n > 0 {
		place += fmt.Sprintf(`,"prev":"%s"`, s.records[n-1].Hash())
	} else if len(all) > 0 && c.IntN(2) == 0 {
		r := oneOf(c, all...)
		at := r.Event().Stream
		place += fmt.Sprintf(`,"after":{"stream":"%s","seq":%d,"hash":"%s"}`, at.ID, at.Seq, r.Hash())
	}
	cause := ""
	if len(all) > 0 && c.IntN(3) == 0 {
		cause = fmt.Sprintf(`,"causationId":"%s"`, oneOf(c, all...).ID())
	}
	execution := ""
	switch {
	case typ == jobaudit.JobStarted || typ == jobaudit.AttemptStarted:
		c.executions = append(c.executions, c.uuid(7))
		execution = fmt.Sprintf(`,"executionId":"%s"`, c.executions[len(c.executions)-1])
	case len(c.executions) > 0 && c.IntN(4) > 0:
		execution = fmt.Sprintf(`,"executionId":"%s"`, oneOf(c, c.executions...))
	}
	state, inputs, data := c.content(typ)
	org, action, root, correlation := "o", "a", storyJob, storyJob
	switch c.IntN(40) {
	case 0:
		org = "other"
	case 1:
		action = "other"
	case 2:
		root = otherJob
	case 3:
		correlation = otherJob
	}
	proof := ""
	if typ != jobaudit.JobSubmitted && c.IntN(8) == 0 {
		proof = fmt.Sprintf(`,"proof":{"carrier":"k1","submission":"%s"}`, oneOf(c, c.streams...).id)
	}
	phase := ""
	if p := typ.Phase(); p != "" {
		phase = fmt.Sprintf(`,"phase":"%s"`, p)
	}
	line := fmt.Sprintf(`{"schemaVersion":"1.0.0","id":"%s","type":"%s"%s,"time":"%s","stream":%s},`+
		`"job":{"id":"%s","state":"%s","attempt":%d%s,"rootId":"%s"},"correlationId":"%s"%s,"requestId":"%s",`+
		`"who":{"principal":{"kind":"user","id":"u-%d","assurance":"%s"},"orgId":"%s"%s},"what":{"action":"%s"%s},`+
		`"where":{"system":"s","environment":"e","host":"h","instance":"i","version":"v"},"why":{"trigger":"manual","reason":"r"}%s}`,
		c.uuid(version), typ, phase, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(c.n*997%1000)*time.Second).Format("2006-01-02T15:04:05.000000Z"),
		place, storyJob, state, c.IntN(4), execution, root, correlation, cause, storyJob,
		c.IntN(2), oneOf(c, "verified", "claimed"), org, proof, action, inputs, data)
	r, err := jobaudit.ParseRecord([]byte(line))
	require.NoError(c.t, err, line)
	s.records = append(s.records, r)
	return r
}

// content returns what an event of a type holds.
func (c *chance) content(typ jobaudit.EventType) (state, inputs, data string) {
	state = oneOf(c, "pending", "running")
	failure := fmt.Sprintf(`,"data":{"error":{"code":"E%d","message":"m"}}`, c.IntN(3))
	switch typ {
	case jobaudit.JobSubmitted:
		state, inputs = "pending", fmt.Sprintf(`,"inputs":{"n":%d}`, c.IntN(3))
	case jobaudit.JobDeduplicated:
		state, data = "cancelled", fmt.Sprintf(`,"data":{"existing":"%s"}`, otherJob)
	case jobaudit.JobDenied:
		state, data = oneOf(c, "cancelled", "running"), `,"data":{"decision":{"allowed":false,"by":"opa","reason":"no"}}`
	case jobaudit.JobLogged:
		data = fmt.Sprintf(`,"data":{"line":"line %d"}`, c.n)
	case jobaudit.JobSucceeded:
		state, data = "success", oneOf(c, "", fmt.Sprintf(`,"data":{"output":[%d]}`, c.n))
	case jobaudit.JobFailed:
		state, data = "failed", failure
	case jobaudit.JobCancelled:
		state, data = "cancelled", oneOf(c, "", failure)
	case jobaudit.AttemptFailed, jobaudit.AttemptLost:
		data = oneOf(c, "", failure)
	case jobaudit.AuditLost:
		data = `,"data":{"lost":{"count":1,"types":["job.logged"],"from":"2026-01-02T03:04:05.000000Z","to":"2026-01-02T03:04:05.000000Z"}}`
	}
	return state, inputs, data
}

// history returns records as they may have come to be, in two logs.
func (c *chance) history() (all []jobaudit.Record, both [2][]jobaudit.Record) {
	usual := []jobaudit.EventType{jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.JobLogged, jobaudit.JobSucceeded}
	for range 1 + c.IntN(4) {
		c.streams = append(c.streams, &chanceStream{id: c.uuid(7)})
	}
	logOf := make([]int, len(c.streams))
	for i := range logOf {
		logOf[i] = c.IntN(2)
	}
	for range 1 + c.IntN(20) {
		n := c.IntN(len(c.streams))
		typ := oneOf(c, modelTypes...)
		if at := len(c.streams[n].records); at < len(usual) && c.IntN(3) > 0 {
			typ = usual[at]
		}
		r := c.event(c.streams[n], typ, all)
		all = append(all, r)
		both[logOf[n]] = append(both[logOf[n]], r)
		if c.IntN(10) == 0 { // a copy
			both[1-logOf[n]] = append(both[1-logOf[n]], r)
		}
	}
	return all, both
}

func wire(t *testing.T, job jobaudit.Job) string {
	t.Helper()
	text, err := json.Marshal(job)
	require.NoError(t, err)
	return string(text)
}

// agree plays histories and holds Replay to the model.
func agree(t *testing.T, seed uint64, histories int) {
	causes := map[jobaudit.Cause]int{}
	states := map[jobaudit.JobState]int{}
	events := 0
	for n := range histories {
		c := &chance{Rand: rand.New(rand.NewPCG(seed, uint64(n))), t: t}
		records, both := c.history()
		shuffled := slices.Clone(records)
		c.Shuffle(len(shuffled), func(a, b int) { shuffled[a], shuffled[b] = shuffled[b], shuffled[a] })
		for name, list := range map[string][]jobaudit.Record{
			"in order": records, "doubled": slices.Concat(records, records), "shuffled": shuffled,
		} {
			var m model
			log := m.read(list)
			require.Equal(t, wire(t, m.fold(m.sorted(log))), wire(t, replay(t, list)), "seed %d, history %d, %s", seed, n, name)
		}
		var m model
		want := m.fold(m.merged(m.read(both[0]), m.read(both[1])))
		for _, two := range [][2][]jobaudit.Record{both, {both[1], both[0]}} {
			got, err := jobaudit.Replay(logs.Merge(all(two[0]), all(two[1])))
			require.NoError(t, err)
			require.Equal(t, wire(t, want), wire(t, got), "seed %d, history %d, merged", seed, n)
		}
		states[want.State]++
		for _, u := range want.Unapplied {
			causes[u.Cause]++
		}
		events += len(records)
	}
	t.Logf("%d histories from seed %d: %d events, jobs %v, unapplied %v", histories, seed, events, states, causes)
	require.Len(t, states, 5, "every state is reached")
	require.Len(t, causes, 4, "and every cause")
}

func TestReplayAgreesWithAModelWrittenFromTheFormat(t *testing.T) {
	agree(t, 1, size.Times(600, 50))
}

func TestSoakReplayAgreesWithAModelWrittenFromTheFormat(t *testing.T) {
	agree(t, size.Soak(t), 20_000)
}

// The test can fail: what one reader drops, the other misses.
func TestTheModelNoticesADifference(t *testing.T) {
	differ := 0
	for n := range 50 {
		c := &chance{Rand: rand.New(rand.NewPCG(2, uint64(n))), t: t}
		records, _ := c.history()
		if len(records) < 2 {
			continue
		}
		var m model
		log := m.read(records[1:])
		if !strings.EqualFold(wire(t, m.fold(m.sorted(log))), wire(t, replay(t, records))) {
			differ++
		}
	}
	require.Greater(t, differ, 25)
}
