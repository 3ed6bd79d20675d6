// Package jobhttp serves jobs over HTTP, by the contract of docs/format.md, F1:
// clients ask for jobs, read their status, follow their logs live, list and
// cancel them.
//
//	api, err := jobhttp.New(recorder, sink, jobhttp.Options{
//		Authenticate: whoAsks, Authorize: mayThey,
//		Validate: check, Dispatch: enqueue, Secret: secret,
//	})
//	mux.Handle("/api/jobs", api)
//	mux.Handle("/api/jobs/", api)
//	server.RegisterOnShutdown(api.Close)
//
// The application says who asks, what they may do, whether inputs are valid, and
// how a job gets to its workers. The rest is here: what is asked for is recorded
// before it is dispatched, and what is answered is read from the log. Another
// organization's job is answered as one that does not exist.
//
// To serve at another place, use [http.StripPrefix]. The server's own limits are
// the application's: set [http.Server.ReadHeaderTimeout] and
// [http.Server.MaxHeaderBytes].
package jobhttp

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/errtree"
	"github.com/jobaudit/jobaudit/internal/reads"
)

// Caller is who sends a request.
type Caller struct {
	// Principal is recorded as verified: Authenticate has authenticated it.
	jobaudit.Principal
	// OrgID is the organization whose jobs the caller may know of; "" is one, too,
	// that of the jobs without an organization.
	OrgID string
}

// Operation is what a caller asks for.
type Operation string

// The operations.
const (
	Submit Operation = "submit" // POST /api/jobs
	Read   Operation = "read"   // a job's status, and its events
	List   Operation = "list"   // GET /api/jobs
	Cancel Operation = "cancel" // DELETE; for the job in its answer Read is asked, too
)

// Options are what the application decides. Its functions are called from many
// goroutines at once.
type Options struct {
	// Authenticate says who sends the request. Any error is answered with 401,
	// but for one that wraps a context's error: 503. It is asked again for as
	// long as a caller follows a job's events. Required.
	Authenticate func(*http.Request) (Caller, error)

	// Authorize says whether the caller may do that: nil is yes, an error that
	// wraps [jobaudit.ErrDenied] is no, and any other that nobody can say now. The
	// job is the caller's organization's own. For Submit it has its Metadata only,
	// with the inputs as they came; for List, of that, what the list is limited to;
	// for a Read that is asked for again while the caller follows events, no Logs.
	// Required.
	Authorize func(ctx context.Context, c Caller, op Operation, job jobaudit.Job) error

	// Validate says what is wrong with inputs, before anything of them is
	// redacted. Of a [*jobaudit.FieldError] the client is told the field, of others
	// nothing.
	Validate func(action string, inputs json.RawMessage) error

	// Dispatch gives a job that has been recorded to its workers. It may be called
	// several times for one job, as when a client tries again: t.JobID() is the
	// same then, and the queue is to keep one. After an error the job stays
	// pending. Without Dispatch or Validate no jobs can be asked for.
	Dispatch func(ctx context.Context, t *jobaudit.Trail, inputs json.RawMessage) error

	// Cancel takes a job out of its queue, or tells it to stop. removed says that it
	// cannot start any more: only then is it recorded as cancelled. Otherwise its
	// worker records the end, even if it was told to stop before it started. Without Cancel a
	// running job cannot be cancelled, and a pending one is cancelled in the log
	// alone: its worker must look there before it starts.
	Cancel func(ctx context.Context, job jobaudit.Job, reason string) (removed bool, err error)

	// Secret is a key of at least 32 random bytes that all replicas share. From it
	// come the IDs of jobs that are asked for with an Idempotency-Key. Required
	// with Dispatch. With another Secret, keys in use are forgotten.
	Secret []byte

	// CrossOrigin decides from which other origins pages may send requests that
	// change something, or that have a cookie. Default: none.
	CrossOrigin *http.CrossOriginProtection

	MaxBody   int64         // in bytes; default: 1 MiB
	Timeout   time.Duration // of a request other than for events; default: 30 s
	Heartbeat time.Duration // between comments to silent clients of events; default: 15 s
	Streams   int           // how many clients may follow events at once; default: 10,000
	// StreamsEach is how many of them may be one principal's; default: a quarter.
	StreamsEach int

	// Log gets the errors of which a client is told no more than that there was
	// one. Default: slog.Default(), with their kinds alone, as their texts may quote
	// inputs.
	Log *slog.Logger
}

