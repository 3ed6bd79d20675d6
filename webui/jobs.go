package webui

import (
	"context"
	"errors"
	"iter"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

// pageLength is how many jobs a page has. It looks for them in so many jobs, and in so
// many events of each log, before it offers to go on: so a search for what is rare
// answers soon, however long the log is.
const (
	pageLength = 50
	mostLooked = 2_000
	mostPassed = 100_000
	mostKept   = 20_000  // of them, those that change jobs
	keptBytes  = 8 << 20 // of these
)

// inList is how far a job is read for the list: its beginning, and its newest events.
var inList = part{shown: 200, read: 2_000}

// A filter is one field of the search.
type filter struct {
	Name, Label, Value, Hint string
	Choices                  []string
	Wide                     bool
	set                      func(*jobaudit.Query, string) bool
}

// filters are all fields of the search, with the values that are in a URL.
func filters(values url.Values) ([]filter, jobaudit.Query, error) {
	list := []filter{
		{Name: "state", Label: "State", Choices: []string{"pending", "running", "success", "failed", "cancelled"},
			set: func(q *jobaudit.Query, v string) bool {
				q.State = jobaudit.JobState(v)
				return q.State == jobaudit.Pending || q.State == jobaudit.Running || q.State.Terminal()
			}},
		{Name: "who", Label: "Who, or on whose behalf", Hint: "ada@example.com", set: func(q *jobaudit.Query, v string) bool { q.ActingFor = v; return true }},
		{Name: "action", Label: "Action", Hint: "payment.capture", set: func(q *jobaudit.Query, v string) bool { q.Action = v; return true }},
		{Name: "resource", Label: "Resource", Hint: "order/4711", set: func(q *jobaudit.Query, v string) bool { q.Resource = v; return true }},
		{Name: "error", Label: "Error code", Hint: "TIMEOUT", set: func(q *jobaudit.Query, v string) bool { q.ErrorCode = jobaudit.ErrorCode(v); return true }},
		{Name: "correlation", Label: "Correlation ID", Wide: true, set: func(q *jobaudit.Query, v string) bool { return parseID(&q.CorrelationID, v) }},
		{Name: "since", Label: "Since (UTC)", Hint: "2026-02-03 or 24h", set: func(q *jobaudit.Query, v string) bool { return parseTime(&q.Since, v) }},
		{Name: "until", Label: "Before (UTC)", Hint: "2026-02-04", set: func(q *jobaudit.Query, v string) bool { return parseTime(&q.Until, v) }},
	}
	var q jobaudit.Query
	for i := range list {
		f := &list[i]
		f.Value = strings.TrimSpace(values.Get(f.Name))
		if len(f.Value) > 256 || f.Value != "" && !f.set(&q, f.Value) {
			return list, q, problem{400, "The field “" + f.Label + "” cannot be read. " + hintOf(f)}
		}
	}
	return list, q, nil
}

func hintOf(f *filter) string {
	switch {
	case len(f.Choices) > 0:
		return "It is one of " + strings.Join(f.Choices, ", ") + "."
	case f.Hint != "":
		return "An example: " + f.Hint
	}
	return "It is an ID of 36 characters."
}

// parseID reads an ID. A query for the zero one would ask for all records.
func parseID(id *uuid.UUID, text string) bool {
	parsed, err := uuid.Parse(text)
	*id = parsed
	return err == nil && len(text) == 36 && parsed != uuid.Nil
}

// parseTime reads a day, a time in UTC, or a duration before now.
func parseTime(t *time.Time, text string) bool {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		*t = time.Now().Add(-d).UTC()
		return true
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", "2006-01-02T15:04", time.RFC3339} {
		if parsed, err := time.Parse(layout, text); err == nil {
			*t = parsed.UTC()
			return t.Year() >= 1970 && t.Year() <= 9999
		}
	}
	return false
}

// row is a job in the list.
type row struct {
	Job    jobaudit.Job
	Who    string
	Behalf []string
	Action string
	On     string
	Took   time.Duration
	Wrong  string // why it cannot be told
	Cut    bool   // there were more attempts, perhaps
}

// view is a search that is offered as a link.
type view struct {
	Name, Query string
	Now         bool // it is what is shown
}

// views are the searches that are offered.
func views(filters []filter) []view {
	list := []view{{Name: "All"}, {Name: "Running", Query: "?state=running"},
		{Name: "Failed in the last 24 hours", Query: "?state=failed&since=24h"}, {Name: "Cancelled in the last 24 hours", Query: "?state=cancelled&since=24h"}}
	asked := url.Values{}
	for i := range filters {
		if filters[i].Value != "" {
			asked.Set(filters[i].Name, filters[i].Value)
		}
	}
	for i := range list {
		of, _ := url.ParseQuery(strings.TrimPrefix(list[i].Query, "?")) // they are above
		list[i].Now = of.Encode() == asked.Encode()
	}
	return list
}

