package jobaudit

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/internal/fields"
)

// environment is what an audit.opened event says of the process that its
// recorder runs in. Starts refer to it by their where.instance.
type environment struct {
	program
	image        string
	orchestrator map[string]string
	clock        *clockState
	facts        []byte
}

// program is what a build says of itself.
type program struct {
	goVersion, os, arch string
	path, version       string // of the main module
	revision, time      string // of the source, where the build knows it
	modified            bool   // the source was not as the revision has it
	dependencies        *Hash
}

// clockState is what the system says of its clock.
type clockState struct {
	synchronized bool
	errorMicros  int64  // estimated
	source       string // what counts its time
}

// thisProgram does not change while it runs.
var thisProgram = sync.OnceValue(func() program {
	info, _ := debug.ReadBuildInfo()
	return programOf(info)
})

// process is what this process says of itself. Tests that compare bytes put
// something else in its place.
var process = func() *environment {
	return &environment{program: thisProgram(), clock: readClock()}
}

// programOf says what a build says of itself. info may be nil.
func programOf(info *debug.BuildInfo) program {
	p := program{goVersion: runtime.Version(), os: runtime.GOOS, arch: runtime.GOARCH}
	if info == nil {
		return p
	}
	p.path, p.version = info.Main.Path, info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			p.revision = s.Value
		case "vcs.time":
			p.time = s.Value
		case "vcs.modified":
			p.modified = s.Value == "true"
		}
	}
	digest := dependencyDigest(info.Deps)
	p.dependencies = &digest
	return p
}

// dependencyDigest is the SHA-256 of a line for each module that a program is
// built from: its path, a space, its version, a space, its hash as in go.sum, if
// there is one, a line feed; of a replaced module its replacement's. The lines
// are sorted.
func dependencyDigest(modules []*debug.Module) Hash {
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
	return Hash(h.Sum(nil))
}

// buildVersion is the main module's version, else its commit. A tree that was
// modified does not look like the commit.
func (p *program) buildVersion() string {
	version := "unknown"
	switch {
	case p.version != "" && p.version != "(devel)":
		version = p.version
	case p.revision != "" && p.modified:
		version = p.revision + "+dirty"
	case p.revision != "":
		version = p.revision
	}
	if checkStrings(given{"where.version", version}) != nil {
		return "unknown"
	}
	return version
}

// checkEnvironment says what is wrong with what the options say of the
// environment.
func (o *Options) checkEnvironment() error {
	const at = "data.environment."
	if err := checkStrings(given{at + "image", o.Environment.Image}); err != nil {
		return err
	}
	if len(o.Environment.Orchestrator) > fields.MaxList {
		return &FieldError{Field: at + "orchestrator", Problem: fmt.Sprintf("has more than %d elements", fields.MaxList)}
	}
	for name, value := range o.Environment.Orchestrator {
		if err := checkStrings(given{at + "orchestrator.name", name}, given{at + "orchestrator.value", value}); err != nil {
			return err
		}
	}
	if c := &o.CompanionOf; c.Origin != "" || c.Head.N != 0 {
		if problem := fieldsByPath()["data.companionOf.size"].CheckInteger(c.Head.N); problem != "" {
			return &FieldError{Field: "data.companionOf.size", Problem: problem}
		}
		return checkStrings(given{"data.companionOf.origin", c.Origin})
	}
	return nil
}

// environment describes the process. Its facts pass the policy of the action
// audit.opened, on the side of inputs; the block says what was done to them.
func (r *Recorder) environment() (*environment, *Redaction) {
	e := process()
	if e == nil {
		return nil, nil
	}
	e.image, e.orchestrator = r.opts.Environment.Image, r.opts.Environment.Orchestrator
	if absent(r.opts.Environment.Facts) {
		return e, nil
	}
	content := r.opts.Redactors.sanitizer(string(AuditOpened)).facts(r.opts.Environment.Facts)
	e.facts = content.json
	return e, content.redaction
}

func (e *environment) append(o *object) {
	o.Open("environment")
	o.Cut("go", e.goVersion)
	o.Cut("os", e.os)
	o.Cut("arch", e.arch)
	if e.path != "" {
		o.Open("module")
		o.Cut("path", e.path)
		o.Cut("version", e.version)
		o.Close()
	}
	if e.revision != "" {
		o.Open("vcs")
		o.Cut("revision", e.revision)
		o.Cut("time", e.program.time)
		o.Bool("modified", e.modified)
		o.Close()
	}
	if e.dependencies != nil {
		o.Hash("dependencies", *e.dependencies)
	}
	o.Optional("image", e.image)
	if names := slices.Sorted(maps.Keys(e.orchestrator)); len(names) > 0 {
		o.List("orchestrator", len(names), func(i int) {
			o.OpenElement()
			o.String("name", names[i])
			o.String("value", e.orchestrator[names[i]])
			o.Close()
		})
	}
	if e.clock != nil {
		o.Open("clock")
		o.Bool("synchronized", e.clock.synchronized)
		o.Integer("errorMicros", e.clock.errorMicros)
		o.Cut("source", e.clock.source)
		o.Close()
	}
	o.Raw("facts", e.facts)
	o.Close()
}

// companionData names the log that acts in this one are about.
type companionData struct {
	origin string
	head   tlog.Tree
}

func (c *companionData) append(o *object) {
	o.Open("companionOf")
	o.String("origin", c.origin)
	o.sizeAndRoot(c.head)
	o.Close()
}

func (d decoder) environment(raw []byte, e *Event) {
	v := &e.Data.Environment
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "go":
			v.Go = d.String(raw)
		case "os":
			v.OS = d.String(raw)
		case "arch":
			v.Arch = d.String(raw)
		case "module":
			v.Module.Path, v.Module.Version = d.pair(raw, "path", "version")
		case "vcs":
			d.Object(raw, func(name, raw []byte) {
				switch string(name) {
				case "revision":
					v.VCS.Revision = d.String(raw)
				case "time":
					v.VCS.Time = d.String(raw)
				case "modified":
					v.VCS.Modified = d.Bool(raw)
				}
			})
		case "dependencies":
			v.Dependencies = d.Hash(raw)
		case "image":
			v.Image = d.String(raw)
		case "orchestrator":
			v.Orchestrator = map[string]string{}
			d.List(raw, func(raw []byte) {
				name, value := d.pair(raw, "name", "value")
				v.Orchestrator[name] = value
			})
		case "clock":
			d.clock(raw, e)
		case "facts":
			v.Facts = json.RawMessage(d.Raw(raw))
		}
	})
}

func (d decoder) clock(raw []byte, e *Event) {
	v := &e.Data.Environment.Clock
	v.Known = true
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "synchronized":
			v.Synchronized = d.Bool(raw)
		case "errorMicros":
			v.ErrorMicros = d.Integer(raw)
		case "source":
			v.Source = d.String(raw)
		}
	})
}

func (d decoder) companion(raw []byte, e *Event) {
	v := &e.Data.CompanionOf
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "origin":
			v.Origin = d.String(raw)
		case "size":
			v.Head.N = d.Integer(raw)
		case "root":
			v.Head.Hash = d.Hash(raw)
		}
	})
}
