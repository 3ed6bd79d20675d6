package pgsink

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// On returns options whose connections are configured by f.
func On(f func(*pgx.ConnConfig), opts Options) *Options {
	opts.configure = f
	return &opts
}

// AtSteps returns options whose sequencer calls f at each step of a cycle.
func AtSteps(f func(step string) error, opts SequencerOptions) SequencerOptions {
	opts.step = f
	return opts
}

// Restore sends again what was accepted and is gone, without waiting.
func (s *Sink) Restore(ctx context.Context) error { return s.restore(ctx, 0) }