// jobList is the page.
type jobList struct {
	Views    []view
	Filters  []filter
	Filtered bool
	Own      bool // the search is none of those that are offered
	Rows     []row
	Next     string    // the query of the next page
	Looked   time.Time // how far back, if that is why the page ends
	Live     bool      // it is the newest page
}

// listJobs shows the jobs that were submitted last, of those that the search
// selects.
func (u *UI) listJobs(r *request) error {
	values := r.URL.Query()
	if id := strings.TrimSpace(values.Get("job")); id != "" {
		var job uuid.UUID
		if !parseID(&job, id) {
			return problem{400, "That is no job's ID: it has 36 characters, as in 01890a5d-ac96-774b-bcce-b302099a8057."}
		}
		redirect(r.w, "jobs/"+job.String())
		return nil
	}
	body := jobList{}
	var q jobaudit.Query
	var err error
	if body.Filters, q, err = filters(values); err != nil {
		return err
	}
	body.Views = views(body.Filters)
	body.Filtered = q.State != "" || q.ActingFor != "" || q.Action != "" || q.Resource != "" || q.ErrorCode != "" ||
		q.CorrelationID != uuid.Nil || !q.Since.IsZero() || !q.Until.IsZero()
	body.Own = body.Filtered && !slices.ContainsFunc(body.Views, func(v view) bool { return v.Now })
	if !r.viewer.AllOrgs {
		q.OrgID = r.viewer.OrgID // of the jobs without one, row asks again
	}
	words := make([]string, len(body.Filters)) // a page that is live asks for the same “24h” again and again
	for i := range body.Filters {
		words[i] = body.Filters[i].Value
	}
	if err := u.note(r.Context(), r.viewer, q, words...); err != nil {
		return err
	}
	after := values.Get("after")
	body.Live = after == ""
	if err := inTurn(r.Context(), u.looking, func() error { return u.fill(r, &body, q, after) }); err != nil {
		return err
	}
	if body.Next != "" {
		values.Set("after", body.Next)
		body.Next = "?" + values.Encode()
	}
	u.write(r, 200, "jobs", "Jobs", body)
	return nil
}

// fill puts the rows into the page.
func (u *UI) fill(r *request, body *jobList, q jobaudit.Query, cursor string) error {
	wanted := q
	q.State, q.ErrorCode = "", "" // of the whole job, over all logs
	var after []uuid.UUID
	if cursor != "" {
		ok := false
		if after, ok = u.seal.read(&r.viewer, cursor, len(u.logs)); !ok {
			return problem{400, "That page does not exist, or not any more: begin with the newest jobs."}
		}
	}
	f, err := u.newest(r.Context(), q, after)
	if err != nil {
		return err
	}
	defer f.stop()
	shown, looks := 0, []look(nil)
	for looked := 0; shown < pageLength && !f.ended(); looked++ {
		if f.tired = f.tired || looked == mostLooked; f.tired {
			body.Looked = f.reached(&r.viewer)
			break
		}
		s, ok, err := f.next()
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		l := look{submission: short(&s), at: f.place[s.Job.ID], folded: true}
		if l.row, l.wanted, err = u.row(r, f, &l, wanted); err != nil {
			return err
		}
		looks = append(looks, l)
		if l.wanted {
			shown++
		}
	}
	body.Next = u.seal.write(&r.viewer, f.marks())
	if f.ended() {
		body.Next, body.Looked = "", time.Time{}
	}
	if err := f.lookOn(looks); err != nil {
		return err
	}
	for _, l := range looks {
		if l.folded && !f.isFirst(&l) {
			l.folded = false
			if l.row, l.wanted, err = u.row(r, f, &l, wanted); err != nil {
				return err
			}
		}
		if l.wanted {
			body.Rows = append(body.Rows, l.row)
		}
	}
	return nil
}

