package jobhttp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// found is a job, and the first record of it.
type found struct {
	jobaudit.Job
	first jobaudit.Record
}

// lookUp returns a job of the caller's organization. Of another organization's job
// one record is read, and as much work is done for one that does not exist.
func (a *API) lookUp(ctx context.Context, c Caller, id uuid.UUID) (found, error) {
	var f found
	met, theirs := false, false
	job, err := jobaudit.Replay(func(yield func(jobaudit.Record, error) bool) {
		for r, err := range a.log.Records(ctx, jobaudit.Query{JobID: id}) {
			if err == nil && !met {
				met, f.first = true, r
				event := r.Event()
				if theirs = event.Who.OrgID != c.OrgID; theirs {
					return
				}
			}
			if !yield(r, err) {
				return
			}
		}
	})
	if !met {
		if record, err := jobaudit.ParseRecord([]byte(decoy)); err == nil {
			_ = record.Event()
		}
	}
	if err == nil && job.Metadata.OrgID != c.OrgID {
		err = jobaudit.ErrNotFound
	}
	f.Job = job
	return f, err
}

// decoy is a record of nothing.
const decoy = `{"schemaVersion":"1.0.0","id":"01890a5d-ac96-774b-bcce-b302099a8057","type":"job.submitted","phase":"submission",` +
	`"time":"2026-02-03T09:30:12.421000Z","stream":{"id":"01890a5d-ac96-774b-bcce-b302099a8058","seq":1},` +
	`"job":{"id":"01890a5d-ac96-774b-bcce-b302099a8059","state":"pending","attempt":0,"rootId":"01890a5d-ac96-774b-bcce-b302099a8059"},` +
	`"correlationId":"01890a5d-ac96-774b-bcce-b302099a8059","requestId":"01890a5d-ac96-774b-bcce-b302099a8059",` +
	`"who":{"principal":{"kind":"user","id":"nobody","assurance":"verified"},"orgId":"none"},` +
	`"what":{"action":"none","inputs":null},"where":{"system":"none","environment":"none","host":"none","instance":"none","version":"none"},` +
	`"why":{"trigger":"manual","reason":"none"}}`

// isOwn tells whether the caller submitted the job.
func (f *found) isOwn(c Caller) bool {
	e := f.first.Event()
	return e.Type == jobaudit.JobSubmitted && e.Who.Principal.Kind == c.Kind && e.Who.Principal.ID == c.ID && f.Metadata.UserID == c.ID
}

// job returns the job that the path names, if the caller may do op with it.
func (a *API) job(ctx context.Context, q *request, c Caller, op Operation) (found, error) {
	id, ok := parseUUID(q.job)
	if !ok {
		return found{}, invalid("id")
	}
	f, err := a.lookUp(ctx, c, id)
	if err != nil {
		return found{}, err
	}
	if op == Read && !f.isOwn(c) {
		return f, a.mayRead(ctx, c, &f)
	}
	return f, a.authorize(ctx, c, op, f.Job)
}

// mayRead returns nil if the caller may read somebody else's job, and the read is on
// record.
func (a *API) mayRead(ctx context.Context, c Caller, f *found) error {
	if err := a.authorize(ctx, c, Read, f.Job); err != nil {
		return err
	}
	return a.noteRead(ctx, c, jobaudit.Query{JobID: f.ID, OrgID: c.OrgID})
}

// status answers GET /api/jobs/{id}.
func (a *API) status(q *request, c Caller) error {
	ctx, cancel := a.timeout(q)
	defer cancel()
	f, err := a.job(ctx, q, c, Read)
	if err != nil {
		return err
	}
	return q.answerJob(http.StatusOK, &f.Job)
}

const (
	defaultPage  = 50
	maxPage      = 200
	maxPageBytes = 4 << 20 // a page ends behind the job that reaches it
)

