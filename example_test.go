package jobaudit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/erasure"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// where says which program the examples are.
var where = jobaudit.Source{System: "reports", Environment: "production", Host: "h1", Version: "v1.4.0"}

// A Recorder is opened once, for the life of the program.
func ExampleOpen() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	// Run jobs here. Close when they have ended.
	if err := recorder.Close(ctx); err != nil {
		log.Fatal(err)
	}
	for record := range sink.Records(ctx, jobaudit.Query{}) {
		fmt.Println(record.Type())
	}
	// Output:
	// audit.opened
	// audit.closed
}

// Run submits, authorizes and starts a job, and records how the function ended.
// It returns the function's own error.
func ExampleRecorder_Run() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	err = recorder.Run(ctx, jobaudit.Submission{
		Action:    "send-report",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the board meets tomorrow"},
	}, func(ctx context.Context) error {
		trail, _ := jobaudit.FromContext(ctx)
		trail.Log(ctx, "12 pages")
		return errors.New("the printer is out of paper")
	})
	fmt.Println("error:", err)

	for _, e := range sink.Trail(sink.Jobs()[0]) {
		fmt.Println(e.Type, e.Job.State)
	}
	// Output:
	// error: the printer is out of paper
	// job.submitted pending
	// job.authorized pending
	// job.started running
	// job.logged running
	// job.failed failed
}

// Call runs a function that has a result, which becomes the job's output. Of
// inputs and output, only what the action's policy keeps is stored.
func ExampleCall() {
	type order struct {
		Item string `json:"item"`
		Card string `json:"card"`
	}
	type receipt struct {
		Number int    `json:"number"`
		Cents  int    `json:"cents"`
		Bank   string `json:"bank"`
	}
	redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("charge", "1",
		jobaudit.InputPaths[order](jobaudit.Keep("item"), jobaudit.Drop("card", "payment")),
		jobaudit.OutputPaths[receipt](jobaudit.Keep("number"), jobaudit.Keep("cents"))))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, &jobaudit.Options{Redactors: redactors})
	if err != nil {
		log.Fatal(err)
	}
	got, err := jobaudit.Call(ctx, recorder, jobaudit.Submission{
		Action:    "charge",
		Inputs:    order{Item: "a lamp", Card: "4111 1111 1111 1111"},
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "the order was placed"},
	}, func(context.Context) (receipt, error) {
		return receipt{Number: 7, Cents: 4900, Bank: "First Street"}, nil
	})
	fmt.Println("returned:", got, err)

	job, err := jobaudit.Replay(sink.Records(ctx, jobaudit.Query{Action: "charge"}))
	fmt.Printf("stored: %s %s %v\n", job.Metadata.Inputs, job.Output, err)
	// Output:
	// returned: {7 4900 First Street} <nil>
	// stored: {"item":"a lamp"} {"number":7,"cents":4900} <nil>
}

// Wrap gives a function that exists already a record of each call.
func ExampleRecorder_Wrap() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	nightly := func(context.Context) error { return nil }

	audited := recorder.Wrap(func(context.Context) jobaudit.Submission {
		return jobaudit.Submission{
			Action:    "nightly-cleanup",
			Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cron"},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every night at two", Ref: "cron/cleanup"},
		}
	}, nightly)

	for range 2 {
		if err := audited(ctx); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(len(sink.Jobs()), "jobs")
	// Output: 2 jobs
}

// A job that is submitted in one process and run in another: its Carrier goes
// through the queue next to the inputs.
func ExampleRecorder_Resume() {
	type message struct {
		Audit  jobaudit.Carrier `json:"audit"`
		Inputs json.RawMessage  `json:"inputs"`
	}
	ctx := context.Background()
	sink := memsink.New(nil)
	queue := make(chan []byte, 1)

	enqueue := func(recorder *jobaudit.Recorder, inputs json.RawMessage) error {
		trail, err := recorder.Submit(ctx, jobaudit.Submission{
			Action:    "resize-image",
			Inputs:    inputs,
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "an image was uploaded"},
		})
		if err != nil {
			return err // not recorded, so not enqueued
		}
		body, err := json.Marshal(message{Audit: trail.Carrier(), Inputs: inputs})
		if err != nil {
			return errors.Join(err, trail.Cancel(ctx, "it could not be enqueued"))
		}
		queue <- body
		return nil
	}

	work := func(recorder *jobaudit.Recorder, body []byte) error {
		var m message
		if err := json.Unmarshal(body, &m); err != nil {
			return err
		}
		trail, err := recorder.Resume(ctx, m.Audit, m.Inputs)
		if err != nil {
			return err
		}
		return trail.Run(ctx, jobaudit.Execution{}, func(context.Context) error { return nil })
	}

	web, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "web", Environment: "production"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := enqueue(web, json.RawMessage(`{"image":"cat.png"}`)); err != nil {
		log.Fatal(err)
	}
	worker, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "worker", Environment: "production"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := work(worker, <-queue); err != nil {
		log.Fatal(err)
	}
	for _, e := range sink.Trail(sink.Jobs()[0]) {
		fmt.Printf("%s by %s (verified %t) in %s\n", e.Type, e.Who.Principal.ID, e.Who.Principal.Verified, e.Where.System)
	}
	// Output:
	// job.submitted by ada (verified true) in web
	// job.authorized by ada (verified false) in worker
	// job.started by ada (verified false) in worker
	// job.succeeded by ada (verified false) in worker
}

