package jobhttp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/jobhttp"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func pick[T any](random *rand.Rand, of ...T) T { return of[random.IntN(len(of))] }

// Whatever a body looks like, it means one thing: the same action and inputs are
// allowed, found valid, recorded and dispatched, or nothing is.
func TestWhatIsAllowedIsWhatIsValidatedRecordedAndDispatched(t *testing.T) {
	var allowed, valid, dispatched []string
	s := newService(t, memsink.New(nil), func(o *jobhttp.Options) {
		o.Authorize = func(_ context.Context, _ jobhttp.Caller, op jobhttp.Operation, job jobaudit.Job) error {
			if op == jobhttp.Submit {
				allowed = append(allowed, job.Metadata.Action+" "+string(job.Metadata.Inputs))
			}
			return nil
		}
		o.Validate = func(action string, inputs json.RawMessage) error {
			valid = append(valid, action+" "+string(inputs))
			return nil
		}
		o.Dispatch = func(_ context.Context, _ *jobaudit.Trail, inputs json.RawMessage) error {
			dispatched = append(dispatched, string(inputs))
			return nil
		}
	})
	random := rand.New(rand.NewPCG(1, 1))
	field := func() string {
		name := pick(random, `"action"`, `"action"`, `"Action"`, `"act\u0069on"`, `"ACTION"`, `"action\u0000"`, `"inputs"`, `"inputs"`, `"\u0069nputs"`, `"Inputs"`, `"reason"`, `""`, `action`)
		value := pick(random, `"send-report"`, `"send-report"`, `"send\u002dreport"`, `"forbidden"`, `"send-report\u0000"`, `" send-report"`, `{"month":"a","month":"b"}`,
			`{"month":"2026-01"}`, `{"month":{"month":1e999}}`, `{"mo\u006eth":"x"}`, `[]`, `null`, `1`, `-0`, `01`, `"\ud800"`, strings.Repeat("[", 300), `{"__proto__":{}}`)
		return name + pick(random, ":", ": ", " :\n") + value
	}
	accepted, bodies := 0, size.Times(5_000, 1_000)
	for range bodies {
		fields := make([]string, 1+random.IntN(3))
		for i := range fields {
			fields[i] = field()
		}
		body := pick(random, "", " ", "\n", "\ufeff") + "{" + strings.Join(fields, pick(random, ",", " ,\t", ",,")) + "}" + pick(random, "", " ", "{}", "\x00")
		allowed, valid, dispatched = nil, nil, nil
		before := len(s.log.Jobs())
		w := s.post(t, pick(random, "ada", "robot"), body, "")
		if w.Code == http.StatusBadRequest {
			require.Len(t, s.log.Jobs(), before, body)
			require.Empty(t, dispatched, body)
			require.NotContains(t, w.Body.String(), "month", body)
			continue
		}
		job := w.job(http.StatusAccepted)
		accepted++
		require.Equal(t, []string{job.Metadata.Action + " " + dispatched[0]}, allowed, body)
		require.Equal(t, allowed, valid, body)
		require.True(t, dispatched[0] == "null" || strings.Contains(body, dispatched[0]), "the very bytes of %s", body)
	}
	require.Greater(t, accepted, bodies/200)
}

// raw sends bytes as they are, and returns the answers of the connection.
func raw(t testing.TB, address, method, text string) (answers []*http.Response, bodies []string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	for in := bufio.NewReader(conn); ; {
		r, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return answers, bodies
		}
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err, text)
		answers, bodies = append(answers, r), append(bodies, string(body))
		method = http.MethodDelete // of what follows in the connection
	}
}

