package jobhttp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/jobhttp"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// event is one event of a stream.
type event struct {
	name, id string
	Line     string
	Cursor   uint64
	State    jobaudit.JobState
	Output   json.RawMessage
	Error    *jobaudit.ErrorDetail
}

// eventsOf reads events until the stream ends. A comment is an event without a
// name.
func eventsOf(body io.Reader) iter.Seq2[event, error] {
	return func(yield func(event, error) bool) {
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, 1<<20)
		var e event
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			var err error
			switch {
			case lines.Text() == "":
				if !yield(e, nil) {
					return
				}
				e = event{}
			case field == "event":
				e.name = value
			case field == "id":
				e.id = value
			case field == "data":
				err = json.Unmarshal([]byte(value), &e)
			case field == "":
			default:
				err = fmt.Errorf("an unknown field %q", field)
			}
			if err != nil {
				yield(e, err)
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(e, err)
		}
	}
}

// collected reads all events of a stream that ends.
func collected(t testing.TB, body io.Reader) []event {
	t.Helper()
	var all []event
	for e, err := range eventsOf(body) {
		require.NoError(t, err)
		all = append(all, e)
	}
	return all
}

func TestALateClientGetsAllLinesAndTheFinalStatus(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
	run(t, s.dispatched[0], "one", "two\nevent: status\ndata: {}\n", "three")
	w := s.get(t, "ada", "/api/jobs/"+id+"/events")
	require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
	require.Equal(t, `event: log
data: {"line":"one","cursor":1}
id: 1

event: log
data: {"line":"two\nevent: status\ndata: {}\n","cursor":2}
id: 2

event: log
data: {"line":"three","cursor":3}
id: 3

event: status
data: {"state":"success","output":{"pages":12}}

`, w.Body.String())

	for _, c := range []call{
		{path: "/api/jobs/" + id + "/events?cursor=2"},
		{path: "/api/jobs/" + id + "/events", header: map[string]string{"Last-Event-ID": "2"}},
		{path: "/api/jobs/" + id + "/events?cursor=1", header: map[string]string{"Last-Event-ID": "2"}},
	} {
		c.method, c.who = "GET", "ada"
		got := collected(t, s.do(t, c).Body)
		require.Len(t, got, 2)
		require.Equal(t, uint64(3), got[0].Cursor)
		require.Equal(t, jobaudit.Success, got[1].State)
	}
	require.Len(t, collected(t, s.get(t, "ada", "/api/jobs/"+id+"/events?cursor=3").Body), 1)

	failed := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
	require.Error(t, s.dispatched[1].Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { return errors.New("no paper") }))
	got := collected(t, s.get(t, "ada", "/api/jobs/"+failed+"/events").Body)
	require.Equal(t, jobaudit.Failed, got[0].State)
	require.Equal(t, "no paper", got[0].Error.Message)
}

// serve serves a service in memory, as net/http does over a network.
func serve(t testing.TB, s *service) (client *http.Client, server *http.Server) {
	t.Helper()
	l := &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server = &http.Server{Handler: s}
	server.RegisterOnShutdown(s.Close)
	go func() { _ = server.Serve(l) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx) }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
	})
	return &http.Client{Transport: transport}, server
}

type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// follow opens a stream.
func follow(ctx context.Context, client *http.Client, address, who string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Who", who)
	return client.Do(r)
}

func TestAClientFollowsAJobLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, memsink.New(nil), nil)
		client, _ := serve(t, s)
		id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
		response, err := follow(t.Context(), client, "http://test/api/jobs/"+id+"/events", "ada")
		require.NoError(t, err)
		defer response.Body.Close()
		next, stop := iter.Pull2(eventsOf(response.Body))
		defer stop()
		await := func() event {
			e, err, ok := next()
			require.True(t, ok)
			require.NoError(t, err)
			return e
		}
		require.Equal(t, jobaudit.Pending, await().State)
		trail := s.dispatched[0]
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
		require.Equal(t, jobaudit.Running, await().State)
		trail.Log(t.Context(), "one")
		require.Equal(t, "one", await().Line)
		require.Equal(t, event{}, await(), "a comment, while nothing happens")
		trail.Heartbeat(t.Context(), 1, 2)
		trail.Log(t.Context(), "two")
		require.Equal(t, "two", await().Line)
		require.NoError(t, trail.Succeed(t.Context()))
		require.Equal(t, jobaudit.Success, await().State)
		_, _, ok := next()
		require.False(t, ok, "the stream ends")
	})
}

