//go:build !unix || solaris || aix

package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

// lock refuses: without a lock that ends with its process two writers could
// fork the log. Reading needs none.
func lock(*os.Root, string) (io.Closer, error) {
	return nil, fmt.Errorf("process locks on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