// tailer is a reader that can wait for records to come.
type tailer interface {
	jobaudit.AuditReader
	Tail(context.Context, jobaudit.Query) iter.Seq2[jobaudit.Record, error]
}

// API is the handler of /api/jobs and all below it. Make one with [New].
type API struct {
	rec   *jobaudit.Recorder
	log   tailer
	opts  Options
	hub   hub
	reads reads.Counter

	kindsOnly bool // the log may be read by anybody

	closing chan struct{}
	close   sync.Once
	busy    sync.WaitGroup

	mu      sync.Mutex             // guards what follows
	turns   map[[32]byte]chan bool // of those who use an idempotency key now
	streams int
	each    map[principal]int // of the streams
}

// principal tells callers apart.
type principal struct {
	kind    jobaudit.PrincipalKind
	id, org string
}

func (c *Caller) key() principal { return principal{c.Kind, c.ID, c.OrgID} }

// New returns the API over what recorder records, as log gives it: the recorder's
// own sink, or another reader of it, that shows what was acknowledged and has the
// method Tail. The error is a [*jobaudit.FieldError] that names what is missing.
func New(recorder *jobaudit.Recorder, log jobaudit.AuditReader, opts Options) (*API, error) {
	follows, canTail := log.(tailer)
	missing := func(field, problem string) (*API, error) {
		return nil, &jobaudit.FieldError{Field: field, Problem: problem}
	}
	switch {
	case recorder == nil:
		return missing("recorder", "is required")
	case !canTail:
		return missing("log", "has no method Tail")
	case opts.Authenticate == nil:
		return missing("Options.Authenticate", "is required")
	case opts.Authorize == nil:
		return missing("Options.Authorize", "is required")
	case opts.Dispatch != nil && len(opts.Secret) < 32:
		return missing("Options.Secret", "has less than 32 bytes")
	}
	if opts.CrossOrigin == nil {
		opts.CrossOrigin = http.NewCrossOriginProtection()
	}
	kindsOnly := opts.Log == nil
	if kindsOnly {
		opts.Log = slog.Default()
	}
	setDefault(&opts.MaxBody, 1<<20)
	setDefault(&opts.Timeout, 30*time.Second)
	setDefault(&opts.Heartbeat, 15*time.Second)
	setDefault(&opts.Streams, 10_000)
	setDefault(&opts.StreamsEach, max(opts.Streams/4, 1))
	a := &API{rec: recorder, log: follows, opts: opts, kindsOnly: kindsOnly, closing: make(chan struct{}), turns: map[[32]byte]chan bool{}, each: map[principal]int{}}
	a.hub.log, a.hub.panicked = follows, a.panicked
	return a, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Close ends the streams of events, and records the reads that have not been
// recorded yet. From then on requests are answered with 503. Call it before the
// recorder's Close; [http.Server.Shutdown] waits for streams, so give Close to
// [http.Server.RegisterOnShutdown].
func (a *API) Close() {
	a.close.Do(func() {
		a.mu.Lock()
		close(a.closing)
		a.mu.Unlock()
		a.hub.close()
		a.reads.Close()
	})
	a.busy.Wait()
}

// background runs f, which Close waits for, unless Close has been called.
func (a *API) background(f func()) (runs bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if runs = !a.closed(); runs {
		a.busy.Go(f)
	}
	return runs
}

func (a *API) closed() bool {
	select {
	case <-a.closing:
		return true
	default:
		return false
	}
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := identify(w, r)
	_ = q.control().SetReadDeadline(time.Now().Add(a.opts.Timeout)) // of the body; the server sets its own for what comes next
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { // what net/http knows as the end of an answer
				panic(p)
			}
			a.fail(q, errtree.Panic("a function of the application's", p))
		}
	}()
	if a.closed() {
		a.fail(q, problem{code: unavailable, message: "the server stops"})
		return
	}
	if err := a.serve(q); err != nil {
		a.fail(q, err)
	}
}

// panicked says that a function of the application's did, behind an answer that has begun.
func (a *API) panicked(value any) {
	a.opts.Log.Error("job API", slog.Any("error", errtree.Panic("a function of the application's", value)))
}