func TestAStreamEndsWhenItsCallerMayNotReadAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		loggedOut := false
		s := newService(t, memsink.New(nil), func(o *jobhttp.Options) {
			authenticate := o.Authenticate
			o.Authenticate = func(r *http.Request) (jobhttp.Caller, error) {
				mu.Lock()
				defer mu.Unlock()
				if loggedOut {
					return jobhttp.Caller{}, errors.New("logged out")
				}
				return authenticate(r)
			}
		})
		client, _ := serve(t, s)
		id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
		response, err := follow(t.Context(), client, "http://test/api/jobs/"+id+"/events", "ada")
		require.NoError(t, err)
		defer response.Body.Close()
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, response.Body)
			ended <- err
		}()
		time.Sleep(5 * time.Minute)
		require.Empty(t, ended)
		mu.Lock()
		loggedOut = true
		mu.Unlock()
		began := time.Now()
		require.NoError(t, <-ended)
		require.LessOrEqual(t, time.Since(began), 2*time.Minute)
	})
}

func TestASlowClientIsDroppedAndHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, memsink.New(nil), nil)
		client, _ := serve(t, s)
		id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
		address := "http://test/api/jobs/" + id + "/events"
		slow, err := follow(t.Context(), client, address, "ada") // and never reads
		require.NoError(t, err)
		defer slow.Body.Close()
		done := make(chan []event)
		go func() {
			response, err := follow(t.Context(), client, address, "ada")
			if err != nil {
				close(done)
				return
			}
			defer response.Body.Close()
			done <- collected(t, response.Body)
		}()
		synctest.Wait()
		lines := make([]string, 100)
		for i := range lines {
			lines[i] = strings.Repeat("x", 1000)
		}
		began := time.Now()
		run(t, s.dispatched[0], lines...)
		got := <-done
		require.Equal(t, began, time.Now(), "it did not wait for the slow one")
		require.Equal(t, jobaudit.Success, got[len(got)-1].State)
		time.Sleep(time.Minute)
		body, _ := io.ReadAll(slow.Body)
		require.Less(t, len(body), 100_000)
		require.NotContains(t, string(body), "success")
	})
}

func TestStreamsEndWhenTheServerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, memsink.New(nil), nil)
		client, server := serve(t, s)
		id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
		response, err := follow(t.Context(), client, "http://test/api/jobs/"+id+"/events", "ada")
		require.NoError(t, err)
		defer response.Body.Close()
		began := time.Now()
		go func() { _, _ = io.Copy(io.Discard, response.Body) }()
		require.NoError(t, server.Shutdown(t.Context()))
		require.Less(t, time.Since(began), 2*time.Second)
	})
}

// breaking is a reader whose Tail can be made to fail.
type breaking struct {
	*memsink.Sink
	broken chan struct{}
}

func (b *breaking) Tail(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-b.broken:
				cancel()
			case <-ctx.Done():
			}
		}()
		b.Sink.Tail(ctx, q)(yield)
	}
}

func TestAStreamEndsWhenTheLogCannotBeFollowedAndTheNextBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memsink.New(nil)
		reader := &breaking{Sink: log, broken: make(chan struct{})}
		s := newServiceOver(t, log, log, reader, nil)
		client, _ := serve(t, s)
		id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
		for range 2 {
			response, err := follow(t.Context(), client, "http://test/api/jobs/"+id+"/events", "ada")
			require.NoError(t, err)
			synctest.Wait()
			reader.broken <- struct{}{}
			require.Len(t, collected(t, response.Body), 1)
			require.NoError(t, response.Body.Close())
		}
	})
}

