package filesink

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// ErrNewer means that a newer version of this program wrote the log in a way
// that this one does not know. Nothing was changed; use the newer version.
var ErrNewer = errors.New("the log was written by a newer version")

// formatFile says which format a directory has, in a decimal number. Without the
// file it is 1, the only one that this version knows.
const formatFile = "format"

// checkFormat refuses a directory of a later format, before anything in it that
// is not known is taken for damage.
func checkFormat(dir disk.Dir) error {
	b, err := readAll(dir, formatFile, 1<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", formatFile, err)
	}
	if text := strings.TrimSpace(string(b)); text != "1" {
		return fmt.Errorf("%w: format %.20q, this version knows 1", ErrNewer, text)
	}
	return nil
}
