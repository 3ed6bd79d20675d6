package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

func TestTheLinesOfThePageDoWhatItSays(t *testing.T) {
	dir := t.TempDir()
	c := config{dir: filepath.Join(dir, "audit"), keys: filepath.Join(dir, "keys")}
	runThePage(t, c)

	key, err := filesink.LoadOrCreateKey(c.dir, filepath.Join(c.keys, "log.key"), origin)
	require.NoError(t, err)
	report, err := filesink.Verify(t.Context(), c.dir, &filesink.VerifyOptions{Keys: []note.Verifier{key.Verifier()}})
	require.NoError(t, err)
	require.Equal(t, auditlog.Signed, report.Level)
	require.Zero(t, report.Ghosts)
	require.NoError(t, filepath.WalkDir(c.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		require.NotContains(t, string(content), "of the printer")
		return err
	}))
}

func TestTheLinesOfThePageDoItOnPostgreSQL(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a server; left out by -short")
	}
	server, err := pgserver.Start(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Stop()) }()
	runThePage(t, config{keys: filepath.Join(t.TempDir(), "keys"), postgres: server.URL("postgres")})
}

// runThePage serves, and does what README.md says.
func runThePage(t *testing.T, c config) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stopped := make(chan error, 1)
	go func() { stopped <- run(ctx, c, listener) }()
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	shell := shell{address: listener.Addr().String(), jars: map[string]http.CookieJar{}}
	lines := 0
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSuffix(line, "\n")
		switch command, want, _ := strings.Cut(line, " # "); {
		case strings.HasPrefix(line, "JOB="):
			shell.job = shell.newest
		case strings.HasPrefix(line, "curl "):
			lines++
			status, err := shell.curl(t.Context(), command)
			require.NoError(t, err, line)
			if strings.Contains(line, "-X DELETE") && want == "202" && status == "200" { // it has ended before the answer
				require.Contains(t, shell.answer, `"state":"cancelled"`)
				want = status
			}
			require.Equal(t, want, status, "%s\n%s", line, shell.answer)
			shell.check(t, line)
		}
	}
	require.Greater(t, lines, 10)
	stop()
	require.NoError(t, <-stopped)
}

// shell runs lines of curl, as far as the page has need of it.
type shell struct {
	address, job string
	newest       string // the ID of the job that was asked for last
	answer       string
	jars         map[string]http.CookieJar
}

// check looks at the answers that the page says something of.
func (s *shell) check(t *testing.T, line string) {
	t.Helper()
	var status jobaudit.JobStatus
	switch {
	case strings.HasSuffix(line, "/api/jobs # 202"):
		require.NoError(t, json.Unmarshal([]byte(s.answer), &status))
		require.NotEqual(t, uuid.Nil, status.Job.ID)
		s.newest = status.Job.ID.String()
	case strings.Contains(line, "/events"):
		end := `{"state":"success","output":{"pages":3}}`
		if strings.Count(s.answer, "2026-01") == 0 {
			end = `{"state":"cancelled",`
		}
		require.Contains(t, s.answer, end)
	case strings.Contains(line, "state=success"):
		require.Contains(t, s.answer, s.job)
	case strings.Contains(line, "/metrics"):
		require.Contains(t, s.answer, "\njobaudit_healthy 1\n")
	}
}

// curl runs one line, and returns the answer's status.
func (s *shell) curl(ctx context.Context, line string) (status string, err error) {
	method, address, data, header, client := "", "", []string{}, http.Header{}, &http.Client{}
	words := split(strings.ReplaceAll(strings.ReplaceAll(line, "$JOB", s.job), "localhost:8080", s.address))
	for i := 1; i < len(words); i++ {
		value := func() string {
			i++
			return words[i]
		}
		switch words[i] {
		case "-s", "-N":
		case "-X":
			method = value()
		case "-d":
			data = append(data, value())
		case "-H":
			name, content, _ := strings.Cut(value(), ": ")
			header.Set(name, content)
		case "-b", "-c":
			client.Jar = s.jar(value())
		default:
			address = "http://" + words[i]
		}
	}
	if method == "" && len(data) > 0 {
		method = http.MethodPost
		if header.Get("Content-Type") == "" {
			header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(strings.Join(data, "&")))
	if err != nil {
		return "", err
	}
	r.Header = header
	w, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer w.Body.Close()
	answer, err := io.ReadAll(w.Body)
	s.answer = string(answer)
	return fmt.Sprint(w.StatusCode), err
}

func (s *shell) jar(name string) http.CookieJar {
	if s.jars[name] == nil {
		s.jars[name], _ = cookiejar.New(nil)
	}
	return s.jars[name]
}

// split splits a line into words as a shell does, which has no quotes but single
// ones.
func split(line string) []string {
	var words []string
	var word strings.Builder
	quoted, begun := false, false
	for _, c := range line + " " {
		switch {
		case c == '\'':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted && begun:
			words = append(words, word.String())
			word.Reset()
			begun = false
		case c != ' ' || quoted:
			word.WriteRune(c)
			begun = true
		}
	}
	return words
}

func TestAJobThatWasTakenOutOfTheQueueDoesNotStart(t *testing.T) {
	p := newPool(0, func(context.Context, json.RawMessage) error { panic("it must not run") })
	trail := &jobaudit.Trail{}
	require.NoError(t, p.dispatch(t.Context(), trail, nil))
	require.NoError(t, p.dispatch(t.Context(), trail, nil), "once")
	require.Len(t, p.queue, 1)
	removed, err := p.cancel(t.Context(), jobaudit.Job{ID: trail.JobID(), State: jobaudit.Pending}, "")
	require.NoError(t, err)
	require.True(t, removed)
	p.run(<-p.queue)
	_, err = p.cancel(t.Context(), jobaudit.Job{ID: uuid.New(), State: jobaudit.Running}, "")
	require.Error(t, err)
}
