package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
)

// server is what the action needs of GitHub. It counts who asks, and with what.
type server struct {
	*httptest.Server
	token                string
	requests, authorized int
	dispatched           string // what was set off
}

func newServer(token string) *server {
	s := &server{token: token}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /repos/{owner}/{repo}/actions/workflows/{workflow}/dispatches", s.dispatch)
	mux.HandleFunc("GET /repos/{owner}/{repo}/actions/runs", s.runs)
	s.Server = httptest.NewServer(s.authorize(mux))
	return s
}

// authorize lets only those pass who have the token.
func (s *server) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests++
		if r.Header.Get("Authorization") != "Bearer "+s.token {
			http.Error(w, `{"message":"Bad credentials"}`, http.StatusUnauthorized)
			return
		}
		s.authorized++
		next.ServeHTTP(w, r)
	})
}

func (s *server) dispatch(w http.ResponseWriter, r *http.Request) {
	var body struct{ Ref string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Ref == "" {
		http.Error(w, `{"message":"No ref"}`, http.StatusUnprocessableEntity)
		return
	}
	s.dispatched = fmt.Sprintf("%s of %s/%s on %s", r.PathValue("workflow"), r.PathValue("owner"), r.PathValue("repo"), body.Ref)
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) runs(w http.ResponseWriter, r *http.Request) {
	page := "https://github.com/" + r.PathValue("owner") + "/" + r.PathValue("repo") + "/actions/runs/1001"
	run := output{ID: 1001, URL: page, LogsURL: page + "/logs?signature=not-for-everybody"}
	_ = json.NewEncoder(w).Encode(map[string]any{"total_count": 1, "workflow_runs": []output{run}})
}
