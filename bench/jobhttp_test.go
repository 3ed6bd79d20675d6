package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/jobhttp"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// apiOver serves what log holds. Everybody is ada.
func apiOver(b *testing.B, recorder *jobaudit.Recorder, log jobaudit.AuditReader) *jobhttp.API {
	b.Helper()
	api, err := jobhttp.New(recorder, log, jobhttp.Options{
		Authenticate: func(*http.Request) (jobhttp.Caller, error) {
			return jobhttp.Caller{Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"}, OrgID: "acme"}, nil
		},
		Authorize: func(context.Context, jobhttp.Caller, jobhttp.Operation, jobaudit.Job) error { return nil },
		Streams:   1 << 20,
	})
	if err != nil {
		b.Fatal(err)
	}
	return api
}

func openRecorder(b *testing.B, sink jobaudit.AuditSink) *jobaudit.Recorder {
	b.Helper()
	recorder, err := jobaudit.Open(b.Context(), sink, jobaudit.Source{System: "bench", Environment: "bench"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	return recorder
}

func submit(b *testing.B, recorder *jobaudit.Recorder) *jobaudit.Trail {
	b.Helper()
	trail, err := recorder.Submit(b.Context(), jobaudit.Submission{
		Action: "print", OrgID: "acme", Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a benchmark"},
	})
	if err != nil {
		b.Fatal(err)
	}
	return trail
}

// bareStatus reads and folds the same records, and answers, and does nothing else.
func bareStatus(log jobaudit.AuditReader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := uuid.Parse(strings.TrimPrefix(r.URL.Path, "/api/jobs/"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		job, err := jobaudit.Replay(log.Records(r.Context(), jobaudit.Query{JobID: id}))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(jobaudit.JobStatus{RequestID: uuid.New(), Job: job})
	})
}

// BenchmarkJobStatus compares the rate of GET /api/jobs/{id} with that of a handler
// that does no more than read and fold the job's records. Cold, each request opens
// the log first.
func BenchmarkJobStatus(b *testing.B) {
	base := b.TempDir()
	sink := openLog(b, base)
	recorder := openRecorder(b, sink)
	const jobs = 200
	paths := make([]string, jobs)
	for i := range paths {
		trail := submit(b, recorder)
		paths[i] = "/api/jobs/" + trail.JobID().String()
		err := trail.Run(b.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
			trail.Log(ctx, "page 1")
			trail.Log(ctx, "page 2")
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	compare := func(b *testing.B, handlers func() (ours, bare http.Handler, done func())) {
		var times [2]time.Duration
		n := 0
		for b.Loop() {
			ours, bare, done := handlers()
			both := [2]http.Handler{ours, bare}
			for i := range both {
				at := (i + n) % 2
				r := httptest.NewRequest(http.MethodGet, paths[n%jobs], nil)
				w := httptest.NewRecorder()
				began := time.Now()
				both[at].ServeHTTP(w, r)
				times[at] += time.Since(began)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
			done()
			n++
		}
		b.ReportMetric(float64(times[0].Nanoseconds())/float64(n), "ours-ns/op")
		b.ReportMetric(float64(times[1].Nanoseconds())/float64(n), "bare-ns/op")
		b.ReportMetric(float64(times[1])/float64(times[0]), "of-bare-rate")
	}
	b.Run("warm", func(b *testing.B) {
		api, bare := apiOver(b, recorder, sink), bareStatus(sink)
		defer api.Close()
		compare(b, func() (http.Handler, http.Handler, func()) { return api, bare, func() {} })
	})
	b.Run("cold", func(b *testing.B) {
		compare(b, func() (http.Handler, http.Handler, func()) {
			readers := make([]*filesink.Reader, 2)
			for i := range readers {
				reader, err := filesink.OpenReader(filepath.Join(base, "log"))
				if err != nil {
					b.Fatal(err)
				}
				readers[i] = reader
			}
			api := apiOver(b, recorder, readers[0])
			return api, bareStatus(readers[1]), func() {
				api.Close()
				_ = errors.Join(readers[0].Close(), readers[1].Close())
			}
		})
	})
	if err := errors.Join(recorder.Close(b.Context()), sink.Close()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkIdleStreams tells what memory each of 2,000 clients takes that follow a
// job in which nothing happens, with all that net/http has for them, and what a
// handler takes that sends one event and waits.
func BenchmarkIdleStreams(b *testing.B) {
	for b.Loop() {
		log := memsink.New(nil)
		recorder := openRecorder(b, log)
		api := apiOver(b, recorder, log)
		paths := make([]string, 100)
		for i := range paths {
			paths[i] = "/api/jobs/" + submit(b, recorder).JobID().String() + "/events"
		}
		b.ReportMetric(idle(b, api, api.Close, paths), "kB/stream")
		stopped := make(chan struct{})
		bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "event: status\ndata: {\"state\":\"pending\"}\n\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-stopped:
			}
		})
		b.ReportMetric(idle(b, bare, func() { close(stopped) }, paths), "bare-kB/stream")
		if err := recorder.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// idle returns the memory of each client in kB.
func idle(b *testing.B, h http.Handler, stop func(), paths []string) float64 {
	b.Helper()
	const clients = 2000
	l := &idleListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: h}
	server.RegisterOnShutdown(stop)
	go func() { _ = server.Serve(l) }()
	before := inUse()
	all := make([]*idleConn, clients)
	for i := range all {
		all[i] = newIdleConn("GET " + paths[i%len(paths)] + " HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n")
		l.conns <- all[i]
		<-all[i].answered
	}
	each := float64(inUse()-before) / clients / 1000
	if err := server.Shutdown(b.Context()); err != nil {
		b.Fatal(err)
	}
	return each
}

// inUse is the memory of the heap and of stacks.
func inUse() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// idleConn is a connection whose client sends a request and nothing more, and which
// takes no memory of its own.
type idleConn struct {
	net.Conn
	request  string
	answered chan struct{} // closed when the first event has been sent
	closed   chan struct{}
	once     sync.Once
	first    sync.Once

	mu      sync.Mutex
	expired chan struct{} // closed while the deadline of reads has passed
}

func newIdleConn(request string) *idleConn {
	return &idleConn{request: request, answered: make(chan struct{}), closed: make(chan struct{}), expired: make(chan struct{})}
}

func (c *idleConn) Read(p []byte) (int, error) {
	if c.request != "" {
		n := copy(p, c.request)
		c.request = c.request[n:]
		return n, nil
	}
	c.mu.Lock()
	expired := c.expired
	c.mu.Unlock()
	select {
	case <-c.closed:
		return 0, io.EOF
	case <-expired:
		return 0, os.ErrDeadlineExceeded
	}
}

// SetReadDeadline ends the read that waits if the deadline has passed: so net/http
// stops to read a connection.
func (c *idleConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := !t.IsZero() && t.Before(time.Now())
	select {
	case <-c.expired:
		if !passed {
			c.expired = make(chan struct{})
		}
	default:
		if passed {
			close(c.expired)
		}
	}
	return nil
}

func (c *idleConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *idleConn) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "pending") {
		c.first.Do(func() { close(c.answered) })
	}
	return len(p), nil
}

func (c *idleConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *idleConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *idleConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *idleConn) SetWriteDeadline(time.Time) error { return nil }

type idleListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *idleListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *idleListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *idleListener) Addr() net.Addr { return &net.TCPAddr{} }
