package evidence_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/internal/tools/chromium"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// settled waits until the page has checked what it holds.
const settled = `new Promise(done => { const look = () => document.body.dataset.verdict && document.body.dataset.verdict !== "checking" ? done(document.body.dataset.verdict) : setTimeout(look, 5); look(); })`

// shown opens a page from a file, and returns its verdict and the text of its
// status.
func shown(t testing.TB, b *chromium.Browser, file string, page []byte) (verdict, status string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, page, 0o600))
	b.Open("file://" + file)
	return b.Eval(settled), b.Eval(`document.getElementById("status").innerText`)
}

// give gives the page a key.
func give(b *chromium.Browser, key string) (verdict, status string) {
	quoted, _ := json.Marshal(key)
	b.Eval(fmt.Sprintf(`delete document.body.dataset.verdict, document.getElementById("given").value = %s, document.getElementById("form").requestSubmit()`, quoted))
	return b.Eval(settled), b.Eval(`document.getElementById("status").innerText`)
}

func TestExtraABrowserProvesAPageOfflineFromAFile(t *testing.T) {
	size.Extra(t)
	l, other := newLog(t, "example.com/jobs"), newLog(t, "example.com/jobs")
	b := chromium.Start(t)
	b.Offline()
	b.Width(1200)
	file := filepath.Join(t.TempDir(), "report.html")
	page := l.page(t, evidence.Scope{RootID: l.parent})

	verdict, status := shown(t, b, file, page)
	require.Equal(t, "own", verdict, status)
	require.Contains(t, status, "That proves nothing yet")
	require.Contains(t, status, l.key.String(), "the key to be compared")
	verdict, status = give(b, l.key.String())
	require.Equal(t, "good", verdict, status)
	require.Contains(t, status, "PROVEN with the key that you gave")
	text := b.Eval(`document.body.innerText`)
	for _, want := range []string{l.parent.String(), l.child.String(), "user ada (verified)", "the index is old", "policy reindex v7",
		"</script><script>alert(1)</script> & <b>bold</b>", "Lineage", "What standards ask", "PCI DSS", "not ours"} {
		require.Contains(t, text, want)
	}
	require.Empty(t, b.Eval(`[...document.querySelectorAll("b, script:not(#evidence)")].slice(1).map(e => e.outerHTML).join()`), "what an event says is text and never HTML")
	keep(t, "report.png", b.Screenshot())
	keep(t, "report.pdf", b.PDF())

	verdict, status = give(b, other.key.String())
	require.Equal(t, "bad", verdict)
	require.Contains(t, status, "not signed by the given key")
	require.NotContains(t, b.Eval(`document.body.innerText`), l.parent.String(), "what is not proven is not shown")
	verdict, status = give(b, l.key.String()+"x")
	require.Equal(t, "bad", verdict)
	require.Contains(t, status, "verifier key")

	require.Empty(t, b.Faults)
	for _, url := range b.Requests {
		require.True(t, strings.HasPrefix(url, "file://"+file), url)
	}

	b.JavaScript(false)
	b.Open("file://" + file)
	b.JavaScript(true)
	require.Contains(t, b.Eval(`document.body.innerText`), "JavaScript is off")
}

// keep writes a picture for people to look at, if they say where to.
func keep(t testing.TB, name string, data []byte) {
	t.Helper()
	if dir := os.Getenv("SHOTS"); dir != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
}

func TestExtraABrowserFindsOneChangedByteAnywhereInTheEvidence(t *testing.T) {
	size.Extra(t)
	l := newLog(t, "example.com/jobs")
	b := chromium.Start(t)
	file := filepath.Join(t.TempDir(), "report.html")
	text := l.collect(t, evidence.Scope{RootID: l.parent})
	page, err := evidence.Page(text)
	require.NoError(t, err)
	good, err := evidence.Open(text, l.keys())
	require.NoError(t, err)
	begin := bytes.Index(page, []byte(`id="evidence">`)) + len(`id="evidence">`)
	end := begin + bytes.IndexByte(page[begin:], '<')
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=<>& \r\n\x00\xff"
	random := rand.New(rand.NewPCG(1, 2))
	named := 0
	for range 100 {
		at, to := begin+random.IntN(end-begin), alphabet[random.IntN(len(alphabet))]
		if page[at] == to {
			to ^= 1
		}
		changed := bytes.Clone(page)
		changed[at] = to
		verdict, status := shown(t, b, file, changed)
		require.Equal(t, "bad", verdict, "byte %d: %q for %q", at, to, page[at])
		require.NotContains(t, b.Eval(`document.body.innerText`), l.child.String())
		_, err := evidence.OpenPage(changed, l.keys())
		require.Error(t, err)
		for _, r := range good.Logs[0].Records {
			if strings.Contains(status, r.ID().String()) {
				named++
				require.ErrorContains(t, err, r.ID().String(), "the browser and check-report name the same event")
				break
			}
		}
	}
	require.Greater(t, named, 80, "most bytes are of an event, which is named")

	// Within the file, in its own characters: each kind of place.
	for i := range 100 {
		at := random.IntN(len(text))
		changed := bytes.Clone(text)
		changed[at] ^= 1 << random.IntN(7)
		again, err := evidence.Page(changed)
		if err != nil { // the first line
			continue
		}
		verdict, status := shown(t, b, file, again)
		require.Equal(t, "bad", verdict, "place %d, byte %d: %s", i, at, status)
	}
	verdict, _ := shown(t, b, file, page)
	require.Equal(t, "own", verdict)
}

