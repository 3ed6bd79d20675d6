package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the program's version",
		Args:  wrongly(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, version())
			return err
		},
	}
}

// version is what the Go command put into the program: the module's version
// after go install …@version, the commit after go build in a clone.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "jobaudit, version unknown"
	}
	var text strings.Builder
	text.WriteString("jobaudit " + info.Main.Version)
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text.WriteString(" commit " + s.Value)
		case s.Key == "vcs.modified" && s.Value == "true":
			text.WriteString(" modified")
		}
	}
	return text.String() + " " + info.GoVersion
}
