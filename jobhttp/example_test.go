package jobhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/jobhttp"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func ExampleNew() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "reports", Environment: "example"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	queue := make(chan *jobaudit.Trail, 10)
	api, err := jobhttp.New(recorder, sink, jobhttp.Options{
		Authenticate: func(r *http.Request) (jobhttp.Caller, error) {
			user, _, ok := r.BasicAuth() // yours compares the password
			if !ok {
				return jobhttp.Caller{}, errors.New("no user")
			}
			return jobhttp.Caller{Principal: jobaudit.Principal{Kind: jobaudit.User, ID: user}, OrgID: "acme"}, nil
		},
		Authorize: func(_ context.Context, c jobhttp.Caller, op jobhttp.Operation, _ jobaudit.Job) error {
			if op == jobhttp.Cancel {
				return jobaudit.ErrDenied
			}
			return nil
		},
		Validate: func(string, json.RawMessage) error { return nil },
		Dispatch: func(_ context.Context, t *jobaudit.Trail, _ json.RawMessage) error {
			queue <- t
			return nil
		},
		Secret: []byte("32 random bytes, which replicas share"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer api.Close()

	r := httptest.NewRequest(http.MethodPost, "/api/jobs", strings.NewReader(`{"action":"print"}`))
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("ada", "…")
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	var status jobaudit.JobStatus
	if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil {
		log.Fatal(err)
	}
	fmt.Println(w.Code, status.Job.State, status.Job.Metadata.UserID)

	trail := <-queue // a worker
	_ = trail.Run(ctx, jobaudit.Execution{}, func(ctx context.Context) error {
		trail.Log(ctx, "page 1")
		return nil
	})
	r = httptest.NewRequest(http.MethodGet, "/api/jobs/"+trail.JobID().String()+"/events", nil)
	r.SetBasicAuth("ada", "…")
	w = httptest.NewRecorder()
	api.ServeHTTP(w, r)
	fmt.Print(w.Body)
	// Output:
	// 202 pending ada
	// event: log
	// data: {"line":"page 1","cursor":1}
	// id: 1
	//
	// event: status
	// data: {"state":"success"}
}

func ExampleMetrics() {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(context.Background(), sink, jobaudit.Source{System: "reports", Environment: "example"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", jobhttp.Metrics(recorder))
	mux.Handle("GET /ready", jobhttp.Ready(recorder))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ready", nil))
	fmt.Print(w.Code, " ", w.Body)
	// Output: 200 ready
}