// A stranger of another organization sends whatever a request can be made of: nothing
// of the job comes back, nothing is recorded or cancelled, and every answer is whole.
func TestNoFormOfARequestGetsPastTheRules(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
	run(t, s.dispatched[0], "a line of ours")
	other := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
	mux := http.NewServeMux()
	mux.Handle("/api/jobs", s)
	mux.Handle("/api/jobs/", s)
	mux.Handle("/v1/", http.StripPrefix("/v1", s))
	server := httptest.NewServer(mux)
	defer server.Close()
	before := s.log.Len()
	random := rand.New(rand.NewPCG(2, 1))
	path := func() string {
		base := pick(random, "/api/jobs/", "/api/jobs/", "//api/jobs/", "/api//jobs/", "/api/jobs//", "/api/./jobs/", "/x/../api/jobs/", "/API/JOBS/", "/api/jobs%2F", "/api%2fjobs/",
			"/v1/api/jobs/", "/v1//api/jobs/", "/api/jobs/..%2fjobs/", "/api/jobs/%2e%2e/jobs/", "/api/jobs;x/", "http://other/api/jobs/", "/api/jobs/"+other+"/../")
		name := pick(random, id, id, other, strings.ToUpper(id), "{"+id+"}", "urn:uuid:"+id, strings.ReplaceAll(id, "-", ""), id+"%00", "%20"+id, id+"/", uuid.Nil.String(), uuid.NewString(),
			strings.Replace(id, "-", "%2d", 1), id+"%2Fevents", "*", "%ff")
		return base + name + pick(random, "", "", "/events", "/events/", "/events?cursor=0", "?cursor=1&cursor=2", "?reason=a&reason=b", "?%zz", "?a;b", "#x")
	}
	header := func() string {
		return pick(random, "", "", "X-HTTP-Method-Override: DELETE\r\n", "X-Original-URL: /api/jobs/"+id+"\r\n", "X-Forwarded-For: 127.0.0.1\r\n", "Who: ada\r\n", "who:\r\n", "Last-Event-ID: -1\r\n",
			"Last-Event-ID: 99999999999999999999\r\n", "X-Request-Id: a\tb\r\n", "X-Request-Id: \u00e9\r\n", "X-Request-Id: "+uuid.NewString()+"\r\nX-Request-Id: b\r\n",
			"Content-Type: application/json\r\nContent-Type: text/plain\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "Transfer-Encoding: chunked, identity\r\n", "Content-Length: 1\r\nContent-Length: 2\r\n",
			"Expect: 100-continue\r\n", "Upgrade: h2c\r\nConnection: Upgrade\r\n", "Range: bytes=0-3\r\n", "If-None-Match: *\r\n", "Cookie: "+strings.Repeat("a", 5000)+"\r\n", "Origin: null\r\n", "Sec-Fetch-Site: none\r\n",
			"Accept-Encoding: gzip\r\n", "Connection: X-Request-Id, Who\r\n", "Idempotency-Key: "+id+"\r\nIdempotency-Key: "+other+"\r\n", "traceparent: 00-"+strings.Repeat("0", 5000)+"\r\n")
	}
	answered, requests := map[int]int{}, size.Times(1_000, 300)
	for range requests {
		method := pick(random, "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "PROPFIND", "DELETE")
		who := "Who: eve\r\n"
		head := header() + header()
		if strings.Contains(head, "Who:") { // net/http gives the first of two
			head = who + head
		} else {
			head += who
		}
		text := method + " " + path() + " HTTP/1.1\r\nHost: jobs\r\n" + head + "\r\n" + pick(random, "", "", "0\r\n\r\n", "DELETE /api/jobs/"+id+" HTTP/1.1\r\nHost: jobs\r\nWho: eve\r\n\r\n")
		all, bodies := raw(t, server.Listener.Addr().String(), method, text)
		for i, r := range all {
			answered[r.StatusCode]++
			require.NotEqual(t, http.StatusInternalServerError, r.StatusCode, text)
			require.NotContains(t, bodies[i], "a line of ours", text)
			require.NotContains(t, bodies[i], "2026-01", text)
			require.NotContains(t, bodies[i], "success", text)
			require.Empty(t, r.Header.Values("Set-Cookie"), text)
		}
	}
	require.Equal(t, before, s.log.Len(), "nothing is recorded")
	require.Empty(t, s.cancelled)
	require.Greater(t, answered[http.StatusNotFound], requests/10)
	require.Greater(t, answered[http.StatusBadRequest], requests/10)
	require.NotContains(t, answered, http.StatusOK)
	require.NotContains(t, answered, http.StatusAccepted)
}

// Headers that are handed over by another program may hold what net/http would not
// let through: nothing of that comes back.
func TestNoHeaderIsGivenBackThatCouldBeTwo(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	job := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
	run(t, s.dispatched[0])
	random := rand.New(rand.NewPCG(3, 1))
	for range size.Times(1_500, 200) {
		text := make([]byte, random.IntN(40))
		for i := range text {
			text[i] = pick(random, byte(random.IntN(256)), '\r', '\n', ':', 'a', '0', '-')
		}
		value := pick(random, string(text), uuid.NewString()+string(text), strings.Repeat("x", 250)+string(text))
		w := s.do(t, call{method: "GET", path: "/api/jobs/" + job + pick(random, "", "/events"), who: "ada",
			header: map[string]string{"X-Request-Id": value, "Last-Event-ID": pick(random, "", value)}})
		require.Contains(t, []int{200, 400}, w.Code)
		_, err := uuid.Parse(w.Header().Get("X-Request-Id"))
		require.NoError(t, err)
		if got := w.Header().Get("X-Client-Request-Id"); got != "" {
			require.Equal(t, value, got)
			require.Equal(t, -1, strings.IndexFunc(got, func(c rune) bool { return c <= ' ' || c > '~' }))
		}
		require.NotContains(t, w.Body.String(), "\r")
	}
}

func TestAPageOfAnotherOriginMakesNoReadOfItsReaders(t *testing.T) {
	trusted := http.NewCrossOriginProtection()
	require.NoError(t, trusted.AddTrustedOrigin("https://front.example"))
	s := newService(t, memsink.New(nil), func(o *jobhttp.Options) { o.CrossOrigin = trusted })
	job := "/api/jobs/" + s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
	run(t, s.dispatched[0])
	for _, path := range []string{job, job + "/events", "/api/jobs"} {
		for _, site := range []string{"cross-site", "same-site"} {
			for _, mode := range []string{"no-cors", "cors", "websocket", ""} {
				s.do(t, call{method: "GET", path: path, who: "bob", header: map[string]string{
					"Cookie": "session=1", "Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Origin": "https://evil.example"}}).fails(403, "FORBIDDEN")
			}
			for _, dest := range []string{"iframe", "frame", "embed", "object", "fencedframe"} {
				s.do(t, call{method: "GET", path: path, who: "bob", header: map[string]string{
					"Cookie": "session=1", "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": dest}}).fails(403, "FORBIDDEN")
			}
		}
	}
	require.Empty(t, acts(s.log))
	for name, header := range map[string]map[string]string{
		"a link":              {"Cookie": "session=1", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
		"a link, with more":   {"Cookie": "session=1", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
		"its own frame":       {"Cookie": "session=1", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
		"its own page":        {"Cookie": "session=1", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
		"a trusted origin":    {"Cookie": "session=1", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": "https://front.example"},
		"a token, no cookie":  {"Authorization": "Bearer x", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": "https://any.example"},
		"a program, a cookie": {"Cookie": "session=1"},
	} {
		require.Equal(t, 200, s.do(t, call{method: "GET", path: job, who: "bob", header: header}).Code, name)
	}
}

func TestAKeyOfAnothersTellsNobodyOfTheJob(t *testing.T) {
	s := newService(t, memsink.New(nil), func(o *jobhttp.Options) {
		may := o.Authorize
		o.Authorize = func(ctx context.Context, c jobhttp.Caller, op jobhttp.Operation, job jobaudit.Job) error {
			if op == jobhttp.Read && c.ID == "bob" {
				return fmt.Errorf("%w: only one's own", jobaudit.ErrDenied)
			}
			return may(ctx, c, op, job)
		}
	})
	key := newKey()
	job := s.post(t, "ada", order, key).job(http.StatusAccepted)
	s.post(t, "bob", order, key).fails(http.StatusForbidden, "FORBIDDEN")
	require.Empty(t, acts(s.log))
	require.Equal(t, job.ID, s.post(t, "robot", order, key).job(http.StatusAccepted).ID)
	require.Len(t, acts(s.log), 1, "it is a read of another's job")
}

func TestOneCallerDoesNotTakeAllStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, memsink.New(nil), func(o *jobhttp.Options) { o.Streams = 8 })
		client, _ := serve(t, s)
		id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
		var open []*http.Response
		count := func(who string, tries int) (accepted int) {
			for range tries {
				r, err := follow(t.Context(), client, "http://test/api/jobs/"+id+"/events", who)
				require.NoError(t, err)
				if r.StatusCode == http.StatusOK {
					accepted++
					open = append(open, r)
					continue
				}
				require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
				require.NotEmpty(t, r.Header.Get("Retry-After"))
				require.NoError(t, r.Body.Close())
			}
			return accepted
		}
		require.Equal(t, 2, count("ada", 20), "a quarter, if nothing else is said")
		require.Equal(t, 2, count("bob", 20))
		require.Equal(t, 2, count("robot", 20))
		require.Equal(t, 0, count("ada", 1))
		require.NoError(t, open[0].Body.Close())
		synctest.Wait()
		require.Equal(t, 1, count("ada", 20), "what one gives back is there again")
		for _, r := range open {
			_ = r.Body.Close()
		}
	})
}

// panicking is a reader that panics when it is told to.
type panicking struct {
	*memsink.Sink
	panics atomic.Bool
}

func (p *panicking) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	if p.panics.Load() {
		panic("the reader panicked")
	}
	return p.Sink.Records(ctx, q)
}

// broken is a connection's writer that panics, as a middleware's may.
type broken struct{ http.ResponseWriter }

func (broken) WriteHeader(int) { panic("the middleware panicked") }

func TestAStreamThatEndsWithAPanicLeavesItsPlaceToOthers(t *testing.T) {
	for _, place := range []string{"Authorize", "the reader", "the newest record", "the answer", "asked again"} {
		t.Run(place, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memsink.New(nil)
				reader := &panicking{Sink: log}
				var panics, arm atomic.Bool
				s := newServiceOver(t, log, log, reader, func(o *jobhttp.Options) {
					o.Streams, o.StreamsEach = 2, 2
					may := o.Authorize
					o.Authorize = func(ctx context.Context, c jobhttp.Caller, op jobhttp.Operation, job jobaudit.Job) error {
						if panics.Load() {
							panic("the rules panicked")
						}
						if arm.Load() { // the job has been read, the newest record has not
							reader.panics.Store(true)
						}
						return may(ctx, c, op, job)
					}
				})
				client, _ := serve(t, s)
				id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
				path := "/api/jobs/" + id + "/events"
				for range 5 {
					switch place {
					case "Authorize":
						panics.Store(true)
						s.get(t, "bob", path).fails(500, "INTERNAL_SERVER_ERROR")
					case "the reader":
						reader.panics.Store(true)
						s.get(t, "bob", path).fails(500, "INTERNAL_SERVER_ERROR")
					case "the newest record":
						arm.Store(true)
						s.get(t, "bob", path).fails(500, "INTERNAL_SERVER_ERROR")
					case "the answer":
						r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
						r.Header.Set("Who", "bob")
						require.Panics(t, func() { s.ServeHTTP(broken{httptest.NewRecorder()}, r) })
					case "asked again":
						r, err := follow(t.Context(), client, "http://test"+path, "bob")
						require.NoError(t, err)
						require.Equal(t, http.StatusOK, r.StatusCode)
						panics.Store(true)
						time.Sleep(2 * time.Minute)
						synctest.Wait()
						require.NoError(t, r.Body.Close())
					}
					panics.Store(false)
					reader.panics.Store(false)
					arm.Store(false)
				}
				for range 2 {
					r, err := follow(t.Context(), client, "http://test"+path, "bob")
					require.NoError(t, err)
					require.Equal(t, http.StatusOK, r.StatusCode)
					defer r.Body.Close()
				}
			})
		})
	}
}

func TestABodyThatNeverEndsIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, memsink.New(nil), nil)
		client, _ := serve(t, s)
		slow, w := io.Pipe()
		var all sync.WaitGroup
		all.Go(func() {
			for range 1000 {
				if _, err := io.WriteString(w, " "); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://test/api/jobs", slow)
		require.NoError(t, err)
		r.Header.Set("Who", "ada")
		r.Header.Set("Content-Type", "application/json")
		began := time.Now()
		response, err := client.Do(r)
		require.NoError(t, err)
		require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		require.Less(t, time.Since(began), time.Minute)
		require.NoError(t, response.Body.Close())
		require.NoError(t, slow.Close())
		all.Wait()
		require.Empty(t, s.log.Jobs())
	})
}

func TestACursorThatAnotherReplicaGaveWaitsForItsLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, memsink.New(nil), nil)
		client, _ := serve(t, s)
		id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
		r, err := follow(t.Context(), client, "http://test/api/jobs/"+id+"/events?cursor=2", "ada")
		require.NoError(t, err)
		defer r.Body.Close()
		require.Equal(t, http.StatusOK, r.StatusCode)
		run(t, s.dispatched[0], "one", "two", "three")
		var lines []event
		for _, e := range collected(t, r.Body) {
			if e.Line != "" {
				lines = append(lines, e)
			}
		}
		require.Len(t, lines, 1)
		require.Equal(t, "three", lines[0].Line)
		require.EqualValues(t, 3, lines[0].Cursor)
	})
}
