package pgsink_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// hostile are JSON texts of strings that a writer who wants to stop the log, or
// to change what others read, might write.
var hostile = map[string]string{
	"SQL":                 `"'); DROP TABLE jobaudit.events; --"`,
	"a quote":             `"'"`,
	"a backslash":         `"\\"`,
	"NUL":                 `"a\u0000b"`,
	"only NUL":            `"\u0000"`,
	"a lone surrogate":    `"\ud800x"`,
	"invalid UTF-8":       "\"\xff\xfe\"",
	"a byte order mark":   "\"\ufeffx\"",
	"a line separator":    "\"a\u2028b\"",
	"an array":            `"{a,NULL}"`,
	"COPY's end":          `"\\."`,
	"a tab":               `"a\tb"`,
	"a line feed":         `"a\nb"`,
	"as long as possible": `"` + incompressible(30_000) + `"`,
	"as many characters":  `"` + strings.Repeat("\u20ac", 10000) + `"`,
	"256 bytes":           `"` + incompressible(256) + `"`,
	"NULs":                `"` + strings.Repeat(`\u0000`, 5000) + `"`,
}

// incompressible is a text that an index cannot make shorter.
func incompressible(n int) string {
	random := rand.New(rand.NewPCG(1, 1))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%x", random.Uint64())
	}
	return b.String()[:n]
}

// fields put a JSON text into an event.
var fields = map[string]func(line, text string) (string, jobaudit.Query){
	"principal": func(line, text string) (string, jobaudit.Query) {
		return strings.Replace(line, `"id":"u-1"`, `"id":`+text, 1), jobaudit.Query{PrincipalID: value(text)}
	},
	"acting for": func(line, text string) (string, jobaudit.Query) {
		return strings.Replace(line, `"orgId":"acme"`, `"orgId":"acme","onBehalfOf":[{"kind":"user","id":`+text+`,"assurance":"claimed"}]`, 1),
			jobaudit.Query{ActingFor: value(text)}
	},
	"org": func(line, text string) (string, jobaudit.Query) {
		return strings.Replace(line, `"orgId":"acme"`, `"orgId":`+text, 1), jobaudit.Query{OrgID: value(text)}
	},
	"action": func(line, text string) (string, jobaudit.Query) {
		return strings.Replace(line, `"action":"reindex"`, `"action":`+text, 1), jobaudit.Query{Action: value(text)}
	},
	"org and action": func(line, text string) (string, jobaudit.Query) {
		line = strings.Replace(line, `"orgId":"acme"`, `"orgId":`+text, 1)
		return strings.Replace(line, `"action":"reindex"`, `"action":`+text, 1), jobaudit.Query{OrgID: value(text), Action: value(text)}
	},
	"resource": func(line, text string) (string, jobaudit.Query) {
		return strings.Replace(line, `"action":"reindex"`, `"action":"reindex","resource":`+text, 1), jobaudit.Query{Resource: value(text)}
	},
	"type": func(line, text string) (string, jobaudit.Query) {
		return strings.Replace(line, `"type":"job.submitted"`, `"type":`+text, 1), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.EventType(value(text))}}
	},
	"state": func(line, text string) (string, jobaudit.Query) {
		return strings.Replace(line, `"state":"pending"`, `"state":`+text, 1), jobaudit.Query{State: jobaudit.JobState(value(text))}
	},
	"error": func(line, text string) (string, jobaudit.Query) {
		return strings.TrimSuffix(line, "}") + `,"data":{"error":{"code":` + text + `,"message":"m"}}}`, jobaudit.Query{ErrorCode: jobaudit.ErrorCode(value(text))}
	},
	"time": func(line, text string) (string, jobaudit.Query) {
		return strings.Replace(line, `"time":"2026`, `"time":"9999`, 1), jobaudit.Query{}
	},
}

// value is what a JSON text says, "-" if it says nothing.
func value(text string) string {
	var s string
	if json.Unmarshal([]byte(text), &s) != nil || s == "" {
		return "-"
	}
	return s
}

// Whatever a writer sends by append_v1, the log goes on: the event has a place
// and is found by its fields, or it is refused one, and Verify says which.
func TestNoEventStopsTheLogOrHides(t *testing.T) {
	url, k := database(t), newKey(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	type sent struct {
		name, line string
		id         uuid.UUID
		query      jobaudit.Query
	}
	var all []sent
	accept := func(name string, id uuid.UUID, line string, q jobaudit.Query) {
		all = append(all, sent{name, line, id, q})
		_, err := conn.Exec(t.Context(), `SELECT jobaudit.append_v1(ARRAY[$1::uuid], ARRAY[$2::bytea], ARRAY[0], '{}')`, id.String(), []byte(line))
		require.NoError(t, err, name)
	}
	for field, put := range fields {
		for kind, text := range hostile {
			r := sinktest.Records(1)[0]
			line, q := put(string(r.Bytes()), text)
			accept(fmt.Sprintf("%s: %s", field, kind), r.ID(), line, q)
		}
	}
	for name, line := range map[string]string{"no JSON": "x", "a line feed": "{}\n{}", "a commit line": `{"checkpoint":"x"}`, "empty": "{}", "NUL": "\x00"} {
		accept(name, uuid.Must(uuid.NewV7()), line, jobaudit.Query{})
	}
	last := sinktest.Records(1)
	sink := open(t, url, nil)
	require.NoError(t, sink.Append(t.Context(), last))
	run(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))

	refused := make(map[uuid.UUID]string)
	_, err = pgsink.Verify(t.Context(), url, nil)
	var found *pgsink.VerifyError
	require.ErrorAs(t, err, &found)
	for _, f := range found.Findings {
		require.Equal(t, pgsink.KindRefused, f.Kind, "%v", f)
		refused[f.EventID] = f.Found
	}
	stored := 0
	for _, s := range all {
		if reason := refused[s.id]; reason != "" {
			_, parseErr := jobaudit.ParseRecord([]byte(s.line))
			require.True(t, parseErr != nil || strings.Contains(s.line, "\n"), "%s was refused: %s", s.name, reason)
			continue
		}
		stored++
		require.Contains(t, read(t, sink, s.query), s.id, s.name)
	}
	require.Greater(t, stored, len(all)/2)
	require.Contains(t, read(t, sink, jobaudit.Query{}), last[0].ID())
	for line, err := range sink.Lines(t.Context(), 0) {
		require.NoError(t, err)
		require.False(t, bytes.ContainsAny(line, "\n"))
	}
}
