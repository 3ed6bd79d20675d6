package filesink

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// segmentFile is a file of a log as it was when the directory was listed. What
// is written to the newest one later is not of the listing.
type segmentFile struct {
	name  string // within entries/
	first int64
	size  int64
	last  bool
}

// segmentFiles lists a log's segments in order. What looks like one and is
// none is a finding: a program that reads entries/*.jsonl would take it for the
// log's.
func (v *verification) segmentFiles() ([]segmentFile, error) {
	entries, err := v.dir.ReadDir(entriesDir)
	if err != nil {
		return nil, err
	}
	var files []segmentFile
	for _, entry := range entries {
		first, ok := parseSegmentName(entry.Name())
		if !ok || !entry.Type().IsRegular() {
			if strings.HasSuffix(entry.Name(), segmentSuffix) {
				v.foreignFile(entry)
			}
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

func (v *verification) foreignFile(entry fs.DirEntry) {
	found := "a file of another name"
	if !entry.Type().IsRegular() {
		found = "not a regular file: " + entry.Type().String()
	}
	v.findings = append(v.findings, Finding{Finding: auditlog.Finding{
		Kind: KindForeignFile, Index: -1, Commit: -1, Segment: entry.Name(), Offset: -1,
		Expected: "files named by twenty digits, at most 2^53, and " + segmentSuffix, Found: found,
	}})
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
func (s segmentFile) open(dir disk.Dir) (io.ReadCloser, error) {
	f, err := dir.Open(path.Join(entriesDir, s.name))
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	size := s.size
	if !s.last {
		size = math.MaxInt64
	}
	return struct {
		*io.SectionReader
		io.Closer
	}{io.NewSectionReader(f, 0, size), f}, nil
}
