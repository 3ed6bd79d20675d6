package filesink

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// The names in a log's directory (docs/format.md, F6).
const (
	entriesDir     = "entries"
	indexDir       = "index"
	tornDir        = "torn"
	treeFile       = "tree"
	checkpointFile = "checkpoint"
	lockFile       = "lock"

	segmentSuffix = ".jsonl"
	indexSuffix   = ".idx"
	tempSuffix    = ".tmp"
)

// segmentName returns the file name of the segment whose first leaf has this
// index.
func segmentName(first int64) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// segmentPath is segmentName from the log's directory.
func segmentPath(first int64) string { return entriesDir + "/" + segmentName(first) }

func indexPath(first int64) string { return fmt.Sprintf("%s/%020d%s", indexDir, first, indexSuffix) }

// maxIndex bounds the index of a leaf, and so the number in a segment's name.
const maxIndex = 1 << 53

// parseSegmentName is the inverse of segmentName: twenty digits, at most 2^53.
func parseSegmentName(name string) (first int64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	first, err := strconv.ParseInt(digits, 10, 64)
	return first, err == nil && first <= maxIndex
}

// ErrBeginning means that the log does not begin at its first event: older
// files of entries were deleted, moved or compressed. Put them back; a log is
// read and written only as a whole.
var ErrBeginning = errors.New("the log's oldest files are missing")

// checkBeginning checks that the segments begin at index 0.
func checkBeginning(firsts []int64) error {
	if len(firsts) == 0 || firsts[0] == 0 {
		return nil
	}
	return fmt.Errorf("%w: the first one that is there is %s, with event %d; put back what was moved from %s, or take it from a copy that jobaudit copy made",
		ErrBeginning, segmentPath(firsts[0]), firsts[0], entriesDir)
}

// listSegments returns the first indexes of the segments, ascending. Without
// the directory there are none.
func listSegments(dir disk.Dir) ([]int64, error) {
	names, err := dir.List(entriesDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var firsts []int64
	for _, name := range names {
		if first, ok := parseSegmentName(name); ok {
			firsts = append(firsts, first)
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}
