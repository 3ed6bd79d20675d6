package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/jobhttp"
)

// user is one who may log in. This stands for the service's own users.
type user struct{ id, org, password string }

var users = []user{
	{"ada", "acme", "correct horse"},
	{"bob", "acme", "battery staple"},
	{"eve", "evil", "password"},
}

// login gives sessions to those who know their password.
type login struct {
	mu       sync.Mutex // guards what follows
	sessions map[string]session
}

type session struct {
	caller jobhttp.Caller
	until  time.Time
}

func newLogin() *login { return &login{sessions: make(map[string]session)} }

// ServeHTTP answers POST /login.
func (l *login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	for _, u := range users {
		if u.id != r.FormValue("user") || subtle.ConstantTimeCompare([]byte(u.password), []byte(r.FormValue("password"))) != 1 {
			continue
		}
		name, lasts := rand.Text(), 8*time.Hour
		l.mu.Lock()
		l.sessions[name] = session{until: time.Now().Add(lasts), caller: jobhttp.Caller{
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: u.id, AuthMethod: "password"}, OrgID: u.org,
		}}
		l.mu.Unlock()
		http.SetCookie(w, &http.Cookie{Name: "session", Value: name, Path: "/", MaxAge: int(lasts.Seconds()), HttpOnly: true, SameSite: http.SameSiteStrictMode})
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Error(w, "wrong user or password", http.StatusUnauthorized)
}

// authenticate says whose session a request belongs to.
func (l *login) authenticate(r *http.Request) (jobhttp.Caller, error) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return jobhttp.Caller{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.sessions[cookie.Value]
	if !ok || time.Now().After(s.until) {
		delete(l.sessions, cookie.Value)
		return jobhttp.Caller{}, errors.New("no such session")
	}
	return s.caller, nil
}

// mayThey lets everybody do everything with jobs of their organization, but only
// the submitter cancel a job.
func mayThey(_ context.Context, c jobhttp.Caller, op jobhttp.Operation, job jobaudit.Job) error {
	if op == jobhttp.Cancel && job.Metadata.UserID != c.ID {
		return fmt.Errorf("%w: it is another's job", jobaudit.ErrDenied)
	}
	return nil
}
