package filesink_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

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
