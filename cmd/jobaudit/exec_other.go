//go:build !unix || solaris || aix

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
)

func (a *app) exec(*execution, jobaudit.Submission) error {
	return errors.New("exec: logs cannot be written on this system")
}

func (a *app) witness() *cobra.Command { return &cobra.Command{Use: "exec-witness", Hidden: true} }

func drainSpool(context.Context, string, note.Verifier, jobaudit.AuditSink) (int, error) {
	return 0, nil
}

func leftBefore(string, note.Verifier, ...note.Verifier) error { return nil }

func queue(context.Context, string) (func(), error) {
	return nil, errors.New("logs cannot be written on this system")
}