// row folds a job over all logs, and reports whether it is wanted.
func (u *UI) row(r *request, f *feed, l *look, wanted jobaudit.Query) (row, bool, error) {
	s := l.submission
	if !r.viewer.AllOrgs && s.Who.OrgID != r.viewer.OrgID {
		delete(f.seen, s.Job.ID) // who knows its ID can submit it once more
		l.folded = false
		return row{}, false, nil // a query for no organization asks for all of them
	}
	var job jobaudit.Job
	var err error
	if l.folded {
		job, err = f.fold(s.Job.ID)
	}
	cut := false
	if !l.folded || err != nil || !job.State.Terminal() && !f.whole {
		l.folded = false
		var t *excerpt
		if t, err = u.tell(r.Context(), everything, s.Job.ID, inList); err == nil {
			job, err = t.fold()
			s = t.askedBy(&r.viewer, s)
		}
		cut = t.cut
	}
	if err != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return row{}, false, err
	}
	line := row{Job: listed(&job), Who: who(s.Who.Principal), Action: s.What.Action, On: s.What.Resource, Cut: cut}
	for _, p := range s.Who.OnBehalfOf {
		line.Behalf = append(line.Behalf, who(p))
	}
	if err != nil { // whose the events are cannot be told then
		line.Job = jobaudit.Job{}
		line.Job.ID, line.Job.CreatedAt, line.Wrong = s.Job.ID, s.Time, story.Plain(err.Error())
		return line, wanted.State == "" && wanted.ErrorCode == "", nil
	}
	line.Took = took(&job)
	switch {
	case !r.viewer.AllOrgs && job.Metadata.OrgID != r.viewer.OrgID,
		wanted.State != "" && job.State != wanted.State,
		wanted.ErrorCode != "" && (job.Error == nil || job.Error.Code != wanted.ErrorCode):
		return row{}, false, nil
	}
	return line, true, nil
}

// askedBy is the first submission of a job that the viewer may know of, s if there is none.
func (t *excerpt) askedBy(v *Viewer, s jobaudit.Event) jobaudit.Event {
	for _, r := range t.records {
		if r.Type() == jobaudit.JobSubmitted {
			if e := r.Event(); v.AllOrgs || e.Who.OrgID == v.OrgID {
				return e
			}
		}
	}
	return s
}

// short is of a submission what the list needs: it considers many.
func short(e *jobaudit.Event) jobaudit.Event {
	name := func(p jobaudit.Principal) jobaudit.Principal { return jobaudit.Principal{Kind: p.Kind, ID: p.ID} }
	s := jobaudit.Event{ID: e.ID, Time: e.Time}
	s.Job.ID, s.Who.OrgID, s.Who.Principal = e.Job.ID, e.Who.OrgID, name(e.Who.Principal)
	s.What.Action, s.What.Resource = e.What.Action, e.What.Resource
	for _, p := range e.Who.OnBehalfOf {
		s.Who.OnBehalfOf = append(s.Who.OnBehalfOf, name(p))
	}
	return s
}

// listed is of a job what a line of it needs.
func listed(job *jobaudit.Job) jobaudit.Job {
	return jobaudit.Job{ID: job.ID, State: job.State, CreatedAt: job.CreatedAt, StartedAt: job.StartedAt, CompletedAt: job.CompletedAt,
		Error: job.Error, ParentID: job.ParentID, Attempt: job.Attempt}
}

func took(job *jobaudit.Job) time.Duration {
	switch {
	case job.StartedAt.IsZero():
		return 0
	case job.CompletedAt.IsZero():
		return time.Since(job.StartedAt)
	}
	return job.CompletedAt.Sub(job.StartedAt)
}

func who(p jobaudit.Principal) string { return string(p.Kind) + " " + p.ID }

// everything is who may know of all records: which of them are a job's own is asked
// when they have been added up.
var everything = &Viewer{AllOrgs: true}

// feed are the submissions of all logs, the newest first. Within a log they have the
// log's order, whatever clocks say.
type feed struct {
	heads []source
	seen  map[uuid.UUID]bool // jobs, which several logs may hold
	tired bool               // a log was gone through as far as one page does

	// Of a single log a job's events are met before its submission. They are kept
	// until then, so that no job has to be looked up that has ended, and none at all
	// if everything that is newer has been met: whole.
	met   map[uuid.UUID][]jobaudit.Record
	kept  int
	bytes int                // of these
	done  map[uuid.UUID]bool // jobs whose events are kept no longer
	whole bool
	first
}

// source is a log that is read.
type source struct {
	wanted jobaudit.Query
	pull   func() (jobaudit.Record, error, bool)
	stop   func()
	event  jobaudit.Event
	there  bool
	passed int // of at most so many
	most   int
	time   time.Time // of the newest event that was gone through
	at     uuid.UUID // that event
	last   uuid.UUID // behind which the next page begins
}

