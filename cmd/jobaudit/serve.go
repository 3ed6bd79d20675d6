package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"os/user"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/webui"
)

// serve are the flags of the command.
type serve struct {
	address   string
	keys      []string
	companion companion
	timeout   time.Duration // of a page; 0: webui's
}

func (a *app) serveCommand() *cobra.Command {
	var s serve
	cmd := &cobra.Command{
		Use:   "serve SOURCE...",
		Short: "Show the jobs on pages in a browser, on this machine",
		Long: `Show the jobs of one or more logs on pages in a browser: lists, searches, each job's
story and lineage, the state of the log, and the evidence of each job.

It listens on this machine only, and prints the address with a token that opens it
once: the browser that used it keeps a cookie until the program ends, for pages whose
address nobody else knows, as browsers give cookies to every port. It writes nothing into the logs. With --record who looked at what is written into a companion
log, as jobaudit act does; without it the pages say that looking is not recorded.

With a verifier key, from --key or a file beside the log's directory, each job's page
offers its evidence.`,
		Args:              wrongly(cobra.MinimumNArgs(1)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.serve(cmd.Context(), &s, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.address, "listen", "127.0.0.1:0", "address of this machine to listen at; port 0 is a free one")
	flags.StringArrayVar(&s.keys, "key", nil, "a log's verifier key, as text or in a file; may be repeated")
	flags.StringVar(&s.companion.dir, "record", "", "directory of the companion log for who looked at what, which is made if it is not there")
	flags.StringVar(&s.companion.key, "record-key", "", "file with the companion's secret key, likewise")
	flags.StringVar(&s.companion.by, "by", "", "who looks, as in user:ada (default: the user of this program)")
	return cmd
}

func (a *app) serve(ctx context.Context, s *serve, names []string) error {
	host, _, err := net.SplitHostPort(s.address)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usagef("--listen %q is no address of this machine alone, as in 127.0.0.1:8080; to serve others, mount package webui behind a login of your own", plain(s.address))
	}
	if s.companion.by == "" {
		s.companion.by = "user:unknown"
		if u, err := user.Current(); err == nil {
			s.companion.by = "user:" + u.Username
		}
	}
	logs, err := a.openAll(ctx, names)
	if err != nil {
		return err
	}
	if s.companion.dir == "" {
		if err := s.companion.whose(); err != nil {
			return err
		}
		return a.servePages(ctx, s, names, logs, nil)
	}
	s.companion.reason = "looking at jobs"
	if s.companion.key == "" {
		return usagef("--record-key is missing: the file with the secret key of the companion log")
	}
	if err := s.companion.check(logs[0]); err != nil {
		return err
	}
	return s.companion.record(ctx, logs[0], func(r *jobaudit.Recorder) error { return a.servePages(ctx, s, names, logs, r.Act) })
}

// pages makes the pages over the logs.
func (a *app) pages(ctx context.Context, s *serve, names []string, logs sources, record func(context.Context, jobaudit.Act) error) (*webui.UI, *login, error) {
	d := newLogin(webui.Viewer{Principal: s.companion.principal, AllOrgs: true})
	opts := webui.Options{
		Authenticate: d.authenticate,
		Authorize:    func(context.Context, webui.Viewer, webui.Operation, jobaudit.Job) error { return nil },
		Record:       record,
		Timeout:      s.timeout,
	}
	var list []webui.Log
	proven := true
	for i, l := range logs {
		origin := ""
		if signed, err := l.newest(ctx, false); err == nil {
			origin, _, _ = headOf(signed) // without one no key of it is looked for
		}
		keys, err := a.keysFor(ctx, l, origin, s.keys)
		proven = proven && err == nil
		if dir, isDir := l.(directory); isDir && err != nil {
			fmt.Fprintf(a.err, "jobaudit: without its verifier key the indexes of %s cannot be trusted, so that pages read the whole log: give --key\n", dir)
		}
		reader, err := a.readerOf(l, keys)
		if err != nil {
			return nil, nil, err
		}
		shown := webui.Log{Name: plain(names[i]), Reader: reader}
		if len(keys) > 0 { // without one, hashes agree with each other, and anybody can have made them
			shown.Verify = verifier(l, keys)
		} else {
			fmt.Fprintf(a.err, "jobaudit: without its verifier key %s cannot be verified from the pages: give --key\n", plain(names[i]))
		}
		list = append(list, shown)
	}
	if proven {
		opts.Evidence = func(ctx context.Context, scope evidence.Scope) ([]byte, error) {
			one := &app{out: a.out, err: a.err, style: a.style, read: a.read} // all keys were read above
			defer func() {
				for _, closer := range one.closers {
					_ = closer() // they were read from
				}
			}()
			var from []evidence.Source
			for _, name := range names {
				source, err := one.evidenceSource(ctx, name, s.keys)
				if err != nil {
					return nil, err
				}
				from = append(from, source)
			}
			return evidence.Collect(ctx, from, scope, &evidence.Options{By: version()})
		}
	}
	ui, err := webui.New(list, opts)
	return ui, d, err
}

// readerOf reads a log by its indexes where it has some, which keys have signed.
func (a *app) readerOf(l log, keys []verifierKey) (jobaudit.AuditReader, error) {
	switch l := l.(type) {
	case directory:
		var trusted []note.Verifier
		for _, k := range keys {
			trusted = append(trusted, k)
		}
		reader, err := filesink.OpenReader(l.path, trusted...)
		if err != nil {
			return nil, err
		}
		a.closers = append(a.closers, reader.Close)
		return reader, nil
	case *database:
		return l.sink, nil
	case *mirrored:
		for _, k := range keys {
			l.keys = append(l.keys, k)
		}
	}
	return scanned{l}, nil
}

// scanned is a log that is read from its beginning each time.
type scanned struct{ log }

func (s scanned) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	unread := 0
	if q.NewestFirst || q.Limit > 0 || q.After != [16]byte{} {
		return func(yield func(jobaudit.Record, error) bool) {
			yield(jobaudit.Record{}, fmt.Errorf("%s has no index, so that it cannot be shown in pages: restore it to a directory first", s.log))
		}
	}
	return s.records(ctx, q, "", &unread)
}

