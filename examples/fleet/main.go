// Fleet runs ten processes that each write a log of their own and mirror it, does
// to their nodes what can befall nodes, and shows that nothing that was mirrored is
// lost, and that each manipulation is named with its node.
//
//	cd examples/fleet
//	go run .                      the mirrors lie in directories
//	go run . -lock                in a bucket under Object Lock, on a server of its own
//	go run . s3://BUCKET/PREFIX   in a bucket of yours: AWS_ACCESS_KEY_ID, …
//
// The server of its own is built from this repository. In a bucket of yours the
// objects stay for as long as it locks them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

func main() {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // filesink warns of logs on temporary storage
	err := run(context.Background(), os.Stdout, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// run runs the fleet, or with the arguments write NODE TARGET … a writer of it.
func run(ctx context.Context, out io.Writer, args []string) error {
	if len(args) > 0 && args[0] == "write" {
		return write(ctx, out, args[1:])
	}
	dir, err := os.MkdirTemp("", "fleet-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var where place
	switch {
	case len(args) == 0:
		where, err = directories(dir)
	case len(args) == 1 && args[0] == "-lock":
		where, err = ownServer(ctx)
	case len(args) == 1 && strings.HasPrefix(args[0], "s3://"):
		where, err = bucket(args[0], dir)
	default:
		return errors.New("give nothing, -lock, or s3://BUCKET/PREFIX")
	}
	if err != nil {
		return err
	}
	return errors.Join(fleet(ctx, out, dir, where), where.close())
}

// fleet lets all nodes work at the same time, and then befalls each with its fault.
func fleet(ctx context.Context, out io.Writer, dir string, where place) error {
	nodes := make([]*node, len(faults))
	errs := make([]error, len(faults))
	var all sync.WaitGroup
	for i := range faults {
		name := fmt.Sprintf("node-%d", i)
		nodes[i] = &node{name: name, dir: filepath.Join(dir, name), where: where}
		all.Go(func() {
			errs[i] = os.MkdirAll(nodes[i].dir, 0o700)
			if errs[i] == nil {
				errs[i] = nodes[i].work(ctx, 20)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d processes have mirrored to %s, and were killed.\n", len(nodes), where.name)
	for i, f := range faults {
		found, err := nodes[i].suffer(ctx, f)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", nodes[i].name, f.name, err)
		}
		fmt.Fprintf(out, "%s  %-50s %s\n", nodes[i].name, f.name, found)
	}
	fmt.Fprintln(out, "Every event that was reported as mirrored is in its mirror, and is proven.")
	return nil
}