// operation returns what serves a request, or the methods that are possible at its
// path, none if there is nothing.
func (a *API) operation(q *request) (serve func(*request, Caller) error, allowed string) {
	path, ok := strings.CutPrefix(q.r.URL.Path, "/api/jobs")
	if !ok || strings.Contains(strings.ToLower(q.r.URL.RawPath), "%2f") { // a slash to us, and none to those who look at paths before us
		return nil, ""
	}
	path, isEvents := strings.CutSuffix(path, "/events")
	id, isJob := strings.CutPrefix(path, "/")
	q.job = id
	method := q.r.Method
	if method == http.MethodHead && !isEvents {
		method = http.MethodGet
	}
	switch {
	case path == "" && !isEvents:
		return map[string]func(*request, Caller) error{http.MethodGet: a.list, http.MethodPost: a.submit}[method], "GET, POST"
	case !isJob || id == "" || strings.Contains(id, "/"):
		return nil, ""
	case isEvents:
		return map[string]func(*request, Caller) error{http.MethodGet: a.events}[method], "GET"
	default:
		return map[string]func(*request, Caller) error{http.MethodGet: a.status, http.MethodDelete: a.cancel}[method], "GET, DELETE"
	}
}

func (a *API) serve(q *request) error {
	serve, allowed := a.operation(q)
	switch {
	case allowed == "":
		return problem{code: notFound, message: "there is nothing here"}
	case serve == nil:
		q.Header().Set("Allow", allowed)
		return problem{code: badRequest, message: "the method is not possible here"}
	}
	if err := a.checkOrigin(q.r); err != nil {
		return problem{code: forbidden, message: "the request comes from a page of another origin"}
	}
	c, err := a.authenticate(q.r)
	if err != nil {
		return err
	}
	return serve(q, c)
}

// checkOrigin refuses what a page of another origin asks for in its reader's name.
// That page cannot read the answer, but a read is an event, too: so it is refused as
// well where a cookie says who asks, but for a link that somebody follows. A frame
// navigates, too, and nobody needs to see it: its destination is no document.
func (a *API) checkOrigin(r *http.Request) error {
	dest := r.Header.Get("Sec-Fetch-Dest")
	follows := r.Header.Get("Sec-Fetch-Mode") == "navigate" && (dest == "" || dest == "document")
	if len(r.Header["Cookie"]) > 0 && !follows {
		changing := *r
		changing.Method = http.MethodPost
		r = &changing
	}
	return a.opts.CrossOrigin.Check(r)
}

func (a *API) authenticate(r *http.Request) (Caller, error) {
	c, err := a.opts.Authenticate(r)
	switch {
	case err != nil && isContext(err):
		return c, problem{code: unavailable, message: "nobody can say now who you are", cause: err}
	case err != nil || c.ID == "" || c.Kind == "":
		return c, problem{code: unauthorized, message: "log in first"}
	}
	c.Verified = true
	return c, nil
}

func (a *API) authorize(ctx context.Context, c Caller, op Operation, job jobaudit.Job) error {
	err := a.opts.Authorize(ctx, c, op, job)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jobaudit.ErrDenied):
		return problem{code: forbidden, message: "you may not do this"}
	}
	return problem{code: unavailable, message: "nobody can say now whether you may do this", cause: err}
}

// timeout bounds what is done for a request.
func (a *API) timeout(q *request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(q.r.Context(), a.opts.Timeout)
}

// mac is a MAC under the secret, of parts that cannot be taken for others.
func (a *API) mac(purpose string, parts ...[]byte) (sum [32]byte) {
	h := hmac.New(sha256.New, a.opts.Secret)
	for _, part := range append([][]byte{[]byte("jobaudit jobhttp " + purpose)}, parts...) {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part)))
		h.Write(part)
	}
	h.Sum(sum[:0])
	return sum
}

// parseUUID accepts the form of 36 characters, of the versions that RFC 9562 has.
func parseUUID(s string) (uuid.UUID, bool) {
	id, err := uuid.Parse(s)
	return id, err == nil && len(s) == 36 && id.Variant() == uuid.RFC4122 && id.Version() >= 1 && id.Version() <= 8
}
