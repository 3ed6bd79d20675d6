package main_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/evidence"
)

// served is a run of jobaudit serve.
type served struct {
	address string // with the token
	base    string // of the pages, once the token has been used
	client  *http.Client
	ended   chan struct{} // closed when it has ended
	stop    func()
}

func serve(t testing.TB, args ...string) *served {
	t.Helper()
	// The test's context ends before what Cleanup holds is called: it would kill the
	// program that stop interrupts.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, append([]string{"serve"}, args...)...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	s := &served{address: strings.TrimSpace(line), client: &http.Client{Jar: jar}, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // an interrupt is its end
		close(s.ended)
	}()
	stopped := false
	s.stop = func() {
		if !stopped {
			stopped = true
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
			<-s.ended
		}
	}
	t.Cleanup(s.stop)
	return s
}

func (s *served) get(t testing.TB, address string) (int, string) {
	t.Helper()
	r, err := s.client.Get(address)
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	if base, isJobs := strings.CutSuffix(r.Request.URL.String(), "/jobs"); isJobs && address == s.address {
		s.base = base
	}
	return r.StatusCode, string(body)
}

func TestServeShowsJobsToTheBrowserThatHadTheToken(t *testing.T) {
	l := newLog(t).close(t)
	s := serve(t, l.dir, "--by", "user:ada")
	root, _, _ := strings.Cut(s.address, "?")
	for _, path := range []string{"jobs", "", "?token=wrong", "assets/style.css"} {
		code, page := s.get(t, root+path)
		require.Equal(t, http.StatusUnauthorized, code, path)
		require.NotContains(t, page, "reindex")
	}
	code, page := s.get(t, s.address)
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, page, "reindex-part")
	require.Contains(t, page, "That you look at jobs is not recorded.")
	require.Contains(t, page, "user <bdi>ada</bdi>")
	code, page = s.get(t, s.base+"/jobs/"+l.failed.String())
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, page, "the disk is full")
	_, bundle := s.get(t, s.base+"/jobs/"+l.failed.String()+"/bundle")
	key := strings.TrimSpace(run(t, "key", l.dir).out)
	verifier, err := note.NewVerifier(key)
	require.NoError(t, err, key)
	b, err := evidence.Open([]byte(bundle), []note.Verifier{verifier})
	require.NoError(t, err)
	require.Equal(t, l.failed, b.Statement.Scope.JobID)

	stranger := &served{client: &http.Client{}}
	code, _ = stranger.get(t, s.address)
	require.Equal(t, http.StatusUnauthorized, code, "the token opens once")
	code, page = stranger.get(t, s.base+"/jobs")
	require.Equal(t, http.StatusUnauthorized, code, "and the address alone nothing")
	require.NotContains(t, page, "reindex")
}

func TestTwoProgramsThatServeShareABrowser(t *testing.T) {
	l := newLog(t).close(t)
	one, two := serve(t, l.dir), serve(t, l.dir)
	two.client = one.client // which keeps cookies by host and not by port
	for _, s := range []*served{one, two, one, two} {
		if s.base == "" {
			s.get(t, s.address)
		}
		code, _ := s.get(t, s.base+"/jobs")
		require.Equal(t, http.StatusOK, code)
	}
}

// Another user of the machine has a server on another port, and leads the browser to
// any address of it that they can know of.
func TestNoOtherProgramOfTheMachineGetsTheCookie(t *testing.T) {
	l := newLog(t).close(t)
	s := serve(t, l.dir)
	s.get(t, s.address)
	require.NotEmpty(t, s.base)
	seen := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Get("Cookie") }))
	defer other.Close()
	for _, path := range []string{"/", "/jobs", "/jobs/", "/?token=x", "/assets/page.js"} {
		code, _ := s.get(t, other.URL+path)
		require.Equal(t, http.StatusOK, code)
		require.Empty(t, <-seen, path)
	}
	place, err := url.Parse(s.base)
	require.NoError(t, err)
	s.get(t, other.URL+place.Path+"/")
	require.NotEmpty(t, <-seen, "this is how browsers and the test's client keep cookies: by host and path")
	require.GreaterOrEqual(t, len(place.Path), 26, "nobody guesses it")
}

func TestServeRecordsWhoLookedInACompanion(t *testing.T) {
	l := newLog(t).close(t)
	base := t.TempDir()
	acts, key := filepath.Join(base, "acts"), filepath.Join(base, "acts.key")
	s := serve(t, l.dir, "--by", "user:ada", "--record", acts, "--record-key", key)
	_, page := s.get(t, s.address)
	require.Contains(t, page, "That you look at jobs is recorded.")
	s.stop()
	got := run(t, "list", acts, "--type", string(jobaudit.AuditRead))
	require.Contains(t, got.out, "ada")
}

func TestServeListensOnThisMachineOnly(t *testing.T) {
	l := newLog(t).close(t)
	for _, address := range []string{"0.0.0.0:0", ":8080", "192.0.2.1:80", "x", "[::]:0"} {
		got := run(t, "serve", l.dir, "--listen", address)
		require.Equal(t, 2, got.code, address)
		require.Contains(t, got.err, "127.0.0.1", address)
	}
	require.NoError(t, context.Cause(t.Context()))
}

func TestServeNamesWhatDoesNotVerify(t *testing.T) {
	l := newLog(t).close(t)
	segments, err := filepath.Glob(filepath.Join(l.dir, "entries", "*.jsonl"))
	require.NoError(t, err)
	text, err := os.ReadFile(segments[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(segments[0], []byte(strings.Replace(string(text), "the disk is full", "the disk is FULL", 1)), 0o600))
	s := serve(t, l.dir, "--by", "user:ada")
	s.get(t, s.address)
	r, err := s.client.Post(s.base+"/log/verify", "application/x-www-form-urlencoded", strings.NewReader("log=0"))
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	page := ""
	for busy := true; busy; busy = strings.Contains(page, "is being verified") { // get fails when the program has ended
		_, page = s.get(t, s.base+"/log")
	}
	require.Contains(t, page, "not verified:")
	require.Contains(t, page, "finding")
}

func TestServeVerifiesNoLogWhoseKeyItLacks(t *testing.T) {
	l := newLog(t).close(t)
	require.NoError(t, os.Rename(l.key, l.key+".away"))
	s := serve(t, l.dir)
	s.get(t, s.address)
	_, page := s.get(t, s.base+"/log")
	require.Contains(t, page, "cannot be verified from here")
	require.NotContains(t, page, "log/verify")
}

// TestServeReadsAKeyOnce: it may come out of a pipe.
func TestServeReadsAKeyOnce(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a pipe has no name that every system opens")
	}
	l := newLog(t).close(t)
	key := run(t, "key", l.dir).out
	r, w, err := os.Pipe()
	require.NoError(t, err)
	_, err = w.WriteString(key)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	defer r.Close()
	s := serve(t, l.dir, "--by", "user:ada", "--key", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), r.Fd()))
	s.get(t, s.address)
	for range 2 {
		code, bundle := s.get(t, s.base+"/jobs/"+l.failed.String()+"/bundle")
		require.Equal(t, http.StatusOK, code, bundle)
	}
}
