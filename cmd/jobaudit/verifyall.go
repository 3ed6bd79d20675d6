package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// verifyAll verifies several logs, each with those of the keys and anchors that are of
// its line of successors. One that belongs to none of them is a finding: its log was
// put away, or another one in its place.
func (a *app) verifyAll(ctx context.Context, logs sources, opts *filesink.VerifyOptions, asJSON bool) error {
	if len(opts.AcceptLoss)+len(opts.Companions) > 0 {
		return usagef("--accept-loss and --companion are about one log: verify that one by itself")
	}
	used, found := map[string]bool{}, false
	for _, source := range logs {
		line, err := lineOf(ctx, source)
		if err != nil {
			return err
		}
		used[line] = true
		with := *opts
		with.Keys, with.Checkpoints = nil, nil
		for _, key := range opts.Keys {
			if first, _ := auditlog.SplitOrigin(key.Name()); first == line {
				with.Keys = append(with.Keys, key)
			}
		}
		for _, signed := range opts.Checkpoints {
			if lineOfHead(signed) == line {
				with.Checkpoints = append(with.Checkpoints, signed)
			}
		}
		if len(with.Keys) == 0 {
			return usagef("--key: none of the keys is of the log %s in %s", plain(line), plain(source.String()))
		}
		if !asJSON {
			fmt.Fprintf(a.out, "%s\n", plain(source.String()))
		}
		if err := a.verify(ctx, source, &with, asJSON); errors.Is(err, errFindings) {
			found = true
		} else if err != nil {
			return err
		}
	}
	for _, line := range given(opts.Keys, opts.Checkpoints) {
		if !used[line] {
			fmt.Fprintf(a.err, "%s a key or an anchor of %s is given, and no source holds that log\n", a.bad("finding"), plain(line))
			found = true
		}
	}
	if found {
		return errFindings
	}
	return nil
}

// given lists the lines of successors that keys and heads are of.
func given(keys []note.Verifier, heads [][]byte) (lines []string) {
	for _, key := range keys {
		line, _ := auditlog.SplitOrigin(key.Name())
		lines = append(lines, line)
	}
	for _, signed := range heads {
		lines = append(lines, lineOfHead(signed))
	}
	return lines
}

// lineOf returns the origin of the first log in the line of successors that a log
// claims to be of.
func lineOf(ctx context.Context, source log) (string, error) {
	signed, err := source.newest(ctx, false)
	if err != nil {
		return "", fmt.Errorf("%s: %w", source, err)
	}
	return lineOfHead(signed), nil
}

func lineOfHead(signed []byte) string {
	origin, _, _ := strings.Cut(string(signed), "\n")
	line, _ := auditlog.SplitOrigin(origin)
	return line
}
