// Package environ is what a recorder takes from its surroundings: what the
// program and its process are, the clock, and new IDs.
package environ

import (
	"crypto/sha256"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
)

// Process is what a process says of itself.
type Process struct {
	Program
	Clock *Clock // nil if the system says nothing of it
}

// This is what this process says of itself now.
func This() *Process { return &Process{Program: Build(), Clock: readClock()} }

// Host returns the name of the machine, empty if the system does not tell it.
func Host() string {
	name, _ := os.Hostname()
	return name
}

// Program is what a build says of itself.
type Program struct {
	Go, OS, Arch   string
	Path, Version  string             // of the main module
	Revision, Time string             // of the source, where the build knows it
	Modified       bool               // the source was not as the revision has it
	Dependencies   *[sha256.Size]byte // nil if the build does not know them
}

// Clock is what the system says of its clock.
type Clock struct {
	Synchronized bool
	ErrorMicros  int64  // estimated
	Source       string // what counts its time
}

// Build is what the build of this program says of itself, which does not change
// while it runs.
var Build = sync.OnceValue(func() Program {
	info, _ := debug.ReadBuildInfo()
	return programOf(info)
})

// programOf says what a build says of itself. info may be nil.
func programOf(info *debug.BuildInfo) Program {
	p := Program{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info == nil {
		return p
	}
	p.Path, p.Version = info.Main.Path, info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			p.Revision = s.Value
		case "vcs.time":
			p.Time = s.Value
		case "vcs.modified":
			p.Modified = s.Value == "true"
		}
	}
	digest := dependencyDigest(info.Deps)
	p.Dependencies = &digest
	return p
}

// dependencyDigest is the SHA-256 of a line for each module that a program is
// built from: its path, a space, its version, a space, its hash as in go.sum, if
// there is one, a line feed; of a replaced module its replacement's. The lines
// are sorted.
func dependencyDigest(modules []*debug.Module) [sha256.Size]byte {
	var lines []string
	for _, m := range modules {
		if m.Replace != nil {
			m = m.Replace
		}
		lines = append(lines, m.Path+" "+m.Version+" "+m.Sum+"\n")
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, line := range lines {
		_, _ = h.Write([]byte(line))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// BuildVersion is the main module's version, else its commit, else empty. A tree
// that was modified does not look like the commit.
func (p *Program) BuildVersion() string {
	switch {
	case p.Version != "" && p.Version != "(devel)":
		return p.Version
	case p.Revision != "" && p.Modified:
		return p.Revision + "+dirty"
	case p.Revision != "":
		return p.Revision
	}
	return ""
}
