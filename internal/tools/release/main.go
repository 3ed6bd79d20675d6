// Release makes releases of this repository's modules, and shows what a release
// of the work tree would be worth:
//
//	go run ./internal/tools/release commit v0.1.0
//	go run ./internal/tools/release installable
//	go run ./internal/tools/release compatible
//
// On main the modules require each other at v0.0.0 and replace that by a
// directory, so that each can be built and tested as it stands. No user can
// install that. A release is therefore a commit beside main, in which they
// require each other's released versions and nothing is replaced.
//
// commit makes that commit from HEAD, tags it for every module, in the order in
// which they depend on each other, and prints what to push. It pushes nothing.
//
// installable makes a release of the work tree in a module proxy on disk, and
// does what users do: it gets each module into an empty module cache, builds a
// program with it, and installs the command, which has to say its version.
//
// compatible compares the work tree with the newest tag. Incompatible changes of
// an API have to be named in the changelog, and the released code has to read
// what the work tree writes.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "commit":
		return commit(ctx, ".", args[1], os.Stdout)
	case len(args) == 1 && args[0] == "installable":
		return installable(ctx, ".", os.Stdout)
	case len(args) == 1 && args[0] == "compatible":
		return compatible(ctx, ".", os.Stdout)
	default:
		return errors.New("usage: release commit VERSION | installable | compatible")
	}
}
