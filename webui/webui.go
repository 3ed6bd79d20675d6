// Package webui serves pages on which people look at jobs: which ran, who asked for
// them and why, what failed, and whether the record is intact.
//
//	ui, err := webui.New([]webui.Log{{Name: "web", Reader: sink}}, webui.Options{
//		Authenticate: whoAsks, Authorize: mayThey, Record: recorder.Act,
//	})
//	mux.Handle("/audit/", http.StripPrefix("/audit", ui))
//
// The pages are made by the server and can be read without JavaScript; a script
// of the package's own follows running jobs and adds local times. They load nothing
// from elsewhere. They change nothing: the only thing that looking writes is the
// record of it, through [Options.Record].
//
// What the pages show is what the server that serves them says. A reader who does not
// trust it takes the evidence that each job's page offers, and checks it with a
// key that came another way: see package evidence.
package webui

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/internal/errlog"
	"github.com/jobaudit/jobaudit/internal/errtree"
	"github.com/jobaudit/jobaudit/internal/reads"
)

// Viewer is who looks.
type Viewer struct {
	jobaudit.Principal
	// OrgID is the organization whose jobs the viewer may know of; "" is that of
	// the jobs without one. AllOrgs lets the viewer know of all, and of the log.
	OrgID   string
	AllOrgs bool
}

// Operation is what a viewer asks for.
type Operation string

// The operations.
const (
	ListJobs Operation = "list"   // the list of jobs, and searches
	ReadJob  Operation = "read"   // one job, and its evidence
	ReadLog  Operation = "log"    // the state of the logs, for viewers with AllOrgs
	Check    Operation = "verify" // begin a verification of a log, likewise
)

// Log is a log whose jobs are shown.
type Log struct {
	Name   string // as people call it
	Reader jobaudit.AuditReader
	// Verify verifies the log and tells how far it is; see sink/filesink.Verify. Nil:
	// the pages say that they cannot verify it.
	Verify func(ctx context.Context, progress func(done, total int64)) (Verification, error)
}

// Verification is what became of one.
type Verification struct {
	Level    string // how far it came, as auditlog.Level says it
	Origin   string
	Size     int64 // of the verified head, in records
	Root     string
	Findings []string // what is wrong: empty if nothing is
	Notes    []string // worth knowing, and nothing wrong
}

// Options are what the application decides. Its functions are called from many
// goroutines at once.
type Options struct {
	// Authenticate says who looks. Any error is answered with 401. Required.
	Authenticate func(*http.Request) (Viewer, error)

	// Authorize says whether the viewer may do that: nil is yes, an error that wraps
	// [jobaudit.ErrDenied] is no, and any other that nobody can say now. The job is
	// set for ReadJob only, without its lines; it is asked about each job of a family,
	// too. Required.
	Authorize func(ctx context.Context, v Viewer, op Operation, job jobaudit.Job) error

	// Record records that somebody has looked, as [jobaudit.Recorder.Act] does. The
	// page is shown once it has returned nil. Nil: reading is not recorded, and
	// the pages say so.
	Record func(ctx context.Context, act jobaudit.Act) error

	// Evidence makes a file of evidence of the logs, as evidence.Collect does. Nil:
	// none is offered.
	Evidence func(ctx context.Context, scope evidence.Scope) ([]byte, error)

	// Secret is a key of at least 32 random bytes that all replicas share. With it is
	// sealed where a page of the list ends, for viewers without AllOrgs. Default: one
	// that New makes, so that each replica, and each start, reads its own pages' links only.
	Secret []byte

	Timeout time.Duration // of a request; default: 30 s
	// Log gets the errors of which a viewer is told no more than that there was
	// one. Default: slog.Default(), with their kinds alone, as their texts may quote
	// what records hold.
	Log *slog.Logger
}

// UI is the handler of all pages. Make one with [New]. It is safe for concurrent use.
type UI struct {
	logs   []Log
	opts   Options
	mux    *http.ServeMux
	pages  map[string]*template.Template
	reads  reads.Counter
	checks []*check // one a log
	cross  *http.CrossOriginProtection
	seal   sealer

	kindsOnly bool // the log may be read by anybody
	mostRead  int  // events of a job, of each log, that are gone through
	// events of the log that are gone through for a page of the list, and for the log's
	mostPassed, mostCounted int
	// proving and looking bound how many files of evidence and how many pages are
	// made at once: each file reads the whole log, and a page may hold a job of many events.
	proving, looking chan struct{}
}

// How many files of evidence and how many pages are made at once.
const (
	mostProving = 2
	mostLooking = 4
)

