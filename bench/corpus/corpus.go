// Package corpus makes the records that are stored in measurements, here and in the
// programs beside this one.
package corpus

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// Records returns n records of a common size, with IDs of their own.
func Records(n int) ([]jobaudit.Record, error) {
	line := sinktest.Records(1)[0].Bytes()
	id := bytes.Index(line, []byte(`"id":"`)) + len(`"id":"`)
	all := make([]jobaudit.Record, n)
	for i := range all {
		copy(line[id:], uuid.Must(uuid.NewV7()).String())
		r, err := jobaudit.ParseRecord(line)
		if err != nil {
			return nil, err
		}
		all[i] = r
	}
	return all, nil
}

// kept is a sink that keeps what it is given.
type kept struct {
	mu      sync.Mutex
	records []jobaudit.Record
}

func (k *kept) Append(_ context.Context, records []jobaudit.Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records = append(k.records, records...)
	return nil
}

// Jobs returns the records of n jobs, a fourth of which fail.
func Jobs(ctx context.Context, n int) ([]jobaudit.Record, error) {
	sink := &kept{}
	r, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "indexer", Environment: "bench"}, nil)
	if err != nil {
		return nil, err
	}
	for i := range n {
		_ = r.Run(ctx, jobaudit.Submission{
			Action: "reindex", Resource: fmt.Sprint("index ", i),
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "u-1", Verified: true},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old", Ref: "OPS-12"},
		}, func(context.Context) error {
			if i%4 == 3 {
				return io.ErrUnexpectedEOF
			}
			return nil
		})
	}
	return sink.records, r.Close(ctx)
}

// Members are as many members with a text in them as the submission of the root's
// BenchmarkRun has, with the same texts; Inputs are its inputs.
var Members = []struct{ Name, Value string }{
	{"schemaVersion", "1.0.0"}, {"id", "019c22d9-fd65-7300-9855-acddd212117c"}, {"type", "job.submitted"}, {"phase", "before"},
	{"stream", "019c22d9-fd65-7300-9855-acddd212117d"}, {"job", "019c22d9-fd65-7300-9855-acddd212117e"}, {"state", "pending"},
	{"root", "019c22d9-fd65-7300-9855-acddd212117e"}, {"correlation", "019c22d9-fd65-7300-9855-acddd212117e"},
	{"request", "019c22d9-fd65-7300-9855-acddd212117e"}, {"principal", "ann"}, {"org", "acme"}, {"action", "deploy"},
	{"policy", "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}, {"system", "worker"}, {"reason", "asked by support"},
}

// Inputs is one of the members of an event, as JSON.
var Inputs = json.RawMessage(`{"repo":"acme/site"}`)
