// Command s3gateway serves S3 with Object Lock from directories, on a socket, for
// package s3server. It is a module of its own as the gateway that it embeds,
// versitygw, brings much that nobody else should build.
//
//	s3gateway SOCKET DATA VERSIONS METADATA USERS
//
// Its owner is "root" with the secret "rootsecret"; "node" and "holder", with
// "nodesecret" and "holdersecret", have the rights that a bucket's policy gives them.
// It serves until its standard input ends.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until who started it has ended
		os.Exit(0)
	}()
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "s3gateway:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("%d arguments, and SOCKET DATA VERSIONS METADATA USERS are wanted", len(args))
	}
	metadata, err := meta.NewSideCar(args[3])
	if err != nil {
		return err
	}
	files, err := posix.New(args[1], metadata, posix.PosixOpts{VersioningDir: args[2], SideCarDir: args[3]})
	if err != nil {
		return err
	}
	const owner, secret = "root", "rootsecret"
	users, err := auth.NewInternal(auth.Account{Access: owner, Secret: secret, Role: auth.RoleAdmin}, args[4])
	if err != nil {
		return err
	}
	for _, name := range []string{"node", "holder"} {
		if err := users.CreateAccount(auth.Account{Access: name, Secret: name + "secret", Role: auth.RoleUser}); err != nil {
			return err
		}
	}
	return embedgw.RunVersityGW(context.Background(), files, &embedgw.Config{
		RootUserAccess: owner, RootUserSecret: secret, IAMService: users, Ports: args[:1], Quiet: true, KeepAlive: true,
		MultipartMaxParts: 10_000, MaxConnections: 1000, MaxRequests: 1000,
	})
}
