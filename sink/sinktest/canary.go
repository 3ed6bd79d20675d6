package sinktest

import (
	"context"
	"errors"
	"fmt"
)

func canary(ctx context.Context, b *bench) error {
	if b.medium.Bytes == nil {
		return errors.New("Medium.Bytes is nil, and Traits.Opaque is not set")
	}
	return fmt.Errorf("todo")
}
