package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const job = `{
	"id": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
	"state": "success",
	"createdAt": "2026-01-02T03:04:05Z",
	"startedAt": "2026-01-02T03:04:06.5Z",
	"completedAt": "2026-01-02T03:04:07.123456Z",
	"output": {"rows": 3},
	"logs": ["begun", "done"],
	"metadata": {
		"requestId": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
		"userId": "u-1",
		"orgId": "",
		"action": "send-report",
		"inputs": {"month": "2026-01"}
	}
}`

func TestAJobMeetsItsContract(t *testing.T) {
	tests := []struct {
		name, patch, fault string
	}{
		{"a success", `{}`, ""},
		{"a pending job", `{"state":"pending","startedAt":null,"completedAt":null,"output":null,"logs":[]}`, ""},
		{"a running job", `{"state":"running","completedAt":null}`, ""},
		{"a failure", `{"state":"failed","error":{"code":"ERROR","message":""}}`, ""},
		{"cancelled before its start", `{"state":"cancelled","startedAt":null}`, ""},
		{"an upper-case ID", `{"id":"7D444840-9DC0-11D1-B245-5FFDCE74FAD2"}`, ""},
		{"nothing in the texts", `{"state":"failed","error":{"code":"","message":""},"metadata":{"userId":"","action":""}}`, ""},
		{"fields that we add", `{"correlationId":"7d444840-9dc0-11d1-b245-5ffdce74fad2","attempt":2,"metadata":{"x":1}}`, ""},
		{"clocks that disagree", `{"completedAt":"2026-01-02T03:04:01Z"}`, ""},

		{"an unknown state", `{"state":"done"}`, "/state"},
		{"no state", `{"state":null}`, "/"},
		{"an ID without hyphens", `{"id":"7d4448409dc011d1b2455ffdce74fad2"}`, "/id"},
		{"no logs", `{"logs":null}`, "/"},
		{"logs that are no lines", `{"logs":[1]}`, "/logs/0"},
		{"a time with an offset", `{"createdAt":"2026-01-02T04:04:05+01:00"}`, "/createdAt"},
		{"a pending job that started", `{"state":"pending","completedAt":null}`, "/startedAt"},
		{"a running job without a start", `{"state":"running","startedAt":null,"completedAt":null}`, "/"},
		{"a running job that completed", `{"state":"running"}`, "/completedAt"},
		{"a success that never started", `{"startedAt":null}`, "/"},
		{"a cancelled job without an end", `{"state":"cancelled","completedAt":null}`, "/"},
		{"an error without a message", `{"state":"failed","error":{"code":"ERROR"}}`, "/error"},
		{"no metadata", `{"metadata":null}`, "/"},
		{"no inputs", `{"metadata":{"inputs":null}}`, "/metadata"},
		{"no organization", `{"metadata":{"orgId":null}}`, "/metadata"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			value := eventCase{base: job, patch: test.patch}.event(t)
			requireFault(t, validatorOf(t, jobKind).faults(value), test.fault)

			status := json.RawMessage(`{"requestId":"7d444840-9dc0-11d1-b245-5ffdce74fad2","job":` + string(value) + `}`)
			if test.fault != "" {
				test.fault = strings.TrimSuffix("/job"+test.fault, "/")
			}
			requireFault(t, validatorOf(t, jobStatusKind).faults(status), test.fault)
		})
	}
}

func TestInputsMayBeNullButNotAbsent(t *testing.T) {
	withheld := strings.Replace(job, `{"month": "2026-01"}`, "null", 1)
	require.Empty(t, validatorOf(t, jobKind).faults([]byte(withheld)))
}

func TestAJobStatusHasARequestOfItsOwn(t *testing.T) {
	requireFault(t, validatorOf(t, jobStatusKind).faults([]byte(`{"job":`+job+`}`)), "/")
	requireFault(t, validatorOf(t, jobStatusKind).faults([]byte(`{"requestId":"r","job":`+job+`}`)), "/requestId")
}

// requireFault wants a fault at the path, or none if the path is empty.
func requireFault(t *testing.T, faults []string, path string) {
	t.Helper()
	if path == "" {
		require.Empty(t, faults)
		return
	}
	at := func(fault string) bool { return strings.HasPrefix(fault, path+":") }
	require.True(t, slices.ContainsFunc(faults, at), "no fault at %s in %q", path, faults)
}
