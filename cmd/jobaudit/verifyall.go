package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// verifyAll verifies several logs, each with those of the keys and anchors that are of
// its line of successors. One that belongs to none of them is a finding: its log was
// put away, or another one in its place. A log that cannot be read keeps none of the
// others from being verified.
func (a *app) verifyAll(ctx context.Context, args []string, opts *filesink.VerifyOptions, asJSON bool) error {
	if len(opts.AcceptLoss)+len(opts.Companions) > 0 {
		return usagef("--accept-loss and --companion are about one log: verify that one by itself")
	}
	var failed, withoutKey error // what could not be verified, and why
	used, found, unread := map[string]bool{}, false, false
	for _, source := range args {
		line, err := a.verifyOne(ctx, source, opts, asJSON)
		used[line] = true
		_, wrong := errors.AsType[usageError](err)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return err
		case errors.Is(err, errFindings):
			found = true
		default:
			unread = unread || line == "" && !wrong
			if wrong {
				withoutKey = errors.Join(withoutKey, err)
			} else {
				failed = errors.Join(failed, err)
			}
			if err := a.notVerified(source, err, asJSON); err != nil {
				return err
			}
		}
	}
	for _, line := range given(opts.Keys, opts.Checkpoints) {
		if !used[line] && !unread { // else it may be that of one that cannot be read
			fmt.Fprintf(a.err, "%s a key or an anchor of %s is given, and no source holds that log\n", a.bad("finding"), plain(line))
			found = true
		}
	}
	if found {
		return errFindings
	}
	if failed != nil {
		return failed // the exit code says that something could not be read
	}
	return withoutKey
}

// verifyOne verifies one of several logs, and says which line of successors it is of.
func (a *app) verifyOne(ctx context.Context, name string, opts *filesink.VerifyOptions, asJSON bool) (line string, err error) {
	source, err := a.open(ctx, name)
	if err != nil {
		return "", err
	}
	if line, err = lineOf(ctx, source); err != nil {
		return "", err
	}
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
		return line, usagef("--key: none of the keys is of the log %s in %s", plain(line), plain(source.String()))
	}
	if !asJSON {
		fmt.Fprintf(a.out, "%s\n", plain(source.String()))
	}
	return line, a.verify(ctx, source, &with, asJSON)
}

// notVerified says of one of several logs that it was not verified.
func (a *app) notVerified(source string, why error, asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprintf(a.out, "%s %s: %s\n", a.bad("NOT VERIFIED"), plain(source), plain(why.Error()))
		return err
	}
	line, err := json.Marshal(map[string]any{"verified": false, "source": source, "error": why.Error()})
	if err != nil {
		return err
	}
	return a.printJSON(line)
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
