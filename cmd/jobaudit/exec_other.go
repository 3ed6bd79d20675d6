//go:build !unix || solaris || aix

package main

import (
	"context"
	"errors"

	"github.com/jobaudit/jobaudit"
)

func (a *app) exec(*execution, jobaudit.Submission) error {
	return errors.New("exec: logs cannot be written on this system")
}

func queue(context.Context, string) (func(), error) {
	return nil, errors.New("logs cannot be written on this system")
}