// A decision that is taken elsewhere, here by an approver, belongs to the
// record: Deny ends a job that waits, Authorize lets it start.
func ExampleTrail_Deny() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	trail, err := recorder.Submit(ctx, jobaudit.Submission{
		Action:    "delete-archive",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "it is never read"},
	})
	if err != nil {
		log.Fatal(err)
	}
	err = trail.Deny(ctx, jobaudit.Decision{By: "grace", Permission: "archive:delete", Reason: "the law wants ten years"})
	if err != nil {
		log.Fatal(err)
	}
	err = trail.Run(ctx, jobaudit.Execution{}, func(context.Context) error { panic("never called") })
	fmt.Println("cannot run:", errors.Is(err, jobaudit.ErrDenied))

	job, err := jobaudit.Replay(sink.Records(ctx, jobaudit.Query{JobID: trail.JobID()}))
	fmt.Println(job.State, job.Error.Code, job.Error.Message, err)
	// Output:
	// cannot run: true
	// cancelled FORBIDDEN the law wants ten years <nil>
}

// Most decisions are taken by a policy of the program's own: a function in
// Options, that every job is put to before it starts.
func ExampleTrail_Authorize() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, &jobaudit.Options{
		Authorize: func(_ context.Context, s jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{Allowed: s.Principal.Verified, By: "policy", Permission: s.Action}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	s := jobaudit.Submission{
		Action:    "delete-archive",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "it is never read"},
	}
	work := func(context.Context) error { return nil }
	fmt.Println("by the policy, refused:", errors.Is(recorder.Run(ctx, s, work), jobaudit.ErrDenied))

	trail, err := recorder.Submit(ctx, s)
	if err != nil {
		log.Fatal(err)
	}
	if err := trail.Authorize(ctx, jobaudit.Decision{Allowed: true, By: "grace", Reason: "checked by hand"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("by a person, error:", trail.Run(ctx, jobaudit.Execution{}, work))
	// Output:
	// by the policy, refused: true
	// by a person, error: <nil>
}

// An attempt that fails is not the end of a job whose queue tries again.
func ExampleTrail_Retrying() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	trail, err := recorder.Submit(ctx, jobaudit.Submission{
		Action:    "send-report",
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cron"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every Monday"},
	})
	if err != nil {
		log.Fatal(err)
	}
	for attempt := 1; attempt <= 2; attempt++ {
		_ = trail.Run(ctx, jobaudit.Execution{Attempt: attempt}, func(ctx context.Context) error {
			if attempt == 1 {
				err := errors.New("the mail server is busy")
				trail.Retrying(ctx, err)
				return err
			}
			return nil
		})
	}
	for _, e := range sink.Trail(trail.JobID()) {
		fmt.Println(e.Type, e.Job.State, e.Job.Attempt)
	}
	// Output:
	// job.submitted pending 0
	// job.authorized pending 0
	// job.started running 1
	// attempt.failed running 1
	// attempt.started running 2
	// job.succeeded success 2
}

// What turns out later is added to the record; nothing in it is changed.
func ExampleTrail_Correct() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	trail, err := recorder.Submit(ctx, jobaudit.Submission{
		Action:    "import-prices",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the new season"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := trail.Run(ctx, jobaudit.Execution{}, func(context.Context) error { return nil }); err != nil {
		log.Fatal(err)
	}
	succeeded := sink.Trail(trail.JobID())[3]
	err = trail.Correct(ctx, jobaudit.Correction{Of: succeeded.ID, Reversal: true, Reason: "the prices were last year's"})
	if err != nil {
		log.Fatal(err)
	}
	corrected := sink.Trail(trail.JobID())[4]
	fmt.Println(corrected.Type, corrected.Data.Correction.Reason)
	// Output: job.corrected the prices were last year's
}

