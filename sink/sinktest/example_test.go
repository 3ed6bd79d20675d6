package sinktest_test

import (
	"context"
	"fmt"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// The test of a sink calls Run, which makes a subtest of each clause. Check is
// the same without a test. Traits say what this sink, which is memory, does not
// promise.
func ExampleCheck() {
	traits := sinktest.Traits{Volatile: true, Unproven: true, NoFaults: true, Opaque: true, Irreplaceable: true}
	err := sinktest.Check(context.Background(), func(context.Context) (sinktest.Medium, error) {
		return sinktest.Medium{
			Open: func(context.Context) (jobaudit.AuditSink, error) { return memsink.New(nil), nil },
		}, nil
	}, traits)
	fmt.Println("broken clauses:", err)
	// Output: broken clauses: <nil>
}
