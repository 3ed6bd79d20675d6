package exporttest

import (
	"strconv"
	"strings"
	"testing"

	"github.com/leodido/go-syslog/v4/rfc5424"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// checkSyslog has go-syslog read an event, and compares what it found.
func checkSyslog(t *testing.T, r jobaudit.Record) {
	line := encode(t, export.Syslog, r)
	parsed, err := rfc5424.NewParser().Parse(line)
	if err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	m, ok := parsed.(*rfc5424.SyslogMessage)
	require.True(t, ok)
	require.True(t, m.Valid())
	e := r.Event()
	require.EqualValues(t, 13, *m.Facility)
	require.EqualValues(t, 1, m.Version)
	require.NotNil(t, m.StructuredData)
	require.Len(t, *m.StructuredData, 1, "a text opened another element: %s", line)
	params := (*m.StructuredData)["jobaudit@32473"]
	require.Equal(t, e.ID.String(), params["event_id"])
	require.Equal(t, visible(e.Why.Reason), params["reason"])
	require.Equal(t, visible(e.What.Action), params["action"])
	require.Equal(t, visible(e.Who.Principal.ID), params["principal_id"])
	require.Equal(t, visible(e.Data.Line), params["line"])
	require.Equal(t, strconv.FormatUint(e.Stream.Seq, 10), params["stream_seq"])
	if e.Data.Error != nil {
		require.Equal(t, visible(e.Data.Error.Message), params["error_message"])
	}
	require.NotNil(t, m.Message)
	require.True(t, strings.HasPrefix(*m.Message, visible(string(e.Type))))
}

// visible is a text as docs/exports.md says that syslog holds it.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029:
			b.WriteString(`\u` + (strconv.FormatInt(int64(r)|1<<16, 16))[1:])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func TestExtraGoSyslogReadsEveryEvent(t *testing.T) {
	size.Extra(t)
	for _, r := range cases(t) {
		checkSyslog(t, r)
	}
}

func FuzzExtraSyslog(f *testing.F) { fuzz(f, checkSyslog) }