// verifier verifies a log for the pages.
func verifier(l log, keys []verifierKey) func(context.Context, func(done, total int64)) (webui.Verification, error) {
	return func(ctx context.Context, progress func(done, total int64)) (webui.Verification, error) {
		opts := &filesink.VerifyOptions{Progress: progress}
		for _, k := range keys {
			opts.Keys = append(opts.Keys, note.Verifier(k))
		}
		report, err := l.verify(ctx, opts)
		v := webui.Verification{Level: report.Level.String() + ": " + meaning[report.Level], Origin: report.Head.Origin, Size: report.Head.Size, Root: report.Head.Root.String()}
		for _, n := range report.Notes {
			v.Notes = append(v.Notes, n.String())
		}
		v.Notes = v.Notes[:min(len(v.Notes), 20)]
		found, wrong := errors.AsType[*filesink.VerifyError](err)
		switch {
		case wrong:
			for _, f := range found.Findings[:min(len(found.Findings), 100)] {
				v.Findings = append(v.Findings, f.String())
			}
			return v, nil
		case err == nil && report.Level == auditlog.Unverified:
			return v, fmt.Errorf("the log in %s is empty: there is nothing to verify", l)
		}
		return v, err
	}
}

func (a *app) servePages(ctx context.Context, s *serve, names []string, logs sources, record func(context.Context, jobaudit.Act) error) error {
	ui, d, err := a.pages(ctx, s, names, logs, record)
	if err != nil {
		return err
	}
	defer ui.Close()
	d.next = ui
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: d, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 5 * time.Minute, MaxHeaderBytes: 64 << 10}
	fmt.Fprintf(a.out, "http://%s/?token=%s\n", listener.Addr(), d.token)
	fmt.Fprintln(a.err, "jobaudit: open this address once, in your browser; an interrupt ends the program")
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return server.Shutdown(stopping)
}

// login lets in the browser that has the cookie, and gives it once, for the token.
//
// Browsers give a cookie to every port of a host, and so to whatever program of
// whichever user of this machine. The pages therefore stand below a directory of a
// random name, and the cookie is for that directory: nobody who does not know the
// name can have it sent to them. The name alone, which is in a browser's history,
// opens nothing.
type login struct {
	viewer               webui.Viewer
	token, cookie, place string
	next                 http.Handler

	mu   sync.Mutex
	used bool
}

const cookieName = "jobaudit"

func newLogin(viewer webui.Viewer) *login {
	return &login{viewer: viewer, token: rand.Text(), cookie: rand.Text(), place: "/" + rand.Text()}
}

func (d *login) authenticate(r *http.Request) (webui.Viewer, error) {
	c, err := r.Cookie(cookieName)
	if err != nil || subtle.ConstantTimeCompare([]byte(c.Value), []byte(d.cookie)) != 1 {
		return webui.Viewer{}, errors.New("without the cookie")
	}
	return d.viewer, nil
}

// ServeHTTP takes the token out of the address, so that it stays in no history.
func (d *login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, d.place+"/") {
		http.StripPrefix(d.place, d.next).ServeHTTP(w, r)
		return
	}
	token := r.URL.Query().Get("token")
	d.mu.Lock()
	good := r.URL.Path == "/" && r.Method == http.MethodGet && !d.used && subtle.ConstantTimeCompare([]byte(token), []byte(d.token)) == 1
	d.used = d.used || good
	d.mu.Unlock()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	if !good {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte("The address that jobaudit serve prints opens the pages once. If it has been used, go back to where the browser was then, or start jobaudit serve again.\n"))
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: d.cookie, Path: d.place + "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, d.place+"/jobs", http.StatusSeeOther)
}
