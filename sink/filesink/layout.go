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

// The names in a log's directory (format F6).
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

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (first int64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseInt(digits, 10, 64)
	return first, err == nil && segmentName(first) == name
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
