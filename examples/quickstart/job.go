package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

const (
	workers  = 2 // how many folders are hashed at once
	attempts = 3 // how often a folder is tried
)

// treeInputs are the inputs of a hash-tree job. The token stands for whatever a
// job needs and its record must not hold.
type treeInputs struct {
	Path    string `json:"path"`
	Workers int    `json:"workers"`
	Token   string `json:"token"`
}

// treeOutput is the output of a hash-tree job.
type treeOutput struct {
	Folders int    `json:"folders"`
	Failed  int    `json:"failed"` // folders that are not in the manifest
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256"` // of the manifest
}

// folderInputs are the inputs of a hash-folder job.
type folderInputs struct {
	Folder string `json:"folder"`
	Files  int    `json:"files"`
	Token  string `json:"token"`
}

// folderOutput is the output of a hash-folder job.
type folderOutput struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// policies says, action by action, what of inputs and outputs may be stored.
// Everything else is dropped; what is named to be dropped is named in the record
// too. An action without a policy could not be submitted.
func policies() (*jobaudit.Registry, error) {
	return jobaudit.NewRegistry(&jobaudit.RegistryOptions{RequirePolicy: true},
		jobaudit.NewRedactor("hash-tree", "1",
			jobaudit.InputPaths[treeInputs](jobaudit.Keep("path"), jobaudit.Keep("workers"), jobaudit.Drop("token", "credential")),
			jobaudit.OutputPaths[treeOutput](jobaudit.Keep("*"))),
		jobaudit.NewRedactor("hash-folder", "1",
			jobaudit.InputPaths[folderInputs](jobaudit.Keep("folder"), jobaudit.Keep("files"), jobaudit.Drop("token", "credential")),
			jobaudit.OutputPaths[folderOutput](jobaudit.Keep("*"))),
	)
}

// authorize decides which jobs may start.
func authorize(_ context.Context, s jobaudit.Submission) (jobaudit.Decision, error) {
	return jobaudit.Decision{
		Allowed: s.Principal.Kind == jobaudit.User, By: "quickstart", Permission: "files:read",
		Reason: "users may read what the operating system lets them read",
	}, nil
}

// hasher makes the manifest.
type hasher struct {
	recorder *jobaudit.Recorder
	who      jobaudit.Principal
	inputs   treeInputs
	trouble  *trouble
	skip     map[string]bool // what is not hashed, by absolute path
}

// run makes the manifest as a job: Call records the submission, who allowed it,
// the start, what the function returns, and how it ended.
func (h *hasher) run(ctx context.Context, id uuid.UUID) error {
	_, err := jobaudit.Call(ctx, h.recorder, jobaudit.Submission{
		ID:        id,
		Action:    "hash-tree",
		Resource:  resource(h.inputs.Path),
		Inputs:    h.inputs,
		Principal: h.who,
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "to see what the record of a job looks like"},
	}, h.hashTree)
	return err
}

// resource returns a path if a record has room for it: a longer one is an error
// of the submission.
func resource(path string) string {
	if len(path) > 256 {
		return ""
	}
	return path
}

// hashTree is the work of the parent job.
func (h *hasher) hashTree(ctx context.Context) (treeOutput, error) {
	trail, _ := jobaudit.FromContext(ctx)
	total := new(manifest)
	trail.Snapshot(ctx, jobaudit.Snapshot{Resource: "manifest", Digest: "sha256:" + total.sum(), Summary: "empty"})

	root, err := os.OpenRoot(h.inputs.Path)
	if err != nil {
		return treeOutput{}, err
	}
	defer root.Close()
	var folders []*folder
	for _, t := range []*tree{{h.trouble.root, "trouble", nil}, {root, "", h.skip}} {
		found, err := t.folders()
		if err != nil {
			return treeOutput{}, err
		}
		folders = append(folders, found...)
	}
	trail.Log(ctx, fmt.Sprintf("found %d folders with files", len(folders)))
	if err := h.trouble.strike(); err != nil {
		return treeOutput{}, err
	}

	failed, err := h.hashFolders(ctx, folders, total)
	if err != nil {
		return treeOutput{}, err
	}
	out := treeOutput{Folders: len(folders), Failed: failed, Files: len(total.lines), Bytes: total.bytes, SHA256: total.sum()}
	trail.Snapshot(ctx, jobaudit.Snapshot{Resource: "manifest", After: true, Digest: "sha256:" + out.SHA256, Summary: fmt.Sprintf("%d files", out.Files)})
	trail.SetImpact(fmt.Sprintf("a manifest of %d files, %d of %d folders missing", out.Files, out.Failed, out.Folders))
	return out, nil
}