// panickingTail panics when it is told to.
type panickingTail struct{ *breaking }

func (p panickingTail) Tail(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for r, err := range p.breaking.Tail(ctx, q) {
			if err == nil && !yield(r, nil) {
				return
			}
		}
		if ctx.Err() == nil {
			panic("the reader panicked")
		}
	}
}

func TestAReaderThatPanicsEndsTheStreamsAndNotTheProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memsink.New(nil)
		reader := &breaking{Sink: log, broken: make(chan struct{})}
		s := newServiceOver(t, log, log, panickingTail{reader}, nil)
		client, _ := serve(t, s)
		id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
		for range 2 {
			response, err := follow(t.Context(), client, "http://test/api/jobs/"+id+"/events", "ada")
			require.NoError(t, err)
			synctest.Wait()
			reader.broken <- struct{}{}
			require.Len(t, collected(t, response.Body), 1)
			require.NoError(t, response.Body.Close())
		}
	})
}

func TestNoMoreClientsFollowThanThereMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, memsink.New(nil), func(o *jobhttp.Options) { o.Streams = 1 })
		client, _ := serve(t, s)
		id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
		address := "http://test/api/jobs/" + id + "/events"
		first, err := follow(t.Context(), client, address, "ada")
		require.NoError(t, err)
		second, err := follow(t.Context(), client, address, "ada")
		require.NoError(t, err)
		require.Equal(t, http.StatusServiceUnavailable, second.StatusCode)
		require.NoError(t, second.Body.Close())
		require.NoError(t, first.Body.Close())
		synctest.Wait()
		third, err := follow(t.Context(), client, address, "ada")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, third.StatusCode)
		require.NoError(t, third.Body.Close())
	})
}

func TestToAskAgainWhetherAClientMayFollowReadsNoLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memsink.New(nil)
		reader := &counting{Sink: log}
		var asked, without atomic.Int64
		s := newServiceOver(t, log, log, reader, func(o *jobhttp.Options) {
			o.Authorize = func(_ context.Context, c jobhttp.Caller, op jobhttp.Operation, job jobaudit.Job) error {
				if op == jobhttp.Read && c.ID == "bob" {
					asked.Add(1)
					if job.State != jobaudit.Running || job.Metadata.UserID != "ada" || len(job.Metadata.Inputs) == 0 {
						without.Add(1)
					}
				}
				return nil
			}
		})
		client, _ := serve(t, s)
		id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
		require.NoError(t, s.dispatched[0].Start(t.Context(), jobaudit.Execution{}))
		for range 500 {
			s.dispatched[0].Log(t.Context(), "a line")
		}
		r, err := follow(t.Context(), client, "http://test/api/jobs/"+id+"/events", "bob")
		require.NoError(t, err)
		defer r.Body.Close()
		lines := 0
		for e, err := range eventsOf(r.Body) {
			require.NoError(t, err)
			if e.name == "log" {
				lines++
			}
			if lines == 500 {
				break
			}
		}
		synctest.Wait()
		reader.mu.Lock()
		reader.records = 0
		reader.mu.Unlock()
		go func() { _, _ = io.Copy(io.Discard, r.Body) }() // the comments
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		reader.mu.Lock()
		defer reader.mu.Unlock()
		require.Less(t, reader.records, 200, "the lines were read again")
		require.GreaterOrEqual(t, asked.Load(), int64(9))
		require.Zero(t, without.Load(), "it is asked about the job as it is")
	})
}

func TestEventsComeOverHTTP2(t *testing.T) {
	s := newService(t, memsink.New(nil), nil)
	server := httptest.NewUnstartedServer(s)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID.String()
	response, err := follow(t.Context(), server.Client(), server.URL+"/api/jobs/"+id+"/events", "ada")
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, 2, response.ProtoMajor)
	run(t, s.dispatched[0], "one")
	got := collected(t, response.Body)
	require.Equal(t, jobaudit.Success, got[len(got)-1].State)
}

