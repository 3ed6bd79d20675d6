package pgsink

import (
	"context"
	"time"

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

// WaitingFor returns options whose Migrate waits for so long for another one.
func WaitingFor(wait time.Duration, opts MigrateOptions) *MigrateOptions {
	opts.wait = wait
	return &opts
}

// Restore sends again what was accepted and is gone, without waiting.
func (s *Sink) Restore(ctx context.Context) error {
	_, err := s.restore(ctx, 0)
	return err
}

// LeadingFor returns options whose sequencer may pause for so long while it leads.
func LeadingFor(pause time.Duration, opts SequencerOptions) SequencerOptions {
	opts.leadFor = pause
	return opts
}

// PartitionsOf returns options whose sequencer makes partitions as if each held so many events.
func PartitionsOf(size int64, opts SequencerOptions) SequencerOptions {
	opts.partition = size
	return opts
}

// OnConn calls f with a connection of the Appends.
func (s *Sink) OnConn(ctx context.Context, f func(*pgx.Conn) error) error {
	return onConn(ctx, s.appends, f)
}

// AsksForThePrimary reports whether a sink's connections would refuse a standby.
func AsksForThePrimary(connString string) bool {
	config, err := pgx.ParseConfig(connString)
	if err != nil {
		return false
	}
	prepareConn(config, &Options{})
	return config.ValidateConnect != nil
}