// newest begins behind the last event that was taken of each log, if there are some. The
// logs are asked for all events, but for what they have indexes of: so it is known
// how many were gone through.
func (u *UI) newest(ctx context.Context, wanted jobaudit.Query, after []uuid.UUID) (*feed, error) {
	wanted.Types = []jobaudit.EventType{jobaudit.JobSubmitted}
	q := jobaudit.Query{CorrelationID: wanted.CorrelationID, Since: wanted.Since, Until: wanted.Until, NewestFirst: true}
	f := &feed{first: first{place: map[uuid.UUID]int{}, earlier: map[uuid.UUID]bool{}}, seen: map[uuid.UUID]bool{}, met: map[uuid.UUID][]jobaudit.Record{}, done: map[uuid.UUID]bool{}}
	f.whole = after == nil && wanted.Until.IsZero() && len(u.logs) == 1
	for i := range u.logs {
		s := source{wanted: wanted, most: u.mostPassed}
		if after != nil {
			s.last = after[i]
		}
		q.After, s.at = s.last, s.last
		s.pull, s.stop = iter.Pull2(u.logs[i].Reader.Records(ctx, q))
		f.heads = append(f.heads, s)
	}
	for i := range f.heads {
		if err := f.advance(&f.heads[i]); err != nil {
			f.stop()
			return nil, err
		}
	}
	return f, nil
}

func (f *feed) stop() {
	for i := range f.heads {
		f.heads[i].stop()
	}
}

// marks are the last events that were taken.
func (f *feed) marks() (marks []uuid.UUID) {
	for i := range f.heads {
		marks = append(marks, f.heads[i].last)
	}
	return marks
}

// ended reports whether there is nothing behind the cursor.
func (f *feed) ended() bool {
	return !f.tired && !slices.ContainsFunc(f.heads, func(s source) bool { return s.there })
}

// reached is how far back was looked: for viewers who may not know when others' jobs ran,
// not to the second.
func (f *feed) reached(v *Viewer) (earliest time.Time) {
	for i := range f.heads {
		if t := f.heads[i].time; earliest.IsZero() || !t.IsZero() && t.Before(earliest) {
			earliest = t
		}
	}
	if !v.AllOrgs && !earliest.IsZero() {
		earliest = earliest.Truncate(time.Hour).Add(time.Hour)
	}
	return earliest
}

// meet keeps an event that changes a job until its submission has been dealt with.
func (f *feed) meet(r jobaudit.Record) {
	id := r.JobID()
	if len(f.heads) == 1 {
		f.pass(r)
	}
	switch {
	case len(f.heads) > 1 || id == uuid.Nil || f.done[id] || !slices.Contains(changes, r.Type()):
	case f.kept == mostKept || f.bytes+r.Len() > keptBytes:
		f.leave(id)
	default:
		f.kept, f.bytes = f.kept+1, f.bytes+r.Len()
		f.met[id] = append(f.met[id], r)
	}
}

// leave forgets a job's events.
func (f *feed) leave(id uuid.UUID) []jobaudit.Record {
	records := f.met[id]
	f.kept -= len(records)
	for _, r := range records {
		f.bytes -= r.Len()
	}
	delete(f.met, id)
	f.done[id] = true
	return records
}

// fold returns what the events that were met of a job add up to. It is an error if
// there are none: the job has to be looked up.
func (f *feed) fold(id uuid.UUID) (jobaudit.Job, error) {
	records := f.leave(id)
	slices.Reverse(records)
	return jobaudit.Replay(each(records))
}

// next returns a submission of a job that has not been met yet. There is none at the
// end, and if the logs have been gone through far enough.
func (f *feed) next() (jobaudit.Event, bool, error) {
	for {
		var at *source
		for i := range f.heads {
			if h := &f.heads[i]; h.there && (at == nil || h.event.Time.After(at.event.Time)) {
				at = h
			}
		}
		if at == nil || f.tired {
			return jobaudit.Event{}, false, nil
		}
		e := at.event
		at.last = e.ID
		if err := f.advance(at); err != nil {
			return jobaudit.Event{}, false, err
		}
		if !f.seen[e.Job.ID] {
			f.seen[e.Job.ID] = true
			return e, true, nil
		}
	}
}

// advance goes on to the next record that is wanted.
func (f *feed) advance(s *source) error {
	for s.there = false; ; {
		if s.passed == s.most {
			f.tired, s.last = true, s.at
			return nil
		}
		r, err, ok := s.pull()
		s.passed++
		if _, one := errors.AsType[*jobaudit.UnreadableError](err); one && ok {
			continue // the page of the log tells
		}
		if err != nil || !ok {
			return err
		}
		s.at, s.time = r.ID(), r.Time()
		f.meet(r)
		if s.wanted.Match(r) {
			s.there, s.event = true, r.Event()
			return nil
		}
		if r.Type() == jobaudit.JobSubmitted {
			f.leave(r.JobID())
		}
	}
}