// inTurn calls do while few others of its kind run. What do makes is sent to the
// viewer after that: a slow one must not hold up others.
func inTurn(ctx context.Context, turns chan struct{}, do func() error) error {
	select {
	case turns <- struct{}{}:
		defer func() { <-turns }()
		return do()
	case <-ctx.Done():
		return ctx.Err()
	}
}

var (
	//go:embed templates
	templates embed.FS
	//go:embed assets
	assets embed.FS
)

// New returns the pages over some logs. The error is a [*jobaudit.FieldError] that
// names what is missing.
func New(logs []Log, opts Options) (*UI, error) {
	missing := func(field, problem string) (*UI, error) {
		return nil, &jobaudit.FieldError{Field: field, Problem: problem}
	}
	switch {
	case len(logs) == 0:
		return missing("logs", "is empty: there is nothing to show")
	case opts.Authenticate == nil:
		return missing("Options.Authenticate", "is required")
	case opts.Authorize == nil:
		return missing("Options.Authorize", "is required")
	case len(opts.Secret) > 0 && len(opts.Secret) < minSecret:
		return missing("Options.Secret", "has less than 32 bytes")
	}
	for i := range logs {
		if logs[i].Reader == nil {
			return missing(fmt.Sprintf("logs[%d].Reader", i), "is required")
		}
	}
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	kindsOnly := opts.Log == nil
	if kindsOnly {
		opts.Log = slog.Default()
	}
	u := &UI{logs: logs, opts: opts, kindsOnly: kindsOnly, mostRead: mostRead, mostPassed: mostPassed, mostCounted: mostCounted, mux: http.NewServeMux(), pages: map[string]*template.Template{}, cross: http.NewCrossOriginProtection()}
	u.proving, u.looking = make(chan struct{}, mostProving), make(chan struct{}, mostLooking)
	for i := range logs {
		u.checks = append(u.checks, &check{log: &logs[i]})
	}
	var err error
	if u.seal, err = newSealer(opts.Secret); err != nil {
		return nil, err
	}
	if err := u.parse(); err != nil {
		return nil, err
	}
	u.routes()
	return u, nil
}

// parse reads the templates: layout.html around each of the others.
func (u *UI) parse() error {
	layout, err := template.New("layout.html").Funcs(functions).ParseFS(templates, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return err
	}
	names, err := fs.Glob(templates, "templates/*.page.html")
	if err != nil {
		return err
	}
	for _, name := range names {
		page, err := layout.Clone()
		if err == nil {
			page, err = page.ParseFS(templates, name)
		}
		if err != nil {
			return err
		}
		short := strings.TrimSuffix(strings.TrimPrefix(name, "templates/"), ".page.html")
		u.pages[short] = page
	}
	return nil
}

func (u *UI) routes() {
	u.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { redirect(w, "jobs") })
	u.mux.HandleFunc("GET /jobs", u.handle(ListJobs, u.listJobs))
	u.mux.HandleFunc("GET /jobs/{id}", u.handle(ReadJob, u.showJob))
	u.mux.HandleFunc("GET /jobs/{id}/evidence", u.handle(ReadJob, u.showEvidence))
	u.mux.HandleFunc("GET /jobs/{id}/bundle", u.handle(ReadJob, u.sendBundle))
	u.mux.HandleFunc("GET /log", u.handle(ReadLog, u.showLogs))
	u.mux.HandleFunc("POST /log/verify", u.handle(Check, u.beginCheck))
	files, _ := fs.Sub(assets, "assets") // it is embedded
	static := http.StripPrefix("/assets/", http.FileServerFS(files))
	u.mux.HandleFunc("GET /assets/{name}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		static.ServeHTTP(w, r)
	})
}

// redirect sends to a path beside the one that was asked for, wherever the pages
// are mounted.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// policy lets a page load its style and script and nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP answers a request.
func (u *UI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { // what net/http knows as the end of an answer
				panic(p)
			}
			u.fail(w, r, Viewer{}, errtree.Panic("a function of the application's", p))
		}
	}()
	if _, pattern := u.mux.Handler(r); pattern == "" {
		u.fail(w, r, Viewer{}, problem{http.StatusNotFound, "There is nothing here."})
		return
	}
	u.mux.ServeHTTP(w, r)
}

// Close records the reads that have not been recorded yet, and ends verifications
// that are under way.
func (u *UI) Close() {
	for _, c := range u.checks {
		c.stop()
	}
	u.reads.Close()
}

// request is a request of a viewer who is known.
type request struct {
	*http.Request
	w      http.ResponseWriter
	viewer Viewer
}

