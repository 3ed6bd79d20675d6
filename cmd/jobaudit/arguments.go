package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// wrongly makes an error about arguments a usageError that says how the command is called.
func wrongly(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w: it is called %s %s", err, cmd.Root().Name(), cmd.Use)
		}
		return nil
	}
}

// noCommand is the error about what is no command.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("a command is missing")
	}
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	text := ""
	if near := nearest(args[0], names); len(near) > 0 {
		text = ": did you mean " + alternatives(near) + "?"
	}
	return usagef("there is no command %q%s", clipped(args[0]), text)
}

var (
	unknownFlag = regexp.MustCompile(`^unknown flag: --(\S+)$`)
	goNumber    = regexp.MustCompile(`: strconv\.Parse\w+: .*$`)
	goDuration  = regexp.MustCompile(`: time: .*$`)
)

// flagError is an error about flags, in words of people who do not know Go.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if m := unknownFlag.FindStringSubmatch(text); m != nil {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := nearest(m[1], names); len(near) > 0 {
			return usagef("unknown flag: --%s: did you mean --%s?", m[1], strings.Join(near, ", --"))
		}
	}
	text = goNumber.ReplaceAllString(text, ": it is a whole number")
	return usagef("%s", goDuration.ReplaceAllString(text, ": it is written as 90s, 15m or 2h30m"))
}

// checkFlags refuses what is given and says nothing: with an empty value, as that of a
// variable of a shell that is not set, a filter would select everything.
func checkFlags(cmd *cobra.Command, _ []string) (err error) {
	if cmd.Parent() == nil || strings.HasPrefix(cmd.CommandPath(), cmd.Root().Name()+" completion") {
		return nil
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if cmd.Name() == "exec" && f.Name == "ref" {
			return // a job may have an empty reference
		}
		switch text := f.Value.String(); f.Value.Type() {
		case "string":
			if strings.TrimSpace(text) == "" {
				err = usagef("--%s is empty: leave it out, or say what it is", f.Name)
			}
		case "stringArray", "stringSlice":
			list, _ := f.Value.(pflag.SliceValue)
			for _, one := range list.GetSlice() {
				if strings.TrimSpace(one) == "" {
					text = "[]"
				}
			}
			if text == "[]" {
				err = usagef("--%s is empty: leave it out, or say what it is", f.Name)
			}
		case "int", "duration":
			if strings.HasPrefix(text, "-") {
				err = usagef("--%s %s is negative", f.Name, text)
			}
		}
	})
	return err
}

// clipped is an argument as a message repeats it: harmless, and not longer than that is of
// use.
func clipped(text string) string { return cut(plain(text), 100) }

// idLast is an error about an ID that stands in front of its log.
func idLast(cmd *cobra.Command, args []string) error {
	if _, err := uuid.Parse(args[0]); err != nil || exists(args[0]) || len(args) < 2 {
		return nil
	}
	return usagef("the ID comes last: %s %s %s", cmd.CommandPath(), clipped(strings.Join(args[1:], " ")), args[0])
}

// isLog says why a path is no log's directory.
func isLog(path string) error {
	if path == "" {
		return usagef("the name of a source is empty: it is a directory, or the URL of a database")
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no %s%s", clipped(path), meant(logsIn(filepath.Dir(path)), filepath.Base(path)))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be looked at by this user: %w", clipped(path), fs.ErrPermission)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no log, but a file: a log is a directory with a directory entries in it", clipped(path))
	}
	if _, err := os.Stat(filepath.Join(path, "entries")); errors.Is(err, fs.ErrNotExist) {
		text := ""
		if list := logsIn(path); len(list) > 0 {
			text = ": did you mean " + alternatives(list[:min(3, len(list))]) + "?"
		} else if filepath.Base(filepath.Clean(path)) == "entries" {
			text = ": did you mean " + clipped(filepath.Dir(filepath.Clean(path))) + "?"
		}
		return fmt.Errorf("%s is not a log: it has no directory entries%s", clipped(path), text)
	}
	return nil
}

// logsIn lists the logs in a directory.
func logsIn(dir string) (list []string) {
	found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "*", "entries"))
	for _, entries := range found[:min(len(found), 100)] {
		list = append(list, filepath.Dir(entries))
	}
	return list
}

// escapeGlob is a path that stands for itself in a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(path)
}

// meant names those of some paths whose last part is like a name.
func meant(paths []string, name string) string {
	var near []string
	for _, path := range paths {
		if len(nearest(name, []string{filepath.Base(path)})) > 0 && len(near) < 3 {
			near = append(near, plain(path))
		}
	}
	if len(near) == 0 {
		return ""
	}
	return ": did you mean " + alternatives(near) + "?"
}

// quoted is an argument in quotation marks.
func quoted(text string) string { return strconv.Quote(clipped(text)) }
