package main_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

func TestExportIsResumedBehindAnEvent(t *testing.T) {
	l := newLog(t).close(t)
	all := run(t, "export", l.dir, "--format", "jsonl")
	require.Zero(t, all.code, all.err)
	require.Equal(t, run(t, "list", l.dir, "--json").out, all.out)
	lines := strings.SplitAfter(strings.TrimSuffix(all.out, "\n"), "\n")
	third, err := jobaudit.ParseRecord([]byte(strings.TrimSuffix(lines[2], "\n")))
	require.NoError(t, err)

	rest := run(t, "export", l.dir, "--format", "jsonl", "--after", third.ID().String())
	require.Equal(t, strings.Join(lines[3:], "")+"\n", rest.out)
	require.Contains(t, rest.err, strconv.Itoa(len(lines)-3)+" events exported")
	none := run(t, "export", l.dir, "--format", "jsonl", "--since", "2999-01-01")
	require.Empty(t, none.out)
	// The event to begin behind need not be among those that are selected.
	failed := run(t, "export", l.dir, "--format", "jsonl", "--type", "job.failed", "--after", third.ID().String())
	require.Equal(t, 1, strings.Count(failed.out, "\n"))
}

func TestExportKeepsItsPositionAndAppendsWhatIsNew(t *testing.T) {
	l, other := newLog(t), newNamedLog(t, "example.com/web").close(t)
	dir := t.TempDir()
	file, state := filepath.Join(dir, "events.csv"), filepath.Join(dir, "state")
	export := func() (rows int) {
		c := run(t, "export", l.dir, other.dir, "--format", "csv", "--out", file, "--position", state)
		require.Zero(t, c.code, c.err)
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		records, err := csv.NewReader(strings.NewReader(string(content))).ReadAll()
		require.NoError(t, err)
		return len(records) - 1
	}
	before := export()
	require.Equal(t, len(l.events(t))+len(other.events(t)), before)
	require.Equal(t, before, export(), "nothing is new")
	l.job(t, t.Context(), "more", nothing)
	l.close(t)
	require.Equal(t, len(l.events(t))+len(other.events(t)), export())

	torn, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = torn.WriteString(`"half of an`)
	require.NoError(t, err)
	require.NoError(t, torn.Close())
	c := run(t, "export", l.dir, "--format", "csv", "--out", file)
	require.Equal(t, 3, c.code)
	require.Contains(t, c.err, "ends within an event")
}

// Wherever the last event of an export is torn, nothing is written behind it.
func TestNothingIsAppendedToAnExportThatIsTorn(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.job(t, t.Context(), "lines", func(ctx context.Context, trail *jobaudit.Trail) error {
		trail.Log(ctx, "one\ntwo \"\n\" three\n")
		return nil
	})
	l.close(t)
	for _, format := range []string{"csv", "jsonl"} { // those with lines within an event, and those without
		whole := run(t, "export", l.dir, "--format", format, "--type", "job.logged")
		require.Zero(t, whole.code, whole.err)
		end, ends := "\n", map[int]bool{0: true}
		if format == "csv" {
			end = "\r\n"
		}
		for i := range whole.out {
			ends[i] = ends[i] || strings.HasSuffix(whole.out[:i], end)
		}
		ends[len(whole.out)] = true
		file := filepath.Join(t.TempDir(), "out")
		torn := 0
		for n := range len(whole.out) + 1 {
			if n > 0 && n < len(whole.out) && n%61 > 0 && whole.out[n-1] != '\n' {
				continue
			}
			require.NoError(t, os.WriteFile(file, []byte(whole.out[:n]), 0o600))
			c := run(t, "export", l.dir, "--format", format, "--out", file, "--type", "job.logged")
			if ends[n] {
				require.Zero(t, c.code, "%s, %d bytes: %s", format, n, c.err)
				continue
			}
			torn++
			require.Equal(t, 3, c.code, "%s, %d bytes", format, n)
			require.Contains(t, c.err, "ends within an event")
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Len(t, content, n)
		}
		require.Greater(t, torn, 5)
	}
}