// list answers GET /api/jobs, the job that was submitted last first.
func (a *API) list(q *request, c Caller) error {
	ctx, cancel := a.timeout(q)
	defer cancel()
	selection, limit, err := parseList(q.r.URL.RawQuery)
	if err != nil {
		return err
	}
	selection.OrgID = c.OrgID
	limited := jobaudit.Job{Metadata: jobaudit.JobMetadata{UserID: selection.PrincipalID, OrgID: c.OrgID, Action: selection.Action}}
	if err := a.authorize(ctx, c, List, limited); err != nil {
		return err
	}
	if selection.After != uuid.Nil { // a job that the caller may know of
		if _, err := a.lookUp(ctx, c, selection.After); errors.Is(err, jobaudit.ErrNotFound) {
			return invalid("cursor")
		} else if err != nil {
			return err
		}
	}
	scope := selection
	scope.After = uuid.Nil
	if err := a.noteRead(ctx, c, scope); err != nil {
		return err
	}
	answer := struct {
		RequestID string            `json:"requestId"`
		Jobs      []json.RawMessage `json:"jobs"`
		Next      string            `json:"next,omitempty"`
	}{RequestID: q.requestID, Jobs: []json.RawMessage{}}
	size, last := 0, uuid.Nil
	for job, err := range jobaudit.Jobs(ctx, a.log, selection) {
		if _, damaged := errors.AsType[*jobaudit.UnreadableError](err); damaged || err != nil && job.ID != uuid.Nil {
			continue // it is about one job, which Verify names
		}
		if err != nil {
			return err
		}
		if job.Metadata.OrgID != c.OrgID { // a Query cannot ask for no organization
			continue
		}
		if len(answer.Jobs) == limit || size >= maxPageBytes {
			answer.Next = last.String()
			break
		}
		text, err := json.Marshal(forClients(&job))
		if err != nil {
			return err
		}
		size, last, answer.Jobs = size+len(text), job.ID, append(answer.Jobs, text)
	}
	return q.answer(http.StatusOK, answer)
}

// parameter returns one parameter of the address, "" if it is not there. There may be
// others, which we do not know.
func parameter(r *http.Request, name string) (string, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	switch given := values[name]; {
	case err != nil:
		return "", problem{code: badRequest, message: "the query is malformed"}
	case len(given) > 1:
		return "", invalid(name)
	case len(given) == 1:
		return given[0], nil
	}
	return "", nil
}

// parseList reads the filters of a list.
func parseList(query string) (q jobaudit.Query, limit int, err error) {
	limit = defaultPage
	values, err := url.ParseQuery(query)
	if err != nil {
		return q, 0, problem{code: badRequest, message: "the query is malformed"}
	}
	for name, given := range values {
		set := filters[name]
		if set == nil {
			return q, 0, problem{code: validation, message: "there is no such filter"}
		}
		if len(given) != 1 || given[0] == "" || !utf8.ValidString(given[0]) || !set(&q, &limit, given[0]) {
			return q, 0, invalid(name)
		}
	}
	return q, limit, nil
}

// filters read one parameter each. They report false if it is malformed.
var filters = map[string]func(q *jobaudit.Query, limit *int, value string) bool{
	"action":    func(q *jobaudit.Query, _ *int, v string) bool { q.Action = v; return len(v) <= maxIdentifier },
	"userId":    func(q *jobaudit.Query, _ *int, v string) bool { q.PrincipalID = v; return len(v) <= maxIdentifier },
	"actingFor": func(q *jobaudit.Query, _ *int, v string) bool { q.ActingFor = v; return len(v) <= maxIdentifier },
	"resource":  func(q *jobaudit.Query, _ *int, v string) bool { q.Resource = v; return len(v) <= maxIdentifier },
	"errorCode": func(q *jobaudit.Query, _ *int, v string) bool {
		q.ErrorCode = jobaudit.ErrorCode(v)
		return len(v) <= maxIdentifier
	},
	"correlationId": func(q *jobaudit.Query, _ *int, v string) (ok bool) { q.CorrelationID, ok = parseUUID(v); return ok },
	"rootId":        func(q *jobaudit.Query, _ *int, v string) (ok bool) { q.RootID, ok = parseUUID(v); return ok },
	"cursor":        func(q *jobaudit.Query, _ *int, v string) (ok bool) { q.After, ok = parseUUID(v); return ok },
	"since":         func(q *jobaudit.Query, _ *int, v string) (ok bool) { q.Since, ok = parseTime(v); return ok },
	"until":         func(q *jobaudit.Query, _ *int, v string) (ok bool) { q.Until, ok = parseTime(v); return ok },
	"state": func(q *jobaudit.Query, _ *int, v string) bool {
		q.State = jobaudit.JobState(v)
		return q.State == jobaudit.Pending || q.State == jobaudit.Running || q.State.Terminal()
	},
	"limit": func(_ *jobaudit.Query, limit *int, v string) bool {
		n, err := strconv.ParseUint(v, 10, 16)
		*limit = int(n)
		return err == nil && n >= 1 && n <= maxPage
	},
}

const maxIdentifier = 256

func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC(), err == nil && t.Year() >= 1970 && t.Year() <= 9999 && !t.Before(time.Unix(0, 0))
}
