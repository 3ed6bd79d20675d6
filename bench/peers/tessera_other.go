//go:build !linux || (!amd64 && !arm64)

package main

import (
	"context"
	"errors"

	"github.com/jobaudit/jobaudit/bench/cost"
)

func tesseraRows(context.Context) (cost.Rows, func(), error) {
	return nil, nil, errors.New("Tessera is measured on Linux, on amd64 and arm64 only")
}
