package main

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALostJobIsFoundAndItsLateEndIsShown(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	printed := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).ReplaceAllString(out.String(), "ID")
	printed = regexp.MustCompile(`version [^,]+,`).ReplaceAllString(printed, "version V,")
	require.Equal(t, `rebuild-index: abandoned, silent since 09:30:00
1 still at work

Tuesday, 3 February 2026, UTC
09:30:00.000   +0.000000s  job.submitted   pending
                             who    user ada (verified)
                             what   rebuild-index
                             where  reports in example, host h1, version V, instance ID
                             why    manual: the board meets tomorrow
                             job    ID
09:30:00.000   +0.000000s  job.authorized  pending  allowed as nothing decides
09:30:00.000   +0.000000s  job.started     running, attempt 1  next sign of life by 09:31:00.000
09:32:00.000 +120.000000s  attempt.lost    running  ABANDONED: no sign of life within the announced deadline
                             evidence: last event job.started at 09:30:00.000, next sign of life was due by 09:31:00.000
                             owner: host h1, instance ID, stream ID
                             who    service reports (verified), on behalf of user ada (claimed)
                             why    event: an execution gives no sign of life
09:32:00.000 +120.000000s  job.failed      failed  ABANDONED: no sign of life within the announced deadline
                             evidence: last event job.started at 09:30:00.000, next sign of life was due by 09:31:00.000
                             owner: host h1, instance ID, stream ID
09:32:00.000 +120.000000s  job.succeeded   success
                             who    user ada (verified)
                             why    manual: the board meets tomorrow

job.succeeded came late: the job is failed

✗ rebuild-index  failed  2m0s  1 late events  ABANDONED: no sign of life within the announced deadline  ID
✓ send-reports  success  2m0s  ID
`, printed)
}