// A Job is what its events add up to. It is the answer to who asks how the job
// is doing.
func ExampleReplay() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	err = recorder.Run(ctx, jobaudit.Submission{
		Action:    "send-report",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the board meets tomorrow"},
	}, func(ctx context.Context) error {
		trail, _ := jobaudit.FromContext(ctx)
		trail.Log(ctx, "12 pages")
		trail.Log(ctx, "sent")
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	job, err := jobaudit.Replay(sink.Records(ctx, jobaudit.Query{JobID: sink.Jobs()[0]}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %s: %q\n", job.Metadata.Action, job.State, job.Logs)
	// Output: send-report success: ["12 pages" "sent"]
}

// An error's message is dropped when it holds a secret. A constant stays.
func ExampleConstantError() {
	cause := errors.New("POST https://pay.example.org/?token=…: 403")
	fmt.Println(jobaudit.ConstantError("the payment service refused the order", cause))
	// Output: the payment service refused the order: POST https://pay.example.org/?token=…: 403
}

// Free texts pass a scan for secrets, too: what gives itself away does not get
// into the record.
func ExampleTrail_Log() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	err = recorder.Run(ctx, jobaudit.Submission{
		Action:    "fetch-report",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the board meets tomorrow"},
	}, func(ctx context.Context) error {
		trail, _ := jobaudit.FromContext(ctx)
		trail.Log(ctx, "GET https://reports.example.org/january")
		trail.Log(ctx, "GET https://ada:correct-horse-9@reports.example.org/january")
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	job, err := jobaudit.Replay(sink.Records(ctx, jobaudit.Query{JobID: sink.Jobs()[0]}))
	fmt.Println(job.Logs[0], err)
	fmt.Println(job.Logs[1])
	// Output:
	// GET https://reports.example.org/january <nil>
	// (dropped: url-credentials)
}

// With Reauthorize, each heartbeat asks again whether the job may run. A job
// whose authorization is withdrawn is told by its context.
func ExampleOptions_reauthorize() {
	ctx := context.Background()
	sink := memsink.New(nil)
	var withdrawn atomic.Bool
	recorder, err := jobaudit.Open(ctx, sink, where, &jobaudit.Options{
		Heartbeat:   time.Millisecond, // a program leaves it at half a minute
		Reauthorize: true,
		Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{Allowed: !withdrawn.Load(), By: "policy"}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	err = recorder.Run(ctx, jobaudit.Submission{
		Action:    "export-customers",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "for the tax office"},
	}, func(ctx context.Context) error {
		withdrawn.Store(true)
		<-ctx.Done()
		return context.Cause(ctx)
	})
	fmt.Println("withdrawn:", errors.Is(err, jobaudit.ErrDenied))

	job, err := jobaudit.Replay(sink.Records(ctx, jobaudit.Query{JobID: sink.Jobs()[0]}))
	fmt.Println(job.State, job.Error.Code, err)
	// Output:
	// withdrawn: true
	// cancelled FORBIDDEN <nil>
}

// A verdict is for a caller that knows that a job's worker is gone: a node was taken
// away, say. Package watchdog finds out by itself.
func ExampleRecorder_Conclude() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	trail, err := recorder.Submit(ctx, jobaudit.Submission{
		Action:    "rebuild-index",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := trail.Start(ctx, jobaudit.Execution{}); err != nil {
		log.Fatal(err)
	}
	// The node that ran it is gone. Any number of programs may conclude so.
	started, err := sink.Wait(ctx, jobaudit.Query{JobID: trail.JobID(), Types: []jobaudit.EventType{jobaudit.JobStarted}})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		recorded, err := recorder.Conclude(ctx, jobaudit.Verdict{Of: started})
		fmt.Println("recorded:", recorded, err)
	}
	job, err := jobaudit.Replay(sink.Records(ctx, jobaudit.Query{JobID: trail.JobID()}))
	fmt.Println(job.State, job.Error.Code, err)
	// Output:
	// recorded: true <nil>
	// recorded: false <nil>
	// failed ABANDONED <nil>
}

// A text that must be readable until a person has it erased is sealed with that
// person's key. Erase deletes the key and records that; the log stays as it is.
func ExampleRecorder_Erase() {
	ctx := context.Background()
	sink := memsink.New(nil)
	keys := new(erasure.MemoryKeys) // a program uses erasure.OpenFileKeys
	type message struct{ Customer, Text string }
	type kept struct {
		Customer string         `json:"customer"`
		Text     erasure.Sealed `json:"text"`
	}
	redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("send-message", "1",
		jobaudit.Inputs(func(m message) (kept, error) {
			sealed, err := erasure.Seal(keys, m.Customer, m.Text)
			return kept{m.Customer, sealed}, err
		})))
	if err != nil {
		log.Fatal(err)
	}
	recorder, err := jobaudit.Open(ctx, sink, where, &jobaudit.Options{Redactors: redactors})
	if err != nil {
		log.Fatal(err)
	}
	err = recorder.Run(ctx, jobaudit.Submission{
		Action:    "send-message",
		Inputs:    message{"customer-7", "The lamp will be there on Monday."},
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the customer asked"},
	}, func(context.Context) error { return nil })
	if err != nil {
		log.Fatal(err)
	}
	var stored struct{ Text string }
	if err := json.Unmarshal(sink.Trail(sink.Jobs()[0])[0].What.Inputs, &stored); err != nil {
		log.Fatal(err)
	}
	text, err := erasure.Open(keys, stored.Text)
	fmt.Println(text, err)

	if err := recorder.Erase(ctx, keys, "customer-7", "the customer asked for it"); err != nil {
		log.Fatal(err)
	}
	_, err = erasure.Open(keys, stored.Text)
	fmt.Println("erased:", errors.Is(err, erasure.ErrErased))
	// Output:
	// The lamp will be there on Monday. <nil>
	// erased: true
}
