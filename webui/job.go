package webui

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/story"
)

// Bounds of what one page shows.
const (
	mostEvents = 2_000 // of a job: the first and the last half of them
	mostActs   = 5_000 // events that are gone through for acts on a job
	mostListed = 500   // acts, and withheld fields
)

// jobPage is the page of one job.
type jobPage struct {
	Job        jobaudit.Job
	Wrong      string   // the records contradict each other, or cannot be read
	Altered    []string // what a verification has found of this job
	First      jobaudit.Event
	Who        string
	Behalf     []string
	Upstream   string
	Took       time.Duration
	Live       bool
	Overdue    time.Time // the sign of life that did not come
	Entries    []entry
	Total      int // events of the job, as far as they were counted
	Counts     []count
	From       int  // the number of the first event that is shown
	Earlier    int  // where the timeline is begun for those before: -1 if there are none
	Later      int  // and for those behind, likewise
	Gap        bool // the timeline has its beginning and its end
	Left       int  // events that are not on the page, as far as they were counted
	Cut        bool // not all events were gone through
	Unreadable []string
	Family     []member
	MoreFamily bool
	Removed    []removal
	Acts       []act
	MoreActs   bool // there may be some before those events
	Evidence   bool
	Checks     []checked // what is known of the logs
}

// count is how many events of a type there are.
type count struct {
	Type jobaudit.EventType
	N    int
}

// entry is an event on the timeline.
type entry struct {
	story.Entry
	Kind    string // how it is shown: good, bad, note, line
	Line    string // of a log line, its text
	Related string // why it has no effect, of an event that has none
}

// member is a job of the tree.
type member struct {
	Job    jobaudit.Job
	Depth  int
	Action string
	On     string
	Took   time.Duration
	This   bool
	Wrong  string
}

// removal is what a policy took away.
type removal struct{ Where, Path, Why string }

// act is what somebody did with the job's records.
type act struct {
	Event jobaudit.Event
	Who   string
	Says  string
}

// showJob shows a job as it is now.
func (u *UI) showJob(r *request) error {
	var body *jobPage
	err := inTurn(r.Context(), u.looking, func() error {
		want := part{shown: mostEvents, read: u.mostRead}
		if text := r.URL.Query().Get("from"); text != "" {
			n, err := strconv.ParseUint(text, 10, 31)
			if err != nil {
				return problem{http.StatusBadRequest, "That part of the timeline does not exist."}
			}
			want.from = int(n)
		}
		found, err := u.find(r, want)
		if err == nil {
			err = u.note(r.Context(), r.viewer, lookAt(&r.viewer, found.job.ID))
		}
		if err == nil {
			body, err = u.describe(r, found, want)
		}
		return err
	})
	if err != nil {
		return err
	}
	u.write(r, 200, "job", cmp.Or(body.First.What.Action, "Job"), body)
	return nil
}

// found is a job that the viewer may see.
type found struct {
	*excerpt
	job   jobaudit.Job // without lines
	wrong error        // why it cannot be told
}

// find reads a job that the viewer may see. Another organization's is answered as
// one that does not exist.
func (u *UI) find(r *request, want part) (found, error) {
	unknown := problem{http.StatusNotFound, "No job with this ID is in the logs that are shown here."}
	var id uuid.UUID
	if !parseID(&id, r.PathValue("id")) {
		return found{}, unknown
	}
	t, err := u.tell(r.Context(), &r.viewer, id, want)
	if err != nil {
		return found{}, err
	}
	if len(t.records) == 0 {
		return found{}, unknown
	}
	f := found{excerpt: t}
	f.job, f.wrong = t.fold()
	org := t.records[0].Event().Who.OrgID
	if f.wrong == nil && org == r.viewer.OrgID {
		org = f.job.Metadata.OrgID
	}
	if !r.viewer.AllOrgs && org != r.viewer.OrgID {
		return found{}, unknown
	}
	f.job.ID = id
	return f, u.authorize(r, ReadJob, f.job)
}

func (u *UI) describe(r *request, f found, want part) (*jobPage, error) {
	p := &jobPage{Job: f.job, Evidence: u.opts.Evidence != nil, Checks: u.checked(), Total: f.total, Cut: f.cut, From: want.from, Earlier: -1, Later: -1}
	if f.wrong != nil {
		p.Wrong = story.Plain(f.wrong.Error())
	}
	entries, _, err := story.Entries(each(f.records))
	if err != nil {
		return nil, err
	}
	p.tell(entries, f.wanted)
	p.Later, p.Gap = f.next, want.from == 0 && f.next >= 0
	p.Left = f.total - len(p.Entries)
	if want.from > 0 {
		p.Earlier = max(want.from-mostEvents, 0)
	}
	for i := range p.Checks {
		// A verification covers what the log held when it began.
		p.Checks[i].Before = p.Checks[i].Good && !p.Checks[i].Busy && newest(entries).After(p.Checks[i].begun)
		for _, finding := range p.Checks[i].Result.Findings {
			if strings.Contains(finding, f.job.ID.String()) && len(p.Altered) < 20 {
				p.Altered = append(p.Altered, story.Plain(finding))
			}
		}
	}
	for _, t := range slices.Sorted(maps.Keys(f.counts)) {
		p.Counts = append(p.Counts, count{t, f.counts[t]})
	}
	for _, text := range p.Job.Unreadable {
		p.Unreadable = append(p.Unreadable, story.Plain(text))
	}
	if err := u.family(r, p); err != nil {
		return nil, err
	}
	return p, u.acts(r, p)
}

