package pgsink_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"golang.org/x/mod/sumdb/note"
)

func Example() {
	ctx := context.Background()
	server, err := pgserver.Start(ctx) // yours runs elsewhere
	if err != nil {
		log.Fatal(err)
	}
	defer server.Stop()
	adminURL := server.URL("postgres")
	url := adminURL
	secret, public, err := auditlog.GenerateKey("example.com/jobs")
	if err != nil {
		log.Fatal(err)
	}
	signer, _ := note.NewSigner(secret)
	verifier, _ := note.NewVerifier(public)
	anchor := &mem{} // yours is where the database's administrators cannot write

	conn, err := pgx.Connect(ctx, adminURL)
	if err != nil {
		log.Fatal(err)
	}
	err = pgsink.Migrate(ctx, conn, nil) // the schema jobaudit, and four roles
	if err != nil {
		log.Fatal(err)
	}

	sink, err := pgsink.Open(ctx, url, &pgsink.Options{
		Sequencer: &pgsink.SequencerOptions{Signer: signer, Verifier: verifier, Anchor: anchor},
	})
	if err != nil {
		log.Fatal(err)
	}
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "billing", Environment: "test"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	err = recorder.Run(ctx, jobaudit.Submission{
		Action:    "close-month",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "end of March"},
	}, func(context.Context) error { return nil })
	if err != nil {
		log.Fatal(err)
	}
	if err := recorder.Close(ctx); err != nil {
		log.Fatal(err)
	}
	if err := sink.Sequenced(ctx); err != nil {
		log.Fatal(err)
	}

	report, err := pgsink.Verify(ctx, url, &pgsink.VerifyOptions{Keys: []note.Verifier{verifier}})
	fmt.Println(report.Level, report.Records, err)
	// Output: L1 6 <nil>
}