func TestExportSaysWhatIsWrongWithACall(t *testing.T) {
	l := newLog(t).close(t)
	for _, test := range []struct{ args, says string }{
		{"", "--format is missing"},
		{"--format xml", "there are csv, jsonl"},
		{"--format csv --out a --to http://x/", "exclude each other"},
		{"--to ftp://x/", "syslog+tcp"},
		{"--to nonsense", "no address"},
		{"--to syslog+tls://x", "no port"},
		{"--to https://x/v1/logs --format ecs", "is otlp, not ecs"},
		{"--to https://x/v1/logs --header nonsense", "'Name: value'"},
		{"--to https://x/v1/logs --cert a", "belong together"},
		{"--format csv --after 0198fb4c-0000-7000-8000-000000000000", "no log holds this event"},
	} {
		c := run(t, append([]string{"export", l.dir}, strings.Fields(test.args)...)...)
		require.Equal(t, 2, c.code, "%s: %s", test.args, c.err)
		require.Contains(t, c.err, test.says)
	}
	c := run(t, "export", l.dir, "--to", "syslog+tcp://127.0.0.1:1")
	require.Equal(t, 3, c.code, "a target that is not there, without --follow")
}

// follower is a run of export --follow. It is killed when the test ends in any way, and
// what it said is in the failure then.
type follower struct {
	cmd    *exec.Cmd
	stderr *bufio.Reader
	ended  chan struct{} // closed when it says no more
	said   strings.Builder
}

func follow(t *testing.T, args ...string) *follower {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"export", "--follow"}, args...)...)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return &follower{cmd: cmd, stderr: bufio.NewReader(stderr), ended: make(chan struct{})}
}

// says waits for a line that holds a text. If the program ends before, it says what the
// program said instead.
func (f *follower) says(t *testing.T, text string) string {
	t.Helper()
	for {
		line, err := f.stderr.ReadString('\n')
		f.said.WriteString(line)
		require.NoError(t, err, "it never said %q, but:\n%s", text, &f.said)
		if strings.Contains(line, text) {
			return line
		}
	}
}

func (f *follower) end(t *testing.T) {
	t.Helper()
	require.NoError(t, f.cmd.Process.Signal(os.Interrupt))
	<-f.ended
	require.NoError(t, f.cmd.Wait(), "an interrupt is how it ends; it said:\n%s", &f.said)
}

// until waits until a receiver has all of the records, or the program has ended.
func (f *follower) until(t *testing.T, r *receiver, records []jobaudit.Record) {
	t.Helper()
	go func() {
		defer close(f.ended)
		_, _ = io.Copy(&f.said, f.stderr)
	}()
	for !r.has(records) {
		select {
		case <-r.grown:
		case <-f.ended:
			require.True(t, r.has(records), "it ended, and the receiver lacks events; it said:\n%s", &f.said)
		}
	}
}

// receiver collects what it is sent.
type receiver struct {
	mu     sync.Mutex
	ids    []string
	grown  chan struct{} // has an element when there is more
	broken bool
}

func newReceiver() *receiver { return &receiver{grown: make(chan struct{}, 1)} }

func (r *receiver) add(ids ...string) {
	r.mu.Lock()
	r.ids = append(r.ids, ids...)
	r.mu.Unlock()
	select {
	case r.grown <- struct{}{}:
	default:
	}
}

func (r *receiver) set(broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = broken
}

// has reports whether it has all of the records.
func (r *receiver) has(records []jobaudit.Record) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !slices.ContainsFunc(records, func(x jobaudit.Record) bool { return !slices.Contains(r.ids, x.ID().String()) })
}