// newest is when the newest event was recorded, as far as IDs and clocks say.
func newest(entries []story.Entry) (at time.Time) {
	for i := range entries {
		e := &entries[i].Event
		if t := cmp.Or(madeAt(e.ID), e.Time); t.After(at) {
			at = t
		}
	}
	return at
}

// tell fills the page from the job's events.
func (p *jobPage) tell(entries []story.Entry, wanted map[uuid.UUID]bool) {
	why := map[uuid.UUID]string{}
	for _, e := range p.Job.Unapplied {
		why[e.EventID] = string(e.Cause)
	}
	p.First = entries[0].Event
	for _, e := range entries {
		if e.Event.Type == jobaudit.JobSubmitted {
			p.First = e.Event
			break
		}
	}
	p.Who = who(p.First.Who.Principal)
	for _, x := range p.First.Who.OnBehalfOf {
		p.Behalf = append(p.Behalf, who(x))
	}
	p.Took = took(&p.Job)
	p.Live = p.Wrong == "" && !p.Job.State.Terminal()
	due := story.Deadlines{}
	for i := range entries {
		e := &entries[i]
		due.Add(&e.Event)
		if wanted[e.Event.ID] {
			p.Entries = append(p.Entries, entry{Entry: *e, Kind: kindOf(e.Event.Type), Line: e.Event.Data.Line, Related: why[e.Event.ID]})
		}
		p.removed(&e.Event)
	}
	if at := due.Due(&p.Job); p.Live && at.Before(time.Now()) {
		p.Overdue = at
	}
	p.Removed = p.Removed[:min(len(p.Removed), mostListed)]
}

func kindOf(t jobaudit.EventType) string {
	switch t {
	case jobaudit.JobSucceeded:
		return "good"
	case jobaudit.JobFailed, jobaudit.JobDenied, jobaudit.AttemptFailed, jobaudit.AttemptLost, jobaudit.AuditLost, jobaudit.AuditDegraded:
		return "bad"
	case jobaudit.JobCancelled, jobaudit.JobCorrected, jobaudit.AttemptLate, jobaudit.AttemptSuperseded:
		return "note"
	case jobaudit.JobLogged, jobaudit.JobHeartbeat:
		return "line"
	}
	return ""
}

// removed collects what a policy took away.
func (p *jobPage) removed(e *jobaudit.Event) {
	r := e.What.Redaction
	if r == nil {
		return
	}
	add := func(path, why string) {
		p.Removed = append(p.Removed, removal{string(e.Type), story.Plain(path), story.Plain(why)})
	}
	if r.Outcome != jobaudit.RedactionKept && r.Outcome != jobaudit.RedactionPassedThrough {
		add("the whole content", string(r.Outcome))
	}
	for _, x := range r.Removed {
		add(x.Path, x.Class)
	}
	for _, x := range r.Hits {
		add(x.Path, "found by "+x.Rule)
	}
}

// family finds the jobs of the tree.
func (u *UI) family(r *request, p *jobPage) error {
	root := cmp.Or(p.Job.RootID, p.First.Job.RootID)
	if root == uuid.Nil {
		return nil
	}
	byJob, order, more, err := u.familyRecords(r.Context(), &r.viewer, root, correlationOf(p))
	if err != nil {
		return err
	}
	p.MoreFamily = more
	children := map[uuid.UUID][]member{}
	for _, id := range order {
		first := byJob[id][0].Event()
		job, err := jobaudit.Replay(each(byJob[id]))
		job.ID = id
		if id != p.Job.ID && u.opts.Authorize(r.Context(), r.viewer, ReadJob, job) != nil {
			continue
		}
		m := member{Job: listed(&job), Took: took(&job), Action: first.What.Action, On: first.What.Resource, This: id == p.Job.ID}
		if err != nil {
			m.Job, m.Wrong = jobaudit.Job{ID: id, ParentID: first.Job.ParentID}, story.Plain(err.Error())
		}
		children[m.Job.ParentID] = append(children[m.Job.ParentID], m)
	}
	if p.Family = arrange(children); len(p.Family) == 1 {
		p.Family = nil
	}
	return nil
}

// deepest is how far a job is put to the right at most.
const deepest = 12