func TestEachClientSeesEveryLineExactlyOnceInOrder(t *testing.T) {
	jobs, clients, lines := 100, 1000, 10
	if testing.Short() {
		jobs, clients = 10, 100
	}
	followAll(t, rand.New(rand.NewPCG(1, 2)), jobs, clients, lines)
}

func TestSoakEachClientSeesEveryLineExactlyOnceInOrder(t *testing.T) {
	seed := size.Soak(t)
	followAll(t, rand.New(rand.NewPCG(uint64(seed), 0)), 200, 2000, 100)
}

func followAll(t *testing.T, random *rand.Rand, jobs, clients, lines int) {
	s := newService(t, memsink.New(nil), nil)
	server := httptest.NewServer(s)
	defer server.Close()
	addresses := make([]string, jobs)
	progress := make([]chan struct{}, jobs)
	for i := range jobs {
		id := s.post(t, "ada", order, "").job(http.StatusAccepted).ID
		addresses[i], progress[i] = server.URL+"/api/jobs/"+id.String()+"/events", make(chan struct{}, 1)
	}
	faults := make(chan error, clients+jobs)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	failed := func(err error) {
		faults <- err
		stop() // or the others would wait for what does not come
	}
	var all sync.WaitGroup
	for i := range clients {
		c := &client{address: addresses[i%jobs], progress: progress[i%jobs], lines: uint64(lines), random: rand.New(rand.NewPCG(random.Uint64(), 0))}
		all.Go(func() {
			if err := c.follow(ctx); err != nil {
				failed(err)
			}
		})
	}
	stopped := ctx.Done()
	for i, trail := range s.dispatched {
		all.Go(func() {
			err := trail.Run(context.Background(), jobaudit.Execution{}, func(ctx context.Context) error {
				for n := range lines {
					trail.Log(ctx, strconv.Itoa(n+1))
					if n%5 == 4 { // so that lines come while clients come and go
						select {
						case <-progress[i]:
						case <-stopped:
							return errors.New("the others have stopped")
						}
					}
				}
				return nil
			})
			if err != nil {
				failed(err)
			}
		})
	}
	all.Wait()
	close(faults)
	for err := range faults {
		t.Error(err)
	}
}

// client follows one job to its end, and is disconnected now and then.
type client struct {
	address  string
	progress chan struct{}
	lines    uint64
	random   *rand.Rand
	seen     uint64
}

func (c *client) follow(ctx context.Context) error {
	for {
		ended, err := c.connect(ctx)
		if err != nil || ended {
			return err
		}
	}
}

func (c *client) connect(ctx context.Context) (ended bool, err error) {
	ctx, disconnect := context.WithCancel(ctx)
	defer disconnect()
	address, header := c.address, ""
	if c.random.IntN(2) == 0 {
		address += "?cursor=" + strconv.FormatUint(c.seen, 10)
	} else {
		header = strconv.FormatUint(c.seen, 10)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false, err
	}
	r.Header.Set("Who", "ada")
	if header != "" {
		r.Header.Set("Last-Event-ID", header)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	left := c.random.IntN(40)
	for e, err := range eventsOf(response.Body) {
		switch {
		case err != nil:
			return false, err
		case e.name == "log":
			c.seen++
			if e.Cursor != c.seen || e.Line != strconv.FormatUint(c.seen, 10) || e.id != e.Line {
				return false, fmt.Errorf("line %d came as %d, %q", c.seen, e.Cursor, e.Line)
			}
			select {
			case c.progress <- struct{}{}:
			default:
			}
		case e.State.Terminal() && c.seen != c.lines:
			return false, fmt.Errorf("the end came behind line %d of %d", c.seen, c.lines)
		case e.State.Terminal():
			return true, nil
		}
		if left--; left <= 0 {
			return false, nil
		}
	}
	return false, nil
}
