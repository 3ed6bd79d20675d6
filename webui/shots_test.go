package webui_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/internal/tools/chromium"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/webui"
)

// night is a night's work in a shop, by a clock of its own.
type night struct {
	t   testing.TB
	rec *jobaudit.Recorder
	now time.Time
}

func (n *night) pass(d time.Duration) { n.now = n.now.Add(d) }

func (n *night) submission(action, on, who, why string) jobaudit.Submission {
	kind, trigger := jobaudit.User, jobaudit.Manual
	if who == "scheduler" {
		kind, trigger = jobaudit.Service, jobaudit.Scheduled
	}
	return jobaudit.Submission{
		Action: action, Resource: on, OrgID: "acme", Principal: jobaudit.Principal{Kind: kind, ID: who, Verified: true, AuthMethod: "oidc"},
		Trigger: jobaudit.Trigger{Kind: trigger, Reason: why}, Inputs: map[string]string{"month": "January", "token": "hidden"},
	}
}

func (n *night) run(ctx context.Context, action, on, who, why string, took time.Duration, do func(context.Context, *jobaudit.Trail) error) (id uuid.UUID) {
	n.pass(7 * time.Minute)
	_ = n.rec.Run(ctx, n.submission(action, on, who, why), func(ctx context.Context) error { // what do returns
		trail, _ := jobaudit.FromContext(ctx)
		id = trail.JobID()
		n.pass(took)
		if do == nil {
			return nil
		}
		return do(ctx, trail)
	})
	return id
}

// demo is a log in which something happened, the job that failed in the night, and one
// that runs.
func demo(t testing.TB) (log *memsink.Sink, failed, running uuid.UUID) {
	log = memsink.New(nil)
	n := &night{t: t, now: time.Now().UTC().Truncate(time.Hour).Add(-5 * time.Hour)}
	redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("send-invoices", "3",
		jobaudit.InputPaths[map[string]string](jobaudit.Keep("month"), jobaudit.Drop("token", "credential"))))
	require.NoError(t, err)
	n.rec, err = jobaudit.Open(t.Context(), log, jobaudit.Source{System: "shop", Environment: "production", Host: "worker-3", Version: "v2.4.1"},
		&jobaudit.Options{Now: func() time.Time { return n.now }, Heartbeat: -1, Redactors: redactors})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.rec.Close(context.Background())) })
	ctx := t.Context()
	for i := range 9 {
		n.run(ctx, "capture-payment", fmt.Sprint("order/", 4711+i), "grace@acme.example", "the order was packed", time.Duration(300+i*170)*time.Millisecond, nil)
	}
	failed = n.run(ctx, "send-invoices", "customers/all", "scheduler", "every night at two", 3*time.Second, func(ctx context.Context, tr *jobaudit.Trail) error {
		tr.Log(ctx, "1,204 invoices to send")
		for i, region := range []string{"north", "south", "west"} {
			n.run(ctx, "render-invoices", "region/"+region, "scheduler", "for the invoices", time.Duration(i+1)*41*time.Second, func(ctx context.Context, tr *jobaudit.Trail) error {
				tr.Log(ctx, "rendered")
				if region == "west" {
					return errors.New("template invoice-v7 does not exist")
				}
				n.run(ctx, "upload", "bucket/invoices-"+region, "scheduler", "for the invoices", 2*time.Second, nil)
				return nil
			})
		}
		tr.Log(ctx, "812 of 1,204 sent")
		return errors.New("392 invoices could not be rendered: template invoice-v7 does not exist")
	})
	n.run(ctx, "delete-account", "customer/ada@acme.example", "grace@acme.example", "she asked for it, ticket 2281", time.Second, nil)
	cancelled, err := n.rec.Submit(ctx, n.submission("refund", "order/4713", "linus@acme.example", "the parcel was lost"))
	require.NoError(t, err)
	n.pass(time.Minute)
	require.NoError(t, cancelled.CancelBy(ctx, jobaudit.Principal{Kind: jobaudit.User, ID: "grace@acme.example", Verified: true}, "it was found"))
	n.run(ctx, "reindex", "catalog", "scheduler", "every hour", 94*time.Second, nil)
	require.NoError(t, n.rec.Act(ctx, jobaudit.Act{Type: jobaudit.AuditReviewed, Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "auditor", Verified: true},
		OrgID: "acme", Reason: "the template is back, the 392 are sent again", Scope: jobaudit.Query{JobID: failed}}))
	n.now = time.Now().UTC().Add(-4 * time.Second)
	trail, err := n.rec.Submit(ctx, n.submission("export-orders", "year/2025", "linus@acme.example", "the tax office asked for it"))
	require.NoError(t, err)
	n.pass(time.Second)
	require.NoError(t, trail.Start(ctx, jobaudit.Execution{}))
	trail.Log(ctx, "31,000 of 88,000 orders")
	require.NoError(t, trail.Flush(ctx))
	n.pass(3 * time.Second)
	return log, failed, trail.JobID()
}

