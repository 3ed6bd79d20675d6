package mirror_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// A log is mirrored to another disk while it is written, and restored from there.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "mirror")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	node, other := filepath.Join(dir, "node"), filepath.Join(dir, "other-disk")
	key, err := filesink.LoadOrCreateKey(node, filepath.Join(dir, "key"), "example.com/jobs")
	if err != nil {
		log.Fatal(err)
	}
	sink, err := filesink.Open(ctx, node, key, nil)
	if err != nil {
		log.Fatal(err)
	}
	store, err := mirror.OpenDirectory(other, true)
	if err != nil {
		log.Fatal(err)
	}
	keys := []note.Verifier{key.Verifier()}
	m, err := mirror.Start(ctx, sink, store, &mirror.Options{Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	if err := sink.Append(ctx, sinktest.Records(5)); err != nil {
		log.Fatal(err)
	}
	if err := m.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("mirrored:", m.Status().Head.Size, "behind:", m.Status().Lag())

	if err := sink.Close(); err != nil {
		log.Fatal(err)
	}
	if err := os.RemoveAll(node); err != nil { // the node is lost
		log.Fatal(err)
	}
	r, err := mirror.OpenReader(ctx, store, &mirror.ReaderOptions{Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	head, err := filesink.CopyLines(ctx, r.Lines, node, keys)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("restored:", head.Head().Size)
	// Output:
	// mirrored: 5 behind: 0
	// restored: 5
}
