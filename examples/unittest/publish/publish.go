// Package publish has a worker that uploads files. It stands for your worker;
// its test shows how to test what it leaves on record.
package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/jobaudit/jobaudit"
)

const action = "publish-file"

// Order asks for an upload. Who asks and why is for the record and is no part of
// the job's inputs.
type Order struct {
	Upload
	By  string // the user
	Why string
}

// Upload is what the job works on.
type Upload struct {
	File  string `json:"file"`
	Token string `json:"token"` // for the server; never on record
}

// Receipt says what was published.
type Receipt struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Redactors says what of orders and receipts may be stored.
func Redactors() (*jobaudit.Registry, error) {
	return jobaudit.NewRegistry(nil, jobaudit.NewRedactor(action, "1",
		jobaudit.InputPaths[Upload](jobaudit.Keep("file"), jobaudit.Drop("token", "credential")),
		jobaudit.OutputPaths[Receipt](jobaudit.Keep("bytes"), jobaudit.Keep("sha256")),
	))
}

// StatusError is the answer of a server that did not take a file.
type StatusError int

func (e StatusError) Error() string { return "the server answered " + http.StatusText(int(e)) }

// JobErrorCode is the code under which the failure is on record.
func (e StatusError) JobErrorCode() string { return fmt.Sprint("HTTP_", int(e)) }

// Worker publishes files at a URL.
type Worker struct {
	Recorder *jobaudit.Recorder
	URL      string
}

// Serve publishes what is ordered until the channel is closed. Failures are on
// record and nowhere else.
func (w *Worker) Serve(ctx context.Context, orders <-chan Order) {
	for order := range orders {
		_, _ = w.Publish(ctx, order)
	}
}

// Publish publishes a file, as a job.
func (w *Worker) Publish(ctx context.Context, order Order) (Receipt, error) {
	return jobaudit.Call(ctx, w.Recorder, jobaudit.Submission{
		Action:    action,
		Inputs:    order.Upload,
		Resource:  filepath.Base(order.File),
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: order.By},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: order.Why},
	}, func(ctx context.Context) (Receipt, error) {
		content, err := os.ReadFile(order.File)
		if err != nil {
			return Receipt{}, err
		}
		if trail, ok := jobaudit.FromContext(ctx); ok {
			trail.Log(ctx, fmt.Sprintf("%d bytes to upload", len(content)))
		}
		if err := w.upload(ctx, content, order.Token); err != nil {
			return Receipt{}, err
		}
		digest := sha256.Sum256(content)
		return Receipt{Bytes: len(content), SHA256: hex.EncodeToString(digest[:])}, nil
	})
}

func (w *Worker) upload(ctx context.Context, content []byte, token string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, w.URL, bytes.NewReader(content))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusCreated {
		err = StatusError(response.StatusCode)
	}
	if closed := response.Body.Close(); err == nil {
		err = closed
	}
	return err
}