// ServeHTTP is an OTLP receiver, which takes all but one event while it is broken.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var body struct {
		ResourceLogs []struct {
			ScopeLogs []struct {
				LogRecords []struct {
					Attributes []struct {
						Key   string
						Value struct{ StringValue string }
					}
				}
			}
		}
	}
	if json.NewDecoder(request.Body).Decode(&body) != nil || request.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	broken := r.broken
	r.mu.Unlock()
	if broken {
		_, _ = io.WriteString(w, `{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"quota"}}`)
		return
	}
	var ids []string
	for _, resource := range body.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			for _, log := range scope.LogRecords {
				ids = append(ids, log.Attributes[0].Value.StringValue)
			}
		}
	}
	_, _ = io.WriteString(w, `{}`)
	r.add(ids...)
}

func TestWhatAnOTLPReceiverTookInPartIsSentAgainAndRecordingGoesOn(t *testing.T) {
	t.Parallel() // it waits most of the time
	l := newLog(t)
	sink := newReceiver()
	sink.set(true)
	server := httptest.NewServer(sink)
	defer server.Close()
	dir := t.TempDir()
	header, state := filepath.Join(dir, "header"), filepath.Join(dir, "state")
	require.NoError(t, os.WriteFile(header, []byte("Authorization: Bearer secret\n"), 0o600))
	args := []string{l.dir, "--to", server.URL + "/v1/logs", "--header", "@" + header, "--position", state}

	f := follow(t, args...)
	f.says(t, "refused event")
	l.job(t, t.Context(), "more", nothing) // which the refusals do not hold up
	sink.set(false)
	f.says(t, "takes events again")
	f.until(t, sink, l.events(t))
	f.end(t)

	l.job(t, t.Context(), "later", nothing)
	l.close(t)
	before := l.events(t)
	f = follow(t, args...)
	f.until(t, sink, before)
	f.end(t)
}

// certificate makes a certificate for 127.0.0.1.
func certificate(t *testing.T) (pair tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// serve takes octet-counted messages until the listener is closed. While it is
// broken it breaks off in the middle.
func (r *receiver) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		broken := r.broken
		r.mu.Unlock()
		in := bufio.NewReader(conn)
		var ids []string
		for {
			digits, err := in.ReadString(' ')
			length, convErr := strconv.Atoi(strings.TrimSuffix(digits, " "))
			if err != nil || convErr != nil || broken {
				break
			}
			message := make([]byte, length)
			if _, err := io.ReadFull(in, message); err != nil {
				break
			}
			_, after, _ := strings.Cut(string(message), `event_id="`)
			id, _, _ := strings.Cut(after, `"`)
			ids = append(ids, id)
		}
		if broken {
			inner := conn
			if secure, ok := conn.(*tls.Conn); ok {
				inner = secure.NetConn() // without the alert that ends TLS in order
			}
			// A reset: what it had read by then may have been all, and would count.
			_ = inner.(*net.TCPConn).SetLinger(0)
			_ = inner.Close()
		}
		_ = conn.Close()
		r.add(ids...)
	}
}

func TestWhatASyslogReceiverDidNotReadToItsEndIsSentAgain(t *testing.T) {
	t.Parallel() // it waits most of the time
	for _, scheme := range []string{"syslog+tcp", "syslog+tls"} {
		t.Run(scheme, func(t *testing.T) {
			l := newLog(t).close(t)
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			pair, ca := certificate(t)
			address := scheme + "://" + listener.Addr().String()
			if scheme == "syslog+tls" {
				listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}})
			}
			sink := newReceiver()
			sink.set(true)
			var serving sync.WaitGroup
			serving.Go(func() { sink.serve(listener) })
			f := follow(t, l.dir, "--to", address, "--ca", ca)
			f.says(t, "0 events sent")
			sink.set(false)
			f.until(t, sink, l.events(t))
			f.end(t)
			require.NoError(t, listener.Close())
			serving.Wait()
		})
	}
}

func TestASyslogReceiverWhoseCertificateIsNotTrustedGetsNothing(t *testing.T) {
	l := newLog(t).close(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	pair, _ := certificate(t)
	_, another := certificate(t)
	sink := newReceiver()
	var serving sync.WaitGroup
	secure := tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}})
	serving.Go(func() { sink.serve(secure) })
	c := run(t, "export", l.dir, "--to", "syslog+tls://"+listener.Addr().String(), "--ca", another)
	require.Equal(t, 3, c.code)
	require.Contains(t, c.err, "certificate")
	require.NoError(t, secure.Close())
	serving.Wait()
	require.Empty(t, sink.ids)
}