// Every state of the pages fits, in light and dark, on phones and wide screens. With
// SHOTS=DIR they are also pictures: make screenshots.
func TestExtraThePagesFitPhonesAndWideScreens(t *testing.T) {
	size.Extra(t)
	log, failed, running := demo(t)
	opts := options()
	opts.Record = func(context.Context, jobaudit.Act) error { return nil }
	opts.Evidence = func(context.Context, evidence.Scope) ([]byte, error) { return nil, errors.New("none in this test") }
	verify := func(context.Context, func(done, total int64)) (webui.Verification, error) {
		return webui.Verification{Level: "L1: signed by a key that you brought", Origin: "shop.example/jobs", Size: int64(log.Len()), Root: "1kX9m3cJ7gYbqLrZo2Tn8sVw5eHd0uPfAaBiCjQkRlM="}, nil
	}
	base := serve(t, pages(t, []webui.Log{{Name: "shop", Reader: log, Verify: verify}}, opts))
	b := chromium.Start(t)
	beginCheck(b, base)
	until(b, `document.body.innerText.includes("verified L1")`)
	for _, scheme := range []string{"light", "dark"} {
		b.Scheme(scheme)
		for _, width := range []int{390, 1280} {
			b.Width(width)
			for name, path := range map[string]string{
				"jobs": "/jobs", "search": "/jobs?state=failed&since=24h", "none": "/jobs?action=nothing", "job": "/jobs/" + failed.String(), "tree": "/jobs/" + failed.String() + "#family",
				"running": "/jobs/" + running.String(), "log": "/log", "error": "/jobs/" + uuid.Nil.String(),
			} {
				b.Open(base + "/assets/icon.svg") // so that what follows is not a jump on the same page
				b.Open(base + path)
				require.Equal(t, "true", b.Eval(`String(document.documentElement.scrollWidth <= document.documentElement.clientWidth)`), "%s at %d, %s", path, width, scheme)
				if dir := os.Getenv("SHOTS"); dir != "" {
					if name == "tree" {
						b.Eval(`for (const e of document.querySelectorAll("main h2")) if (e.id !== "family") e.remove(); for (const e of document.querySelectorAll(".timeline, .ws, .check, .banner")) e.remove(); ""`)
					}
					file := filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, scheme, width))
					require.NoError(t, os.WriteFile(file, small(t, b.Screenshot()), 0o600))
				}
			}
		}
	}
}

// beginCheck does what the button of the log's page does.
func beginCheck(b *chromium.Browser, base string) {
	b.Open(base + "/log")
	b.Eval(`(async () => {
		const form = document.querySelector("main form");
		await fetch(form.action, { method: form.method, body: new URLSearchParams(new FormData(form)), redirect: "manual" });
		return "";
	})()`)
	b.Open(base + "/log")
}

// small is the same picture with its 256 commonest colors.
func small(t testing.TB, text []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(text))
	require.NoError(t, err)
	bounds := full.Bounds()
	at := func(x, y int) color.RGBA {
		r, g, b, _ := full.At(x, y).RGBA()
		return color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}
	}
	count := map[color.RGBA]int{}
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			count[at(x, y)]++
		}
	}
	commonest := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	var palette color.Palette
	for _, c := range commonest[:min(len(commonest), 256)] {
		palette = append(palette, c)
	}
	out := image.NewPaletted(bounds, palette)
	index := map[color.RGBA]uint8{}
	for c := range count {
		index[c] = uint8(palette.Index(c))
	}
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			out.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	var b bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, out))
	return b.Bytes()
}
