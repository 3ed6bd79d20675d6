package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jobaudit/jobaudit"
)

// execInputs are what a policy for exec can keep or drop.
type execInputs struct {
	Program     string            `json:"program"`
	Arguments   map[string]string `json:"arguments"` // by position, from 1
	Environment map[string]string `json:"environment"`
}

// execResult is the job's output.
type execResult struct {
	Exit   int    `json:"exit"`
	Signal string `json:"signal"`
	Bytes  int64  `json:"bytes"` // printed
	Lines  int64  `json:"lines"`
}

// execPolicy is a policy file.
type execPolicy struct {
	Version string            `json:"version"`
	Keep    []string          `json:"keep"`
	Drop    map[string]string `json:"drop"` // class by path
}

// readPolicy reads a policy file. None keeps nothing.
func readPolicy(file string) (p execPolicy, err error) {
	if file == "" {
		return execPolicy{Version: "exec/1"}, nil
	}
	content, err := readInput(file)
	if err != nil {
		return p, fmt.Errorf("policy: %w", err)
	}
	if err := readJSON(content, &p, true); err != nil {
		return p, fmt.Errorf("policy %s: %w", file, err)
	}
	if p.Version == "" {
		return p, fmt.Errorf("policy %s: version is missing", file)
	}
	for _, path := range p.paths() {
		// Only variables that are named are looked at: of others nothing would be kept, and
		// nothing be kept out of the lines.
		name, of := strings.CutPrefix(path, "environment")
		if of && (len(name) < 2 || name[0] != '.' || strings.ContainsAny(name[1:], ".[]*")) {
			return p, fmt.Errorf("policy %s: %q names no variable: name each, as in environment.TOKEN", file, path)
		}
	}
	return p, nil
}

// paths are all that the policy names.
func (p execPolicy) paths() []string { return append(slices.Collect(maps.Keys(p.Drop)), p.Keep...) }

// registry makes the policy one of an action.
func (p execPolicy) registry(action string) (*jobaudit.Registry, error) {
	rules := []jobaudit.Rule{jobaudit.OutputPaths[execResult](jobaudit.Keep("exit"), jobaudit.Keep("signal"), jobaudit.Keep("bytes"), jobaudit.Keep("lines"))}
	var paths []jobaudit.Path
	for _, path := range p.Keep {
		paths = append(paths, jobaudit.Keep(path))
	}
	for _, path := range slices.Sorted(maps.Keys(p.Drop)) {
		paths = append(paths, jobaudit.Drop(path, p.Drop[path]))
	}
	if len(paths) > 0 {
		rules = append(rules, jobaudit.InputPaths[execInputs](paths...))
	}
	return jobaudit.NewRegistry(nil, jobaudit.NewRedactor(action, p.Version, rules...))
}

// inputs are the program's, with the environment variables that the policy names:
// those that it drops are kept out of what the program prints.
func (p execPolicy) inputs(program []string) execInputs {
	in := execInputs{Program: program[0], Arguments: map[string]string{}, Environment: map[string]string{}}
	for i, arg := range program[1:] {
		in.Arguments[strconv.Itoa(i+1)] = arg
	}
	for _, path := range p.paths() {
		name, ok := strings.CutPrefix(path, "environment.")
		if value, set := os.LookupEnv(name); ok && set {
			in.Environment[name] = value
		}
	}
	return in
}
