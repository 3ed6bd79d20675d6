package main

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheExamplePrintsTheTrails(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	got := out.String()
	for _, r := range [][2]string{
		{`\w+day, \d+ \w+ \d+, UTC`, "DAY"},
		{`\d\d:\d\d:\d\d\.\d{3}`, "TIME"},
		{` *\+\d+\.\d{6}s`, " OFFSET"},
		{`[0-9a-f]{8}-[0-9a-f-]{27}`, "ID"},
		{`"file":"[^"]*[/\\]`, `"file":"DIR/`},
		{`open [^ ]*gone.txt: .*\[`, "open DIR/gone.txt: … ["},
		{`host .*, instance`, "host HOST, version VERSION, instance"},
	} {
		got = regexp.MustCompile(r[0]).ReplaceAllString(got, r[1])
	}
	require.Equal(t, `report.txt: published: true
gone.txt: published: false

DAY
TIME OFFSET  job.submitted   pending  inputs {"file":"DIR/report.txt"}
                             redaction publish-file 1: removed: token (credential)
                             who    user ada (claimed)
                             what   publish-file on report.txt
                             where  publisher in example, host HOST, version VERSION, instance ID
                             why    manual: the quarter is over
                             job    ID
TIME OFFSET  job.authorized  pending  allowed as nothing decides
TIME OFFSET  job.started     running, attempt 1  next sign of life by TIME
TIME OFFSET  job.logged      | 8 bytes to upload
TIME OFFSET  job.succeeded   success  output {"bytes":8,"sha256":"90bd35df60f1e27d2236245a4a49f73e1dfb01936f2c2159c70a2bde93eb2977"}

DAY
TIME OFFSET  job.submitted   pending  inputs {"file":"DIR/gone.txt"}
                             redaction publish-file 1: removed: token (credential)
                             who    user ada (claimed)
                             what   publish-file on gone.txt
                             where  publisher in example, host HOST, version VERSION, instance ID
                             why    manual: the quarter is over
                             job    ID
TIME OFFSET  job.authorized  pending  allowed as nothing decides
TIME OFFSET  job.started     running, attempt 1  next sign of life by TIME
TIME OFFSET  job.failed      failed  ERROR: open DIR/gone.txt: … [*fs.PathError]
`, got)
}