// handle authenticates before it serves. Of one job and of the log it is the page
// that asks whether the viewer may see it.
func (u *UI) handle(op Operation, serve func(*request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), u.opts.Timeout)
		defer cancel()
		q := &request{Request: r.WithContext(ctx), w: w}
		err := u.cross.Check(r)
		if err != nil || embedded(r) {
			err = problem{http.StatusForbidden, "The request comes from a page of another origin."}
		}
		if err == nil {
			q.viewer, err = u.authenticate(r)
		}
		if err == nil && (op == ReadLog || op == Check) && !q.viewer.AllOrgs {
			err = problem{http.StatusForbidden, "The log is shown to those who may know of all organizations."}
		}
		if err == nil && op != ReadJob {
			err = u.authorize(q, op, jobaudit.Job{})
		}
		if err == nil {
			err = serve(q)
		}
		if err != nil {
			u.fail(w, r, q.viewer, err)
		}
	}
}

// embedded reports whether a page of another origin asks for what it shows, or hides,
// as an image or a frame: it would be recorded as a look of the viewer's. A link that
// somebody follows asks for a document.
func embedded(r *http.Request) bool {
	site, dest := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Sec-Fetch-Dest")
	follows := r.Header.Get("Sec-Fetch-Mode") == "navigate" && (dest == "" || dest == "document")
	return (site == "cross-site" || site == "same-site") && !follows
}

func (u *UI) authenticate(r *http.Request) (Viewer, error) {
	v, err := u.opts.Authenticate(r)
	if err != nil || v.ID == "" || v.Kind == "" {
		return Viewer{}, problem{http.StatusUnauthorized, "Log in first."}
	}
	v.Verified = true
	return v, nil
}

func (u *UI) authorize(q *request, op Operation, job jobaudit.Job) error {
	err := u.opts.Authorize(q.Context(), q.viewer, op, job)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jobaudit.ErrDenied):
		return problem{http.StatusForbidden, "You may not see this."}
	}
	return fmt.Errorf("nobody can say whether the viewer may do this: %w", err)
}

// problem is an error that the viewer is told.
type problem struct {
	status  int
	message string
}

func (p problem) Error() string { return p.message }

// fail answers with an error. What is not a problem goes to the log alone.
func (u *UI) fail(w http.ResponseWriter, r *http.Request, v Viewer, err error) {
	p, told := errors.AsType[problem](err)
	switch {
	case told:
	case errors.Is(err, context.DeadlineExceeded):
		p = problem{http.StatusGatewayTimeout, "That took too long. Narrow the search, or try again."}
	case r.Context().Err() != nil:
		return // there is no one left to answer
	default:
		number := uuid.NewString()
		u.log("webui", err, "path", r.URL.Path, "number", number)
		p = problem{http.StatusInternalServerError, "Something went wrong. The server's log says what, under the number " + number + "."}
	}
	q := &request{Request: r, w: w, viewer: v}
	u.write(q, p.status, "error", "", map[string]any{"Status": p.status, "Text": http.StatusText(p.status), "Message": p.message})
}

// log tells the log of an error. The one that everything goes to if the application has
// named none gets no texts, which may quote what records hold.
func (u *UI) log(what string, err error, more ...any) {
	text := err.Error
	if u.kindsOnly {
		text = func() string { return errlog.Kinds(err) }
	}
	u.opts.Log.Error(what+": "+text(), more...)
}

// page is what every page has.
type page struct {
	Title    string
	Root     string // leads from the page to the first one
	At       string // the part of the pages that this one belongs to
	Viewer   Viewer
	Known    bool // who looks
	Recorded bool
	Body     any
}

// write writes a page: as a whole, or nothing of it but an error.
func (u *UI) write(q *request, status int, name, title string, body any) {
	depth := strings.Count(strings.Trim(q.URL.Path, "/"), "/")
	if strings.HasSuffix(q.URL.Path, "/") && q.URL.Path != "/" {
		depth++
	}
	p := page{Title: title, Root: cmp.Or(strings.Repeat("../", depth), "./"), At: name, Viewer: q.viewer, Known: q.viewer.ID != "",
		Recorded: u.opts.Record != nil, Body: body}
	var b strings.Builder
	if err := u.pages[name].ExecuteTemplate(&b, "layout.html", p); err != nil {
		u.log("webui", err, "path", q.URL.Path)
		http.Error(q.w, "The page cannot be written.", http.StatusInternalServerError)
		return
	}
	h := q.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	if status == http.StatusOK { // the script asks for the same page again and again
		sum := sha256.Sum256([]byte(b.String()))
		tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
		h.Set("ETag", tag)
		h.Set("Cache-Control", "private, no-cache")
		if q.Header.Get("If-None-Match") == tag {
			q.w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	q.w.WriteHeader(status)
	_, _ = q.w.Write([]byte(b.String())) // a viewer who has gone needs no answer
}