// hashFolders hands each folder to the workers as a job of its own, and adds
// what comes back to the manifest. It returns how many of the jobs failed.
func (h *hasher) hashFolders(ctx context.Context, folders []*folder, total *manifest) (failed int, err error) {
	trail, _ := jobaudit.FromContext(ctx)
	// Each task is in one of the two at a time, so sending never blocks.
	queue, results := make(chan *task, len(folders)), make(chan *task, len(folders))
	var pool sync.WaitGroup
	for range workers {
		pool.Go(func() { work(ctx, queue, results) })
	}
	defer pool.Wait()
	defer close(queue)

	submitted := 0
	for _, f := range folders {
		var t *task
		if t, err = h.submit(ctx, f); err != nil {
			break
		}
		queue <- t
		submitted++
	}
	for done := 1; done <= submitted; done++ {
		if t := <-results; t.manifest == nil {
			failed++
			trail.Log(ctx, fmt.Sprintf("%s is not in the manifest", t.folder.name))
		} else {
			total.join(t.manifest)
		}
		if 4*done/submitted > 4*(done-1)/submitted { // another quarter
			trail.Heartbeat(ctx, int64(done), int64(submitted))
		}
	}
	return failed, errors.Join(err, ctx.Err())
}

// task is a hash-folder job on its way through the queue.
type task struct {
	trail    *jobaudit.Trail
	folder   *folder
	attempt  int
	manifest *manifest // nil until it has succeeded
}

// submit asks for the job of a folder. It becomes a child of the parent job by
// the context.
func (h *hasher) submit(ctx context.Context, f *folder) (*task, error) {
	trail, err := h.recorder.Submit(ctx, jobaudit.Submission{
		Action:    "hash-folder",
		Resource:  resource(f.name),
		Inputs:    folderInputs{Folder: f.name, Files: len(f.files), Token: h.inputs.Token},
		Principal: h.who,
		Trigger:   jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "its files belong into the manifest"},
	})
	if err != nil && trail != nil { // it may be stored: the job must not wait without limit
		err = errors.Join(err, trail.Cancel(ctx, "no worker will run it"))
	}
	return &task{trail: trail, folder: f}, err
}

// work runs the tasks of the queue, and puts back those that are to be tried
// again.
func work(ctx context.Context, queue, results chan *task) {
	for t := range queue {
		if again := t.run(ctx); again {
			queue <- t
		} else {
			results <- t
		}
	}
}

// run is one attempt. An error that time may cure is recorded as an attempt that
// failed, any other as the failure of the job.
func (t *task) run(ctx context.Context) (again bool) {
	t.attempt++
	err := t.trail.Run(ctx, jobaudit.Execution{Attempt: t.attempt}, func(ctx context.Context) (err error) {
		if t.attempt > 1 {
			t.folder.err = t.folder.list()
		}
		t.manifest, err = t.folder.hash(ctx)
		if failure, ok := errors.AsType[*fileError](err); ok && failure.temporary() && t.attempt < attempts {
			t.trail.Retrying(ctx, err)
			again = true
		}
		if err == nil {
			t.trail.SetOutput(folderOutput{Files: len(t.manifest.lines), Bytes: t.manifest.bytes})
		}
		return err
	})
	if _, notRun := errors.AsType[*jobaudit.AuditError](err); notRun { // interrupted, or the start could not be stored
		_ = t.trail.Cancel(ctx, "it could not be started")
	}
	return again
}