// arrange puts each job below the one that submitted it, those first whose own is not
// among them.
func arrange(children map[uuid.UUID][]member) (list []member) {
	known := map[uuid.UUID]bool{}
	for _, below := range children {
		for _, m := range below {
			known[m.Job.ID] = true
		}
	}
	placed := map[uuid.UUID]bool{}
	var place func(m member, depth int)
	place = func(m member, depth int) {
		if placed[m.Job.ID] {
			return // jobs that are each other's ancestors: forged ones
		}
		placed[m.Job.ID] = true
		m.Depth = min(depth, deepest)
		list = append(list, m)
		for _, below := range children[m.Job.ID] {
			place(below, depth+1)
		}
	}
	parents := slices.SortedFunc(maps.Keys(children), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	for _, tops := range []bool{true, false} {
		for _, parent := range parents {
			for _, m := range children[parent] {
				if !tops || !known[parent] {
					place(m, 0)
				}
			}
		}
	}
	return list
}

// acts finds what people did with the job's records, among the newest events: an act is
// an event of no job.
func (u *UI) acts(r *request, p *jobPage) error {
	types := []jobaudit.EventType{jobaudit.AuditRead, jobaudit.AuditReviewed, jobaudit.AuditRequested, jobaudit.AuditErased}
	for i := range u.logs {
		cut, err := newestOf(r.Context(), u.logs[i].Reader, jobaudit.Query{Since: p.Job.CreatedAt}, mostActs, types, func(rec jobaudit.Record, err error) {
			if err != nil {
				return
			}
			if len(p.Acts) == mostListed {
				p.MoreActs = true
				return
			}
			e := rec.Event()
			if e.Data.Act.Scope.JobID == p.Job.ID && (r.viewer.AllOrgs || e.Who.OrgID == r.viewer.OrgID) {
				says := story.Plain(e.Why.Reason + " " + compact(e.Data.Act.Data))
				p.Acts = append(p.Acts, act{jobaudit.Event{Type: e.Type, Time: e.Time}, who(e.Who.Principal), says})
			}
		})
		if err != nil {
			return err
		}
		p.MoreActs = p.MoreActs || cut
	}
	slices.SortStableFunc(p.Acts, func(a, b act) int { return a.Event.Time.Compare(b.Event.Time) })
	return nil
}

func compact(data json.RawMessage) string {
	if len(data) == 0 || string(data) == "null" {
		return ""
	}
	return string(data)
}

// bundle makes the evidence of a job.
func (u *UI) bundle(r *request) (id uuid.UUID, text []byte, err error) {
	var f found
	err = inTurn(r.Context(), u.looking, func() (err error) {
		f, err = u.find(r, part{shown: 2, read: u.mostRead})
		return err
	})
	id = f.job.ID
	if err != nil {
		return id, nil, err
	}
	if u.opts.Evidence == nil {
		return id, nil, problem{http.StatusNotFound, "No evidence is offered here: the server was not given the log's verifier key."}
	}
	if f.foreign {
		return id, nil, problem{http.StatusConflict, "This job has events of another organization, so that its evidence is for those who may know of all."}
	}
	if f.unread && !r.viewer.AllOrgs {
		return id, nil, problem{http.StatusConflict, "This job has more events than are looked through here, and some may be of another organization: its evidence is for those who may know of all."}
	}
	if err := u.note(r.Context(), r.viewer, lookAt(&r.viewer, id)); err != nil {
		return id, nil, err
	}
	err = inTurn(r.Context(), u.proving, func() (err error) {
		text, err = u.opts.Evidence(r.Context(), evidence.Scope{JobID: id})
		return err
	})
	if err == nil && !r.viewer.AllOrgs {
		text, err = evidence.WithoutActs(text, func(e jobaudit.Event) bool { return e.Who.OrgID != r.viewer.OrgID })
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil {
		u.log("webui: evidence", err, "job", id)
		why := "This job cannot be proven now."
		if r.viewer.AllOrgs { // it may be about records of others
			why = "This job cannot be proven: " + story.Plain(err.Error()) + ". See the page of the log."
		}
		return id, nil, problem{http.StatusConflict, why}
	}
	return id, text, err
}

// sendBundle hands out the file that jobaudit check-proof reads.
func (u *UI) sendBundle(r *request) error {
	id, text, err := u.bundle(r)
	if err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", "application/octet-stream")
	r.w.Header().Set("Content-Disposition", `attachment; filename="`+id.String()+`.evidence"`)
	_, _ = r.w.Write(text) // a viewer who has gone needs no answer
	return nil
}

// showEvidence shows the page that checks the evidence in the viewer's browser. It
// has a policy of its own, which allows its one script by its hash.
func (u *UI) showEvidence(r *request) error {
	_, text, err := u.bundle(r)
	if err != nil {
		return err
	}
	page, err := evidence.Page(text)
	if err != nil {
		return err
	}
	r.w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'") // the page brings the rest
	r.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = r.w.Write(page) // likewise
	return nil
}
