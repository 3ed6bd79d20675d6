package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// user is whom the program's own login has found.
type user struct{ id, org string }

// sessions stands for the program's own login.
var sessions = map[string]user{"ada": {"ada", "acme"}, "eve": {"eve", "evil"}}

func loggedIn(r *http.Request) (user, bool) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return user{}, false
	}
	u, ok := sessions[cookie.Value]
	return u, ok
}

// submission says who asks: the logged-in user, never what the request claims.
func submission(u user, r *http.Request) jobaudit.Submission {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	return jobaudit.Submission{
		Action:    "send-report",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: u.id, Verified: true, AuthMethod: "session"},
		OrgID:     u.org,
		SourceIP:  from.Addr(),
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: r.FormValue("reason")},
	}
}

func (s *server) submit(w http.ResponseWriter, r *http.Request) {
	u, ok := loggedIn(r)
	if !ok {
		http.Error(w, "log in first", http.StatusUnauthorized)
		return
	}
	trail, err := s.recorder.Submit(r.Context(), submission(u, r))
	if field, ok := errors.AsType[*jobaudit.FieldError](err); ok {
		http.Error(w, field.Error(), http.StatusBadRequest) // as with no reason
		return
	}
	if err != nil {
		// Not recorded, so not run. If the submission was stored after all, the
		// record says that nothing came of it.
		if trail != nil {
			s.busy.Go(func() { _ = trail.Cancel(context.Background(), "the request was answered with an error") })
		}
		w.Header().Set("Retry-After", "5")
		http.Error(w, "no job can be recorded now, so none is started", http.StatusServiceUnavailable)
		return
	}
	s.jobs <- trail
	w.Header().Set("Location", "/reports/"+trail.JobID().String())
	w.WriteHeader(http.StatusAccepted)
}

func (s *server) status(w http.ResponseWriter, r *http.Request) {
	u, ok := loggedIn(r)
	if !ok {
		http.Error(w, "log in first", http.StatusUnauthorized)
		return
	}
	id, err := uuid.Parse(r.PathValue("id"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	// Another organization's job is not found, as one that does not exist.
	job, err := jobaudit.Replay(s.log.Records(r.Context(), jobaudit.Query{JobID: id, OrgID: u.org}))
	switch {
	case errors.Is(err, jobaudit.ErrNotFound):
		http.NotFound(w, r)
	case err != nil:
		http.Error(w, "the log cannot be read", http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(jobaudit.JobStatus{RequestID: uuid.New(), Job: job})
	}
}
