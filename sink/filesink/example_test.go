package filesink_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func Example() {
	ctx := context.Background()
	base, err := os.MkdirTemp("", "jobaudit")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(base)

	// The key lies beside the log, never in it.
	dir := filepath.Join(base, "audit")
	key, err := filesink.LoadOrCreateKey(dir, filepath.Join(base, "audit.key"), "example.com/jobs")
	if err != nil {
		fmt.Println(err)
		return
	}
	sink, err := filesink.Open(ctx, dir, key, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	records := sinktest.Records(5) // a jobaudit.Recorder makes them
	if err := sink.Append(ctx, records); err != nil {
		fmt.Println(err)
		return
	}
	for r, err := range sink.Records(ctx, jobaudit.Query{JobID: records[0].JobID()}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(r.Type())
	}
	fmt.Println(sink.Checkpoint().Head().Size, "events under a signed head", sink.Close())

	// Output:
	// job.submitted
	// job.authorized
	// job.started
	// job.logged
	// job.succeeded
	// 5 events under a signed head <nil>
}

// A log is verified with its public key, which the auditor got some other way
// than from the log, and best with a head that was kept elsewhere.
func ExampleVerify() {
	ctx := context.Background()
	base, err := os.MkdirTemp("", "jobaudit")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(base)
	dir, keyPath := filepath.Join(base, "audit"), filepath.Join(base, "audit.key")
	key, err := filesink.LoadOrCreateKey(dir, keyPath, "example.com/jobs")
	if err != nil {
		fmt.Println(err)
		return
	}
	sink, err := filesink.Open(ctx, dir, key, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := sink.Append(ctx, sinktest.Records(5)); err != nil {
		fmt.Println(err)
		return
	}
	kept := sink.Checkpoint().Signed() // to be kept on another host
	if err := sink.Close(); err != nil {
		fmt.Println(err)
		return
	}

	verifier, err := note.NewVerifier(key.String())
	if err != nil {
		fmt.Println(err)
		return
	}
	report, err := filesink.Verify(ctx, dir, &filesink.VerifyOptions{
		Keys: []note.Verifier{verifier}, Checkpoints: [][]byte{kept},
	})
	fmt.Println(report.Level, report.Records, "records of", report.Jobs, "job", err)
	// Output: L2 5 records of 1 job <nil>
}
