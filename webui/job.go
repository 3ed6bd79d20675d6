package webui

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/story"
)

// Bounds of what one page shows.
const (
	mostEvents = 2_000 // of a job: the first and the last half of them
	mostFamily = 500   // jobs of a tree
	mostActs   = 5_000 // acts that are looked through for those on a job
)

// jobPage is the page of one job.
type jobPage struct {
	Job        jobaudit.Job
	Wrong      string // the records contradict each other, or cannot be read
	First      jobaudit.Event
	Who        string
	Behalf     []string
	Upstream   string
	Took       time.Duration
	Live       bool
	Overdue    time.Time // the sign of life that did not come
	Entries    []entry
	LeftOut    int
	Unreadable []string
	Family     []member
	MoreFamily bool
	Removed    []removal
	Acts       []act
	Evidence   bool
	Checks     []checked // what is known of the logs
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
		id, records, err := u.find(r)
		if err == nil {
			err = u.note(r.Context(), r.viewer, jobaudit.Query{JobID: id, OrgID: r.viewer.OrgID})
		}
		if err == nil {
			body, err = u.describe(r, id, records)
		}
		return err
	})
	if err != nil {
		return err
	}
	u.write(r, 200, "job", cmp.Or(body.First.What.Action, "Job"), body)
	return nil
}

// find reads a job that the viewer may see. Another organization's is answered as
// one that does not exist.
func (u *UI) find(r *request) (uuid.UUID, []jobaudit.Record, error) {
	unknown := problem{http.StatusNotFound, "No job with this ID is in the logs that are shown here."}
	var id uuid.UUID
	if !parseID(&id, r.PathValue("id")) {
		return id, nil, unknown
	}
	var records []jobaudit.Record
	for rec, err := range u.visible(r, jobaudit.Query{JobID: id}) {
		if _, one := errors.AsType[*jobaudit.UnreadableError](err); one {
			continue // describe asks again, and tells
		}
		if err != nil {
			return id, nil, err
		}
		records = append(records, rec)
	}
	if len(records) == 0 {
		return id, nil, unknown
	}
	job, err := jobaudit.Replay(each(records))
	first := records[0].Event()
	org := first.Who.OrgID
	if err == nil {
		org = job.Metadata.OrgID
	}
	if !r.viewer.AllOrgs && (org != r.viewer.OrgID || first.Who.OrgID != r.viewer.OrgID) {
		return id, nil, unknown
	}
	job.ID = id
	return id, records, u.authorize(r, ReadJob, job)
}

// visible are the records that the viewer may know of. A job of one organization may
// have events of another: who knows its ID can write some.
func (u *UI) visible(r *request, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	if r.viewer.AllOrgs {
		return u.records(r.Context(), q)
	}
	return func(yield func(jobaudit.Record, error) bool) {
		for rec, err := range u.records(r.Context(), q) {
			if err == nil && rec.Event().Who.OrgID != r.viewer.OrgID {
				r.foreign = r.foreign || rec.JobID() == q.JobID
			} else if !yield(rec, err) {
				return
			}
		}
	}
}

func each(records []jobaudit.Record) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (u *UI) describe(r *request, id uuid.UUID, records []jobaudit.Record) (*jobPage, error) {
	p := &jobPage{Evidence: u.opts.Evidence != nil, Checks: u.checked()}
	job, err := jobaudit.Replay(u.visible(r, jobaudit.Query{JobID: id}))
	p.Job = job
	p.Job.ID = id
	if err != nil {
		p.Wrong = story.Plain(err.Error())
	}
	entries, _, err := story.Entries(each(records))
	if err != nil {
		return nil, err
	}
	p.tell(entries)
	for _, text := range job.Unreadable {
		p.Unreadable = append(p.Unreadable, story.Plain(text))
	}
	if err := u.family(r, p); err != nil {
		return nil, err
	}
	return p, u.acts(r, p)
}

// tell fills the page from the job's events.
func (p *jobPage) tell(entries []story.Entry) {
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
	for i := range entries {
		e := &entries[i]
		p.Entries = append(p.Entries, entry{Entry: *e, Kind: kindOf(e.Event.Type), Line: e.Event.Data.Line, Related: why[e.Event.ID]})
		if d := e.Event.Data.Heartbeat.Deadline; p.Live && !d.IsZero() {
			p.Overdue = d
		}
		p.removed(&e.Event)
	}
	if p.Overdue.After(time.Now()) {
		p.Overdue = time.Time{}
	}
	if over := len(p.Entries) - mostEvents; over > 0 {
		p.LeftOut = over
		p.Entries = slices.Delete(p.Entries, mostEvents/2, mostEvents/2+over)
	}
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
	byJob := map[uuid.UUID][]jobaudit.Record{}
	var order []uuid.UUID
	for rec, err := range u.visible(r, jobaudit.Query{RootID: root}) {
		if _, one := errors.AsType[*jobaudit.UnreadableError](err); one {
			continue
		}
		if err != nil {
			return err
		}
		id := rec.JobID()
		if id == uuid.Nil {
			continue
		}
		if byJob[id] == nil {
			if len(order) == mostFamily {
				p.MoreFamily = true
				continue
			}
			order = append(order, id)
		}
		byJob[id] = append(byJob[id], rec)
	}
	children := map[uuid.UUID][]member{}
	for _, id := range order {
		first := byJob[id][0].Event()
		job, err := jobaudit.Replay(each(byJob[id]))
		job.ID = id
		if id != p.Job.ID && u.opts.Authorize(r.Context(), r.viewer, ReadJob, job) != nil {
			continue
		}
		m := member{Job: job, Action: first.What.Action, On: first.What.Resource, This: id == p.Job.ID}
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

// acts finds what people did with the job's records, among the newest acts.
func (u *UI) acts(r *request, p *jobPage) error {
	q := jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditRead, jobaudit.AuditReviewed, jobaudit.AuditRequested, jobaudit.AuditErased}, NewestFirst: true, Limit: mostActs}
	for i := range u.logs {
		for rec, err := range u.logs[i].Reader.Records(r.Context(), q) {
			if _, one := errors.AsType[*jobaudit.UnreadableError](err); one {
				continue
			}
			if err != nil {
				return err
			}
			e := rec.Event()
			if e.Data.Act.Scope.JobID != p.Job.ID || !r.viewer.AllOrgs && e.Who.OrgID != r.viewer.OrgID {
				continue
			}
			p.Acts = append(p.Acts, act{e, who(e.Who.Principal), story.Plain(e.Why.Reason + " " + compact(e.Data.Act.Data))})
		}
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
	err = inTurn(r.Context(), u.looking, func() (err error) {
		id, _, err = u.find(r)
		return err
	})
	if err != nil {
		return id, nil, err
	}
	if u.opts.Evidence == nil {
		return id, nil, problem{http.StatusNotFound, "No evidence is offered here: the server was not given the log's verifier key."}
	}
	if r.foreign {
		return id, nil, problem{http.StatusConflict, "This job has events of another organization, so that its evidence is for those who may know of all."}
	}
	if err := u.note(r.Context(), r.viewer, jobaudit.Query{JobID: id, OrgID: r.viewer.OrgID}); err != nil {
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
		u.opts.Log.Error("webui: evidence: "+err.Error(), "job", id)
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
