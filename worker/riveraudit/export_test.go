package riveraudit

import (
	"context"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// Verdict is verdict, for tests outside the package.
func (a *Audit) Verdict(ctx context.Context, job *rivertype.JobRow) (ours bool, err error) {
	return a.verdict(ctx, job)
}

// Waiting is waiting, for tests outside the package.
func (a *Audit) Waiting(within time.Duration) []int64 { return a.waiting(within) }
