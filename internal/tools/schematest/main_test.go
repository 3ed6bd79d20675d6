package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// oneLine removes the white space that makes a fixture readable.
func oneLine(t *testing.T, value string) string {
	t.Helper()
	var line bytes.Buffer
	require.NoError(t, json.Compact(&line, []byte(value)))
	return line.String() + "\n"
}

func TestCheckCountsValidValues(t *testing.T) {
	count, err := check(schemas, eventKind, strings.NewReader(oneLine(t, jobEvent)+oneLine(t, auditEvent)))
	require.NoError(t, err)
	require.Equal(t, 2, count)

	count, err = check(schemas, jobKind, strings.NewReader(job+"\n"+oneLine(t, job)))
	require.NoError(t, err)
	require.Equal(t, 2, count, "a job may span lines")
}

func TestCheckNamesLineAndPath(t *testing.T) {
	wrong := strings.Replace(oneLine(t, jobEvent), `"manual"`, `"whim"`, 1)
	_, err := check(schemas, eventKind, strings.NewReader(oneLine(t, jobEvent)+wrong))
	require.ErrorContains(t, err, "line 2: /why/trigger: ")

	wrong = strings.Replace(job, `"success"`, `"done"`, 1)
	_, err = check(schemas, jobKind, strings.NewReader("\n"+oneLine(t, job)+wrong))
	require.ErrorContains(t, err, "line 3: /state: ")
}

func TestCheckRefusesWhatIsNoJSON(t *testing.T) {
	for _, kind := range []kind{eventKind, jobKind} {
		_, err := check(schemas, kind, strings.NewReader(oneLine(t, job)+"{\n"))
		require.ErrorContains(t, err, "line 2: no JSON value", kind)
	}
	_, err := check(schemas, eventKind, strings.NewReader(job))
	require.ErrorContains(t, err, "line 1: no JSON value", "an event stands on one line")
}

func TestCheckRefusesEmptyInput(t *testing.T) {
	_, err := check(schemas, eventKind, strings.NewReader(""))
	require.Error(t, err)
}
