package queue

import (
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
)

// ErrNoLogs means that an adapter was given no Logs to compare its queue with.
var ErrNoLogs = errors.New("no logs to reconcile with")

// ReconcileOptions adjust the comparison of a queue with the logs. The zero
// value, like nil, gives the defaults.
type ReconcileOptions struct {
	// Settle is how long a job must have been quiet before anything is concluded
	// about it: longer than it takes to put a job into its queue after its
	// submission, and to record an outcome after the queue's verdict, and longer
	// than the pause between two heartbeats. The times that records and queues
	// give are other processes' clocks and decide nothing: the adapter remembers
	// what it has seen, and concludes when it has seen the same for so long by
	// its own clock. So the first comparison of a process concludes nothing of
	// what it finds, and a later one does. Default: 2 minutes. Negative: nothing is
	// waited for, as when no worker runs.
	Settle time.Duration
	// Wait is for a process that compares once and ends: if anything has not
	// settled, the call waits for Settle, or until its context ends, and compares
	// once more.
	Wait bool
	// Since limits the search for jobs that are on record and in the queue no
	// more to those that have events from then on. Default: all.
	Since time.Time
	// Unaudited says that this queue has workers without the adapter, so that an
	// attempt without a record was made by one of them. It is reconstructed from
	// what the queue tells. Without it, such an attempt means that not all logs
	// were given: [ErrPartialLog]. Of a job that has left the queue one cannot
	// tell whether an unaudited worker ran it; it is in [Report.Unresolved].
	Unaudited bool
}

// WithDefaults returns the options with the defaults filled in.
func (o *ReconcileOptions) WithDefaults() ReconcileOptions {
	var opts ReconcileOptions
	if o != nil {
		opts = *o
	}
	if opts.Settle == 0 {
		opts.Settle = 2 * time.Minute
	}
	opts.Settle = max(opts.Settle, 0)
	return opts
}

// Report is what a comparison of a queue with the logs has found and recorded.
type Report struct {
	Jobs      int // in the queue
	Submitted int // submissions recorded
	Attempts  int // starts and ends of attempts recorded
	Ended     int // outcomes recorded
	// Unsettled are jobs that were left alone because this process has not seen
	// them unchanged for [ReconcileOptions.Settle].
	Unsettled int
	// Unresolved are jobs that are in the queue no more, and nothing tells how
	// they ended.
	Unresolved []uuid.UUID
	// Partial are the jobs of which nothing was recorded because not all of
	// their logs were given: see [ErrPartialLog].
	Partial []uuid.UUID
	// Failed are the jobs that could not be compared, or not recorded; the error
	// says why. Of one whose Carrier was refused it is the ID that this claims.
	Failed []uuid.UUID
}

// Added is how many events were missing, and are on record now.
func (r Report) Added() int { return r.Submitted + r.Attempts + r.Ended }

// Err is [ErrPartialLog] for each job of which nothing was recorded because not
// all of its logs were given, joined; nil if there is none.
func (r Report) Err() error {
	errs := make([]error, 0, len(r.Partial))
	for _, id := range r.Partial {
		errs = append(errs, Partial(id))
	}
	return errors.Join(errs...)
}

// Skip adds a job to [Report.Partial] and returns nil if err is [ErrPartialLog];
// it returns any other err.
func (r *Report) Skip(id uuid.UUID, err error) error {
	if !errors.Is(err, ErrPartialLog) {
		return err
	}
	if !slices.Contains(r.Partial, id) {
		r.Partial = append(r.Partial, id)
	}
	return nil
}
