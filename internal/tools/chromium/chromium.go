// Package chromium lets tests look at pages with a headless Chromium, which a test
// starts and which ends with it. It speaks the browser's own protocol (Chrome
// DevTools Protocol) over the two pipes that --remote-debugging-pipe opens, so
// that it needs neither a port nor a library.
package chromium

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// A Browser is a Chromium with one tab. It is for one goroutine.
type Browser struct {
	t       testing.TB
	in      io.Writer
	out     *bufio.Reader
	session string
	id      int
	waiting []message
	// Requests are the URLs that pages have asked for, since the browser's start.
	Requests []string
	// Faults are what pages have complained of: exceptions and refused content.
	Faults []string
}

type message struct {
	ID        int             `json:"id,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    any             `json:"params,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     json.RawMessage `json:"error,omitempty"`
}

// Start starts a browser. The test fails if there is none.
func Start(t testing.TB) *Browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: make extras installs it")
	}
	fromTest, toBrowser, err := os.Pipe()
	fail(t, err)
	fromBrowser, toTest, err := os.Pipe()
	fail(t, err)
	profile, err := os.MkdirTemp("", "chromium")
	fail(t, err)
	// The browser's helpers may write for a moment after it has ended, so not t.TempDir.
	t.Cleanup(func() { _ = errors.Join(os.RemoveAll(profile), os.RemoveAll(profile)) })
	cmd := exec.CommandContext(t.Context(), path, "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
		"--user-data-dir="+profile, "about:blank")
	cmd.ExtraFiles = []*os.File{fromTest, toTest} // 3 and 4
	fail(t, cmd.Start())
	_ = fromTest.Close()
	_ = toTest.Close()
	b := &Browser{t: t, in: toBrowser, out: bufio.NewReader(fromBrowser)}
	t.Cleanup(func() {
		b.send("", "Browser.close", nil)
		_ = cmd.Wait() // it says how it was closed
		_ = toBrowser.Close()
		_ = fromBrowser.Close()
	})
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	b.session = session.SessionID
	for _, domain := range []string{"Page", "Runtime", "Network", "Log"} {
		b.call(b.session, domain+".enable", nil, nil)
	}
	return b
}

func fail(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
}

func (b *Browser) send(session, method string, params any) int {
	b.id++
	if params == nil {
		params = struct{}{}
	}
	text, err := json.Marshal(message{ID: b.id, Method: method, Params: params, SessionID: session})
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	if method != "Browser.close" {
		fail(b.t, err)
	}
	return b.id
}

// read reads a message, and remembers what pages asked for and complained of.
func (b *Browser) read() message {
	text, err := b.out.ReadBytes(0)
	fail(b.t, err)
	var m message
	var params json.RawMessage
	m.Params = &params
	fail(b.t, json.Unmarshal(text[:len(text)-1], &m))
	switch m.Method {
	case "Network.requestWillBeSent":
		var p struct{ Request struct{ URL string } }
		fail(b.t, json.Unmarshal(params, &p))
		b.Requests = append(b.Requests, p.Request.URL)
	case "Runtime.exceptionThrown", "Log.entryAdded":
		b.Faults = append(b.Faults, string(params))
	}
	return m
}

func (b *Browser) call(session, method string, params, result any) {
	b.t.Helper()
	id := b.send(session, method, params)
	for {
		m := b.read()
		if m.ID != id {
			if m.Method != "" {
				b.waiting = append(b.waiting, m)
			}
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("chromium: %s: %s", method, m.Error)
		}
		if result != nil {
			fail(b.t, json.Unmarshal(m.Result, result))
		}
		return
	}
}

// Open opens a page and waits until it is loaded.
func (b *Browser) Open(url string) {
	b.t.Helper()
	b.waiting = nil
	b.call(b.session, "Page.navigate", map[string]any{"url": url}, nil)
	waiting := b.waiting
	for navigated := false; ; { // the page before may still say that it is loaded
		var m message
		if len(waiting) > 0 {
			m, waiting = waiting[0], waiting[1:]
		} else {
			m = b.read()
		}
		switch m.Method {
		case "Page.frameNavigated":
			navigated = true
		case "Page.loadEventFired":
			if navigated {
				return
			}
		}
	}
}

// Eval evaluates an expression in the page, waits for it if it is a promise, and
// returns its value as text.
func (b *Browser) Eval(expression string) string {
	b.t.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	b.call(b.session, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("chromium: %s: %s", expression, r.ExceptionDetails)
	}
	return fmt.Sprint(r.Result.Value)
}

// JavaScript switches scripts on or off for the pages that are opened next.
func (b *Browser) JavaScript(on bool) {
	b.t.Helper()
	b.call(b.session, "Emulation.setScriptExecutionDisabled", map[string]any{"value": !on}, nil)
}

// Offline cuts the network off.
func (b *Browser) Offline() {
	b.t.Helper()
	b.call(b.session, "Network.emulateNetworkConditions", map[string]any{"offline": true, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}, nil)
}

// Scheme makes the browser prefer light or dark pages.
func (b *Browser) Scheme(name string) {
	b.t.Helper()
	features := []map[string]string{{"name": "prefers-color-scheme", "value": name}}
	b.call(b.session, "Emulation.setEmulatedMedia", map[string]any{"features": features}, nil)
}

// Width makes the window as wide, in pixels, of which no scroll bar takes any.
func (b *Browser) Width(pixels int) {
	b.t.Helper()
	b.call(b.session, "Emulation.setDeviceMetricsOverride", map[string]any{"width": pixels, "height": 1000, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.call(b.session, "Emulation.setScrollbarsHidden", map[string]any{"hidden": true}, nil)
}

// Screenshot returns the whole page as a PNG.
func (b *Browser) Screenshot() []byte {
	b.t.Helper()
	return b.data("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true})
}

// PDF prints the page.
func (b *Browser) PDF() []byte {
	b.t.Helper()
	return b.data("Page.printToPDF", map[string]any{"printBackground": false, "preferCSSPageSize": true})
}

func (b *Browser) data(method string, params any) []byte {
	b.t.Helper()
	var r struct{ Data string }
	b.call(b.session, method, params, &r)
	data, err := base64.StdEncoding.DecodeString(r.Data)
	fail(b.t, err)
	return data
}
