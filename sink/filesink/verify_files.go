package filesink

import (
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// segmentFile is a file of a log as it was when the directory was listed. What
// is written to the newest one later is not of the listing.
type segmentFile struct {
	name  string // within entries/
	first int64
	size  int64
	last  bool
}

// segmentFiles lists a log's segments in order. Names of another form are
// files being prepared.
func segmentFiles(root *os.Root) ([]segmentFile, error) {
	dir, err := root.Open(entriesDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var files []segmentFile
	for _, entry := range entries {
		first, ok := parseSegmentName(entry.Name())
		if !ok || !entry.Type().IsRegular() {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		files = append(files, segmentFile{name: entry.Name(), first: first, size: info.Size()})
	}
	slices.SortFunc(files, func(a, b segmentFile) int { return strings.Compare(a.name, b.name) })
	if n := len(files); n > 0 {
		files[n-1].last = true
	}
	return files, nil
}

func totalSize(files []segmentFile) int64 {
	var total int64
	for _, f := range files {
		total += f.size
	}
	return total
}

// open opens a segment. Of the newest one, which may be growing, it gives the
// bytes that were listed.
func (s segmentFile) open(root *os.Root) (io.ReadCloser, error) {
	f, err := root.Open(path.Join(entriesDir, s.name))
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	if !s.last {
		return f, nil
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(f, s.size), f}, nil
}
