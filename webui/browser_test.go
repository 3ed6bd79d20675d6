package webui_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/internal/tools/chromium"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/webui"
)

// serve serves the pages to a browser that is logged in as the auditor.
func serve(t testing.TB, ui http.Handler) (base string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Who", "auditor")
		ui.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// until waits until an expression is true in the page.
func until(b *chromium.Browser, expression string) {
	b.Eval(`new Promise(done => { const look = () => (` + expression + `) ? done("") : setTimeout(look, 20); look(); })`)
}

func TestExtraAPageFollowsAJobToItsEnd(t *testing.T) {
	size.Extra(t)
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	base := serve(t, pages(t, []webui.Log{{Name: "web", Reader: sink}}, options()))
	b := chromium.Start(t)
	lines := make(chan string)
	id := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- rec.Run(context.Background(), submission("capture-payment", "acme"), func(ctx context.Context) error {
			trail, _ := jobaudit.FromContext(ctx)
			id <- trail.JobID().String()
			for line := range lines {
				trail.Log(ctx, line)
			}
			return errors.New("no money left")
		})
	}()
	job := <-id
	b.Open(base + "/jobs/" + job)
	lines <- "the first line"
	until(b, `document.body.innerText.includes("the first line")`)
	b.Open(base + "/jobs/" + job) // in mid-stream
	lines <- "the second line"
	close(lines)
	require.Error(t, <-ended)
	until(b, `document.body.innerText.includes("no money left") && document.body.innerText.includes("the second line")`)
	followed := b.Eval(`document.querySelector(".timeline").innerText`)
	b.Open(base + "/jobs/" + job)
	require.Equal(t, b.Eval(`document.querySelector(".timeline").innerText`), followed, "reloading shows the same")
	require.Empty(t, b.Faults)
}

func TestExtraABrowserTakesNoTextOfARecordForItsOwn(t *testing.T) {
	size.Extra(t)
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	base := serve(t, pages(t, []webui.Log{{Name: canary, Reader: sink}}, options()))
	short := canary[:len(canary)-3]
	s := submission(short, "acme")
	s.Resource, s.Trigger.Reason = short, canary
	id := run(t, rec, s, func(ctx context.Context, tr *jobaudit.Trail) error { tr.Log(ctx, canary); return errors.New(canary) })
	b := chromium.Start(t)
	for _, path := range []string{"/jobs", "/jobs/" + id.String(), "/log"} {
		b.Open(base + path)
		require.Equal(t, "0", b.Eval(`String(document.querySelectorAll("img, main script").length)`), path)
		if path != "/log" {
			require.Contains(t, b.Eval(`document.body.innerText`), "<script>alert(1)", path)
		}
	}
	require.Empty(t, b.Faults)
}

func TestExtraABrowserChecksTheEvidenceOfAJobAndFindsAChangedByte(t *testing.T) {
	size.Extra(t)
	dir := t.TempDir()
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "example.com/jobs")
	require.NoError(t, err)
	sink, err := filesink.Open(t.Context(), filepath.Join(dir, "log"), key, nil)
	require.NoError(t, err)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, nil)
	require.NoError(t, err)
	id := run(t, rec, submission("capture-payment", "acme"), func(context.Context, *jobaudit.Trail) error { return nil })
	require.NoError(t, rec.Close(t.Context()))
	require.NoError(t, sink.Close())
	reader, err := filesink.OpenReader(filepath.Join(dir, "log"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, reader.Close()) })
	opts := options()
	change := false
	opts.Evidence = func(ctx context.Context, scope evidence.Scope) ([]byte, error) {
		text, err := collect(ctx, dir, key, scope)
		if change && err == nil {
			text[len(text)/2] ^= 1
		}
		return text, err
	}
	base := serve(t, pages(t, []webui.Log{{Name: "web", Reader: reader}}, opts))
	b := chromium.Start(t)
	quoted, err := json.Marshal(key.String())
	require.NoError(t, err)
	for _, want := range []string{"good", "bad"} {
		b.Open(base + "/jobs/" + id.String() + "/evidence")
		until(b, `document.body.dataset.verdict && document.body.dataset.verdict !== "checking"`)
		if want == "good" {
			b.Eval(fmt.Sprintf(`delete document.body.dataset.verdict, document.getElementById("given").value = %s, document.getElementById("form").requestSubmit()`, quoted))
			until(b, `document.body.dataset.verdict && document.body.dataset.verdict !== "checking"`)
		}
		require.Equal(t, want, b.Eval(`document.body.dataset.verdict`))
		change = true
	}
}

// The rules are axe-core's, which make extras installs: WCAG 2 and good practice.
func TestExtraThePagesHaveNoFaultOfAccessibility(t *testing.T) {
	size.Extra(t)
	axe, err := os.ReadFile(filepath.Join("..", "internal", "tools", "axe", "node_modules", "axe-core", "axe.min.js"))
	require.NoError(t, err, "make extras installs it")
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	running := submit(t, rec, submission("export", "acme")).JobID().String()
	job := run(t, rec, submission("capture-payment", "acme"), func(ctx context.Context, tr *jobaudit.Trail) error {
		tr.Log(ctx, "card refused")
		_ = rec.Run(ctx, submission("refund", "acme"), func(context.Context) error { return nil })
		return errors.New("no money left")
	}).String()
	verify := func(context.Context, func(done, total int64)) (webui.Verification, error) {
		return webui.Verification{Level: "L1", Size: 9, Origin: "example.com/jobs", Root: "x", Findings: []string{"a record was altered"}}, nil
	}
	base := serve(t, pages(t, []webui.Log{{Name: "web", Reader: sink, Verify: verify}}, options()))
	b := chromium.Start(t)
	for _, scheme := range []string{"light", "dark"} {
		b.Scheme(scheme)
		for _, path := range []string{"/jobs", "/jobs?state=failed&who=ada", "/jobs?action=none", "/jobs/" + job, "/jobs/" + running, "/log", "/jobs/none"} {
			b.Open(base + path)
			b.Eval(string(axe) + "\n;''")
			faults := b.Eval(`axe.run(document).then(r => r.violations.map(v => v.id + ": " + v.nodes.map(n => n.target + " " + (n.any[0] || {}).message).join(", ")).join("\n"))`)
			require.Empty(t, faults, "%s, %s", path, scheme)
		}
	}
}