func TestFollowPrintsWhatComes(t *testing.T) {
	l := newLog(t)
	next, end := followed(t, l.dir)
	l.job(t, t.Context(), "more", nothing)
	l.close(t)
	for next().Type() != jobaudit.AuditClosed {
	}
	end()
}

// followed reads what a run of export --follow prints.
func followed(t *testing.T, args ...string) (next func() jobaudit.Record, end func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"export", "-f", "--format", "jsonl"}, args...)...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var said strings.Builder
	cmd.Stderr = &said
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	next = func() jobaudit.Record {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			_ = cmd.Wait()
			t.Fatalf("it ended and said:\n%s", &said)
		}
		r, err := jobaudit.ParseRecord(line[:len(line)-1])
		require.NoError(t, err)
		return r
	}
	return next, func() {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait(), "%s", &said)
	}
}

// Whether it is at once or later that one of several logs cannot be read: the export ends,
// and says which.
func TestAFollowingExportEndsWithTheFirstLogThatCannotBeRead(t *testing.T) {
	t.Parallel() // it waits most of the time
	for _, late := range []bool{false, true} {
		for _, at := range []int{0, 1, 2} {
			logs := []*aLog{newLog(t).close(t), newNamedLog(t, "example.com/web").close(t), newNamedLog(t, "example.com/mail").close(t)}
			position := filepath.Join(t.TempDir(), "position")
			args := []string{"export", "-f", "--format", "jsonl", "--position", position}
			all := 0
			for _, l := range logs {
				args = append(args, l.dir)
				all += len(l.events(t))
			}
			if !late {
				text, err := json.Marshal(map[string]string{logs[at].dir: "01890a5d-ac96-774b-bcce-b302099a8057"})
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(position, text, 0o600))
			}
			cmd := exec.CommandContext(t.Context(), program, args...)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			var said strings.Builder
			cmd.Stderr = &said
			require.NoError(t, cmd.Start())
			lines := bufio.NewReader(out)
			if late {
				for range all {
					_, err := lines.ReadBytes('\n')
					require.NoError(t, err, "%s", &said)
				}
				require.NoError(t, os.RemoveAll(logs[at].dir))
			}
			_, err = io.Copy(io.Discard, lines)
			require.NoError(t, err)
			require.Error(t, cmd.Wait())
			require.Equal(t, 3, cmd.ProcessState.ExitCode(), "%s", &said)
			require.Contains(t, said.String(), logs[at].dir+" is not exported any more")
		}
	}
}

func TestAMirrorIsFollowedAsItGrows(t *testing.T) {
	t.Parallel() // it waits most of the time
	l := newLog(t)
	target, key := filepath.Join(t.TempDir(), "mirror"), l.verifier(t)
	mirror := func(args ...string) {
		c := run(t, append([]string{"mirror", l.dir, target, "--key", key, "--once"}, args...)...)
		require.Zero(t, c.code, c.err)
	}
	mirror("--create")
	next, end := followed(t, target)
	before := run(t, "list", target, "--json").out
	for line := range strings.Lines(before) {
		require.Equal(t, strings.TrimSuffix(line, "\n"), string(next().Bytes()))
	}
	l.job(t, t.Context(), "more", nothing)
	l.close(t)
	mirror()
	all := l.events(t)
	for i := strings.Count(before, "\n"); i < len(all); i++ {
		require.Equal(t, all[i].ID(), next().ID())
	}
	end()

	// A position is one of the source as it was named; an event to begin behind is one of its own.
	next, end = followed(t, "mirror:"+target, "--after", all[len(all)-3].ID().String())
	require.Equal(t, all[len(all)-2].ID(), next().ID())
	end()
}
