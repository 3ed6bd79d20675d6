// Command s3gateway serves S3 with Object Lock from directories, on a socket, for
// the tests of sink/s3mirror. It is a module of its own as the gateway that it
// embeds, versitygw, brings much that nobody else should build.
//
//	s3gateway SOCKET DATA VERSIONS METADATA
//
// The user is "root" with the secret "rootsecret". It serves until it is killed.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "s3gateway:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("%d arguments, and SOCKET DATA VERSIONS METADATA are wanted", len(args))
	}
	metadata, err := meta.NewSideCar(args[3])
	if err != nil {
		return err
	}
	files, err := posix.New(args[1], metadata, posix.PosixOpts{VersioningDir: args[2], SideCarDir: args[3]})
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(context.Background(), files, &embedgw.Config{
		RootUserAccess: "root", RootUserSecret: "rootsecret", Ports: args[:1], Quiet: true, KeepAlive: true,
		MultipartMaxParts: 10_000, MaxConnections: 1000, MaxRequests: 1000,
	})
}