// Somebody who changes the file on purpose makes the hash at its end agree.
func TestExtraABrowserRefusesWhatCheckReportRefuses(t *testing.T) {
	size.Extra(t)
	l := newLog(t, "example.com/jobs")
	b := chromium.Start(t)
	file := filepath.Join(t.TempDir(), "report.html")
	text := string(l.collect(t, evidence.Scope{JobID: l.parent}))
	blocks := strings.Split(text, "\n\n")
	changes := map[string]string{
		"another job":    strings.Replace(text, l.parent.String(), l.failed.String(), 1),
		"another end":    strings.Replace(text, `"last":5`, `"last":6`, 1),
		"another period": strings.Replace(text, `{"scope":{`, `{"scope":{"until":"2020-01-01T00:00:00Z",`, 1),
		"another log":    strings.Replace(text, `"origin":"example.com/jobs"`, `"origin":"example.com/jobx"`, 1),
		"an index":       strings.Replace(text, "\nindex 1\n", "\nindex 01\n", 1),
	}
	failed := string(l.collect(t, evidence.Scope{JobID: l.failed}))
	for _, scope := range []string{`{"action":"delete"}`, `{"since":"2020-01-01T00:00:00Z"}`} {
		changes["a summary of "+scope] = string(withSummary(t, failed, scope))
	}
	for at := 1; at < len(blocks)-1; at++ {
		less := append(append([]string(nil), blocks[:at]...), blocks[at+1:]...)
		changes[fmt.Sprint("without block ", at)] = strings.Join(less, "\n\n")
		if at > 3 {
			swapped := append([]string(nil), blocks...)
			swapped[at-1], swapped[at] = swapped[at], swapped[at-1]
			changes[fmt.Sprint("swapped block ", at)] = strings.Join(swapped, "\n\n")
		}
	}
	for name, changed := range changes {
		forged := resum(t, changed)
		page, err := evidence.Page(forged)
		require.NoError(t, err)
		_, err = evidence.OpenPage(page, l.keys())
		verdict, status := shown(t, b, file, page)
		require.Equal(t, map[bool]string{true: "own", false: "bad"}[err == nil], verdict, "%s: %v, %s", name, err, status)
	}
}

func TestExtraABrowserShowsASummaryOfALargePeriod(t *testing.T) {
	size.Extra(t)
	l := newLog(t, "example.com/jobs")
	b := chromium.Start(t)
	file := filepath.Join(t.TempDir(), "report.html")
	opts := *made
	opts.MaxEvents, opts.Summarize = 5, true
	text, err := evidence.Collect(t.Context(), []evidence.Source{l.source(t)}, evidence.Scope{Since: made.Now.AddDate(0, -1, 0)}, &opts)
	require.NoError(t, err)
	page, err := evidence.Page(text)
	require.NoError(t, err)
	b.Width(1200)
	verdict, status := shown(t, b, file, page)
	require.Equal(t, "own", verdict, status)
	seen := b.Eval(`document.body.innerText`)
	require.Contains(t, seen, "Summary, as the person who made the file says")
	require.Contains(t, seen, "the disk is full")
	keep(t, "summary.png", b.Screenshot())
	for _, cut := range cutBeside(t, text) {
		page, err := evidence.Page(cut)
		require.NoError(t, err)
		verdict, status := shown(t, b, file, page)
		require.Equal(t, "bad", verdict)
		require.Contains(t, status, "counts more or fewer events")
	}
	require.Empty(t, b.Faults)
}

// That its script folds whatever there is as Replay does is a test of the root's:
// TestExtraAPageFoldsJobsAsReplayDoesWhateverTheyHold.
func TestExtraAPageShowsTheStatesThatReplayGives(t *testing.T) {
	size.Extra(t)
	l := newLog(t, "example.com/jobs")
	b := chromium.Start(t)
	text := l.collect(t, evidence.Scope{Since: made.Now.AddDate(0, -1, 0)})
	page, err := evidence.Page(text)
	require.NoError(t, err)
	_, _ = shown(t, b, filepath.Join(t.TempDir(), "report.html"), page)
	good, err := evidence.Open(text, l.keys())
	require.NoError(t, err)
	for _, id := range []uuid.UUID{l.parent, l.child, l.failed} {
		job, err := jobaudit.Replay(good.Job(id))
		require.NoError(t, err)
		row := b.Eval(fmt.Sprintf(`[...document.querySelectorAll("td")].find(e => e.innerText.includes("%s")).parentElement.innerText`, id))
		require.Contains(t, row, string(job.State))
	}
}
